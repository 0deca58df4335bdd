import { describe, expect, test } from "vitest";
import type { FileHandle } from "../../log/file-system.js";
import {
  chainSalt,
  computeRecordCrc,
  RECORD_BODY_BYTES_MAX,
  SEGMENT_HEADER_BYTES,
} from "../../log/format.js";
import { type BadReason, basePoint, parseRecords, readBatch } from "../../log/segment-reader.js";
import { epoch, offset } from "../../log/units.js";
import { bodyOf, composeLog, encodeRecord, LINEAGE } from "../support/log-bytes.js";

const { header } = composeLog({ batches: [] }).tail;
const good = {
  offset: offset(1),
  timestamp: 1_000,
  epoch: epoch(1),
  kind: 2,
  version: 1,
  body: bodyOf(10, 1),
};

/** A record whose crc holds, whatever its fields say. */
const sealed = (fields: Partial<typeof good>): Uint8Array =>
  encodeRecord({ ...good, ...fields }, 0, 0, chainSalt(LINEAGE)).bytes;

/** The same with its reserved byte set, the crc included. */
function flagged(): Uint8Array {
  const bytes = sealed({});
  bytes[35] = 1;
  const view = new DataView(bytes.buffer);
  view.setUint32(0, computeRecordCrc(view, 0, 0, chainSalt(LINEAGE)), true);
  return bytes;
}

function reasonOf(bytes: Uint8Array, timestamp = 0): BadReason | undefined {
  return parseRecords(bytes, { ...basePoint(header), timestamp }, header, true).bad?.reason;
}

describe("segment reader", () => {
  test("refuses a record whose fields contradict the log, even when its checksum holds", () => {
    expect(reasonOf(sealed({}))).toBeUndefined();
    expect(reasonOf(sealed({ offset: offset(2) }))).toBe("offset");
    expect(reasonOf(sealed({ offset: offset(0) }))).toBe("offset");
    expect(reasonOf(sealed({ epoch: epoch(2) }))).toBe("epoch");
    expect(reasonOf(sealed({}), 1_000)).toBeUndefined();
    expect(reasonOf(sealed({}), 1_001)).toBe("timestamp");
    expect(reasonOf(sealed({ timestamp: 2 ** 53 }))).toBe("timestamp");
    expect(reasonOf(flagged())).toBe("flags");
  });

  test("says what is wrong with a record, in the order in which it is looked at", () => {
    const bytes = sealed({});
    expect(reasonOf(new Uint8Array(50))).toBe("zero");
    expect(reasonOf(new Uint8Array(5))).toBe("zero");
    expect(reasonOf(bytes.subarray(0, 35))).toBe("short");
    expect(reasonOf(bytes.subarray(0, 45))).toBe("short");
    const changed = (at: number, value: number): Uint8Array => {
      const copy = Uint8Array.from(bytes);
      copy[at] = value;
      return copy;
    };
    expect(reasonOf(changed(7, 0xff))).toBe("length");
    expect(reasonOf(changed(5, 0x01))).toBe("short");
    expect(reasonOf(changed(35, 1))).toBe("flags");
    expect(reasonOf(changed(40, 0))).toBe("crc");
    expect(reasonOf(changed(0, 0))).toBe("crc");
  });

  test("a length is a rumour: it never makes the reader take more than the file can hold", async () => {
    const log = composeLog({ batches: [[bodyOf(100, 1)]], zerosAhead: 5_000 });
    const files = log.files();
    const bytes = files.own(log.tail.path);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(
      SEGMENT_HEADER_BYTES + 4,
      RECORD_BODY_BYTES_MAX,
      true,
    );
    const inner = await files.open(log.tail.path, "read");
    let most = 0;
    const handle: FileHandle = Object.assign(Object.create(inner) as FileHandle, {
      read: (into: Uint8Array, position: number) => {
        most = Math.max(most, into.length);
        return inner.read(into, position);
      },
    });
    const batch = await readBatch(handle, basePoint(log.tail.header), bytes.length, log.tail.header, 1_000);
    expect(batch.bad?.reason).toBe("short");
    expect(most).toBeLessThanOrEqual(bytes.length - SEGMENT_HEADER_BYTES);
  });

  test("a record larger than a disk read comes whole, the next ones after it", async () => {
    const log = composeLog({
      batches: [[bodyOf(10, 1)], [bodyOf(5_000, 2)], [bodyOf(10, 3), bodyOf(10, 4)]],
    });
    const handle = await log.files().open(log.tail.path, "read");
    const sizes: number[] = [];
    for (let point = basePoint(log.tail.header); ; ) {
      const batch = await readBatch(handle, point, log.tail.contentEnd, log.tail.header, 100);
      expect(batch.bad).toBeUndefined();
      if (batch.records.length === 0) break;
      sizes.push(...batch.records.map(({ body }) => body.length));
      point = batch.next;
    }
    expect(sizes).toEqual([10, 5_000, 10, 10]);
  });

  test("one record is found among others, and never given out when it, or what it is chained to, is damaged", async () => {
    const log = composeLog({ batches: [1, 2, 3, 4, 5].map((each) => [bodyOf(20 * each, each)]) });
    const { header, path, contentEnd } = log.tail;
    const wanted = { first: offset(4), last: offset(4) };
    const files = log.files();
    const read = async () => {
      const handle = await files.open(path, "read");
      return readBatch(handle, basePoint(header), contentEnd, header, contentEnd, wanted);
    };
    const whole = await read();
    expect(whole.records.map(({ body }) => body)).toEqual([bodyOf(80, 4)]);
    expect(whole.next.offset).toBe(5);

    const writer = await files.open(path, "write");
    const outcomes = new Set<string>();
    for (let position = SEGMENT_HEADER_BYTES; position < contentEnd; position++) {
      const byte = log.tail.bytes[position]!;
      await writer.write(Uint8Array.of(byte ^ 0x41), position);
      const batch = await read();
      const given = batch.records.find((record) => record.offset === 4);
      if (given !== undefined)
        expect([given.body, given.crc]).toEqual([bodyOf(80, 4), whole.records[0]!.crc]);
      else expect(batch.bad?.offset).toBeLessThanOrEqual(4);
      outcomes.add(given === undefined ? `bad at ${batch.bad?.offset}` : "given");
      await writer.write(Uint8Array.of(byte), position);
    }
    // A body that nobody asked for is not looked at; a header on the way, and the record itself, are.
    expect([...outcomes].sort()).toEqual(["bad at 1", "bad at 2", "bad at 3", "bad at 4", "given"]);
  });

  test("puts up with a system that reads less than it is asked for", async () => {
    const log = composeLog({ batches: [[bodyOf(300, 1), bodyOf(300, 2)]] });
    const inner = await log.files().open(log.tail.path, "read");
    const handle: FileHandle = Object.assign(Object.create(inner) as FileHandle, {
      read: (into: Uint8Array, position: number) => inner.read(into.subarray(0, 7), position),
    });
    const batch = await readBatch(handle, basePoint(log.tail.header), log.tail.contentEnd, log.tail.header);
    expect(batch.records).toHaveLength(2);
  });

  test("the bodies stay as they were when the next batch is read", async () => {
    const log = composeLog({ batches: [[bodyOf(50, 1)], [bodyOf(50, 2)]] });
    const handle = await log.files().open(log.tail.path, "read");
    const first = await readBatch(
      handle,
      basePoint(log.tail.header),
      log.tail.contentEnd,
      log.tail.header,
      100,
    );
    const second = await readBatch(handle, first.next, log.tail.contentEnd, log.tail.header, 100);
    expect([first.records[0]!.body, second.records[0]!.body]).toEqual([bodyOf(50, 1), bodyOf(50, 2)]);
  });

  test("tells how much of the log its records prove durable", () => {
    const log = composeLog({
      batches: [[bodyOf(5, 1), bodyOf(5, 2)], [bodyOf(5, 3)], [bodyOf(5, 4), bodyOf(5, 5)]],
    });
    const bytes = log.tail.bytes.subarray(SEGMENT_HEADER_BYTES);
    expect(parseRecords(bytes, basePoint(log.tail.header), log.tail.header, true).proven).toBe(3);
  });
});
