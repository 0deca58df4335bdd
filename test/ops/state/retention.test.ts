// What retention relies on before it takes anything of the log away: snapshots that are there for good, and that hold.
import { describe, expect, it } from "vitest";
import { type FileSystem, SNAPSHOT_DIRECTORY } from "../../../log/index.js";
import { Retention, type RetentionRules } from "../../../ops/retention.js";
import { SnapshotShelf } from "../../../ops/state/shelf.js";
import { openStore } from "../../../projections/index.js";
import { SimulatedDisk } from "../../../props/world/simulated-file-system.js";
import { BackupBench, DATA, RULES } from "../../support/backup-bench.js";
import { openTestLog } from "../../support/test-log.js";

const DIRECTORY = `${DATA}/${SNAPSHOT_DIRECTORY}`;
const onDead = (error: Error): never => expect.unreachable(error.message);

/** A log of 121 records in many segments, with snapshots of these offsets. Returns their names. */
async function fill(files: FileSystem, offsets: readonly number[]): Promise<string[]> {
  const bench = new BackupBench(files);
  await bench.grow(120, { segmentBytes: 4096 });
  const names: string[] = [];
  for (const last of offsets) names.push((await bench.putSnapshot(last)).slice(DIRECTORY.length + 1));
  return names;
}

async function retain(files: FileSystem, rules: RetentionRules, damaged: ReadonlySet<string> = new Set()) {
  const { log, firstWithin } = await openTestLog(DATA, { files });
  const problem = { code: "SNAPSHOT_DAMAGED", message: "told to" };
  const shelf = new SnapshotShelf({
    files,
    dataDirectory: DATA,
    log,
    check: (name) =>
      Promise.resolve({
        type: "check" as const,
        streamsFrom: undefined,
        problem: damaged.has(name) ? problem : undefined,
      }),
    onProblem: () => undefined,
  });
  const options = { log, firstWithin, shelf, oldestShown: () => undefined, now: () => 0 };
  const report = await new Retention({ ...options, rules: () => rules }).run();
  return { report, log };
}

const SMALL: RetentionRules = { bytes: 8192, windowMs: 0, snapshotsMax: 2 };

describe("retention", () => {
  it("makes the names of snapshots durable before the log before them goes", async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const disk = new SimulatedDisk(seed);
      const files = disk.mount();
      const names = await fill(files, [60, 100]);
      // As a process leaves them that is killed between the rename and the sync of the directory.
      for (const name of names) await files.rename(`${DIRECTORY}/${name}`, `${DIRECTORY}/${name}.tmp`);
      await files.syncDirectory(DIRECTORY);
      for (const name of names) await files.rename(`${DIRECTORY}/${name}.tmp`, `${DIRECTORY}/${name}`);
      const { report } = await retain(files, SMALL);
      expect(report.first).toBeGreaterThan(30);
      disk.losePower();

      const after = disk.mount();
      const { log } = await openTestLog(DATA, { files: after });
      const snapshots = { files: after, directory: DIRECTORY };
      const store = await openStore({ log, rules: RULES, snapshots, onDead });
      expect([store.offset, store.from?.offset]).toEqual([121, 100]);
      await store.close();
      await log.close();
    }
  });

  it("keeps the snapshots that hold, also when those that do not are newer", async () => {
    const files = new SimulatedDisk(1).mount();
    const names = await fill(files, [20, 60, 80, 100, 110]);
    const { report, log } = await retain(files, SMALL, new Set(names.slice(3)));
    // The newest two stay in any case; they do not hold, and the two before them are what a start can begin with.
    expect(report.snapshotsRemoved).toEqual(names.slice(0, 1));
    expect((await files.list(DIRECTORY)).sort()).toEqual(names.slice(1).sort());
    expect(report.holders).toContainEqual({ name: "snapshots", offset: 61 });
    expect(log.firstOffset).toBeLessThanOrEqual(61);
    await log.close();
  });
});
