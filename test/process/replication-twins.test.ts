/** A replica, and another server in a copy of its data directory, so with its id, both told to follow one primary. */
import { spawnSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { PROGRAM } from "../support/server-process.js";
import { expectOne, hasAll, listed, sleep, until } from "../support/set-waits.js";

let set: ReplicaSet;
afterEach(() => set.end());

const status = (node: SetNode) => {
  const { status: code, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "status", node.http]);
  return { code, out: String(stdout), words: String(stderr) };
};

const twins = async (node: SetNode): Promise<unknown> => (await node.json("/health/replication"))["twins"];
const follows = (node: SetNode) => async (): Promise<boolean> => (await node.stats())["connected"] === true;

it("the replica follows on, the copy is refused, and all that tell of the set tell of it", async () => {
  set = await ReplicaSet.begin();
  const one = await set.primary("one");
  const two = await set.replica("two", one);
  await one.client.put("key", "value");
  await listed([two], one);
  await two.kill("SIGTERM");
  cpSync(two.directory, join(set.directory, "copy"), { recursive: true });
  await set.restart(two);
  await until("two follows", follows(two));
  expect(await twins(one)).toEqual([]);

  const copy = await set.replica("copy", one);
  await until("it is told", async () => copy.output.includes("REPLICATION_TWIN"));
  await until("two follows again", follows(two));
  const before = (await two.stats())["reconnects"];
  expect(status(one)).toMatchObject({
    code: 1,
    out: expect.stringMatching(/copy is there twice, at 127\.0\.0\.1:\d+ and at 127\.0\.0\.1:\d+: one is a/),
    words: expect.stringContaining("one: takes writes; copy is there twice"),
  });
  expect(await twins(one)).toMatchObject([{ id: (await two.stats())["node_id"], name: "copy" }]);
  expect((await one.get("/metrics")).text).toContain("annals_replication_twins 1\n");
  await until("the log says so", async () =>
    one.output.split("\n").some((line) => /REPLICATION_TWIN.*was not let in: .*empty directory/.test(line)),
  );
  for (let at = 0; at < 20; at += 1) {
    expect((await one.client.put("key", `${at}`, { "x-annals-acks": "1" })).status).toBeLessThan(300);
    await sleep(50);
  }
  expect((await two.stats())["reconnects"]).toBe(before);

  // What is to be done is what the words say.
  await copy.kill("SIGTERM");
  rmSync(copy.directory, { recursive: true });
  await set.restart(copy);
  await Promise.all([hasAll(two, one), hasAll(copy, one)]);
  await listed([two, copy], one);
  await expectOne(one, two, copy);
});
