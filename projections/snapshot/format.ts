/**
 * Byte layout of a snapshot file: pure, no I/O. `README.md` repeats the tables for readers and a test keeps the two
 * equal. Integers are little-endian.
 *
 * Snapshot = header (88 bytes), chunks, footer (260 bytes).
 *
 *   place bytes field         meaning                                                   checked on read
 *     0     8   magic         "ANNALSNP"                                                equal
 *     8     2   version       format version, 2; of earlier ones, 1 is read             known; else SNAPSHOT_VERSION_UNKNOWN
 *    10     2   headerBytes   88                                                        equal
 *    12     4   epoch         leadership that wrote the record at offset                > 0, = the log's
 *    16     8   offset        last record that the state contains                       > 0, = the name's
 *    24     8   timestamp     ms since 1970, of that record                             = the name's, = the log's
 *    32    16   clusterId     of the log                                                = the log's
 *    48    16   lineageId     of that epoch                                             = the log's
 *    64     8   clock         ms since 1970: no decision on this state is older         ≥ timestamp
 *    72     8   createdAt     ms since 1970, by whoever made it                         –
 *    80     4   crc           chained crc of the record at offset                       = the log's
 *    84     4   headerCrc     CRC-32 of bytes 0..83                                     equal, after magic
 *
 * Chunk = header (12 bytes), then the body. Rows lie whole in a chunk; a row that is too large for one goes on in the next, and
 * so do the rows that were written together with it.
 *
 *     0     4   crc           CRC-32 of all that follows, body included, seeded with    equal
 *                             the crc of the chunk before; the first with headerCrc
 *     4     4   length        bytes of the body                                         1 to 262,144, before it is used
 *     8     2   section       whose rows: 1 kv, 2 queue, 3 stream, 4 idempotency,       known, ≥ the one before
 *                             5 restore points
 *    10     2   more          1 = the next chunk goes on where this one ends            0 or 1; then the same section follows
 *
 * Footer, the last 260 bytes of the file.
 *
 *     0     8   magic         "ANNALEND"                                                equal
 *     8     8   bytes         of the whole file                                         equal
 *    16     8   chunks        how many                                                  equal
 *    24     8   keys          how many are in the state                                 = what was read
 *    32     8   queues        the same                                                  the same
 *    40     8   messages      the same                                                  the same
 *    48     8   streams       the same                                                  the same
 *    56     8   answers       the same                                                  the same
 *    64    32   digest kv     SHA-256 of the keys that are there at clock               by whoever compares states
 *    96    32   digest queue  of the queues                                             the same
 *   128    32   digest stream of the streams                                            the same
 *   160    32   digest idempotency   of the answers kept at clock                       the same
 *   192    32   digest all    over the four                                             the same
 *   224     4   footerCrc     CRC-32 of the footer's bytes 0..223, seeded with headerCrc   equal, before it is believed
 *   228    32   sha256        of everything before it in the file                       equal
 *
 * Why two checksums: the crc of a chunk is checked before a row of it is believed, while it streams by; the SHA-256 says of the whole
 * file that it is the one that was written, to this release, to a backup and to whoever holds a copy. Header and footer hold
 * by themselves, so that a list of snapshots needs no look at what is between them.
 *
 * Every byte of the file is under one of the two, and nothing is behind the footer: a flipped byte and a cut end both show.
 *
 * Rows are MessagePack values, one behind the other; `snapshot.ts` of each projection says what is in them. Their shape, and what the
 * digests are over, belong to the format version. In version 1 the rows of kv tell nothing of removed keys, and not whether the
 * chain of a key is whole; all else is the same.
 *
 * Example: the beginning of a snapshot of one key, k = "v":
 *
 *   414e4e414c534e50 0200 5800 01000000 0100000000000000 0368e5cf8b010000   magic .. timestamp
 *   c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1 5ea15ea15ea15ea15ea15ea15ea15ea1       clusterId, lineageId
 *   0368e5cf8b010000 0468e5cf8b010000 d7f1f4b1 b7279da1                     clock, createdAt, crc, headerCrc
 *   43a64338 0f000000 0100 0000                                             a chunk of section 1: crc, length, section, more
 *   93 01 00 01 96 c4016b c40176 00 c0 01 01                                two rows: what of all keys, then the key
 */
import { epoch as asEpoch, offset as asOffset, assert, crc32 } from "../../log/index.js";
import type { Digests } from "../fold.js";
import type { SnapshotCounts, SnapshotMark } from "./contract.js";

/** The one that is written. */
export const SNAPSHOT_FORMAT_VERSION = 2;
/** The oldest that is read: from here on every one is, for ever. */
export const SNAPSHOT_FORMAT_OLDEST = 1;
export const HEADER_BYTES = 88;
export const CHUNK_HEADER_BYTES = 12;
export const CHUNK_BODY_BYTES_MAX = 256 * 1024;
export const FOOTER_BYTES = 260;
const SHA_BYTES = 32;
const HEADER_CRC_AT = 84;
const FOOTER_CRC_AT = 224;
/** Of the footer's bytes, those that the SHA-256 covers. */
export const FOOTER_HASHED_BYTES = FOOTER_BYTES - SHA_BYTES;

const MAGIC = "ANNALSNP";
const END_MAGIC = "ANNALEND";

export interface SnapshotHeader extends SnapshotMark {
  readonly formatVersion: number;
  readonly clock: number;
  readonly createdAt: number;
}

export interface SnapshotFooter {
  readonly bytes: number;
  readonly chunks: number;
  readonly counts: SnapshotCounts;
  readonly digests: Digests;
}

/** What does not hold. `version` is not damage. */
export type FormatFault = "short" | "magic" | "version" | "checksum" | "range";

const COUNTS = ["keys", "queues", "messages", "streams", "answers"] as const;
const DIGESTS = ["kv", "queue", "stream", "idempotency", "all"] as const;

/** Of the newest format version. */
export function encodeHeader(header: Omit<SnapshotHeader, "formatVersion">): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(MAGIC, 0, "latin1");
  bytes.writeUInt16LE(SNAPSHOT_FORMAT_VERSION, 8);
  bytes.writeUInt16LE(HEADER_BYTES, 10);
  bytes.writeUInt32LE(header.epoch, 12);
  bytes.writeBigUInt64LE(BigInt(header.offset), 16);
  bytes.writeBigUInt64LE(BigInt(header.timestamp), 24);
  assert(header.clusterId.length === 32 && header.lineageId.length === 32, "an id has 32 hex digits");
  bytes.write(header.clusterId, 32, "hex");
  bytes.write(header.lineageId, 48, "hex");
  bytes.writeBigUInt64LE(BigInt(header.clock), 64);
  bytes.writeBigUInt64LE(BigInt(header.createdAt), 72);
  bytes.writeUInt32LE(header.crc, 80);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_CRC_AT), 0), HEADER_CRC_AT);
  return bytes;
}

export const headerCrcOf = (header: Buffer): number => header.readUInt32LE(HEADER_CRC_AT);

/** Of a header, whatever release wrote it. */
export const versionOf = (header: Buffer): number => header.readUInt16LE(8);

/** Decodes a header, or says what is wrong with it. Never throws, whatever the bytes. */
export function decodeHeader(bytes: Buffer): SnapshotHeader | FormatFault {
  if (bytes.length < HEADER_BYTES) return "short";
  if (bytes.toString("latin1", 0, 8) !== MAGIC) return "magic";
  const checksumHolds = headerCrcOf(bytes) === crc32(bytes.subarray(0, HEADER_CRC_AT), 0);
  // A sound header of another version is another release's file; a damaged version byte is damage.
  if (!checksumHolds) return "checksum";
  const formatVersion = versionOf(bytes);
  if (formatVersion < SNAPSHOT_FORMAT_OLDEST || formatVersion > SNAPSHOT_FORMAT_VERSION) return "version";
  const header: SnapshotHeader = {
    formatVersion,
    clusterId: bytes.toString("hex", 32, 48),
    lineageId: bytes.toString("hex", 48, 64),
    epoch: asEpoch(bytes.readUInt32LE(12)),
    offset: asOffset(u64(bytes, 16)),
    timestamp: u64(bytes, 24),
    crc: bytes.readUInt32LE(80),
    clock: u64(bytes, 64),
    createdAt: u64(bytes, 72),
  };
  const numbers = [header.offset, header.timestamp, header.clock, header.createdAt];
  const inRange = header.epoch > 0 && header.offset > 0 && header.clock >= header.timestamp;
  return inRange && numbers.every(Number.isSafeInteger) && bytes.readUInt16LE(10) === HEADER_BYTES
    ? header
    : "range";
}

/** The footer without its SHA-256, which follows it. */
export function encodeFooter(footer: SnapshotFooter, headerCrc: number): Buffer {
  const bytes = Buffer.alloc(FOOTER_HASHED_BYTES);
  bytes.write(END_MAGIC, 0, "latin1");
  bytes.writeBigUInt64LE(BigInt(footer.bytes), 8);
  bytes.writeBigUInt64LE(BigInt(footer.chunks), 16);
  COUNTS.forEach((name, index) => {
    bytes.writeBigUInt64LE(BigInt(footer.counts[name]), 24 + 8 * index);
  });
  DIGESTS.forEach((name, index) => {
    bytes.write(footer.digests[name], 64 + 32 * index, "hex");
  });
  bytes.writeUInt32LE(crc32(bytes.subarray(0, FOOTER_CRC_AT), headerCrc), FOOTER_CRC_AT);
  return bytes;
}

/** `bytes`: the footer, at least without its SHA-256. */
export function decodeFooter(
  bytes: Buffer,
  headerCrc: number,
): SnapshotFooter | Exclude<FormatFault, "version"> {
  if (bytes.length < FOOTER_HASHED_BYTES) return "short";
  if (bytes.toString("latin1", 0, 8) !== END_MAGIC) return "magic";
  const crc = crc32(bytes.subarray(0, FOOTER_CRC_AT), headerCrc);
  if (bytes.readUInt32LE(FOOTER_CRC_AT) !== crc) return "checksum";
  const [keys, queues, messages, streams, answers] = COUNTS.map((_, index) => u64(bytes, 24 + 8 * index));
  const [kv, queue, stream, idempotency, all] = DIGESTS.map((_, index) =>
    bytes.toString("hex", 64 + 32 * index, 96 + 32 * index),
  );
  return {
    bytes: u64(bytes, 8),
    chunks: u64(bytes, 16),
    counts: {
      keys: keys ?? 0,
      queues: queues ?? 0,
      messages: messages ?? 0,
      streams: streams ?? 0,
      answers: answers ?? 0,
    },
    digests: {
      kv: kv ?? "",
      queue: queue ?? "",
      stream: stream ?? "",
      idempotency: idempotency ?? "",
      all: all ?? "",
    },
  };
}

export interface ChunkHeader {
  readonly crc: number;
  readonly length: number;
  readonly section: number;
  readonly more: number;
}

/** Writes a chunk's header to `into` at `at`, the body being there behind it already; returns its crc. */
export function stampChunk(
  into: Buffer,
  at: number,
  { length, section, more }: Omit<ChunkHeader, "crc">,
  seed: number,
): number {
  into.writeUInt32LE(length, at + 4);
  into.writeUInt16LE(section, at + 8);
  into.writeUInt16LE(more, at + 10);
  const crc = crc32(into.subarray(at + 4, at + CHUNK_HEADER_BYTES + length), seed);
  into.writeUInt32LE(crc, at);
  return crc;
}

/** The fields as they stand in the bytes: a rumour until the crc agrees. */
export function readChunkHeader(bytes: Buffer, at: number): ChunkHeader {
  return {
    crc: bytes.readUInt32LE(at),
    length: bytes.readUInt32LE(at + 4),
    section: bytes.readUInt16LE(at + 8),
    more: bytes.readUInt16LE(at + 10),
  };
}

/** The crc that the chunk at `at` must have; all of it is there. */
export function chunkCrc(bytes: Buffer, at: number, length: number, seed: number): number {
  return crc32(bytes.subarray(at + 4, at + CHUNK_HEADER_BYTES + length), seed);
}

/** Past 2^53 it is no safe integer, which whoever asks finds out. */
const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));
