/**
 * Gathers what the decision at the end of the tail segment needs from the file: whether only zeros follow, and which
 * valid records lie behind the first bad one. Changes nothing.
 */
import type { FileHandle } from "./file-system.js";
import { RECORD_BODY_BYTES_MAX, type SegmentHeader } from "./format.js";
import { findLaterRecords, type LaterRecords } from "./resync.js";
import { CHUNK_BYTES, type ReadPoint, readFully } from "./segment-reader.js";
import { BEFORE_FIRST } from "./units.js";

export interface AfterEnd {
  readonly onlyZeros: boolean;
  /** Position after the last byte that is not zero; `next.position` if there is none. */
  readonly contentEnd: number;
  readonly later: LaterRecords;
}

const NOTHING: LaterRecords = { count: 0, last: BEFORE_FIRST, proven: BEFORE_FIRST };
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/**
 * What lies between `next`, where the good records end, and `end`, the size of the file. Holds in memory what is not
 * zero there, and up to one largest body of zeros after it (a record may end in zeros).
 */
export async function readAfterEnd(
  handle: FileHandle,
  header: SegmentHeader,
  next: ReadPoint,
  end: number,
): Promise<AfterEnd> {
  const contentEnd = await findContentEnd(handle, next.position, end);
  if (contentEnd === next.position) return { onlyZeros: true, contentEnd, later: NOTHING };
  const bytes = await readFully(
    handle,
    next.position,
    Math.min(end, contentEnd + RECORD_BODY_BYTES_MAX) - next.position,
  );
  return { onlyZeros: false, contentEnd, later: findLaterRecords(bytes, next, header, next.offset) };
}

/** Position after the last byte between `from` and `end` that is not zero, or `from`. Looks from the end backwards. */
async function findContentEnd(handle: FileHandle, from: number, end: number): Promise<number> {
  for (let chunkEnd = end; chunkEnd > from; ) {
    const start = Math.max(from, chunkEnd - CHUNK_BYTES);
    const bytes = await readFully(handle, start, chunkEnd - start);
    if (!ZEROS.subarray(0, bytes.length).equals(bytes)) {
      let at = bytes.length;
      while (at > 0 && bytes[at - 1] === 0) at -= 1;
      return start + at;
    }
    chunkEnd = start;
  }
  return from;
}
