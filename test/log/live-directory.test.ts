import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  type FileHandle,
  type FileSystem,
  openLogView,
  readDirectory,
  realFileSystem,
  verifyDirectory,
} from "../../log/index.js";
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

  test("is not called damaged when each look finds more written behind the record where it ended", async () => {
    const directory = await realDirectory();
    const { log } = await openTestLog(directory, { segmentBytes: 1024 * 1024 });
    await appendMany(log, 37);
    // Each synced before the next, so that the later ones prove the earlier durable.
    for (let each = 0; each < 3; each++) await appendMany(log, 1);
    const [whole] = [...(await openLogView(realFileSystem, directory)).extents];
    const position = (whole?.bytes ?? 0) - 3 * 136;
    const files = late(position, 136);
    expect((await openLogView(files, directory)).endOffset).toBe(log.endOffset - 3);
    const report = await verifyDirectory(files, directory, { live: true });
    expect([report.problems, report.torn]).toEqual([[], undefined]);
    const dumped: number[] = [];
    for await (const batch of readDirectory(files, directory))
      dumped.push(...batch.map(({ offset }) => offset));
    expect(dumped).toEqual(span(1, log.endOffset));
    // Nobody writes: then it is what it looks like.
    const offline = await verifyDirectory(files, directory);
    expect(offline.problems).toHaveLength(1);
    await log.close();
  });

  test("is verified clean while retention removes segments that were not looked at yet", async () => {
    const directory = await realDirectory();
    const { log, firstWithin } = await openTestLog(directory, { segmentBytes: 4096 });
    await appendMany(log, 200);
    const segments = (await openLogView(realFileSystem, directory)).extents.length;
    let opened = 0;
    const files = beforeOpening(/\.log$/, async () => {
      // Each was listed and its header read; the second one is about to be read.
      if (++opened === segments + 2) await log.retain(firstWithin(3 * 4096));
    });
    const report = await verifyDirectory(files, directory, { live: true });
    expect(opened).toBeGreaterThan(segments + 2);
    expect([report.problems, report.torn]).toEqual([[], undefined]);
    expect(report).toMatchObject({ endOffset: log.endOffset, segments: 1 + 3 });
    await log.close();
  });

  test("is read from what is left when retention removes what the reading was to begin with", async () => {
    const directory = await realDirectory();
    const { log, firstWithin } = await openTestLog(directory, { segmentBytes: 4096 });
    await appendMany(log, 200);
    let opened = 0;
    const files = beforeOpening(/\.log$/, async () => {
      if (++opened === 1) await log.retain(firstWithin(3 * 4096));
    });
    const read: number[] = [];
    for await (const batch of readDirectory(files, directory))
      read.push(...batch.map((record) => record.offset));
    expect(log.firstOffset).toBeGreaterThan(1);
    expect(read).toEqual(span(log.firstOffset, log.endOffset));
    await log.close();
  });

  test("says that what comes next is retired when retention removes it before it is entered", async () => {
    const directory = await realDirectory();
    const { log, firstWithin } = await openTestLog(directory, { segmentBytes: 4096 });
    await appendMany(log, 200);
    const second = (await openLogView(realFileSystem, directory)).extents[1]!.firstOffset;
    const read: number[] = [];
    const reading = (async () => {
      const files = beforeOpening(/\.log$/, async () => {
        if (read.includes(second - 1)) await log.retain(firstWithin(3 * 4096));
      });
      for await (const batch of readDirectory(files, directory))
        read.push(...batch.map((record) => record.offset));
    })();
    await expect(reading).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    expect(read).toEqual(span(1, second - 1));
    await log.close();
  });
});

/** Does something before each opening of such a file. */
function beforeOpening(names: RegExp, act: () => Promise<void>): FileSystem {
  return {
    ...realFileSystem,
    open: async (path, mode, options) => {
      if (names.test(path)) await act();
      return realFileSystem.open(path, mode, options);
    },
  };
}

/** Shows a record to who begins to read at it or behind it, and zeros to who comes from before: as to a reader who was there first. */
function late(from: number, bytes: number): FileSystem {
  const open = async (...[path, mode, options]: Parameters<FileSystem["open"]>): Promise<FileHandle> => {
    const handle = await realFileSystem.open(path, mode, options);
    const read = async (into: Uint8Array, position: number): Promise<number> => {
      const count = await handle.read(into, position);
      const at = from - position;
      if (path.endsWith(".log") && at > 0) into.fill(0, Math.min(at, count), Math.min(at + bytes, count));
      return count;
    };
    return {
      read,
      write: (...call) => handle.write(...call),
      writeNow: (...call) => handle.writeNow(...call),
      sync: () => handle.sync(),
      truncate: (size) => handle.truncate(size),
      size: () => handle.size(),
      close: () => handle.close(),
    };
  };
  return Object.create(realFileSystem, { open: { value: open } });
}
