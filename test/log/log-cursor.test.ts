import { describe, expect, test } from "vitest";
import type { FileHandle, FileSystem } from "../../log/file-system.js";
import { RECORD_HEADER_BYTES } from "../../log/format.js";
import { realFileSystem } from "../../log/index.js";
import { INDEX_SPACING_BYTES } from "../../log/offset-index.js";
import { bodyOf, CLUSTER, composeLog, DIRECTORY, NODE } from "../support/log-bytes.js";
import { realDirectory } from "../support/real-directory.js";
import { appendMany, at, offsetsOf, openTestLog, readAll, span } from "../support/test-log.js";

const batches = [0, 1, 2, 3, 4, 5].map((b) => [bodyOf(60, 2 * b + 1), bodyOf(60, 2 * b + 2)]);

describe("log cursor", () => {
  test("does not cross into a segment, whole in itself, that does not continue the one before", async () => {
    const log = composeLog({ batches, rollBefore: [2, 4] });
    const files = log.files({ recoveryPoint: log.recoveryPoint(12) });
    files.put(
      `${DIRECTORY}/identity.json`,
      Buffer.from(JSON.stringify({ clusterId: CLUSTER, nodeId: NODE })),
    );
    const opened = await openTestLog(DIRECTORY, { files });
    expect(await readAll(opened.log)).toHaveLength(12);

    // A segment of the same size from another past of the same log: every checksum in it holds.
    const other = composeLog({ batches: batches.map((batch) => batch.toReversed()), rollBefore: [2, 4] });
    files.put(log.segments[0]!.path, other.segments[0]!.bytes);
    await expect(readAll(opened.log, at(1))).rejects.toMatchObject({
      code: "LOG_CORRUPT",
      context: { finding: "chain", file: "log/00000000000000000005.log", position: 96 },
    });
    await opened.log.close();
  });

  test("reads for a record what lies around it, not everything behind it, and misses none of a range", async () => {
    const reads: number[] = [];
    const files: FileSystem = Object.create(realFileSystem, {
      open: {
        value: async (...args: Parameters<FileSystem["open"]>) => {
          const handle: FileHandle = await realFileSystem.open(...args);
          const read = handle.read.bind(handle);
          handle.read = (into, position) => {
            reads.push(into.length);
            return read(into, position);
          };
          return handle;
        },
      },
    });
    const { log } = await openTestLog(await realDirectory(), { files, segmentBytes: 1 << 23 });
    for (let each = 0; each < 10; each++) await appendMany(log, 1_000, 400);

    for (const [first, last] of [
      [1, 1],
      [5_000, 5_000],
      [9_998, 10_000],
      [300, 900],
      [700, 9_000],
    ] as const) {
      reads.length = 0;
      const records = await readAll(log, at(first), at(last));
      expect(offsetsOf(records)).toEqual(span(first, last));
      const wanted = records.length * (400 + RECORD_HEADER_BYTES);
      // Up to an entry of the index before it, and up to one behind.
      const bytes = reads.reduce((sum, each) => sum + each, 0);
      if (last < 9_900) expect(bytes).toBeLessThanOrEqual(wanted + 3 * INDEX_SPACING_BYTES);
      expect(bytes).toBeGreaterThanOrEqual(wanted);
    }
    await log.close();
  });
});
