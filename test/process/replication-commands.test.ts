/** Commands that write to a primary which has its writes confirmed: what is stored, but not confirmed in time, is no refusal. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { AnnalsCommand } from "../support/annals-command.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";

const CONFIRMED = {
  ANNALS_REPLICATION_MIN_REPLICAS_FOR_WRITE: "1",
  ANNALS_REPLICATION_ACK_TIMEOUT_MS: "400",
};
let set: ReplicaSet;
let one: SetNode;
let two: SetNode;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "annals-commands-"));
  set = await ReplicaSet.begin();
  one = await set.primary("one", [], CONFIRMED);
  two = await set.replica("two", one);
});
afterEach(async () => {
  two.signal("SIGCONT");
  await set.end();
  rmSync(directory, { recursive: true });
});

const value = async (key: string): Promise<string> => (await one.get(`/kv/${key}`)).text;
const revisions = async (key: string): Promise<number> =>
  ((await one.json(`/kv/${key}/history`))["revisions"] as unknown[]).length;
/** Tried until the replica is there. */
const put = (key: string, text: string) =>
  expect.poll(async () => (await one.client.put(key, text)).status).toBeLessThan(300);

/** A command that begins while the replica stands still, which goes on when the command has said that it tries again. */
async function besideStopped(...args: string[]): Promise<string> {
  two.signal("SIGSTOP");
  const command = new AnnalsCommand(args);
  await expect.poll(() => command.stderr).toMatch(/confirmed by 0 of 1 replicas.*; trying again/);
  two.signal("SIGCONT");
  const { code, stdout, stderr } = await command.ended;
  expect(code, stderr).toBe(0);
  return stdout;
}

it("an import waits for the replicas, and writes each line once", async () => {
  await put("before", "x");
  const path = join(directory, "lines.ndjson");
  writeFileSync(path, '{"key":"a","value":1}\n{"key":"b","value":2}\n{"key":"c","value":3,"ttl":600}\n');
  expect(await besideStopped("import", path, "--url", one.http)).toMatch(/: 3 entries stored /);
  expect([await value("a"), await value("b"), await value("c")]).toEqual(["1", "2", "3"]);
  expect(await revisions("a")).toBe(1);
});

it("undoing waits for the replicas, and writes each page once", async () => {
  await put("a", "before");
  const at = Number((await one.json("/digest"))["offset"]);
  await put("a", "spoiled");
  const spoiled = await revisions("a");
  const undo = ["undo", "--only", "kv:*", "--at", String(at), "--into", one.http];
  expect(await besideStopped(...undo)).toContain("1 replaced changed");
  expect(await value("a")).toBe("before");
  expect(await revisions("a")).toBe(spoiled + 1);
});
