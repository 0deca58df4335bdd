/**
 * Byte layout of segments and records: pure, no I/O. `log/README.md` repeats the tables for readers and a test keeps
 * the two equal. Everything is little-endian.
 *
 * Segment = header (104 bytes), then records, then (tail segment only) zeros that were written ahead of use.
 *
 *   place bytes field           meaning                                                      checked on read
 *     0     8   magic           "ANNALSEG"                                                   equal
 *     8     2   version         format version, 1                                            known; else LOG_VERSION_UNKNOWN
 *    10     2   headerBytes     104                                                          equal
 *    12     4   epoch           leadership that wrote this segment                           ≥ the segment before, > 0
 *    16     8   baseOffset      offset of the first record                                   = last offset before + 1
 *    24     8   createdAt       ms since 1970                                                –
 *    32    16   clusterId       random, the same on every node of a cluster                  equal in all segments
 *    48    16   nodeId          node that started the epoch                                  equal while the epoch is
 *    64    16   lineageId       random, new for every epoch                                  equal while the epoch is
 *    80     8   epochFirst      first offset of the epoch                                    ≤ baseOffset, = in its first segment
 *    88     8   chainTimestamp  timestamp of the record before baseOffset (0 at the first)   equal
 *    96     4   chainCrc        crc of the record before baseOffset (0 at the first)         equal
 *   100     4   headerCrc       CRC-32 of bytes 0..99                                        equal, after magic and version
 *
 * Record = header (36 bytes), then the body.
 *
 *     0     4   crc             CRC-32 of all that follows, body included, seeded as below   equal
 *     4     4   length          bytes of the body                                            ≤ RECORD_BODY_BYTES_MAX, before it is used
 *     8     8   offset          number of the record                                         = previous + 1
 *    16     8   timestamp       ms since 1970, primary's clock                               ≥ previous
 *    24     4   epoch           leadership that wrote it                                     = the segment's
 *    28     4   unsynced        how many records directly before this one were not known to be synced when it was written
 *    32     2   kind            event type                                                   –
 *    34     1   version         schema version of the body                                   –
 *    35     1   flags           reserved                                                     0
 *
 * The seed of a record's crc is the crc of the record before, XOR the salt: the first four bytes of the lineage id, read
 * as a big-endian number. The chain makes the crc at an offset a fingerprint of the whole log up to there; a swapped,
 * dropped or foreign record shows. The salt keeps what a client can put into a body from ever passing for a record when
 * recovery looks for records behind a damaged one: nobody outside knows it.
 *
 * Zeros never decode as a record: offset 0 does not exist.
 *
 * Example: the first segment of a log with one record, "hello" (145 bytes):
 *
 *   414e4e414c534547 0100 6800 01000000 0100000000000000 0068e5cf8b010000   magic .. createdAt
 *   c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1 0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d       clusterId, nodeId
 *   5ea15ea15ea15ea15ea15ea15ea15ea1 0100000000000000                       lineageId, epochFirst
 *   0000000000000000 00000000 0f5539be                                      chainTimestamp, chainCrc, headerCrc
 *   d7f1f4b1 05000000 0100000000000000 0368e5cf8b010000                     crc, length, offset, timestamp
 *   01000000 00000000 0300 01 00 68656c6c6f                                 epoch, unsynced, kind, version, flags, body
 */
import { crc32, crc32In } from "./checksum.js";
import { epoch as asEpoch, offset as asOffset, type Epoch, type Offset } from "./units.js";

const SEGMENT_MAGIC = "ANNALSEG";
export const SEGMENT_FORMAT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 104;
export const RECORD_HEADER_BYTES = 36;
/** No record is larger, whatever the settings; a reader bounds every length by it before it believes the length. */
export const RECORD_BODY_BYTES_MAX = 64 * 1024 * 1024;
export const ID_BYTES = 16;

export interface SegmentHeader {
  readonly epoch: Epoch;
  readonly baseOffset: Offset;
  readonly createdAt: number;
  /** Ids as 32 lower-case hex digits. */
  readonly clusterId: string;
  readonly nodeId: string;
  readonly lineageId: string;
  readonly epochFirst: Offset;
  /** Timestamp and crc of the record before `baseOffset`: with them the header alone is enough to start a verified read. */
  readonly chainTimestamp: number;
  readonly chainCrc: number;
}

export type SegmentHeaderFault = "short" | "magic" | "version" | "checksum" | "range";

const HEADER_CRC_AT = SEGMENT_HEADER_BYTES - 4;

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(SEGMENT_MAGIC, 0, "latin1");
  bytes.writeUInt16LE(SEGMENT_FORMAT_VERSION, 8);
  bytes.writeUInt16LE(SEGMENT_HEADER_BYTES, 10);
  bytes.writeUInt32LE(header.epoch, 12);
  bytes.writeBigUInt64LE(BigInt(header.baseOffset), 16);
  bytes.writeBigUInt64LE(BigInt(header.createdAt), 24);
  bytes.write(header.clusterId, 32, ID_BYTES, "hex");
  bytes.write(header.nodeId, 48, ID_BYTES, "hex");
  bytes.write(header.lineageId, 64, ID_BYTES, "hex");
  bytes.writeBigUInt64LE(BigInt(header.epochFirst), 80);
  bytes.writeBigUInt64LE(BigInt(header.chainTimestamp), 88);
  bytes.writeUInt32LE(header.chainCrc, 96);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_CRC_AT), 0), HEADER_CRC_AT);
  return bytes;
}

/** Decodes a segment header, or says what is wrong with it. Never throws, whatever the bytes. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | SegmentHeaderFault {
  if (bytes.length < SEGMENT_HEADER_BYTES) return "short";
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, SEGMENT_HEADER_BYTES);
  if (header.toString("latin1", 0, 8) !== SEGMENT_MAGIC) return "magic";
  const checksumHolds = header.readUInt32LE(HEADER_CRC_AT) === crc32(header.subarray(0, HEADER_CRC_AT), 0);
  // A sound header of another version is another release's file; a damaged version byte is damage.
  if (header.readUInt16LE(8) !== SEGMENT_FORMAT_VERSION) return checksumHolds ? "version" : "checksum";
  if (!checksumHolds || header.readUInt16LE(10) !== SEGMENT_HEADER_BYTES) return "checksum";
  const decoded: SegmentHeader = {
    epoch: asEpoch(header.readUInt32LE(12)),
    baseOffset: asOffset(Number(header.readBigUInt64LE(16))),
    createdAt: Number(header.readBigUInt64LE(24)),
    clusterId: header.toString("hex", 32, 48),
    nodeId: header.toString("hex", 48, 64),
    lineageId: header.toString("hex", 64, 80),
    epochFirst: asOffset(Number(header.readBigUInt64LE(80))),
    chainTimestamp: Number(header.readBigUInt64LE(88)),
    chainCrc: header.readUInt32LE(96),
  };
  return inRange(decoded) ? decoded : "range";
}

function inRange(header: SegmentHeader): boolean {
  return (
    header.epoch > 0 &&
    header.epochFirst > 0 &&
    header.epochFirst <= header.baseOffset &&
    Number.isSafeInteger(header.baseOffset) &&
    Number.isSafeInteger(header.createdAt) &&
    Number.isSafeInteger(header.chainTimestamp)
  );
}

/** What every record of a lineage mixes into the seed of its crc. */
export function chainSalt(lineageId: string): number {
  return Number.parseInt(lineageId.slice(0, 8), 16) >>> 0;
}

const TWO_32 = 4_294_967_296;

/** Writes a record's header without crc and unsynced, which `stampRecord` fills in when the record goes to the disk. */
export function writeRecordHeader(
  view: DataView,
  at: number,
  length: number,
  offset: Offset,
  timestamp: number,
  epoch: Epoch,
  kind: number,
  version: number,
): void {
  view.setUint32(at + 4, length, true);
  view.setUint32(at + 8, offset % TWO_32, true);
  view.setUint32(at + 12, Math.floor(offset / TWO_32), true);
  view.setUint32(at + 16, timestamp % TWO_32, true);
  view.setUint32(at + 20, Math.floor(timestamp / TWO_32), true);
  view.setUint32(at + 24, epoch, true);
  view.setUint16(at + 32, kind, true);
  view.setUint8(at + 34, version);
  view.setUint8(at + 35, 0);
}

/**
 * Finishes the record at `at`: sets `unsynced`, then the crc over everything after it. `seed` is the crc of the record
 * before, `salt` the lineage's. Returns the crc, which seeds the next record.
 */
export function stampRecord(
  view: DataView,
  at: number,
  unsynced: number,
  seed: number,
  salt: number,
): number {
  view.setUint32(at + 28, unsynced, true);
  const crc = computeRecordCrc(view, at, seed, salt);
  view.setUint32(at, crc, true);
  return crc;
}

/** The crc that the record at `at` must carry if the record before it has the crc `seed`. Its length must fit the bytes. */
export function computeRecordCrc(view: DataView, at: number, seed: number, salt: number): number {
  return crc32In(view, at + 4, at + RECORD_HEADER_BYTES + recordLength(view, at), (seed ^ salt) >>> 0);
}

/** The fields of a record header as they stand in the bytes: a rumour until the crc agrees. */
export const recordCrc = (view: DataView, at: number): number => view.getUint32(at, true);
export const recordLength = (view: DataView, at: number): number => view.getUint32(at + 4, true);
export const recordOffset = (view: DataView, at: number): Offset =>
  asOffset(view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * TWO_32);
export const recordTimestamp = (view: DataView, at: number): number =>
  view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * TWO_32;
export const recordEpoch = (view: DataView, at: number): Epoch => asEpoch(view.getUint32(at + 24, true));
export const recordUnsynced = (view: DataView, at: number): number => view.getUint32(at + 28, true);
export const recordFlags = (view: DataView, at: number): number => view.getUint8(at + 35);
