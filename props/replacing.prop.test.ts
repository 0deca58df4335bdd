/**
 * Promise: a log whose end, or all of it, gives way to another node's is never lost on the way. In whatever operation of the disk it is
 * ended, by kill -9 or with the power –
 *
 *   1. a diverged end is cut only after it was kept: whole, readable, and the end of that very log
 *   2. an installation leaves the old log or the new one, never a mixture; once it was reported, the new one
 *   3. the old log is kept before it is replaced, unless the new one is proven to begin with it
 *   4. what was interrupted can be done again, and the log then follows to the primary's end
 *   5. none of it looks like damage
 */
import { beforeAll, describe, expect, test } from "vitest";
import {
  offset as asOffset,
  type EventLog,
  type FileSystem,
  holdsLog,
  Installation,
  keepDiverged,
  type LogPosition,
  listDiverged,
  openLog,
  openLogView,
  type RecordRun,
  verifyDirectory,
} from "../log/index.js";
import { expectEqual } from "../test/support/expect-equal.js";
import { shipped } from "../test/support/shipping.js";
import { factor, seed } from "./run-settings.js";
import { DATA_DIRECTORY, worldLogOptions } from "./world/log-settings.js";
import { CHANGES, type Ending } from "./world/operations.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "./world/simulated-file-system.js";

/** Up to here the old log and the primary's are one. */
const COMMON = 14;

interface Primary {
  readonly clusterId: string;
  readonly runs: readonly RecordRun[];
  readonly end: LogPosition;
}

let primary: Primary;

/** `i` decides the size, so that logs with other records have other segments. */
const record = (i: number) => ({
  kind: 2,
  version: 1,
  timestamp: i,
  body: Buffer.alloc(100 + 37 * (i % 30), i),
});

const optionsOn = (disk: SimulatedDisk, files: SimulatedMount) =>
  worldLogOptions(disk, files, seededClock(disk.random), "always");

async function append(log: EventLog, count: number, shift = 1): Promise<void> {
  for (let i = 0; i < count; i++) log.append(record(log.endOffset + shift));
  await log.whenCommitted(log.endOffset);
}

beforeAll(async () => {
  const disk = new SimulatedDisk(seed);
  const { log, identity } = await openLog(optionsOn(disk, disk.mount()));
  await append(log, COMMON - 1);
  await log.startEpoch();
  await append(log, 12);
  const runs = await shipped(log, asOffset(1));
  primary = { clusterId: identity.clusterId, runs, end: await log.positionAt(log.endOffset) };
  await log.close();
});

/** `oldEnd`: of the log that is there. */
async function install(disk: SimulatedDisk, files: SimulatedMount, oldEnd?: LogPosition): Promise<void> {
  const installation = await Installation.begin({
    ...optionsOn(disk, files),
    clusterId: primary.clusterId,
    isHeld: false,
  });
  await installation.placeSnapshot("snapshot_1_9.snap", once(Buffer.alloc(3000, 9)));
  for (const run of primary.runs) await installation.receive(run);
  await installation.commit({ oldEnd });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function follow(disk: SimulatedDisk, files: SimulatedMount): Promise<EventLog> {
  const { log } = await openLog({ ...optionsOn(disk, files), following: true });
  return log;
}

/** A node that had followed up to `COMMON`, and perhaps was promoted, and wrote records that nobody else has. */
async function replica(disk: SimulatedDisk, hasDiverged: boolean): Promise<LogPosition> {
  const files = disk.mount();
  await install(disk, files);
  const log = await follow(disk, files);
  await log.truncate(asOffset(COMMON));
  if (hasDiverged) {
    await log.startEpoch({ above: primary.end.epoch });
    await append(log, 16, 9);
  }
  const end = await log.positionAt(log.endOffset);
  disk.kill();
  return end;
}

/** Runs `doing` in a process that ends in its `at`-th operation; true when it came to its end before. */
async function endedAt(
  disk: SimulatedDisk,
  at: number,
  ending: Ending,
  doing: (files: SimulatedMount) => Promise<void>,
): Promise<boolean> {
  const files = disk.mount();
  disk.arm({ type: "end", at, ending, ...kinds });
  const done = await Promise.race([doing(files).then(() => files.alive), disk.ended().then(() => false)]);
  disk.disarm();
  if (files.alive) disk.kill();
  return done;
}

async function isSound(files: FileSystem, directory: string): Promise<void> {
  expect((await verifyDirectory(files, directory)).problems).toEqual([]);
}

/** What lies under `diverged/` is whole; some of it is the log up to `end`. */
async function expectKept(files: FileSystem, end: LogPosition, from: number): Promise<void> {
  let found = 0;
  for (const { directory, first, last, records } of await listDiverged(files, DATA_DIRECTORY)) {
    const path = `${DATA_DIRECTORY}/${directory}`;
    await isSound(files, path);
    const view = await openLogView(files, path);
    expect([view.firstOffset, view.endOffset]).toEqual([first, last]);
    expect(records).toBe(last - first + 1);
    if (first === from && (await view.agrees(end))) found += 1;
  }
  expect(found).toBeGreaterThan(0);
}

/** In the short form some of the operations that change something. */
const stride = factor > 1 ? 1 : 11;
const kinds = factor > 1 ? {} : { kinds: CHANGES };

async function everyOperation(
  check: (disk: SimulatedDisk, at: number, ending: Ending) => Promise<boolean>,
): Promise<void> {
  for (const ending of ["kill", "power"] as const)
    for (let at = 1 + (seed % stride); ; at += stride) {
      const disk = new SimulatedDisk(seed + at);
      try {
        if (await check(disk, at, ending)) break;
      } catch (error) {
        throw disk.withTrace(error, `${ending} at ${at}`);
      }
    }
}

describe("replacing", () => {
  test("a diverged end is kept before it is cut", async () => {
    const met = { uncut: 0, cut: 0, between: 0 };
    await everyOperation(async (disk, at, ending) => {
      const old = await replica(disk, true);
      const done = await endedAt(disk, at, ending, async (files) => {
        const log = await follow(disk, files);
        await keepDiverged(files, DATA_DIRECTORY, log, asOffset(COMMON), 1_000);
      });
      const files = disk.mount();
      await isSound(files, DATA_DIRECTORY);
      const log = await follow(disk, files);
      const end = log.endOffset;
      if (end === old.offset) met.uncut += 1;
      else if (end === COMMON) met.cut += 1;
      else met.between += 1;
      if (done) expect(end).toBe(COMMON);
      if (end < old.offset) await expectKept(files, old, COMMON + 1);
      await keepDiverged(files, DATA_DIRECTORY, log, asOffset(COMMON), 2_000);
      await expectKept(files, old, COMMON + 1);
      // Never twice the same: what an interrupted cut has left is shorter.
      const lasts = (await listDiverged(files, DATA_DIRECTORY)).map(({ last }) => last);
      expect(new Set(lasts).size).toBe(lasts.length);
      await followToEnd(log);
      await log.close();
      return done;
    });
    const { between, ...others } = met;
    for (const [what, count] of Object.entries(others)) expect(count, what).toBeGreaterThan(0);
    if (factor > 1) expect(between, "cut in part").toBeGreaterThan(0);
  }, 600_000);

  test("an installation leaves the old log or the new one, and keeps an old one that is no beginning of it", async () => {
    const met = { old: 0, new: 0 };
    await everyOperation(async (disk, at, ending) => {
      const hasDiverged = at % 2 === 0;
      const old = await replica(disk, hasDiverged);
      const done = await endedAt(disk, at, ending, (files) => install(disk, files, old));
      const files = disk.mount();
      const log = await follow(disk, files);
      const position = await log.positionAt(log.endOffset);
      const isNew = position.crc === primary.end.crc;
      met[isNew ? "new" : "old"] += 1;
      expect(position).toEqual(isNew ? primary.end : old);
      if (done) expect(isNew).toBe(true);
      const snapshots = await files.list(`${DATA_DIRECTORY}/snapshots`);
      expect(snapshots).toEqual(["snapshot_1_9.snap"]);
      if (!hasDiverged) expect(await listDiverged(files, DATA_DIRECTORY)).toEqual([]);
      else if (isNew) await expectKept(files, old, 1);
      if (isNew) await followToEnd(log);
      await log.close();
      await isSound(files, DATA_DIRECTORY);
      if (!isNew) await install(disk, files, old);
      await expectNew(disk, files);
      return done;
    });
    for (const [what, count] of Object.entries(met)) expect(count, what).toBeGreaterThan(0);
  }, 600_000);

  test("an installation into an empty directory leaves it without a log, or with the new one", async () => {
    const met = { none: 0, new: 0 };
    await everyOperation(async (disk, at, ending) => {
      const done = await endedAt(disk, at, ending, (files) => install(disk, files));
      const files = disk.mount();
      const holds = await holdsLog(files, DATA_DIRECTORY);
      met[holds ? "new" : "none"] += 1;
      if (done) expect(holds).toBe(true);
      if (!holds) await install(disk, files);
      await expectNew(disk, files);
      return done;
    });
    for (const [what, count] of Object.entries(met)) expect(count, what).toBeGreaterThan(0);
  }, 600_000);
});

async function expectNew(disk: SimulatedDisk, files: SimulatedMount): Promise<void> {
  const log = await follow(disk, files);
  expect(await log.positionAt(log.endOffset)).toEqual(primary.end);
  expectEqual(await shipped(log, asOffset(1)), primary.runs);
  await log.close();
  await isSound(files, DATA_DIRECTORY);
}

/** From wherever the log is on the primary's. */
async function followToEnd(log: EventLog): Promise<void> {
  for (const run of primary.runs) {
    if (run.last <= log.endOffset) continue;
    await log.receive(run.first > log.endOffset ? run : from(run, log.endOffset + 1));
  }
  expect(await log.positionAt(log.endOffset)).toEqual(primary.end);
}

/** The end of a run, from this offset on. */
function from(run: RecordRun, first: number): RecordRun {
  const view = new DataView(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length);
  let at = 0;
  for (let offset: number = run.first; offset < first; offset++) at += 36 + view.getUint32(at + 4, true);
  return { ...run, startsSegment: false, first: asOffset(first), bytes: run.bytes.subarray(at) };
}
