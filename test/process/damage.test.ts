/** Bytes that change on the disks of real servers: on a replica they are found and fetched again, on a primary they are told. */
import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { realFileSystem, verifyDirectory } from "../../log/index.js";
import { runAnnals } from "../support/annals-command.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { expectSameSegments } from "../support/same-segments.js";

let set: ReplicaSet;
afterEach(() => set.end());

const CHECKING = { ANNALS_REPLICATION_CHECK_INTERVAL_SECS: "1" };

/** Flips a bit in the file, as a bad disk would. */
async function flip(node: SetNode, which: number, position: number): Promise<string> {
  const name = [...(await node.segments()).keys()].at(which) ?? "";
  const file = await open(join(node.directory, "log", name), "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  byte.writeUInt8(byte.readUInt8() ^ 4);
  await file.write(byte, 0, 1, position);
  await file.close();
  return name;
}

interface Damage {
  readonly known: readonly { readonly file: string }[];
  readonly refetched_segments: number;
  readonly mending: string | null;
}

const damageOf = async (node: SetNode): Promise<Damage> => (await node.stats())["damage"] as Damage;

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 100_000; !(await holds()); await sleep(50))
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
}

const offsetOf = async (node: SetNode): Promise<unknown> => (await node.json("/digest"))["offset"];

it("damage on a stopped and on a running replica heals, damage on the primary is told", async () => {
  set = await ReplicaSet.begin();
  const one = await set.primary("one");
  const two = await set.replica("two", one, [], CHECKING);
  for (let i = 0; i < 7; i++)
    expect((await one.post("/kv/set", { key: `k${i}`, value: "v".repeat(40_000) })).status).toBe(200);
  await until(async () => (await offsetOf(two)) === (await offsetOf(one)), "the replica has everything");

  await two.kill("SIGTERM");
  const atRest = await flip(two, 1, 2_000);
  await set.restart(two);
  await until(async () => (await two.get("/readyz")).status === 200, "it is ready");
  expect(await damageOf(two)).toMatchObject({ known: [], refetched_segments: 1, mending: null });
  const running = await flip(two, -2, 3_000);
  await until(async () => (await damageOf(two)).refetched_segments === 2, "the other one was fetched again");

  await expectSameSegments(one, two);
  expect(await two.json("/digest")).toEqual(await one.json("/digest"));
  const kept = await readdir(join(two.directory, "quarantine"));
  const stems = [atRest, running].map((name) => name.slice(0, 20));
  expect(kept.filter((name) => name.endsWith(".log")).map((name) => name.slice(0, 20))).toEqual(stems);
  const note = kept.find((name) => name.endsWith(".json")) ?? "";
  expect(await readFile(join(two.directory, "quarantine", note), "utf8")).toContain(`"log/${atRest}"`);
  const { text } = await two.get("/metrics");
  for (const line of ["quarantines_total 2", "refetched_segments_total 2", "damaged_segments 0"])
    expect(text).toContain(`annals_replication_${line}\n`);
  expect(text).toMatch(/annals_replication_checks_total [1-9]/);
  expect((await verifyDirectory(realFileSystem, two.directory, { live: true })).problems).toEqual([]);

  const there = await flip(one, -2, 3_000);
  // Some read meets it.
  for (let i = 0; i < 7; i++) await one.get(`/kv/k${i}/history`);
  await until(async () => (await damageOf(one)).known.length === 1, "the primary knows it");
  expect((await damageOf(one)).known[0]?.file).toBe(`log/${there}`);
  expect((await one.json("/health/replication"))["damage"]).toContain(there);
  const shown = await runAnnals(["status", one.http]);
  expect([shown.code, shown.stdout]).toEqual([1, expect.stringContaining("damaged")]);
  expect(shown.stderr).toMatch(/^annals: one: takes writes; damaged.+; see ops\/docs\/replication\.md\n$/);
});
