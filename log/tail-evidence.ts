/**
 * Gathers what the decision at the end of the tail segment needs from the file: whether only zeros follow, and which
 * valid records lie behind the first bad one. Changes nothing.
 */
import type { Finding } from "./corruption.js";
import type { DirectoryState } from "./data-directory.js";
import type { FileHandle } from "./file-system.js";
import { RECORD_BODY_BYTES_MAX, type SegmentHeader } from "./format.js";
import { firstLost, isUnreadable, readFully } from "./read-bytes.js";
import { findLaterRecords, type LaterRecords } from "./resync.js";
import { type SegmentFile, shownPath } from "./segment-chain.js";
import { type BadRecord, CHUNK_BYTES, type ReadPoint, readBatch } from "./segment-reader.js";
import { isOwnWriter, judgeTail } from "./torn-or-corrupt.js";
import { BEFORE_FIRST } from "./units.js";

export interface AfterEnd {
  readonly onlyZeros: boolean;
  /** Position after the last byte that is not zero; `next.position` if there is none. */
  readonly contentEnd: number;
  readonly later: LaterRecords;
  /** Where the disk gives nothing back: then the rest was not looked at. */
  readonly lostAt?: number;
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
  try {
    return await lookAfterEnd(handle, header, next, end);
  } catch (error) {
    const lostAt = isUnreadable(error) ? await firstLost(handle, next.position, end) : undefined;
    if (lostAt === undefined) throw error;
    return { onlyZeros: false, contentEnd: next.position, later: NOTHING, lostAt };
  }
}

async function lookAfterEnd(
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

/** Where the good records of a tail segment end, and what its directory says of it. */
export interface SeenEnd extends DirectoryState {
  readonly next: ReadPoint;
  readonly bad: BadRecord | undefined;
  /** Of the file, in bytes. */
  readonly size: number;
}

/**
 * What is wrong there in the eyes of somebody who does not own the log, or undefined: as recovery would judge it, but that
 * it was closed cleanly proves nothing, for its owner may have opened it since. Nor does what follows prove anything when
 * the record at the end is there by now: its owner was writing it.
 */
export async function findingAtEnd(
  handle: FileHandle,
  { name, header }: SegmentFile,
  { next, bad, size, recoveryPoint, identity, isFollowing }: SeenEnd,
): Promise<Finding | undefined> {
  const verdict = judgeTail({
    file: shownPath(name),
    next,
    bad,
    ...(await readAfterEnd(handle, header, next, size)),
    recoveryPoint: recoveryPoint === undefined ? undefined : { ...recoveryPoint, clean: false },
    isOwnWriter: isOwnWriter(header, identity, isFollowing),
  });
  if (verdict.type !== "corrupt") return undefined;
  return (await isThereByNow(handle, header, next)) ? undefined : verdict.finding;
}

/**
 * Whether the record at `next`, which did not hold a moment ago, does now: its writer was under way, and what was read behind it was
 * written after the first look.
 */
export async function isThereByNow(
  handle: FileHandle,
  header: SegmentHeader,
  next: ReadPoint,
): Promise<boolean> {
  const { records } = await readBatch(handle, next, await handle.size(), header);
  return records.length > 0;
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
