/**
 * Promise: wherever archiving is ended – by kill -9 or with the power, before, in or after any operation of the disk – or whichever
 * operation fails,
 *
 *   1. what the archive's newest manifest names is whole, is the log's own, and reaches as far as was reported
 *   2. the data directory is as it was: the log opens with every record
 *   3. the next server archives everything, and a sweep leaves nothing behind that nobody names
 *   4. a restore from it gives back the log, to the byte, and its state
 */
import { beforeAll, describe, expect, test } from "vitest";
import { checkSegment, LogError, type LogRecord } from "../log/index.js";
import { loadArchive } from "../ops/backup/archive-chain.js";
import { ArchiveSweep } from "../ops/backup/archive-sweep.js";
import { ArchiveWriter } from "../ops/backup/archive-writer.js";
import { BackupError } from "../ops/backup/errors.js";
import { segmentsOf } from "../ops/backup/manifest.js";
import { BackupBench, DATA, inMemory, onDisk } from "../test/support/backup-bench.js";
import type { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { lookInto, RestoreBench } from "../test/support/restore-bench.js";
import { at, offsetsOf, span } from "../test/support/test-log.js";
import { factor, seed } from "./run-settings.js";
import { CHANGES, type Fault, type OperationKind } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { SystemError } from "./world/system-error.js";

/** Records of the log at its end, by what the archiving finds. */
const LAST = 81;
const SMALL = { segmentBytes: 4096 };

interface Work {
  /** How far the archive reaches before, by several runs, each of another process. */
  readonly before: readonly number[];
  /** Told what was reported. */
  run(bench: BackupBench, report: (lastOffset: number) => void): Promise<unknown>;
  readonly keepSnapshots: number;
}

function writerOf(bench: BackupBench, keepSnapshots: number): ArchiveWriter {
  const rules = { keepDays: 0, keepSnapshots };
  const { files, store } = bench;
  return new ArchiveWriter({ files, dataDirectory: DATA, store, rules, now: () => bench.nowMs });
}

const archiving =
  (targets: readonly number[], keepSnapshots = 0): Work["run"] =>
  async (bench, report) => {
    const writer = writerOf(bench, keepSnapshots);
    for (const last of targets) report((await writer.bringUpTo(at(last)))?.lastOffset ?? 0);
  };

const sweep = (bench: BackupBench): Promise<number> =>
  new ArchiveSweep(bench.store, { holder: "a test", stopwatch: () => 1, graceMs: 0 }).run();

const WORKS: Readonly<Record<string, Work>> = {
  "a first archiving": { before: [], run: archiving([LAST]), keepSnapshots: 0 },
  "archiving that goes on": { before: [7, 15], run: archiving([20, 50, LAST]), keepSnapshots: 0 },
  "archiving that lets the oldest go": { before: [20, 45], run: archiving([LAST], 1), keepSnapshots: 1 },
  "a sweep": { before: [5, 9, 12, 40, LAST], run: sweep, keepSnapshots: 0 },
};

/** The log with its snapshots, and beside it an archive as each work finds it. */
const prepared = new Map<string, { files: MemoryFileSystem; records: readonly LogRecord[] }>();

beforeAll(async () => {
  for (const [name, { before, keepSnapshots }] of Object.entries(WORKS)) {
    const disk = new SimulatedDisk(seed);
    const bench = new BackupBench(disk.mount(), seed);
    bench.keys = 3;
    for (const last of [...before, ...(before.at(-1) === LAST ? [] : [LAST])]) {
      const { log } = await bench.openLog(SMALL);
      await bench.append(log, last - log.endOffset);
      await log.close();
      if (last > 12) await bench.putSnapshot(last);
      if (before.includes(last)) await writerOf(bench, keepSnapshots).bringUpTo(at(last));
    }
    const records = await recordsOfLog(bench);
    expect(records).toHaveLength(LAST);
    prepared.set(name, { files: await inMemory(bench.files, ""), records });
  }
}, 60_000);

async function recordsOfLog(bench: BackupBench): Promise<LogRecord[]> {
  const { log } = await bench.openLog(SMALL);
  const found: LogRecord[] = [];
  for await (const batch of log.read(log.firstOffset)) found.push(...batch);
  await log.close();
  return found;
}

interface World {
  readonly disk: SimulatedDisk;
  readonly records: readonly LogRecord[];
  /** How far the archive was said to reach. */
  reported: number;
}

async function worldOf(name: string, worldSeed: number): Promise<World> {
  const disk = new SimulatedDisk(worldSeed);
  const { files, records } = prepared.get(name)!;
  await onDisk(disk.mount(), files);
  return { disk, records, reported: WORKS[name]!.before.at(-1) ?? 0 };
}

async function runEnding(world: World, { run }: Work, fault: Fault): Promise<void> {
  const { disk } = world;
  const bench = new BackupBench(disk.mount(), seed + 1);
  disk.arm(fault);
  const done = run(bench, (lastOffset) => {
    world.reported = lastOffset;
  }).catch((error: unknown) => {
    if (error instanceof SystemError || error instanceof LogError || error instanceof BackupError) return;
    throw error;
  });
  await Promise.race([done, disk.ended()]);
  disk.disarm();
}

async function recordsOfArchive({ store }: BackupBench): Promise<LogRecord[]> {
  const archive = await loadArchive(store);
  const found: LogRecord[] = [];
  for (const { name } of archive === undefined ? [] : segmentsOf(archive.manifest)) {
    const checked = await checkSegment(name, store.get(name), (batch) => found.push(...batch));
    expect(checked).toHaveProperty("lastOffset");
  }
  return found;
}

async function check(
  { disk, records, reported }: World,
  { keepSnapshots }: Work,
  restores: boolean,
): Promise<void> {
  const bench = new BackupBench(disk.mount(), seed + 2);
  bench.nowMs += 100_000;
  const found = await recordsOfArchive(bench);
  const [first, last] = [found[0]?.offset ?? 1, found.at(-1)?.offset ?? 0];
  expect(last).toBeGreaterThanOrEqual(reported);
  expect(offsetsOf(found)).toEqual(span(first, last));
  for (const { offset, crc } of found) expect(crc, `offset ${offset}`).toBe(records[offset - 1]!.crc);
  if (found.length > 0) expect((await bench.verify()).findings).toEqual([]);

  await bench.grow(6, SMALL);
  const all = await recordsOfLog(bench);
  expect(all.slice(0, LAST).map(({ crc }) => crc)).toEqual(records.map(({ crc }) => crc));
  const report = await writerOf(bench, keepSnapshots).bringUpTo(at(all.length));
  expect(report).toMatchObject({ lastOffset: all.length });
  if (keepSnapshots === 0) expect(report).toMatchObject({ firstOffset: 1 });
  await sweep(bench);
  const { findings, notes } = await bench.verify();
  expect({ findings, notes }).toEqual({ findings: [], notes: [] });
  const archived = await recordsOfArchive(bench);
  const facts = ({ offset, crc, timestamp }: LogRecord): unknown => [offset, crc, timestamp];
  expect(archived.map(facts)).toEqual(all.slice(archived[0]!.offset - 1).map(facts));
  if (!restores) return;
  const restorer = new RestoreBench(bench.files, bench, seed);
  await restorer.restore({ type: "latest" }, "/new");
  expect(await lookInto(restorer, "/new")).toMatchObject({
    endOffset: all.length + 1,
    lastCrc: all.at(-1)!.crc,
    start: { reason: "restored", offset: all.length },
  });
}

describe("archive kill", () => {
  for (const [name, work] of Object.entries(WORKS)) {
    for (const ending of ["kill", "power"] as const)
      test(`${name} is ended by ${ending} at the n-th operation`, async () => {
        // An end in a read leaves what an end before the next change leaves: the short form looks at changes only.
        const kinds = factor > 1 ? {} : { kinds: CHANGES };
        const stride = factor > 1 || name === "a sweep" ? 1 : 7;
        const endedIn = new Set<OperationKind>();
        let met = 0;
        for (let n = 1 + (seed % stride); ; n += stride) {
          const world = await worldOf(name, seed + n);
          try {
            await runEnding(world, work, { type: "end", at: n, ending, ...kinds });
            for (const kind of world.disk.counts.endedIn.keys()) endedIn.add(kind);
            const over = world.disk.counts.ends === 0;
            if (over) world.disk.kill();
            await check(world, work, factor > 1 || over);
            if (over) break;
          } catch (error) {
            throw world.disk.withTrace(error, `${name}, ${ending} at ${n}`);
          }
          met += 1;
        }
        expect(met).toBeGreaterThan(factor > 1 ? 8 : 1);
        expect(endedIn.size).toBeGreaterThan(factor > 1 ? 5 : 0);
      }, 600_000);

    test(`${name} meets a failure at the n-th operation`, async () => {
      // A sweep is short: with long strides some seeds would step over all of it.
      const strideShort = name === "a sweep" ? 7 : 41;
      const stride = factor > 1 ? 1 : strideShort;
      let met = 0;
      for (let n = 1 + (seed % stride); ; n += stride) {
        const world = await worldOf(name, seed + n);
        const errno = n % 2 === 0 ? "EIO" : "ENOSPC";
        try {
          await runEnding(world, work, { type: "fail", at: n, errno, sticky: n % 3 === 0 });
          if (world.disk.counts.failures === 0) break;
          world.disk.kill();
          await check(world, work, false);
        } catch (error) {
          throw world.disk.withTrace(error, `${name}, ${errno} at ${n}`);
        }
        met += 1;
      }
      expect(met).toBeGreaterThan(factor > 1 ? 30 : 0);
    }, 600_000);
  }
});
