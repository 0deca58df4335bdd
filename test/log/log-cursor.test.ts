import { describe, expect, test } from "vitest";
import { bodyOf, CLUSTER, composeLog, DIRECTORY, NODE } from "../support/log-bytes.js";
import { at, openTestLog, readAll } from "../support/test-log.js";

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
});
