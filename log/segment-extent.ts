/**
 * The segments of a log view as files to be moved elsewhere: what each holds, and its bytes as a segment file of its own,
 * whole, cut at the end of the view, or from some record on. Whoever moves them sees no position.
 */
import { ADVICE_DAMAGED, corruption, lostBytes } from "./corruption.js";
import { errnoOf } from "./errors.js";
import { LOG_DIRECTORY, parseSegmentName } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { encodeSegmentHeader, type SegmentHeader } from "./format.js";
import { readGiven } from "./read-bytes.js";
import { retired } from "./refusals.js";
import { listSegments, lostFile, shownPath } from "./segment-chain.js";
import { CHUNK_BYTES, type ReadPoint } from "./segment-reader.js";
import { findingOfBad, pointAt, scanSegment } from "./segment-scan.js";
import { offset as asOffset, type Offset } from "./units.js";

/** One segment of a view, up to the view's end. */
export interface SegmentExtent {
  /** Below the data directory. */
  readonly file: string;
  readonly header: SegmentHeader;
  readonly firstOffset: Offset;
  readonly lastOffset: Offset;
  /** Chained crc of the record at `lastOffset`. */
  readonly lastCrc: number;
  /** Bytes of the file that the view shows. */
  readonly bytes: number;
  /** The file has exactly these bytes and never changes again. */
  readonly sealed: boolean;
}

/** A place between two records of an extent, from which its rest can be read. */
export type ResumePoint = ReadPoint;

/**
 * The places after each of `offsets`, which lie in the extent; `seed` of a place is the crc of the record before it.
 * @throws LogError LOG_CORRUPT, LOG_OFFSET_RETIRED when the owner of the log has removed the file.
 */
export async function resumePoints(
  files: FileSystem,
  dataDirectory: string,
  extent: SegmentExtent,
  offsets: readonly Offset[],
): Promise<ReadonlyMap<Offset, ResumePoint>> {
  const wanted = new Set<Offset>(offsets);
  const found = new Map<Offset, ResumePoint>();
  const handle = await openExtent(files, dataDirectory, extent);
  try {
    const scan = await scanSegment(handle, extent.header, extent.bytes, (batch, from) => {
      for (const last of wanted) {
        const after = last + 1 - from.offset;
        if (after > 0 && after <= batch.records.length) found.set(last, pointAt(batch, from, after));
      }
    });
    if (scan.bad !== undefined) throw corruption(findingOfBad(extent.file, scan.bad));
    return found;
  } finally {
    await handle.close();
  }
}

/**
 * Of `extents`, what does not lie beyond `last`: the one that holds it is cut behind it.
 * @throws LogError LOG_CORRUPT, LOG_OFFSET_RETIRED.
 */
export async function extentsUpTo(
  files: FileSystem,
  dataDirectory: string,
  extents: readonly SegmentExtent[],
  last: Offset,
): Promise<SegmentExtent[]> {
  const within = extents.filter(({ firstOffset }) => firstOffset <= last);
  const holding = within[within.length - 1];
  if (holding === undefined || holding.lastOffset <= last) return within;
  const end = (await resumePoints(files, dataDirectory, holding, [last])).get(last);
  if (end === undefined) throw new RangeError(`offset ${last} is not in ${holding.file}`);
  const cut = { lastOffset: last, lastCrc: end.seed, bytes: end.position, sealed: false };
  return [...within.slice(0, -1), { ...holding, ...cut }];
}

/**
 * The extent as a segment file: as it is, or from `from` on with a header that says so. The bytes are not verified here:
 * `checkSegment` does it where they arrive.
 * @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT when the file has become shorter, or the disk does not give it back.
 */
export async function* segmentBytes(
  files: FileSystem,
  dataDirectory: string,
  extent: SegmentExtent,
  from?: ResumePoint,
): AsyncGenerator<Uint8Array, void> {
  const handle = await openExtent(files, dataDirectory, extent);
  try {
    if (from !== undefined)
      yield encodeSegmentHeader({
        ...extent.header,
        baseOffset: from.offset,
        chainCrc: from.seed,
        chainTimestamp: from.timestamp,
      });
    for (let at: number = from?.position ?? 0; at < extent.bytes; ) {
      const { bytes, lostAt } = await readGiven(handle, at, Math.min(CHUNK_BYTES, extent.bytes - at));
      if (lostAt !== undefined) throw corruption(lostBytes(extent.file, lostAt));
      if (bytes.length === 0)
        throw corruption({
          code: "missing",
          file: extent.file,
          position: at,
          expected: `${extent.bytes - at} more bytes`,
          found: "the end of the file",
          advice: ADVICE_DAMAGED,
        });
      yield bytes;
      at += bytes.length;
    }
  } finally {
    await handle.close();
  }
}

/** How many bytes `segmentBytes` will read of the extent. */
export function bytesFrom(extent: SegmentExtent, from?: ResumePoint): number {
  return extent.bytes - (from?.position ?? 0);
}

/** The extents of an ordered list of segments; the last one ends at `end`. Empty segments are left out. */
export function extentsOf(
  segments: readonly { readonly name: string; readonly header: SegmentHeader; readonly bytes: number }[],
  end: ReadPoint,
): SegmentExtent[] {
  return segments.flatMap(({ name, header, bytes }, i) => {
    const next = segments[i + 1]?.header;
    const after = next?.baseOffset ?? end.offset;
    if (after === header.baseOffset) return [];
    return {
      file: shownPath(name),
      header,
      firstOffset: header.baseOffset,
      lastOffset: asOffset(after - 1),
      lastCrc: next?.chainCrc ?? end.seed,
      bytes: next === undefined ? end.position : bytes,
      sealed: next !== undefined,
    };
  });
}

async function openExtent(
  files: FileSystem,
  dataDirectory: string,
  extent: SegmentExtent,
): Promise<FileHandle> {
  try {
    return await files.open(`${dataDirectory}/${extent.file}`, "read");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
    const names = await listSegments(files, `${dataDirectory}/${LOG_DIRECTORY}`);
    const first = parseSegmentName(names[0] ?? "");
    if (first !== undefined && first > extent.firstOffset) throw retired(extent.firstOffset, first);
    throw corruption(lostFile(extent.file, extent.firstOffset));
  }
}
