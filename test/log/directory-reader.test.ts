import { describe, expect, test } from "vitest";
import { type ReadDirectoryOptions, readDirectory } from "../../log/directory-reader.js";
import { offset } from "../../log/units.js";
import { bodyOf, type ComposedLog, composeLog, DIRECTORY } from "../support/log-bytes.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";

const batches = [0, 1, 2, 3, 4, 5].map((b) => [bodyOf(60, 2 * b + 1), bodyOf(60, 2 * b + 2)]);
const twelve = (): ComposedLog => composeLog({ batches, rollBefore: [2, 4], zerosAhead: 100 });

async function offsets(files: MemoryFileSystem, options: ReadDirectoryOptions = {}): Promise<number[]> {
  const read: number[] = [];
  for await (const batch of readDirectory(files, DIRECTORY, options))
    for (const record of batch) read.push(record.offset);
  return read;
}

const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe("directory reader", () => {
  test("reads everything, across segments, with and without index files", async () => {
    for (const indexes of [true, false])
      expect(await offsets(twelve().files({ indexes }))).toEqual(range(1, 12));
  });

  test("reads ranges by offset and by time, both ends inclusive", async () => {
    const log = twelve();
    const files = log.files();
    const time = (at: number): number => log.records[at - 1]!.timestamp;
    for (let first = 1; first <= 12; first++) {
      for (let last = first; last <= 12; last++) {
        expect(await offsets(files, { from: offset(first), to: offset(last) })).toEqual(range(first, last));
        expect(await offsets(files, { fromTime: time(first), toTime: time(last) })).toEqual(
          range(first, last),
        );
        expect(await offsets(files, { fromTime: time(first) - 1, toTime: time(last) + 1 })).toEqual(
          range(first, last),
        );
      }
    }
    expect(await offsets(files, { from: offset(5), fromTime: time(3) })).toEqual(range(5, 12));
    expect(await offsets(files, { from: offset(13) })).toEqual([]);
    expect(await offsets(files, { fromTime: time(12) + 1 })).toEqual([]);
  });

  test("an empty directory has no records", async () => {
    expect(await offsets(new MemoryFileSystem())).toEqual([]);
  });

  test("refuses an offset that retention has removed", async () => {
    const log = twelve();
    const files = log.files();
    await files.remove(log.segments[0]!.path);
    await expect(offsets(files, { from: offset(3) })).rejects.toMatchObject({
      code: "LOG_OFFSET_RETIRED",
      context: { first: 5 },
    });
    expect(await offsets(files)).toEqual(range(5, 12));
  });

  test("serves every record before damage, then says where it is", async () => {
    const log = twelve();
    for (const at of [2, 6, 10]) {
      const files = log.files();
      const record = log.records[at - 1]!;
      files.own(log.segments[record.segment]!.path)[record.end - 1]! ^= 1;
      const read: number[] = [];
      const reading = (async () => {
        for await (const batch of readDirectory(files, DIRECTORY)) read.push(...batch.map((r) => r.offset));
      })();
      await expect(reading).rejects.toMatchObject({ code: "LOG_CORRUPT", context: { offset: at } });
      expect(read).toEqual(range(1, at - 1));
    }
  });

  test("a torn end is the end", async () => {
    const log = twelve();
    const files = log.files();
    files.own(log.tail.path)[log.records[11]!.end - 1]! ^= 1;
    expect(await offsets(files)).toEqual(range(1, 11));
  });

  test("notices a segment that does not continue the one before", async () => {
    const log = twelve();
    const other = composeLog({ batches: batches.map((batch) => batch.toReversed()), rollBefore: [2, 4] });
    const files = log.files();
    files.put(log.segments[1]!.path, other.segments[1]!.bytes);
    await expect(offsets(files)).rejects.toMatchObject({
      code: "LOG_CORRUPT",
      context: { finding: "chain" },
    });
    const gap = log.files();
    await gap.remove(log.segments[1]!.path);
    await expect(offsets(gap)).rejects.toMatchObject({
      code: "LOG_CORRUPT",
      context: { finding: "missing", offset: 5 },
    });
  });

  test("follows a log that grows, is half written for a while, and rolls", async () => {
    const log = twelve();
    const files = new MemoryFileSystem();
    const controller = new AbortController();
    const read: number[] = [];
    const following = (async () => {
      for await (const batch of readDirectory(files, DIRECTORY, {
        follow: true,
        pollMs: 1,
        signal: controller.signal,
      }))
        read.push(...batch.map((record) => record.offset));
    })();
    const until = async (count: number): Promise<void> => {
      while (read.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
    };
    const [first, second, third] = log.segments;
    // The first segment as it grows: two records and a half, with zeros ahead; then whole; then sealed and followed.
    const half = Uint8Array.from(Buffer.concat([first!.bytes, new Uint8Array(200)]));
    files.put(
      first!.path,
      half.map((byte, at) => (at < log.records[2]!.position + 20 ? byte : 0)),
    );
    await until(2);
    files.put(first!.path, half);
    await until(4);
    files.put(first!.path, first!.bytes);
    files.put(second!.path, second!.bytes);
    files.put(third!.path, third!.bytes);
    await until(12);
    controller.abort();
    await following;
    expect(read).toEqual(range(1, 12));
  });

  test("a followed range ends by itself", async () => {
    expect(await offsets(twelve().files(), { follow: true, to: offset(7) })).toEqual(range(1, 7));
  });
});
