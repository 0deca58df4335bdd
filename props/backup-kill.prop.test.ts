/**
 * Promise: wherever a backup or a prune is ended – by kill -9 or with the power, before, in or after any operation of the
 * disk – or whichever operation fails,
 *
 *   1. nothing is wrong with the repository afterwards, and every backup that was reported is there, whole
 *   2. the data directory is as it was: the log opens with every record
 *   3. the next backup and the next prune work, contain everything, and leave nothing behind that nobody names
 */
import { describe, expect, test } from "vitest";
import { LogError } from "../log/index.js";
import { BackupError } from "../ops/backup/errors.js";
import { pruneBackups } from "../ops/backup/prune.js";
import { listBackups } from "../ops/backup/repository.js";
import { BackupBench, recordsOfBackup } from "../test/support/backup-bench.js";
import { offsetsOf, span } from "../test/support/test-log.js";
import { factor, seed } from "./run-settings.js";
import { CHANGES, type Fault, type OperationKind } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { SystemError } from "./world/system-error.js";

const DAY_MS = 86_400_000;

type Work = (bench: BackupBench) => Promise<unknown>;

const prune = (bench: BackupBench, graceMs = 0): Promise<unknown> =>
  pruneBackups(bench.store, {
    keep: 2,
    keepDays: undefined,
    graceMs,
    dryRun: false,
    now: () => bench.nowMs,
    holder: "a test",
  });

const WORKS: Readonly<Record<string, Work>> = {
  "a first backup": (bench) => bench.backup(),
  "a later backup": (bench) => bench.backup(),
  "a copying backup": (bench) => bench.backup({ copy: true }),
  "a prune": (bench) => prune(bench),
};

interface World {
  readonly disk: SimulatedDisk;
  readonly bench: BackupBench;
  /** Ids that were reported. */
  readonly reported: string[];
  readonly records: number;
}

/** Another process on the same disk. */
function reborn(disk: SimulatedDisk, before: BackupBench): BackupBench {
  const bench = new BackupBench(disk.mount(), seed + 99);
  bench.nowMs = before.nowMs + 1000;
  return bench;
}

async function prepare(worldSeed: number, work: string): Promise<World> {
  const disk = new SimulatedDisk(worldSeed);
  const bench = new BackupBench(disk.mount(), worldSeed);
  const reported: string[] = [];
  const backups = work === "a first backup" ? 0 : work === "a prune" ? 4 : 2;
  // The state is small, so that a newer snapshot replaces the one before, which a prune then has to remove.
  bench.keys = 3;
  await bench.grow(30);
  for (let i = 0; i < backups; i++) {
    await bench.putSnapshot(30 + 25 * i);
    reported.push((await bench.backup()).id);
    await bench.grow(25);
  }
  disk.clockMs = bench.nowMs - DAY_MS;
  return { disk, bench, reported, records: 30 + 25 * backups };
}

async function runEnding({ disk, bench, reported }: World, work: Work, fault: Fault): Promise<void> {
  disk.arm(fault);
  const isBackup = (done: unknown): done is { id: string } =>
    typeof done === "object" && done !== null && "id" in done;
  const done = await Promise.race([
    work(bench).catch((error: unknown) => {
      if (error instanceof SystemError || error instanceof LogError || error instanceof BackupError) return;
      throw error;
    }),
    disk.ended(),
  ]);
  if (isBackup(done)) reported.push(done.id);
  disk.disarm();
}

async function check(world: World, isPrune: boolean): Promise<void> {
  const { disk, reported, records } = world;
  const bench = reborn(disk, world.bench);
  const ids = (await listBackups(bench.store)).map(({ id }) => id);
  for (const id of isPrune ? reported.slice(-2) : reported) expect(ids).toContain(id);
  if (ids.length > 0) expect((await bench.verify()).findings).toEqual([]);

  await bench.grow(10);
  const { id, lastOffset, warnings } = await bench.backup();
  expect(warnings).toEqual([]);
  expect((await bench.verify()).findings).toEqual([]);
  // The epoch's own record, and what was appended.
  expect(lastOffset).toBe(records + 11);
  expect(offsetsOf(await recordsOfBackup(bench.store, id))).toEqual(span(1, lastOffset));
  await prune(bench);
  const { findings, notes, backups } = await bench.verify();
  expect({ findings, notes, backups }).toEqual({
    findings: [],
    notes: [],
    backups: Math.min(2, ids.length + 1),
  });
}

describe("backup kill", () => {
  for (const [name, work] of Object.entries(WORKS))
    for (const ending of ["kill", "power"] as const)
      test(`${name} is ended by ${ending} at the n-th operation`, async () => {
        // An end in a read leaves what an end before the next change leaves: the short form looks at changes only.
        const kinds = factor > 1 ? {} : { kinds: CHANGES };
        const stride = factor > 1 ? 1 : 3;
        const endedIn = new Set<OperationKind>();
        let met = 0;
        for (let at = 1 + (seed % stride); ; at += stride) {
          const world = await prepare(seed + at, name);
          try {
            await runEnding(world, work, { type: "end", at, ending, ...kinds });
            for (const kind of world.disk.counts.endedIn.keys()) endedIn.add(kind);
            const over = world.disk.counts.ends === 0;
            await check(world, name === "a prune");
            if (over) break;
          } catch (error) {
            throw world.disk.withTrace(error, `${name}, ${ending} at ${at}`);
          }
          met += 1;
        }
        expect(met).toBeGreaterThan(8 / stride);
        expect(endedIn.size).toBeGreaterThan(2);
      });

  for (const [name, work] of Object.entries(WORKS))
    test(`${name} meets a failure at the n-th operation`, async () => {
      const stride = factor > 1 ? 1 : 17;
      let met = 0;
      for (let at = 1 + (seed % stride); ; at += stride) {
        const world = await prepare(seed + at, name);
        const errno = at % 2 === 0 ? "EIO" : "ENOSPC";
        try {
          await runEnding(world, work, { type: "fail", at, errno, sticky: at % 3 === 0 });
          if (world.disk.counts.failures === 0) break;
          world.disk.kill();
          await check(world, name === "a prune");
        } catch (error) {
          throw world.disk.withTrace(error, `${name}, ${errno} at ${at}`);
        }
        met += 1;
      }
      expect(met).toBeGreaterThan(30 / stride);
    });
});
