// A segment that arrives in pieces is judged as one that is read from a file, however it was cut; and pieces of a log are a log.
import { describe, expect, test, vi } from "vitest";
import { checkSegment, type LogRecord, openLogView, resumePoints, segmentBytes } from "../../log/index.js";
import { bodyOf, type ComposedSegment, composeLog, DIRECTORY } from "../support/log-bytes.js";
import { at, offsetsOf, span } from "../support/test-log.js";

const batches = Array.from({ length: 12 }, (_, i) => [bodyOf(30 + i, i), bodyOf(200 * i, i + 1)]);
const log = composeLog({ batches, rollBefore: [4, 8], epochBefore: [8], zerosAhead: 500 });

async function* cutInto(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, void> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function check(segment: Pick<ComposedSegment, "name" | "bytes">, size: number) {
  const records: LogRecord[] = [];
  const found = await checkSegment(segment.name, cutInto(segment.bytes, size), (batch) =>
    records.push(...batch),
  );
  return { found, records };
}

describe("segment check", () => {
  test("tells of a whole segment what its header and its records say, in pieces of any size", async () => {
    const [segment] = log.segments;
    const own = log.records.filter((record) => record.segment === 0);
    for (const size of [1, 7, 104, 1000, 1 << 20]) {
      const { found, records } = await check(segment!, size);
      expect(found).toMatchObject({
        header: segment!.header,
        lastOffset: own.at(-1)!.offset,
        lastCrc: own.at(-1)!.crc,
        firstTimestamp: own[0]!.timestamp,
        lastTimestamp: own.at(-1)!.timestamp,
        bytes: segment!.bytes.length,
      });
      expect(offsetsOf(records)).toEqual(offsetsOf(own as never));
    }
  });

  test("reads records larger than any piece", async () => {
    const large = composeLog({ batches: [[bodyOf(3_500_000, 1)], [bodyOf(10, 2)], [bodyOf(2_000_000, 3)]] });
    const { found, records } = await check(large.tail, 65_536);
    expect(found).toMatchObject({ lastOffset: 3 });
    expect(records.map(({ body }) => body.length)).toEqual([3_500_000, 10, 2_000_000]);
  });

  test("copies the bytes of a large record a few times, however small the pieces are", async () => {
    const large = composeLog({ batches: [[bodyOf(3_500_000, 1)]] });
    const copying = vi.spyOn(Buffer, "concat");
    try {
      expect((await check(large.tail, 4096)).found).toMatchObject({ lastOffset: 1 });
      const copied = copying.mock.results.reduce((sum, { value }) => sum + value.length, 0);
      expect(copied).toBeLessThan(4 * large.tail.bytes.length);
    } finally {
      copying.mockRestore();
    }
  });

  test("finds every flipped byte, every cut, and bytes behind the end", async () => {
    const [segment] = log.segments;
    for (let i = 0; i < segment!.bytes.length; i += 3) {
      const bytes = Uint8Array.from(segment!.bytes);
      bytes[i]! ^= 0x10;
      expect((await check({ name: "s", bytes }, 4096)).found, `byte ${i}`).toHaveProperty("code");
    }
    const ends = new Set(log.records.filter((record) => record.segment === 0).map(({ end }) => end));
    for (let length = 0; length < segment!.bytes.length; length += 11) {
      const { found } = await check({ name: "s", bytes: segment!.bytes.subarray(0, length) }, 512);
      if (!ends.has(length) && length !== 104) expect(found, `cut at ${length}`).toHaveProperty("code");
    }
    const longer = Buffer.concat([segment!.bytes, new Uint8Array(40)]);
    expect((await check({ name: "s", bytes: longer }, 512)).found).toHaveProperty("code");
  });
});

describe("the segments of a view as files", () => {
  test("end with the last whole record, without the zeros written ahead", async () => {
    const files = log.files();
    const { extents } = await openLogView(files, DIRECTORY);
    expect(extents.map(({ firstOffset, lastOffset, sealed }) => [firstOffset, lastOffset, sealed])).toEqual([
      [1, 8, true],
      [9, 16, true],
      [17, 24, false],
    ]);
    for (const extent of extents) {
      const found = await checkSegment(extent.file, segmentBytes(files, DIRECTORY, extent));
      expect(found).toMatchObject({
        lastOffset: extent.lastOffset,
        lastCrc: extent.lastCrc,
        bytes: extent.bytes,
      });
    }
  });

  test("are cut between any two records into segments that continue each other", async () => {
    const files = log.files();
    const { extents } = await openLogView(files, DIRECTORY);
    for (const extent of extents)
      for (const last of span(extent.firstOffset, extent.lastOffset - 1)) {
        const point = (await resumePoints(files, DIRECTORY, extent, [at(last)])).get(at(last));
        expect(point?.seed).toBe(log.records[last - 1]!.crc);
        const records: LogRecord[] = [];
        const rest = segmentBytes(files, DIRECTORY, extent, point);
        const found = await checkSegment("rest", rest, (batch) => records.push(...batch));
        expect(found).toMatchObject({
          header: { baseOffset: last + 1, chainCrc: log.records[last - 1]!.crc, epoch: extent.header.epoch },
          lastCrc: extent.lastCrc,
        });
        expect(offsetsOf(records)).toEqual(span(last + 1, extent.lastOffset));
      }
  });
});
