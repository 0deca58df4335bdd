/**
 * Snapshots as earlier releases wrote them. Made from those of today by taking away what was not there yet; that they are byte for byte
 * the older release's own is shown by the fixture that it left (`test/projections/snapshot-format.test.ts`).
 */
import { createHash } from "node:crypto";
import { decodeMulti, encode } from "@msgpack/msgpack";
import { crc32 } from "../../log/index.js";
import {
  CHUNK_BODY_BYTES_MAX,
  CHUNK_HEADER_BYTES,
  decodeFooter,
  encodeFooter,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerCrcOf,
  readChunkHeader,
  stampChunk,
} from "../../projections/snapshot/format.js";

const KV = 1;

interface SectionRows {
  readonly section: number;
  readonly bytes: Buffer;
}

/** A whole snapshot file of the newest format as one of format 1. */
export function asFormat1(file: Uint8Array): Buffer {
  const bytes = Buffer.from(file);
  const header = Buffer.from(bytes.subarray(0, HEADER_BYTES));
  header.writeUInt16LE(1, 8);
  header.writeUInt32LE(crc32(header.subarray(0, HEADER_BYTES - 4), 0), HEADER_BYTES - 4);
  const written = Buffer.concat([header, ...chunksOf(rowsOf(bytes).flatMap(rowsOf1), headerCrcOf(header))]);
  const footer = decodeFooter(bytes.subarray(-FOOTER_BYTES), headerCrcOf(bytes));
  if (typeof footer === "string") throw new Error(`no snapshot: ${footer}`);
  const chunks = countChunks(written);
  const end = encodeFooter({ ...footer, bytes: written.length + FOOTER_BYTES, chunks }, headerCrcOf(header));
  const hashed = Buffer.concat([written, end]);
  return Buffer.concat([hashed, createHash("sha256").update(hashed).digest()]);
}

/** The rows of each chunk, those that go on over several put together. */
function rowsOf(file: Buffer): SectionRows[] {
  const found: SectionRows[] = [];
  let begun: Buffer[] = [];
  for (let at = HEADER_BYTES; at < file.length - FOOTER_BYTES; ) {
    const { length, section, more } = readChunkHeader(file, at);
    begun.push(file.subarray(at + CHUNK_HEADER_BYTES, at + CHUNK_HEADER_BYTES + length));
    if (more === 0) {
      found.push({ section, bytes: Buffer.concat(begun) });
      begun = [];
    }
    at += CHUNK_HEADER_BYTES + length;
  }
  return found;
}

/** Of the first row two fields, of a key five, of a removed key nothing. */
function rowsOf1({ section, bytes }: SectionRows): SectionRows[] {
  if (section !== KV) return [{ section, bytes }];
  const kept = [...decodeMulti(bytes)].flatMap((row) => {
    const fields = row as unknown[];
    if (typeof fields[0] === "number") return [fields.slice(0, 2)];
    return fields.length === 6 ? [fields.slice(0, 5)] : [];
  });
  const older = Buffer.concat(kept.map((row) => encode(row)));
  return older.length === 0 ? [] : [{ section, bytes: older }];
}

function chunksOf(rows: readonly SectionRows[], headerCrc: number): Buffer[] {
  let crc = headerCrc;
  const chunks: Buffer[] = [];
  for (const { section, bytes } of rows) {
    for (let from = 0; from < bytes.length; from += CHUNK_BODY_BYTES_MAX) {
      const body = bytes.subarray(from, from + CHUNK_BODY_BYTES_MAX);
      const chunk = Buffer.concat([Buffer.alloc(CHUNK_HEADER_BYTES), body]);
      const more = from + body.length < bytes.length ? 1 : 0;
      crc = stampChunk(chunk, 0, { length: body.length, section, more }, crc);
      chunks.push(chunk);
    }
  }
  return chunks;
}

function countChunks(written: Buffer): number {
  let chunks = 0;
  for (let at = HEADER_BYTES; at < written.length; chunks++)
    at += CHUNK_HEADER_BYTES + readChunkHeader(written, at).length;
  return chunks;
}
