import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { readDirectory, realFileSystem, verifyDirectory } from "../../log/index.js";
import { realDirectory } from "../support/real-directory.js";
import { appendMany, openTestLog, span } from "../support/test-log.js";

describe("a directory that another process writes", () => {
  test("is followed without a gap and verified clean again and again, while the log grows and rolls", async () => {
    const directory = await realDirectory();
    const { log } = await openTestLog(directory, { segmentBytes: 16 * 1024 });
    const controller = new AbortController();
    const followed: number[] = [];
    const following = (async () => {
      const options = { follow: true, pollMs: 1, signal: controller.signal };
      for await (const batch of readDirectory(realFileSystem, directory, options))
        followed.push(...batch.map((record) => record.offset));
    })();
    let isWriting = true;
    const reports: { problems: readonly unknown[]; torn?: unknown; segments: number }[] = [];
    const verifying = (async () => {
      while (isWriting) reports.push(await verifyDirectory(realFileSystem, directory, { live: true }));
    })();

    // At least so much, and until it was looked at a few times meanwhile.
    for (let round = 0; round < 60 || (reports.length < 4 && round < 2_000); round++)
      await appendMany(log, 5 + (round % 7), 200 + 90 * (round % 5));
    isWriting = false;
    await verifying;
    const end = log.durableOffset;
    while (followed.length < end) await sleep(1);
    controller.abort();
    await following;

    expect(followed).toEqual(span(1, end));
    expect(reports.length).toBeGreaterThan(2);
    for (const report of reports) expect([report.problems, report.torn]).toEqual([[], undefined]);
    expect(reports[reports.length - 1]!.segments).toBeGreaterThan(3);

    await log.close();
    const offline = await verifyDirectory(realFileSystem, directory);
    expect(offline).toMatchObject({ problems: [], notes: [], endOffset: end, records: end });
  });
});
