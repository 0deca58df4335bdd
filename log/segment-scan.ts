/**
 * Reads a segment from some point to its end and keeps what others need of it: its index, where it ends, the first
 * record that does not hold. Also loads the index of a sealed segment, by a scan when its index file cannot be used.
 */
import { ADVICE_DAMAGED, corruption, type Finding, lostBytes } from "./corruption.js";
import { ignoreDiskError } from "./errors.js";
import { LOG_DIRECTORY, segmentName } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import type { SegmentHeader } from "./format.js";
import { OffsetIndex, readIndexFile, writeIndexFile } from "./offset-index.js";
import {
  type BadRecord,
  basePoint,
  CHUNK_BYTES,
  type ReadPoint,
  type RecordBatch,
  readBatch,
} from "./segment-reader.js";
import { position as asPosition, BEFORE_FIRST, type Offset } from "./units.js";

export interface SegmentScan {
  readonly index: OffsetIndex;
  /** The end, or the first bad record. */
  readonly next: ReadPoint;
  /** Highest offset that the records' `unsynced` prove durable on the disk of the node that wrote them. */
  readonly proven: Offset;
  readonly bad?: BadRecord;
}

/** Verifies every record between the segment's beginning and `end` (bytes), handing each batch to `onBatch`, which may take its time. */
export async function scanSegment(
  handle: FileHandle,
  header: SegmentHeader,
  end: number,
  onBatch?: (batch: RecordBatch, from: ReadPoint) => unknown,
  chunkBytes = CHUNK_BYTES,
): Promise<SegmentScan> {
  let next = basePoint(header);
  let proven = BEFORE_FIRST;
  const index = OffsetIndex.empty(next);
  for (;;) {
    const batch = await readBatch(handle, next, end, header, chunkBytes);
    await onBatch?.(batch, next);
    notePoints(index, batch, next);
    if (batch.proven > proven) proven = batch.proven;
    next = batch.next;
    if (batch.bad !== undefined) return { index, next, proven, bad: batch.bad };
    if (batch.records.length === 0) return { index, next, proven };
  }
}

/** Adds what `batch`, read at `from`, has to say to the index: a read point is a record and what the one before left. */
export function notePoints(index: OffsetIndex, batch: RecordBatch, from: ReadPoint): void {
  for (let i = 0; i < batch.records.length; i++) {
    if (!index.wants(batch.positions[i] ?? 0)) continue;
    index.note(pointAt(batch, from, i));
  }
}

/** The read point of the i-th record of a batch that was read at `from`. */
export function pointAt(batch: RecordBatch, from: ReadPoint, i: number): ReadPoint {
  const record = batch.records[i];
  const position = batch.positions[i];
  const before = batch.records[i - 1];
  if (record === undefined || position === undefined) return batch.next;
  if (before === undefined) return from;
  return {
    offset: record.offset,
    position: asPosition(position),
    seed: before.crc,
    timestamp: before.timestamp,
  };
}

/** What loading an index takes of a sealed segment. `bytes` is its exact size. */
export interface SealedSegment {
  readonly header: SegmentHeader;
  readonly bytes: number;
}

export interface LoadedIndex {
  readonly index: OffsetIndex;
  /** One after the segment's last record. */
  readonly end: ReadPoint;
}

/**
 * The index of a sealed segment: from its file, or by a scan when that is lost, damaged, or of another size. With
 * `keep` the rebuilt index is written again; that this fails (a full disk) harms nothing, so it is not an error.
 * @throws LogError LOG_CORRUPT when the scan finds anything but whole records up to the exact end.
 */
export async function loadIndex(
  files: FileSystem,
  logDirectory: string,
  segment: SealedSegment,
  keep = true,
): Promise<LoadedIndex> {
  const { header, bytes } = segment;
  const read = await readIndexFile(files, logDirectory, header, bytes);
  return read ?? rebuildIndex(files, logDirectory, segment, keep);
}

/** As `loadIndex`, by a scan in any case. */
export async function rebuildIndex(
  files: FileSystem,
  logDirectory: string,
  segment: SealedSegment,
  keep = true,
): Promise<LoadedIndex> {
  const { header, bytes } = segment;
  const name = segmentName(header.baseOffset);
  const handle = await files.open(`${logDirectory}/${name}`, "read");
  try {
    const scan = await scanSegment(handle, header, bytes);
    if (scan.bad !== undefined) throw corruption(findingOfBad(`${LOG_DIRECTORY}/${name}`, scan.bad));
    if (keep) await writeIndexFile(files, logDirectory, header, scan.index, scan.next).catch(ignoreDiskError);
    return { index: scan.index, end: scan.next };
  } finally {
    await handle.close();
  }
}

/** What is wrong with a bad record, in words. */
export function findingOfBad(file: string, bad: BadRecord): Finding {
  const place = { file, position: bad.position, offset: bad.offset, advice: ADVICE_DAMAGED };
  const { expected = 0, found = 0 } = bad;
  switch (bad.reason) {
    case "short":
      return {
        code: "record",
        ...place,
        expected: `${expected} more bytes`,
        found: `${found} before the end of the file`,
      };
    case "zero":
      return { code: "record", ...place, expected: "a record", found: "zeros" };
    case "crc":
      return { code: "record", ...place, expected: `crc ${hex(expected)}`, found: `crc ${hex(found)}` };
    case "length":
      return { code: "record", ...place, expected: `a body of at most ${expected} bytes`, found: `${found}` };
    case "unreadable":
      return lostBytes(file, found, bad.offset);
    case "timestamp":
      return { code: "record", ...place, expected: `a timestamp of at least ${expected}`, found: `${found}` };
    case "offset":
    case "epoch":
    case "flags":
      return {
        code: "record",
        ...place,
        expected: `${bad.reason} ${expected}`,
        found: `${bad.reason} ${found}`,
      };
  }
}

export const hex = (crc: number): string => `0x${crc.toString(16).padStart(8, "0")}`;
