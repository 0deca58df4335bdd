/**
 * Promise: a directory of older formats is served as it is, and can be written anew without a risk.
 *
 *   1. What is there after a migration is what was there: every offset, time, kind and event, and the digests, whatever retention has
 *      removed and wherever snapshots lie; and nothing of it is of an older format.
 *   2. Nothing that knows the old log takes the new one for it: no lineage, no crc, no snapshot.
 *   3. Wherever it is ended – by kill -9 or with the power – or whichever operation fails: the old directory has every byte that it
 *      had; the new one is empty, refuses with LOG_RESTORE_UNFINISHED, or is whole; and the next migration into it comes to its end.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  DIRECTORY_FORMAT_VERSION,
  decodeEpochStart,
  EPOCH_STARTED,
  type FileSystem,
  LogError,
  type LogRecord,
  openLogView,
} from "../log/index.js";
import { migrate, planMigration } from "../ops/migration/migrate.js";
import { decodeEvents, foldTo, inspectSnapshot, listSnapshots, SnapshotError } from "../projections/index.js";
import { inMemory, onDisk, RULES } from "../test/support/backup-bench.js";
import { LINEAGE } from "../test/support/log-bytes.js";
import type { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { OLD, olderDirectory } from "../test/support/older-directories.js";
import { wholeHistoryRecords } from "../test/support/restore-bench.js";
import { openTestLog } from "../test/support/test-log.js";
import { factor, runs, seed, seededRandom } from "./run-settings.js";
import { CHANGES, type Ending, type Fault } from "./world/operations.js";
import { seededBytes } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { SystemError } from "./world/system-error.js";

const NEW = "/new/data";

const happened = { retired: 0, atBorder: 0, snapshots: 0, without: 0, segments: 0 };

interface World {
  readonly worldSeed: number;
  readonly count: number;
  readonly segmentRecords: number;
  readonly snapshots: readonly number[];
  readonly keeps: number;
}

/** Run always: retention up to a snapshot in the middle of a segment, up to one at its border, and no snapshot at all. */
const KNOWN: [World][] = [
  [{ worldSeed: 1, count: 50, segmentRecords: 10, snapshots: [12, 25], keeps: 0 }],
  [{ worldSeed: 2, count: 50, segmentRecords: 10, snapshots: [12, 30], keeps: 1 }],
  [{ worldSeed: 3, count: 40, segmentRecords: 15, snapshots: [], keeps: 3 }],
];

const optionsOn = (files: FileSystem, worldSeed: number) => ({
  files,
  from: OLD,
  into: NEW,
  rules: RULES,
  now: () => 1_800_000_000_000,
  randomBytes: seededBytes(seededRandom(worldSeed)),
  holder: "a test",
});

async function recordsIn(files: FileSystem, directory: string): Promise<LogRecord[]> {
  const view = await openLogView(files, directory);
  const records: LogRecord[] = [];
  for await (const batch of view.read(view.firstOffset))
    for (const record of batch) records.push({ ...record, body: Buffer.from(record.body) });
  return records;
}

async function digestIn(files: FileSystem, directory: string): Promise<string> {
  const last = (await openLogView(files, OLD)).endOffset;
  const snapshots = { files, directory: `${directory}/snapshots` };
  const { fold } = await foldTo(await openLogView(files, directory), snapshots, { rules: RULES, last });
  const { all } = fold.digests();
  fold.close();
  return all;
}

/** Every byte of the old directory; who held it last is no part of it. */
async function oldBytes(files: FileSystem): Promise<ReadonlyMap<string, string>> {
  const copy = await inMemory(files, OLD);
  const paths = copy.paths.filter((path) => !path.endsWith("/LOCK"));
  return new Map(paths.map((path) => [path, Buffer.from(copy.get(path)).toString("base64")]));
}

const meaningOf = ({ offset, timestamp, epoch, kind }: LogRecord) => ({ offset, timestamp, epoch, kind });

/** Promises 1 and 2. */
async function expectMigrated(files: FileSystem, worldSeed: number): Promise<void> {
  const [old, found] = [await recordsIn(files, OLD), await recordsIn(files, NEW)];
  const begun = found.pop();
  const last = old.at(-1)!.offset;
  const told = { reason: "migrated", from: OLD, offset: last, lineage: LINEAGE };
  expect(decodeEpochStart(begun?.version ?? 0, begun?.body ?? Buffer.alloc(0))).toEqual(told);
  expect([begun?.kind, begun?.offset]).toEqual([EPOCH_STARTED, old.length + (old[0]?.offset ?? 1)]);
  expect(found.map(meaningOf)).toEqual(old.map(meaningOf));
  for (const [i, record] of found.entries()) {
    expect(decodeEvents(record)).toEqual(decodeEvents(old[i]!));
    expect(record.crc).not.toBe(old[i]!.crc);
  }
  expect(await digestIn(files, NEW)).toBe(await digestIn(files, OLD));
  expect((await planMigration({ ...optionsOn(files, worldSeed), from: NEW })).older).toEqual([]);

  const [before, after] = [await openLogView(files, OLD), await openLogView(files, NEW)];
  const lineages = new Set(before.epochs.map(({ lineageId }) => lineageId));
  for (const { lineageId } of after.epochs) expect(lineages.has(lineageId)).toBe(false);
  const kept = await listSnapshots(files, `${NEW}/snapshots`);
  const wanted = await listSnapshots(files, `${OLD}/snapshots`);
  expect(kept.map(({ name }) => name)).toEqual(
    wanted.filter(({ offset }) => offset >= after.firstOffset - 1).map(({ name }) => name),
  );
  for (const { info } of kept) expect([info?.formatVersion, await after.agrees(info!)]).toEqual([2, true]);
  for (const { info } of wanted) expect(await after.agrees(info!)).toBe(false);
}

describe("migration", () => {
  it("says the same in newer words, and is taken for nothing else", async () => {
    const world: fc.Arbitrary<World> = fc.record({
      worldSeed: fc.nat(9_999),
      count: fc.integer({ min: 30, max: 80 }),
      segmentRecords: fc.integer({ min: 5, max: 60 }),
      snapshots: fc.uniqueArray(fc.integer({ min: 2, max: 29 }), { maxLength: 3 }),
      keeps: fc.nat(3),
    });
    await fc.assert(
      fc.asyncProperty(world, async ({ worldSeed, count, segmentRecords, snapshots, keeps }) => {
        const records = await wholeHistoryRecords(count, worldSeed);
        const snapshotsAt = [...snapshots].sort((a, b) => a - b);
        const [oldest] = snapshotsAt;
        // Half of the time everything that the oldest snapshot makes up for is gone, and sometimes it ends where the log begins.
        const border = Math.floor((oldest ?? 0) / segmentRecords) * segmentRecords;
        if (keeps === 1 && border > 0) snapshotsAt.splice(0, 1, border);
        const keptFrom = keeps < 2 && border > 0 ? border + 1 : 1;
        const files = await olderDirectory({ records, segmentRecords, snapshotsAt, keptFrom });
        const before = await oldBytes(files);
        const expected = await digestIn(files, OLD);
        const report = await migrate(optionsOn(files, worldSeed));
        expect(report?.digests.all).toBe(expected);
        await expectMigrated(files, worldSeed);
        expect(await oldBytes(files)).toEqual(before);
        expect(await migrate({ ...optionsOn(files, worldSeed), from: NEW, into: "/third" })).toBeUndefined();
        expect(await files.exists("/third")).toBe(false);
        if (keptFrom > 1) happened.retired++;
        if (keptFrom > 1 && snapshotsAt[0] === border) happened.atBorder++;
        happened.snapshots += snapshotsAt.length;
        if (snapshotsAt.length === 0) happened.without++;
        happened.segments += report?.segments ?? 0;
      }),
      { ...(runs(5) as fc.Parameters<[World]>), examples: KNOWN },
    );
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(0);
  });
});

type Left = "empty" | "unfinished" | "whole";

describe("migration, ended anywhere", () => {
  let world: MemoryFileSystem;
  let before: ReadonlyMap<string, string>;

  beforeAll(async () => {
    const records = await wholeHistoryRecords(70, seed);
    world = await olderDirectory({ records, segmentRecords: 20, snapshotsAt: [25, 60], keptFrom: 21 });
    before = await oldBytes(world);
  });

  async function onSimulatedDisk(worldSeed: number): Promise<SimulatedDisk> {
    const disk = new SimulatedDisk(worldSeed);
    await onDisk(disk.mount(), world);
    return disk;
  }

  /** Whether the migration said that it was done. */
  async function migrateEnding(disk: SimulatedDisk, worldSeed: number, fault: Fault): Promise<boolean> {
    const files = disk.mount();
    disk.arm(fault);
    const done = await Promise.race<unknown>([
      migrate(optionsOn(files, worldSeed)).catch((error: unknown) => {
        if (error instanceof SystemError || error instanceof LogError || error instanceof SnapshotError)
          return undefined;
        throw error;
      }),
      disk.ended(),
    ]);
    disk.disarm();
    return done !== undefined;
  }

  async function whatIsLeft(files: FileSystem): Promise<Left> {
    if (!(await files.exists(`${NEW}/log`))) return "empty";
    try {
      const view = await openLogView(files, NEW);
      if (view.endOffset === 0) return "empty";
      expect(view.endOffset).toBe(71);
      return "whole";
    } catch (error) {
      expect(error).toMatchObject({ code: "LOG_RESTORE_UNFINISHED" });
      return "unfinished";
    }
  }

  async function check(disk: SimulatedDisk, worldSeed: number, reported: boolean): Promise<Left> {
    const files = disk.mount();
    expect(await oldBytes(files)).toEqual(before);
    const left = await whatIsLeft(files);
    if (reported) expect(left).toBe("whole");
    const again = migrate(optionsOn(files, worldSeed + 1));
    if (left === "whole") await expect(again).rejects.toMatchObject({ code: "LOG_DIRECTORY_UNUSABLE" });
    else await again;
    expect(await digestIn(files, NEW)).toBe(await digestIn(files, OLD));
    const { log, formatVersion } = await openTestLog(NEW, { files, now: () => 1_800_000_000_001 });
    expect([log.endOffset, formatVersion]).toEqual([71, DIRECTORY_FORMAT_VERSION]);
    await log.close();
    return left;
  }

  for (const ending of ["kill", "power"] satisfies Ending[])
    it(`by ${ending} at the n-th operation, leaves the old as it was and nothing half`, async () => {
      const left = new Map<Left, number>();
      const stride = factor > 1 ? 1 : 13;
      for (let n = 1 + (seed % stride); ; n += stride) {
        const disk = await onSimulatedDisk(seed + n);
        try {
          const fault: Fault = { type: "end", at: n, ending, ...(factor > 1 ? {} : { kinds: CHANGES }) };
          const reported = await migrateEnding(disk, seed + n, fault);
          const found = await check(disk, seed + n, reported);
          left.set(found, (left.get(found) ?? 0) + 1);
          if (disk.counts.ends === 0) break;
        } catch (error) {
          throw disk.withTrace(error, `${ending} at ${n}`);
        }
      }
      expect(left.get("unfinished")).toBeGreaterThan(factor > 1 ? 4 : 1);
      expect(left.get("whole")).toBeGreaterThan(0);
    }, 600_000);

  it("by a failure at the n-th operation, leaves the old as it was and nothing half", async () => {
    const stride = factor > 1 ? 1 : 41;
    let met = 0;
    for (let n = 1 + (seed % stride); ; n += stride) {
      const disk = await onSimulatedDisk(seed + n);
      try {
        const errno = n % 2 === 0 ? "EIO" : "ENOSPC";
        const reported = await migrateEnding(disk, seed + n, {
          type: "fail",
          at: n,
          errno,
          sticky: n % 3 === 0,
        });
        if (disk.counts.failures === 0) break;
        disk.kill();
        await check(disk, seed + n, reported);
      } catch (error) {
        throw disk.withTrace(error, `a failure at ${n}`);
      }
      met++;
    }
    expect(met).toBeGreaterThan(100 / stride);
  }, 600_000);

  it("refuses a new directory that lost power after it was reported never again", async () => {
    const disk = await onSimulatedDisk(seed);
    expect(
      await migrateEnding(disk, seed, { type: "end", at: Number.MAX_SAFE_INTEGER, ending: "power" }),
    ).toBe(true);
    disk.losePower();
    expect(await check(disk, seed, true)).toBe("whole");
    const [listed] = await listSnapshots(disk.mount(), `${NEW}/snapshots`);
    expect(await inspectSnapshot(disk.mount(), `${NEW}/snapshots/${listed?.name}`)).toEqual(listed?.info);
    expect(await recordsIn(disk.mount(), NEW)).toHaveLength(51);
  });
});
