/**
 * The promise: what is written is read back, and whatever else the bytes are, the reader says so and does nothing worse.
 *
 *  1. Records of any shape, cut into batches and disk reads of any size, come back equal.
 *  2. Arbitrary bytes, and whole logs with arbitrary bytes in them, never throw anything but a LogError.
 *  3. Nothing that a body holds passes for a record, even a body that copies other records of the log.
 *  4. The two CRC-32 implementations agree, and the arithmetic on CRCs agrees with computing them.
 *  5. An index finds the same place for an offset or a time as looking at every record, also after a round trip through its file.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CrcRanges, crc32, crc32In, nativeCrc32, portableCrc32, shiftCrc } from "../log/checksum.js";
import { LogError } from "../log/errors.js";
import { chainSalt, decodeSegmentHeader, encodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../log/format.js";
import { OffsetIndex } from "../log/offset-index.js";
import { recoverLog } from "../log/recovery.js";
import { readRecoveryPoint } from "../log/recovery-point.js";
import { findLaterRecords } from "../log/resync.js";
import { basePoint, parseRecords, type ReadPoint, readBatch } from "../log/segment-reader.js";
import { scanSegment } from "../log/segment-scan.js";
import { epoch, offset, position } from "../log/units.js";
import { verifyDirectory } from "../log/verify.js";
import {
  bodyOf,
  type ComposedLog,
  composeLog,
  DIRECTORY,
  encodeRecord,
  LINEAGE,
} from "../test/support/log-bytes.js";
import { runs } from "./run-settings.js";

const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 6 });
const logs = fc
  .record({
    batches: fc.array(bodies, { minLength: 1, maxLength: 8 }),
    rolls: fc.array(fc.nat(7), { maxLength: 3 }),
    zerosAhead: fc.nat(200),
  })
  .map(({ batches, rolls, zerosAhead }) =>
    composeLog({
      batches,
      rollBefore: [...new Set(rolls)].filter((b) => b > 0 && b < batches.length),
      zerosAhead,
    }),
  );

async function readAll(log: ComposedLog, chunkBytes: number): Promise<unknown[]> {
  const files = log.files();
  const read: unknown[] = [];
  for (const segment of log.segments) {
    const handle = await files.open(segment.path, "read");
    for (let point = basePoint(segment.header); ; ) {
      const batch = await readBatch(handle, point, segment.contentEnd, segment.header, chunkBytes);
      expect(batch.bad).toBeUndefined();
      for (const { body, offset, timestamp, kind, version, crc } of batch.records)
        read.push({ offset, timestamp, kind, version, crc, body: [...body] });
      if (batch.records.length === 0) break;
      point = batch.next;
    }
  }
  return read;
}

/** True when the work is refused with a LogError; fails on any other error. */
async function isRefused(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof LogError) return true;
    throw error;
  }
}

describe("codec", () => {
  test("records come back equal, whatever their shape and the size of the reads", async () => {
    await fc.assert(
      fc.asyncProperty(logs, fc.integer({ min: 1, max: 4000 }), async (log, chunkBytes) => {
        const written = log.records.map(({ offset, timestamp, kind, version, crc, body }) => ({
          offset,
          timestamp,
          kind,
          version,
          crc,
          body: [...body],
        }));
        expect(await readAll(log, chunkBytes)).toEqual(written);
      }),
      runs(120),
    );
  });

  test("every field of a record survives at its limits", () => {
    const field = fc.record({
      offset: fc
        .oneof(fc.constantFrom(1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER), fc.maxSafeNat())
        .filter((n) => n > 0),
      timestamp: fc.maxSafeNat(),
      epoch: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      kind: fc.nat(65_535),
      version: fc.nat(255),
      body: fc.uint8Array({ maxLength: 100 }),
      seed: fc.nat(2 ** 32 - 1),
    });
    fc.assert(
      fc.property(field, ({ seed, ...record }) => {
        const written = { ...record, offset: offset(record.offset), epoch: epoch(record.epoch) };
        const { bytes, crc } = encodeRecord(written, 7, seed, chainSalt(LINEAGE));
        const header = { ...composeLog({ batches: [] }).tail.header, epoch: written.epoch };
        const point = {
          offset: written.offset,
          position: position(SEGMENT_HEADER_BYTES),
          seed,
          timestamp: 0,
        };
        const batch = parseRecords(bytes, point, header, true);
        expect(batch.bad).toBeUndefined();
        expect(batch.records).toEqual([{ ...written, body: new Uint8Array(record.body), crc }]);
      }),
      runs(300),
    );
  });

  test("a segment header comes back equal", () => {
    const id = fc
      .uint8Array({ minLength: 16, maxLength: 16 })
      .map((bytes) => Buffer.from(bytes).toString("hex"));
    const headers = fc.record({
      epoch: fc.integer({ min: 1, max: 2 ** 32 - 1 }).map(epoch),
      baseOffset: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(offset),
      createdAt: fc.maxSafeNat(),
      clusterId: id,
      nodeId: id,
      lineageId: id,
      epochFirst: fc.constant(offset(1)),
      chainTimestamp: fc.maxSafeNat(),
      chainCrc: fc.nat(2 ** 32 - 1),
    });
    fc.assert(
      fc.property(headers, (header) => {
        expect(decodeSegmentHeader(encodeSegmentHeader(header))).toEqual(header);
      }),
      runs(200),
    );
  });

  test("arbitrary bytes never throw anything but the log's error", async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        logs,
        fc.uint8Array({ maxLength: 600 }),
        fc.nat(),
        fc.nat(6),
        async (log, noise, at, where) => {
          const files = log.files({ recoveryPoint: log.recoveryPoint(log.durable) });
          const path = files.paths[where % files.paths.length]!;
          const before = files.get(path);
          const from = at % (before.length + 1);
          // Half the time in place of what was there, half the time as the whole file.
          const isWhole = at % 2 === 0;
          const noisy = isWhole
            ? noise
            : Buffer.concat([before.subarray(0, from), noise, before.subarray(from + noise.length)]);
          files.put(path, noisy);
          const header = log.tail.header;
          expect(typeof decodeSegmentHeader(noise)).toBe("string");
          parseRecords(noise, basePoint(header), header, true);
          findLaterRecords(noise, basePoint(header), header, offset(1));
          OffsetIndex.decode(noise, basePoint(header));
          await verifyDirectory(files, DIRECTORY);
          const wasRefused = await isRefused(async () => {
            const recoveryPoint = await readRecoveryPoint(files, DIRECTORY);
            await recoverLog({ files, dataDirectory: DIRECTORY, now: () => 1, recoveryPoint });
          });
          refused += wasRefused ? 1 : 0;
        },
      ),
      runs(250),
    );
    expect(refused).toBeGreaterThan(50);
  });

  test("nothing that a client can put into a body passes for a record behind a damaged one", () => {
    // The forger knows everything but the lineage: it builds perfect followers of the record that carries them.
    const forged = (log: ComposedLog, lineageId: string, count: number): Uint8Array => {
      const parts: Uint8Array[] = [];
      let seed = 12_345;
      for (let i = 1; i <= count; i++) {
        const record = {
          offset: offset(log.end + 1 + i),
          timestamp: 1_800_000_000_000 + i,
          epoch: epoch(1),
          kind: 2,
          version: 1,
          body: bodyOf(20, i),
        };
        const { bytes, crc } = encodeRecord(record, 0, seed, chainSalt(lineageId));
        parts.push(bytes);
        seed = crc;
      }
      return Buffer.concat(parts);
    };
    fc.assert(
      fc.property(
        logs,
        fc.integer({ min: 2, max: 6 }),
        fc.integer({ min: 36, max: 90 }),
        (log, count, shift) => {
          if (log.segments.length > 1) return;
          const find = (lineageId: string): number => {
            const torn = Buffer.concat([new Uint8Array(shift), forged(log, lineageId, count)]);
            const last = log.records[log.records.length - 1]!;
            const bad: ReadPoint = {
              offset: offset(log.end + 1),
              position: position(last.end),
              seed: last.crc,
              timestamp: last.timestamp,
            };
            return findLaterRecords(torn, bad, log.tail.header, bad.offset).count;
          };
          expect(find("00000000".repeat(4))).toBe(0);
          // The same bytes made with the lineage are found, all but the first, which nothing links to.
          expect(find(LINEAGE)).toBeGreaterThan(0);
        },
      ),
      runs(60),
    );
  });

  test("the CRC of the system and the portable one agree, chained too", () => {
    expect(nativeCrc32).toBeDefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(2 ** 32 - 1), fc.nat(500), (bytes, seed, cut) => {
        expect(portableCrc32(bytes, seed)).toBe(nativeCrc32!(bytes, seed));
        expect(portableCrc32(bytes.subarray(cut), portableCrc32(bytes.subarray(0, cut), seed))).toBe(
          crc32(bytes, seed),
        );
      }),
      runs(300),
    );
    expect(crc32(Buffer.from("123456789"), 0)).toBe(0xcbf43926);
  });

  test("crcs of ranges by tables are those of the bytes, of every length and wherever they begin", () => {
    const memory = bodyOf(1200, 5);
    const view = new DataView(memory.buffer, memory.byteOffset + 1, 1100);
    fc.assert(
      fc.property(fc.nat(40), fc.nat(2 ** 32 - 1), (from, seed) => {
        const wrong: number[] = [];
        for (let length = 0; length <= 600; length++) {
          const range = memory.subarray(1 + from, 1 + from + length);
          if (crc32In(view, from, from + length, seed) !== crc32(range, seed)) wrong.push(length);
        }
        expect(wrong).toEqual([]);
      }),
      runs(50),
    );
  });

  test("crcs of ranges by arithmetic are those of the bytes", () => {
    const bytes = bodyOf(6000, 3);
    const ranges = new CrcRanges(bytes);
    fc.assert(
      fc.property(fc.nat(6000), fc.nat(6000), fc.nat(2 ** 32 - 1), (a, b, seed) => {
        const [from, end] = [Math.min(a, b), Math.max(a, b)];
        const range = bytes.subarray(from, end);
        expect(ranges.crc(from, end, seed)).toBe(crc32(range, seed));
        expect((shiftCrc(seed, range.length) ^ crc32(range, 0)) >>> 0).toBe(crc32(range, seed));
      }),
      runs(500),
    );
  });

  test("an index finds the same place as looking at every record", async () => {
    // Large bodies, so that a segment has more entries than one.
    const sizes = fc.array(fc.integer({ min: 0, max: 40_000 }), { minLength: 20, maxLength: 40 });
    let most = 0;
    await fc.assert(
      fc.asyncProperty(sizes, async (lengths) => {
        const log = composeLog({ batches: lengths.map((length, i) => [bodyOf(length, i)]) });
        const handle = await log.files().open(log.tail.path, "read");
        const scan = await scanSegment(handle, log.tail.header, log.tail.contentEnd);
        const decoded = OffsetIndex.decode(scan.index.encode(scan.next), basePoint(log.tail.header))!;
        expect(decoded.end).toEqual(scan.next);
        most = Math.max(most, decoded.index.size);
        for (const index of [scan.index, decoded.index]) {
          for (const record of log.records) {
            const byOffset = index.floor(record.offset);
            expect(byOffset.offset).toBeLessThanOrEqual(record.offset);
            expect(record.position - byOffset.position).toBeLessThan(64 * 1024 + 40_036);
            for (const time of [record.timestamp - 1, record.timestamp]) {
              const byTime = index.floorTime(time);
              expect(byTime.offset).toBeLessThanOrEqual(record.offset);
              expect(record.position - byTime.position).toBeLessThan(64 * 1024 + 40_036);
            }
            const point = log.records.find(({ offset }) => offset === byOffset.offset)!;
            expect(byOffset.position).toBe(point.position);
          }
          // A verified read starts at any entry.
          const middle = index.floor(offset(Math.ceil(log.records.length / 2)));
          const batch = await readBatch(handle, middle, log.tail.contentEnd, log.tail.header);
          expect(batch.bad).toBeUndefined();
        }
      }),
      runs(40),
    );
    expect(most).toBeGreaterThan(3);
  });
});
