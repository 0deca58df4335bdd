/** The end of a log that was restored, when the log is to follow the one that it was restored from. */
import { describe, expect, it } from "vitest";
import { cutRestoredEpoch, openLogView, RestoringDirectory, SegmentRewriting } from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { appendMany, openTestLog } from "../support/test-log.js";

const randomBytes = seededBytes(seededRandom(7));

/** A log of some records and epochs in `/old`, and as it is restored from there in `/new`. */
async function restored() {
  const files = new MemoryFileSystem();
  const { log } = await openTestLog("/old", { files });
  await appendMany(log, 30);
  await log.startEpoch();
  await appendMany(log, 5);
  const mark = await log.markAt(log.endOffset);
  await log.close();
  const view = await openLogView(files, "/old");
  const directory = await RestoringDirectory.begin(
    { files, dataDirectory: "/new", holder: "a test", now: () => 1, randomBytes },
    { from: "/old", lastOffset: mark.offset, startedAt: "" },
  );
  const same = new SegmentRewriting(view, { randomBytes, rewrite: (record) => record });
  for (const extent of view.extents) await directory.placeSegment(extent.firstOffset, same.bytes(extent));
  const { clusterId, epoch, offset: last } = mark;
  const made = await directory.finish({ last, clusterId, epochsUpTo: epoch, from: "a backup" });
  await directory.close();
  return { files, last, made };
}

describe("the epoch that a restore began", () => {
  it("is cut off while nothing was written under it, once", async () => {
    const { files, last, made } = await restored();
    const { log } = await openTestLog("/new", { files, following: true });
    expect(log.endOffset).toBe(last + 1);
    expect(await cutRestoredEpoch(log)).toEqual(made.epoch);
    expect([log.endOffset, log.epochs.at(-1)?.epoch]).toEqual([last, made.epoch.epoch - 1]);
    // The epoch before has records: it is no restore's.
    expect(await cutRestoredEpoch(log)).toBeUndefined();
    await log.close();
    const again = await openTestLog("/new", { files, following: true });
    expect(again.log.endOffset).toBe(last);
  });

  it("stays when something was written under it", async () => {
    const { files, last } = await restored();
    const { log } = await openTestLog("/new", { files });
    await appendMany(log, 1);
    expect(await cutRestoredEpoch(log)).toBeUndefined();
    expect(log.endOffset).toBe(last + 2);
  });

  it("is no epoch that a promotion or the log itself began", async () => {
    const { log } = await openTestLog("/one", { files: new MemoryFileSystem() });
    expect(await cutRestoredEpoch(log)).toBeUndefined();
    await appendMany(log, 3);
    await log.startEpoch();
    expect(await cutRestoredEpoch(log)).toBeUndefined();
    expect(log.endOffset).toBe(5);
  });
});
