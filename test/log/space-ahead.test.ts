import { describe, expect, it } from "vitest";
import { FreeSpace } from "../../log/free-space.js";
import { offset } from "../../log/index.js";
import { SegmentWriter } from "../../log/segment-writer.js";
import { SpaceAhead } from "../../log/space-ahead.js";
import { nextTurn } from "../../props/world/log-lives.js";
import { LOG } from "../support/log-bytes.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { segmentFile } from "../support/test-log.js";

const MIB = 1024 * 1024;
const SEGMENT_BYTES = 12 * MIB;

/** A tail that is nearly full, so that all of the next segment is due, in several chunks of zeros. */
async function nearlyFull() {
  const files = new MemoryFileSystem([], [LOG]);
  const tail = await SegmentWriter.create(files, `${LOG}/${segmentFile(1)}`, false);
  await tail.fill(SEGMENT_BYTES - MIB, false);
  tail.writeNow(new Uint8Array(SEGMENT_BYTES - 2 * MIB));
  const failures: unknown[] = [];
  const space = new SpaceAhead({
    files,
    logDirectory: LOG,
    segmentBytes: SEGMENT_BYTES,
    syncOnWrite: false,
    freeSpace: new FreeSpace(files, LOG, 0, () => undefined),
    failed: (error) => failures.push(error),
  });
  space.follow(tail, offset(1));
  return { files, tail, space, failures };
}

async function someTurns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await nextTurn();
}

describe("space ahead", () => {
  it("lets a roll wait for the chunk of zeros that is under way, not for all that are due", async () => {
    const { space, tail } = await nearlyFull();
    // Before the roll the next segment was begun; the tail itself is short of a chunk too.
    space.keep();
    await space.hold();
    const { writer } = await space.takeNext(1);
    expect(writer.filled).toBe(space.chunkBytes);
    expect(tail.filled).toBe(SEGMENT_BYTES);
    await space.end();
  });

  it("writes nothing behind the cut and creates no segment while a roll is under way", async () => {
    const { files, space, tail, failures } = await nearlyFull();
    space.keep();
    await space.hold();
    const { path, writer } = await space.takeNext(1);
    await tail.cut();
    const before = files.paths;
    // As every write does.
    space.wrote(100);
    space.keep();
    await someTurns();
    expect(tail.room).toBe(0);
    expect(files.get(`${LOG}/${segmentFile(1)}`).length).toBe(tail.end);
    expect(files.paths).toEqual(before);
    expect(failures).toEqual([]);
    await files.rename(path, `${LOG}/${segmentFile(2)}`);
    writer.writeNow(new Uint8Array(1));
    space.follow(writer, offset(2));
    space.keep();
    await someTurns();
    expect(writer.filled).toBeGreaterThan(space.chunkBytes);
    await space.end();
  });
});
