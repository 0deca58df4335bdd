// A snapshot that knows more than its log shows that the log has lost records: a start says so and is refused. What was cut off on
// purpose, by a repair or by a restore, is no loss.
import { describe, expect, it } from "vitest";
import {
  applyRepair,
  type FileSystem,
  offset,
  openLogView,
  planRepair,
  SNAPSHOT_DIRECTORY,
  segmentName,
} from "../../log/index.js";
import { verifySnapshots } from "../../ops/cli/verify-snapshots.js";
import { foldTo, openStore, type SnapshotError, writeSnapshot } from "../../projections/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { BackupBench, DATA, RULES } from "../support/backup-bench.js";
import { RestoreBench } from "../support/restore-bench.js";
import { openTestLog } from "../support/test-log.js";

const DIRECTORY = `${DATA}/${SNAPSHOT_DIRECTORY}`;

/** A log of 80 records with snapshots of these offsets. */
async function aDirectory(...offsets: number[]): Promise<{ files: FileSystem; bench: BackupBench }> {
  const files = new SimulatedDisk(3).mount();
  const bench = new BackupBench(files);
  await bench.grow(79);
  for (const last of offsets) await bench.putSnapshot(last);
  return { files, bench };
}

/** The log ends with `last` and knows of no more, as a copy of the directory that was made then. */
async function loseAfter(files: FileSystem, last: number): Promise<void> {
  const { log } = await openTestLog(DATA, { files });
  await log.truncate(offset(last));
  await log.close();
}

async function start(files: FileSystem, dataDirectory = DATA, lostRecords: "refuse" | "warn" = "refuse") {
  const { log } = await openTestLog(dataDirectory, { files });
  const warnings: SnapshotError[] = [];
  try {
    const store = await openStore({
      log,
      rules: RULES,
      snapshots: { files, directory: `${dataDirectory}/${SNAPSHOT_DIRECTORY}` },
      lostRecords,
      onWarning: (problem) => warnings.push(problem),
      onDead: (error) => expect.unreachable(error.message),
    });
    await store.close();
    return { offset: store.offset, from: store.from?.offset, warnings: warnings.map(({ code }) => code) };
  } finally {
    await log.close();
  }
}

describe("a log that ends before its snapshot", () => {
  it("is not served", async () => {
    const { files } = await aDirectory(40, 70);
    expect(await start(files)).toEqual({ offset: 80, from: 70, warnings: [] });
    await loseAfter(files, 60);
    await expect(start(files)).rejects.toMatchObject({
      code: "SNAPSHOT_BEYOND_LOG",
      message: expect.stringContaining("the records 61 to 70 were durable and are lost"),
      context: { offset: 70, endOffset: 60 },
    });
    const { problems } = await verifySnapshots(files, DATA, true);
    expect(problems).toMatchObject([{ offset: 70, found: "its end at offset 60" }]);
  });

  it("is served with a warning where a power cut may take records that a snapshot has", async () => {
    const { files } = await aDirectory(40, 70);
    await loseAfter(files, 60);
    expect(await start(files, DATA, "warn")).toEqual({
      offset: 60,
      from: 40,
      warnings: ["SNAPSHOT_BEYOND_LOG"],
    });
  });

  it("is served when the snapshot ends where the log does", async () => {
    const { files } = await aDirectory(60);
    await loseAfter(files, 60);
    expect(await start(files)).toEqual({ offset: 60, from: 60, warnings: [] });
  });

  it("says nothing by a snapshot that is damaged, or of another log", async () => {
    const { files } = await aDirectory(40);
    const other = new BackupBench(new SimulatedDisk(4).mount(), 9);
    await other.grow(99);
    const view = await openLogView(other.files, DATA);
    const { fold } = await foldTo(view, undefined, { rules: RULES });
    await writeSnapshot(files, DIRECTORY, fold, await view.markAt(offset(100)), { now: () => 1 });
    const damaged = await files.open(`${DIRECTORY}/snapshot_5_90.snap`, "create");
    await damaged.write(Buffer.alloc(500, 1), 0);
    await damaged.close();
    expect(await start(files)).toMatchObject({ offset: 80, from: 40 });
    expect((await verifySnapshots(files, DATA, true)).problems).toMatchObject([{ offset: 90 }]);
  });
});

describe("what was cut off on purpose", () => {
  it("is no loss after a repair, which puts such snapshots aside", async () => {
    const { files } = await aDirectory(40, 70);
    const view = await openLogView(files, DATA);
    const segment = view.extents.findLast(({ firstOffset }) => firstOffset <= 60)!;
    const handle = await files.open(`${DATA}/log/${segmentName(segment.firstOffset)}`, "write");
    await handle.write(Buffer.alloc(20, 0xff), 1_000);
    await handle.close();
    const { lastKept, snapshots } = await planRepair(files, DATA);
    expect(lastKept).toBeLessThan(70);
    expect(snapshots).toEqual([expect.stringMatching(/_70\.snap$/)]);
    const { keptIn } = await applyRepair({ files, dataDirectory: DATA, now: () => 77, holder: "a test" });
    expect(await files.list(`${DATA}/${keptIn}`)).toContainEqual(expect.stringMatching(/_70\.snap$/));
    expect(await start(files)).toMatchObject({ offset: lastKept, from: 40 });
  });

  it("is no loss after a restore, and a snapshot of the future that it left behind is passed over", async () => {
    const { files, bench } = await aDirectory(40, 70);
    await bench.backup();
    const restoring = new RestoreBench(files, bench);
    const { dataDirectory } = await restoring.restore({ type: "offset", offset: 60 });
    expect(await start(files, dataDirectory)).toMatchObject({ offset: 61 });
    const [name] = (await files.list(DIRECTORY)).filter((each) => each.endsWith("_70.snap"));
    await files.makeDirectory(`${dataDirectory}/${SNAPSHOT_DIRECTORY}`);
    await files.link(`${DIRECTORY}/${name}`, `${dataDirectory}/${SNAPSHOT_DIRECTORY}/${name}`);
    expect(await start(files, dataDirectory)).toMatchObject({ offset: 61, warnings: [] });
  });
});
