/**
 * What of a log is in the repository already and what has to be sent. A segment is covered by pieces that follow each
 * other: what the last backup had of it, and from there on what came since. So a backup sends each record once, however
 * full the tail segment was – until a segment lies in too many pieces; then it is sent anew as one.
 *
 * That a piece belongs to this log is told by lineage and chained crc: the crc at its end is the fingerprint of everything
 * up to there.
 */
import {
  offset as asOffset,
  bytesFrom,
  type FileSystem,
  type LogView,
  type ResumePoint,
  resumePoints,
  type SegmentExtent,
} from "../../log/index.js";
import type { SegmentEntry } from "./manifest.js";

/** More pieces of one segment cost a restore more than sending it once more. */
export const PIECES_MAX = 32;

export interface ExtentPlan {
  readonly extent: SegmentExtent;
  /** Pieces of the repository that cover its beginning, in order. */
  readonly reused: readonly SegmentEntry[];
  /** What is to be sent: all of it, or from a place on; undefined when nothing is missing. */
  readonly rest: { readonly from?: ResumePoint; readonly bytes: number } | undefined;
}

export interface PlanOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly view: Pick<LogView, "extents">;
  /** Segments of the newest backup, in the order of offsets. */
  readonly known: readonly SegmentEntry[];
  /** Sizes of the objects that are there. */
  readonly there: ReadonlyMap<string, number>;
}

/** @throws LogError LOG_CORRUPT, LOG_OFFSET_RETIRED. */
export async function planSegments(options: PlanOptions): Promise<ExtentPlan[]> {
  const { view, known, there } = options;
  const byBase = new Map(known.map((entry) => [entry.baseOffset, entry]));
  const isThere = ({ name, bytes }: SegmentEntry): boolean => there.get(name) === bytes;
  const plans: ExtentPlan[] = [];
  for (const extent of view.extents) {
    const pieces = piecesOf(extent, byBase, isThere);
    plans.push(await planExtent(options, extent, pieces));
  }
  return plans;
}

/** Pieces from the extent's beginning on that follow each other, by what they say of themselves. */
function piecesOf(
  extent: SegmentExtent,
  byBase: ReadonlyMap<number, SegmentEntry>,
  isThere: (entry: SegmentEntry) => boolean,
): SegmentEntry[] {
  const pieces: SegmentEntry[] = [];
  let base: number = extent.firstOffset;
  let crc = extent.header.chainCrc;
  for (;;) {
    const piece = byBase.get(base);
    if (piece === undefined || !isThere(piece) || piece.endOffset > extent.lastOffset) return pieces;
    if (piece.lineageId !== extent.header.lineageId || piece.chainCrc !== crc) return pieces;
    pieces.push(piece);
    base = piece.endOffset + 1;
    crc = piece.endCrc;
  }
}

async function planExtent(
  options: PlanOptions,
  extent: SegmentExtent,
  pieces: readonly SegmentEntry[],
): Promise<ExtentPlan> {
  const whole: ExtentPlan = { extent, reused: [], rest: { bytes: extent.bytes } };
  const last = pieces[pieces.length - 1];
  if (last === undefined) return whole;
  if (last.endOffset === extent.lastOffset && last.endCrc === extent.lastCrc)
    return { extent, reused: pieces, rest: undefined };
  if (pieces.length >= PIECES_MAX) return whole;
  const ends = pieces.map(({ endOffset }) => asOffset(endOffset));
  const points = await resumePoints(options.files, options.dataDirectory, extent, ends);
  // A record may have been lost with the power and its offset given to another: then the pieces part from the log.
  const agreeing = pieces.findLastIndex(
    ({ endOffset, endCrc }) => points.get(asOffset(endOffset))?.seed === endCrc,
  );
  const agreed = pieces[agreeing];
  const from = agreed === undefined ? undefined : points.get(asOffset(agreed.endOffset));
  if (from === undefined) return whole;
  return {
    extent,
    reused: pieces.slice(0, agreeing + 1),
    rest: from.offset > extent.lastOffset ? undefined : { from, bytes: bytesFrom(extent, from) },
  };
}
