/**
 * Promise: wherever a restore is ended – by kill -9 or with the power, before, in or after any operation of the disk – or whichever
 * operation fails,
 *
 *   1. no log opens from half of it: the directory has nothing at all, refuses with LOG_RESTORE_UNFINISHED, or is whole
 *   2. a restore that was reported is there, whole
 *   3. the next restore into the same directory works, or is refused because the first one was whole
 *   4. the repository and the live directory are untouched
 */
import { beforeAll, describe, expect, test } from "vitest";
import { type FileSystem, LogError, openLogView } from "../log/index.js";
import { BackupError } from "../ops/backup/errors.js";
import { BackupBench, DATA, inMemory, onDisk } from "../test/support/backup-bench.js";
import type { MemoryFileSystem } from "../test/support/memory-file-system.js";
import {
  lookInto,
  RestoreBench,
  type RestoreWorld,
  wholeHistoryRecords,
  worldOf,
} from "../test/support/restore-bench.js";
import { factor, seed } from "./run-settings.js";
import { CHANGES, type Ending, type Fault, type OperationKind } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { SystemError } from "./world/system-error.js";

const NEW = "/new/data";
const LAST = 150;

let world: RestoreWorld;

beforeAll(async () => {
  world = await worldOf(await wholeHistoryRecords(220, seed), {
    backups: 2,
    segmentBytes: 6_000,
    worldSeed: seed,
  });
});

function restorer(files: FileSystem, worldSeed: number): RestoreBench {
  return new RestoreBench(files, new BackupBench(files, worldSeed), worldSeed);
}

async function onSimulatedDisk(worldSeed: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(worldSeed);
  await onDisk(disk.mount(), world.files);
  return disk;
}

/** Whether the restore said that it was done. */
async function restoreEnding(disk: SimulatedDisk, worldSeed: number, fault: Fault): Promise<boolean> {
  const bench = restorer(disk.mount(), worldSeed);
  disk.arm(fault);
  const done = await Promise.race([
    bench.restore({ type: "offset", offset: LAST }, NEW).catch((error: unknown) => {
      if (error instanceof SystemError || error instanceof LogError || error instanceof BackupError)
        return undefined;
      throw error;
    }),
    disk.ended(),
  ]);
  disk.disarm();
  return done !== undefined;
}

type Left = "empty" | "unfinished" | "whole";

async function whatIsLeft(files: FileSystem): Promise<Left> {
  // Nothing at all, so that whoever starts a server there sees a directory that nobody has touched.
  if (!(await files.exists(NEW)) || (await files.list(NEW)).length === 0) return "empty";
  try {
    const view = await openLogView(files, NEW);
    expect(view.endOffset).toBe(LAST + 1);
    return "whole";
  } catch (error) {
    expect(error).toMatchObject({ code: "LOG_RESTORE_UNFINISHED" });
    return "unfinished";
  }
}

async function check(disk: SimulatedDisk, worldSeed: number, reported: boolean): Promise<Left> {
  const bench = restorer(disk.mount(), worldSeed + 1);
  const left = await whatIsLeft(bench.files);
  if (reported) expect(left).toBe("whole");
  if (left === "unfinished")
    await expect(bench.open(NEW)).rejects.toMatchObject({ code: "LOG_RESTORE_UNFINISHED" });
  if (left === "whole")
    await expect(bench.restore({ type: "latest" }, NEW)).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
    });
  else await bench.restore({ type: "offset", offset: LAST }, NEW);
  expect(await lookInto(bench, NEW)).toMatchObject({
    endOffset: LAST + 1,
    lastCrc: world.records[LAST - 1]!.crc,
    start: { reason: "restored", offset: LAST },
    epochs: 2,
  });
  await expectUntouched(bench.files);
  return left;
}

async function expectUntouched(files: FileSystem): Promise<void> {
  const contents = (of: MemoryFileSystem): [string, number][] =>
    of.paths.filter((path) => !path.endsWith("/LOCK")).map((path) => [path, of.get(path).length]);
  expect(contents(await inMemory(files, DATA))).toEqual(contents(await inMemory(world.files, DATA)));
}

describe("restore kill", () => {
  for (const ending of ["kill", "power"] satisfies Ending[])
    test(`is ended by ${ending} at the n-th operation`, async () => {
      const kinds = factor > 1 ? {} : { kinds: CHANGES };
      const left = new Map<Left, number>();
      const endedIn = new Set<OperationKind>();
      for (let at = 1; ; at += factor > 1 ? 1 : 2) {
        const disk = await onSimulatedDisk(seed + at);
        try {
          const reported = await restoreEnding(disk, seed + at, { type: "end", at, ending, ...kinds });
          for (const kind of disk.counts.endedIn.keys()) endedIn.add(kind);
          const found = await check(disk, seed + at, reported);
          left.set(found, (left.get(found) ?? 0) + 1);
          if (disk.counts.ends === 0) break;
        } catch (error) {
          throw disk.withTrace(error, `${ending} at ${at}`);
        }
      }
      expect(left.get("unfinished")).toBeGreaterThan(10);
      expect(left.get("whole")).toBeGreaterThan(0);
      expect(left.get("empty")).toBeGreaterThan(0);
      expect(endedIn.size).toBeGreaterThan(4);
    }, 600_000);

  test("once it was reported, a power cut takes nothing of it", async () => {
    for (let i = 0; i < 6 * factor; i++) {
      const disk = await onSimulatedDisk(seed + i);
      const never: Fault = { type: "end", at: Number.MAX_SAFE_INTEGER, ending: "power" };
      const reported = await restoreEnding(disk, seed + i, never);
      disk.losePower();
      expect(await check(disk, seed + i, reported)).toBe("whole");
    }
  }, 600_000);

  test("meets a failure at the n-th operation", async () => {
    const stride = factor > 1 ? 1 : 11;
    let met = 0;
    for (let at = 1 + (seed % stride); ; at += stride) {
      const disk = await onSimulatedDisk(seed + at);
      const errno = at % 2 === 0 ? "EIO" : "ENOSPC";
      try {
        const reported = await restoreEnding(disk, seed + at, {
          type: "fail",
          at,
          errno,
          sticky: at % 3 === 0,
        });
        if (disk.counts.failures === 0) break;
        disk.kill();
        await check(disk, seed + at, reported);
      } catch (error) {
        throw disk.withTrace(error, `${errno} at ${at}`);
      }
      met += 1;
    }
    expect(met).toBeGreaterThan(100 / stride);
  }, 600_000);
});
