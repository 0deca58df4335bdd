/**
 * The sparse index of a segment: about every 64 KiB a read point, so that a read by offset or by time starts near its
 * goal and is verified from its first record on. In memory for the tail, a file for a sealed segment. The file is
 * only ever a shortcut: lost, damaged or disagreeing with its segment, it is built again and nothing else changes.
 *
 * File = header (64 bytes), then entries (28 bytes each), little-endian.
 *
 *   place bytes field         meaning                                        checked on read
 *    0     8    magic         "ANNALIDX"                                     equal
 *    8     2    version       1                                              equal
 *   10     2    headerBytes   64                                             equal
 *   12     4    count         entries                                        = what the file holds
 *   16     8    baseOffset    the segment's                                  equal
 *   24     8    endOffset     one after the segment's last record            -
 *   32     8    endPosition   bytes of the segment                           = the segment's size
 *   40     8    endTimestamp  timestamp of the last record                   -
 *   48     4    endCrc        crc of the last record                         -
 *   52     4    chainCrc      the segment's                                  equal
 *   56     4    entriesCrc    CRC-32 of the entries                          equal
 *   60     4    headerCrc     CRC-32 of bytes 0..59                          equal
 *
 * Entry, the first for the segment's first record:
 *
 *    0     8    offset        of a record                                    > the one before
 *    8     8    position      where the record begins in the segment         > the one before
 *   16     8    timestamp     of the record before it                        -
 *   24     4    crc           of the record before it                        -
 */
import { crc32 } from "./checksum.js";
import { indexName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import { readWholeFile, replaceFile } from "./file-system.js";
import type { SegmentHeader } from "./format.js";
import { isUnreadable } from "./read-bytes.js";
import { basePoint, type ReadPoint } from "./segment-reader.js";
import { offset as asOffset, position as asPosition, type Offset } from "./units.js";

/** Bytes of log between two entries: at most this much is read and verified in vain. */
export const INDEX_SPACING_BYTES = 64 * 1024;

const MAGIC = "ANNALIDX";
const VERSION = 1;
const HEADER_BYTES = 64;
const ENTRY_BYTES = 28;
/** A segment is at most 1 GiB plus one record: more entries than this is no index of ours. */
const INDEX_BYTES_MAX = HEADER_BYTES + ENTRY_BYTES * 32_768;

export class OffsetIndex {
  readonly #entries: ReadPoint[];
  #nextPosition: number;

  private constructor(entries: ReadPoint[]) {
    this.#entries = entries;
    const last = entries[entries.length - 1];
    this.#nextPosition = (last?.position ?? 0) + INDEX_SPACING_BYTES;
  }

  /** An index of a segment whose first record is at `base`. */
  static empty(base: ReadPoint): OffsetIndex {
    return new OffsetIndex([base]);
  }

  /** True when a record at `position` is far enough from the last entry to get one. */
  wants(position: number): boolean {
    return position >= this.#nextPosition;
  }

  /** Adds an entry if it is far enough from the last one. Points come in the order of the log. */
  note(point: ReadPoint): void {
    if (!this.wants(point.position)) return;
    this.#entries.push(point);
    this.#nextPosition = point.position + INDEX_SPACING_BYTES;
  }

  /** Forgets every entry after `last`, when the log was cut there. */
  truncate(last: Offset): void {
    let length = this.#entries.length;
    while (length > 1 && this.#at(length - 1).offset > last + 1) length -= 1;
    this.#entries.length = length;
    this.#nextPosition = this.#at(length - 1).position + INDEX_SPACING_BYTES;
  }

  get size(): number {
    return this.#entries.length;
  }

  /** The last entry at or before `offset`; the segment's beginning if there is none. */
  floor(offset: Offset): ReadPoint {
    return this.#lastWhere((point) => point.offset <= offset);
  }

  /** The first entry after `offset`: the record before it ends there. Undefined when there is none. */
  after(offset: Offset): ReadPoint | undefined {
    return this.#entries[this.#countWhere((point) => point.offset <= offset)];
  }

  /** The last entry before which every record is older than `timestamp`: the first that is not lies at or after it. */
  floorTime(timestamp: number): ReadPoint {
    return this.#lastWhere((point) => point.timestamp < timestamp);
  }

  /** The index as a file of a sealed segment that ends at `end`. */
  encode(end: ReadPoint): Uint8Array {
    const bytes = Buffer.alloc(HEADER_BYTES + ENTRY_BYTES * this.#entries.length);
    const base = this.#at(0);
    bytes.write(MAGIC, 0, "latin1");
    bytes.writeUInt16LE(VERSION, 8);
    bytes.writeUInt16LE(HEADER_BYTES, 10);
    bytes.writeUInt32LE(this.#entries.length, 12);
    bytes.writeBigUInt64LE(BigInt(base.offset), 16);
    writePoint(bytes, 24, end);
    bytes.writeUInt32LE(base.seed, 52);
    for (const [i, point] of this.#entries.entries())
      writePoint(bytes, HEADER_BYTES + i * ENTRY_BYTES, point);
    bytes.writeUInt32LE(crc32(bytes.subarray(HEADER_BYTES), 0), 56);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60), 0), 60);
    return bytes;
  }

  /** Reads an index file of the segment that begins at `base`, or undefined if it is damaged or another segment's. */
  static decode(bytes: Uint8Array, base: ReadPoint): { index: OffsetIndex; end: ReadPoint } | undefined {
    const found = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const end = decodeEnd(found, base);
    if (end === undefined) return undefined;
    const count = found.readUInt32LE(12);
    if (count === 0 || found.length !== HEADER_BYTES + count * ENTRY_BYTES) return undefined;
    if (crc32(found.subarray(HEADER_BYTES), 0) !== found.readUInt32LE(56)) return undefined;
    const entries: ReadPoint[] = [];
    for (let i = 0; i < count; i++) entries.push(readPoint(found, HEADER_BYTES + i * ENTRY_BYTES));
    return isSound(entries, base, end) ? { index: new OffsetIndex(entries), end } : undefined;
  }

  #at(i: number): ReadPoint {
    const point = this.#entries[i];
    if (point === undefined) throw new RangeError(`index entry ${i} of ${this.#entries.length}`);
    return point;
  }

  #lastWhere(holds: (point: ReadPoint) => boolean): ReadPoint {
    return this.#at(this.#countWhere(holds) - 1);
  }

  /** How many entries it holds for; the first, the segment's beginning, is always counted. */
  #countWhere(holds: (point: ReadPoint) => boolean): number {
    let low = 0;
    let high = this.#entries.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (holds(this.#at(middle))) low = middle;
      else high = middle;
    }
    return low + 1;
  }
}

/** A segment's index file, or undefined if it is lost, damaged, or not of this segment with this size. */
export async function readIndexFile(
  files: FileSystem,
  logDirectory: string,
  header: SegmentHeader,
  segmentBytes: number,
): Promise<{ index: OffsetIndex; end: ReadPoint } | undefined> {
  const bytes = await readIndexBytes(files, logDirectory, header);
  if (bytes === undefined) return undefined;
  const read = OffsetIndex.decode(bytes, basePoint(header));
  return read?.end.position === segmentBytes ? read : undefined;
}

/** The bytes of a segment's index file; undefined without one, none at all if it cannot be one or be read. */
export async function readIndexBytes(
  files: FileSystem,
  logDirectory: string,
  header: SegmentHeader,
): Promise<Uint8Array | undefined> {
  const path = `${logDirectory}/${indexName(header.baseOffset)}`;
  if (!(await files.exists(path))) return undefined;
  try {
    return await readWholeFile(files, path, INDEX_BYTES_MAX);
  } catch (error) {
    if (error instanceof RangeError || isUnreadable(error)) return new Uint8Array(0);
    throw error;
  }
}

/** Writes the index file of a sealed segment that ends at `end`: a shortcut, so that it cannot be written is no reason to fail. */
export function writeIndexFile(
  files: FileSystem,
  logDirectory: string,
  header: SegmentHeader,
  index: OffsetIndex,
  end: ReadPoint,
): Promise<void> {
  return replaceFile(files, logDirectory, indexName(header.baseOffset), index.encode(end));
}

function decodeEnd(bytes: Buffer, base: ReadPoint): ReadPoint | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const holds =
    bytes.toString("latin1", 0, 8) === MAGIC &&
    bytes.readUInt32LE(60) === crc32(bytes.subarray(0, 60), 0) &&
    bytes.readUInt16LE(8) === VERSION &&
    bytes.readUInt16LE(10) === HEADER_BYTES &&
    Number(bytes.readBigUInt64LE(16)) === base.offset &&
    bytes.readUInt32LE(52) === base.seed;
  return holds ? readPoint(bytes, 24) : undefined;
}

function isSound(entries: readonly ReadPoint[], base: ReadPoint, end: ReadPoint): boolean {
  let before: ReadPoint | undefined;
  for (const point of entries) {
    if (
      before === undefined
        ? point.position !== base.position || point.offset !== base.offset
        : !(point.offset > before.offset && point.position > before.position)
    )
      return false;
    before = point;
  }
  return before !== undefined && before.offset <= end.offset && before.position <= end.position;
}

function writePoint(bytes: Buffer, at: number, point: ReadPoint): void {
  bytes.writeBigUInt64LE(BigInt(point.offset), at);
  bytes.writeBigUInt64LE(BigInt(point.position), at + 8);
  bytes.writeBigUInt64LE(BigInt(point.timestamp), at + 16);
  bytes.writeUInt32LE(point.seed, at + 24);
}

function readPoint(bytes: Buffer, at: number): ReadPoint {
  return {
    offset: asOffset(Number(bytes.readBigUInt64LE(at))),
    position: asPosition(Number(bytes.readBigUInt64LE(at + 8))),
    timestamp: Number(bytes.readBigUInt64LE(at + 16)),
    seed: bytes.readUInt32LE(at + 24),
  };
}
