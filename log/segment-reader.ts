/**
 * Reads verified records from one segment file. A length is a rumour until the crc agrees: it is bounded, the bytes are
 * read, the chained crc is checked, and only then is anything believed. Says where and why the first record that does
 * not hold is bad; what that means (end, torn, corruption) is decided elsewhere.
 */
import { ADVICE_DAMAGED, ADVICE_UPGRADE, corruption, lostBytes } from "./corruption.js";
import type { LogRecord } from "./event-log.js";
import type { FileHandle } from "./file-system.js";
import {
  chainSalt,
  computeRecordCrc,
  decodeSegmentHeader,
  RECORD_BODY_BYTES_MAX,
  RECORD_HEADER_BYTES,
  recordEpoch,
  recordFlags,
  recordLength,
  recordOffset,
  recordTimestamp,
  recordUnsynced,
  SEGMENT_FORMAT_VERSION,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./format.js";
import { readGiven } from "./read-bytes.js";
import {
  offset as asOffset,
  position as asPosition,
  BEFORE_FIRST,
  type Offset,
  type Position,
} from "./units.js";

/** Where the next record is expected, and what the record before it left: enough to start a verified read. */
export interface ReadPoint {
  readonly offset: Offset;
  readonly position: Position;
  /** crc of the record before. */
  readonly seed: number;
  /** Timestamp of the record before. */
  readonly timestamp: number;
}

export type BadReason =
  /** The bytes end before the record does. */
  | "short"
  /** The record's header is all zeros. */
  | "zero"
  | "length"
  | "offset"
  | "epoch"
  | "timestamp"
  | "flags"
  | "crc"
  /** The disk does not give its bytes back, from position `found` on. */
  | "unreadable";

export interface BadRecord {
  readonly offset: Offset;
  readonly position: Position;
  readonly reason: BadReason;
  readonly expected?: number;
  readonly found?: number;
}

export interface RecordBatch {
  readonly records: readonly LogRecord[];
  /** Position of each record. */
  readonly positions: readonly number[];
  /** Where to go on. */
  readonly next: ReadPoint;
  /** Highest offset that these records' `unsynced` prove durable on the disk of the node that wrote them; 0 = none. */
  readonly proven: Offset;
  /** The record at `next` is not a good one. */
  readonly bad?: BadRecord;
}

/** The chained crc and the decoding cost the same per byte; larger reads only help slow disks. */
export const CHUNK_BYTES = 1024 * 1024;

/** Which records a reader is after; both inclusive. */
export interface WantedRecords {
  readonly first: Offset;
  readonly last: Offset;
}

/** Memory that reads of few records share, for a buffer of each one's own costs more than the read. */
const scratch: Uint8Array[] = [];
const SCRATCH_BYTES = 128 * 1024;
const SCRATCH_MAX = 8;

/** Where the first record of a log that holds nothing yet will be. */
export const LOG_START: ReadPoint = {
  offset: asOffset(1),
  position: asPosition(SEGMENT_HEADER_BYTES),
  seed: 0,
  timestamp: 0,
};

/** Where the first record of a segment is expected. */
export function basePoint(header: SegmentHeader): ReadPoint {
  return {
    offset: header.baseOffset,
    position: asPosition(SEGMENT_HEADER_BYTES),
    seed: header.chainCrc,
    timestamp: header.chainTimestamp,
  };
}

/**
 * One disk read: the whole records between `point` and `end` (bytes) that fit into a chunk, of those that are wanted if the
 * first of them does; at least one unless the first is bad or `point` is at `end`. What the disk does not give back is bad. A record larger than a chunk gets a buffer of
 * its own. The bodies show the read buffer.
 * @throws what the file system throws; never because of the bytes.
 */
export async function readBatch(
  handle: FileHandle,
  point: ReadPoint,
  end: number,
  header: SegmentHeader,
  chunkBytes = CHUNK_BYTES,
  wanted?: WantedRecords,
): Promise<RecordBatch> {
  const available = Math.max(0, end - point.position);
  const count = Math.min(chunkBytes, available);
  const isSmall = count <= SCRATCH_BYTES;
  // Where nothing is found, whatever lies before may be what does not hold: then all of it is verified.
  if (wanted !== undefined && isSmall) {
    const found = await readWanted(handle, point, count, header, wanted);
    if (found.records.length > 0) return found;
  }
  const { bytes, lostAt } = await readGiven(handle, point.position, count);
  const isLast = lostAt === undefined && (bytes.length === available || bytes.length < chunkBytes);
  if (wanted !== undefined && !isSmall) {
    const from = skipTo(bytes, point, header, wanted.first);
    const rest = bytes.subarray(from.position - point.position);
    const found = parseRecords(rest, from, header, isLast, wanted.last);
    if (found.records.length > 0) return found;
  }
  const batch = parseRecords(bytes, point, header, isLast);
  if (isLast || batch.records.length > 0 || batch.bad !== undefined) return batch;
  if (lostAt !== undefined) return { ...batch, bad: unreadableRecord(point, lostAt) };

  // Not one whole record in the chunk, and what there is of its header holds: read exactly this record.
  const head =
    bytes.length >= RECORD_HEADER_BYTES
      ? bytes
      : (await readGiven(handle, point.position, RECORD_HEADER_BYTES)).bytes;
  const length = head.length < RECORD_HEADER_BYTES ? 0 : recordLength(viewOf(head), 0);
  const needed = Math.min(available, RECORD_HEADER_BYTES + Math.min(length, RECORD_BODY_BYTES_MAX));
  const whole = await readGiven(handle, point.position, needed);
  if (whole.lostAt !== undefined) return { ...batch, bad: unreadableRecord(point, whole.lostAt) };
  return parseRecords(whole.bytes, point, header, true);
}

/** The record expected at `point`, which reaches over `lostAt`, where the disk gives nothing back. */
export function unreadableRecord({ offset, position }: ReadPoint, lostAt: number): BadRecord {
  return { offset, position, reason: "unreadable", found: lostAt };
}

/**
 * The records at the beginning of `bytes`, of which the first is expected at `point`. With `isLast` nothing comes after
 * `bytes`, so a record that does not fit is bad; otherwise it is left for the next read. What comes after `last` is not looked
 * at: each record costs a checksum. Never throws, whatever the bytes.
 */
export function parseRecords(
  bytes: Uint8Array,
  point: ReadPoint,
  header: SegmentHeader,
  isLast: boolean,
  last = Number.POSITIVE_INFINITY,
): RecordBatch {
  const view = viewOf(bytes);
  const size = bytes.length;
  // Views on bodies are made straight on the memory: this loop runs once a record, and `subarray` costs twice as much.
  const memory = bytes.buffer;
  const origin = bytes.byteOffset;
  const salt = chainSalt(header.lineageId);
  const epoch = header.epoch;
  const records: LogRecord[] = [];
  const positions: number[] = [];
  let at = 0;
  let expected: number = point.offset;
  let { seed, timestamp } = point;
  let proven = 0;
  let bad: BadRecord | undefined;
  while (at < size && expected <= last) {
    const left = size - at;
    if (left < RECORD_HEADER_BYTES || !headerHolds(view, at, expected, timestamp, epoch)) {
      if (left >= RECORD_HEADER_BYTES || isLast)
        bad = describeBad(bytes, view, at, point.position + at, asOffset(expected), timestamp, epoch);
      break;
    }
    const length = recordLength(view, at);
    if (length > left - RECORD_HEADER_BYTES) {
      if (isLast) bad = badRecord(expected, point.position + at, "short", length, left - RECORD_HEADER_BYTES);
      break;
    }
    const end = at + RECORD_HEADER_BYTES + length;
    const crc = computeRecordCrc(view, at, seed, salt);
    const stored = view.getUint32(at, true);
    if (crc !== stored) {
      bad = badRecord(expected, point.position + at, "crc", crc, stored);
      break;
    }
    timestamp = recordTimestamp(view, at);
    records.push({
      offset: asOffset(expected),
      timestamp,
      epoch,
      kind: view.getUint16(at + 32, true),
      version: view.getUint8(at + 34),
      body: new Uint8Array(memory, origin + at + RECORD_HEADER_BYTES, length),
      crc,
    });
    positions.push(point.position + at);
    const known = expected - 1 - recordUnsynced(view, at);
    if (known > proven) proven = known;
    seed = crc;
    expected += 1;
    at = end;
  }
  const next = { offset: asOffset(expected), position: asPosition(point.position + at), seed, timestamp };
  const batch = { records, positions, next, proven: proven > 0 ? asOffset(proven) : BEFORE_FIRST };
  return bad === undefined ? batch : { ...batch, bad };
}

/** The wanted records among `count` bytes from `point` on, in memory of their own. */
async function readWanted(
  handle: FileHandle,
  point: ReadPoint,
  count: number,
  header: SegmentHeader,
  wanted: WantedRecords,
): Promise<RecordBatch> {
  const memory = scratch.pop() ?? Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  const { bytes, lostAt } = await readGiven(handle, point.position, count, memory);
  const from = skipTo(bytes, point, header, wanted.first);
  const after = skipTo(bytes.subarray(from.position - point.position), from, header, wanted.last + 1);
  const own = new Uint8Array(bytes.subarray(from.position - point.position, after.position - point.position));
  // Not given back after a read that failed: the system may still write into it.
  if (lostAt === undefined && scratch.length < SCRATCH_MAX) scratch.push(memory);
  return parseRecords(own, from, header, false, wanted.last);
}

/**
 * Where the record `wanted` is expected, or the last record before it that `bytes` show. Goes from header to header: who wants
 * one record of an interval of the index does not need the checksums of the others. What it believes on the way (lengths, and
 * the crc that the record before has) is proven by the wanted record's own crc, which is chained to that.
 */
function skipTo(bytes: Uint8Array, point: ReadPoint, header: SegmentHeader, wanted: number): ReadPoint {
  const view = viewOf(bytes);
  let { offset, position, seed, timestamp } = point;
  for (let at = 0; offset < wanted; ) {
    const end = at + RECORD_HEADER_BYTES;
    if (end > bytes.length || !headerHolds(view, at, offset, timestamp, header.epoch)) break;
    const next = end + recordLength(view, at);
    if (next > bytes.length) break;
    seed = view.getUint32(at, true);
    timestamp = recordTimestamp(view, at);
    offset = asOffset(offset + 1);
    position = asPosition(point.position + next);
    at = next;
  }
  return { offset, position, seed, timestamp };
}

/**
 * True when the header at `at`, all of which is in `view`, can be the next record's: everything that the crc does not
 * have to be computed for. The length is only bounded; whether the bytes are there is the caller's question.
 */
export function headerHolds(
  view: DataView,
  at: number,
  offset: number,
  timestampMin: number,
  epoch: number,
): boolean {
  const timestamp = recordTimestamp(view, at);
  return (
    recordOffset(view, at) === offset &&
    recordLength(view, at) <= RECORD_BODY_BYTES_MAX &&
    recordEpoch(view, at) === epoch &&
    timestamp >= timestampMin &&
    timestamp <= Number.MAX_SAFE_INTEGER &&
    recordFlags(view, at) === 0
  );
}

function describeBad(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  position: number,
  offset: Offset,
  timestampMin: number,
  epoch: number,
): BadRecord {
  const left = bytes.length - at;
  if (isZero(bytes.subarray(at, at + RECORD_HEADER_BYTES))) return badRecord(offset, position, "zero");
  if (left < RECORD_HEADER_BYTES) return badRecord(offset, position, "short", RECORD_HEADER_BYTES, left);
  if (recordOffset(view, at) !== offset)
    return badRecord(offset, position, "offset", offset, recordOffset(view, at));
  if (recordLength(view, at) > RECORD_BODY_BYTES_MAX)
    return badRecord(offset, position, "length", RECORD_BODY_BYTES_MAX, recordLength(view, at));
  if (recordEpoch(view, at) !== epoch)
    return badRecord(offset, position, "epoch", epoch, recordEpoch(view, at));
  if (recordFlags(view, at) !== 0) return badRecord(offset, position, "flags", 0, recordFlags(view, at));
  return badRecord(offset, position, "timestamp", timestampMin, recordTimestamp(view, at));
}

function badRecord(
  offset: number,
  position: number,
  reason: BadReason,
  expected?: number,
  found?: number,
): BadRecord {
  const place = { offset: asOffset(offset), position: asPosition(position), reason };
  return expected === undefined || found === undefined ? place : { ...place, expected, found };
}

/**
 * The header at the beginning of a segment. `file` names it in the error.
 * @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN.
 */
export async function readHeader(handle: FileHandle, file: string): Promise<SegmentHeader> {
  const { bytes, lostAt } = await readGiven(handle, 0, SEGMENT_HEADER_BYTES);
  if (lostAt !== undefined) throw corruption(lostBytes(file, lostAt));
  return decodeHeader(bytes, file);
}

/** As `readHeader`, of bytes that begin with it. */
export function decodeHeader(bytes: Uint8Array, file: string): SegmentHeader {
  const header = decodeSegmentHeader(bytes);
  if (typeof header !== "string") return header;
  switch (header) {
    case "version":
      throw corruption({
        code: "version",
        file,
        position: 8,
        expected: `format version ${SEGMENT_FORMAT_VERSION}`,
        found: `format version ${viewOf(bytes).getUint16(8, true)}`,
        advice: ADVICE_UPGRADE,
      });
    default:
      throw corruption({
        code: "header",
        file,
        position: 0,
        expected: "a whole segment header",
        found: header === "short" ? `${bytes.length} bytes` : `a header with a wrong ${header}`,
        advice: ADVICE_DAMAGED,
      });
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}
