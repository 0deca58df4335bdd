import { describe, expect, it } from "vitest";
import { offset, openLogView, RestoringDirectory, SegmentRewriting } from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { appendMany, openTestLog } from "../support/test-log.js";

const randomBytes = seededBytes(seededRandom(5));

describe("a log that is written anew", () => {
  it("knows the record before its first by another crc, also where an epoch begins there", async () => {
    const files = new MemoryFileSystem();
    const { log } = await openTestLog("/old", { files });
    await appendMany(log, 5);
    const before = await log.markAt(log.endOffset);
    const { first, epoch } = await log.startEpoch();
    await appendMany(log, 5);
    await log.retain(first);
    expect(log.firstOffset).toBe(before.offset + 1);
    const { endOffset } = log;
    await log.close();

    const view = await openLogView(files, "/old");
    expect(await view.agrees(before)).toBe(true);
    const rewriting = new SegmentRewriting(view, { randomBytes, rewrite: (record) => record });
    const directory = await RestoringDirectory.begin(
      { files, dataDirectory: "/new", holder: "a test", now: () => 1, randomBytes },
      { from: "/old", lastOffset: endOffset, startedAt: "" },
    );
    for (const extent of view.extents)
      await directory.placeSegment(extent.firstOffset, rewriting.bytes(extent));
    const written = await directory.view(endOffset);
    expect(await written.agrees(before)).toBe(false);
    expect(await written.agrees(rewriting.markBefore(before))).toBe(true);
    expect(await written.agrees(await view.markAt(endOffset))).toBe(false);
    const { clusterId } = before;
    const made = await directory.finish({
      last: endOffset,
      clusterId,
      epochsUpTo: epoch,
      from: "/old",
      migratedLineage: before.lineageId,
    });
    await directory.close();
    expect([made.firstOffset, made.lastOffset, made.epoch.first]).toEqual([
      before.offset + 1,
      endOffset,
      offset(endOffset + 1),
    ]);
  });
});
