/**
 * Where two logs part. Equality of positions is monotone: the crc at an offset is chained over everything before it, so where two logs have
 * the same position they are the same up to there, and where they differ they differ ever after. The last common record is found exactly, by
 * bisection; each question costs one message.
 */
import { offset as asOffset, type Offset } from "../log/index.js";
import { isSamePosition, type Position } from "./position.js";

/** Two for the ends, and one for every time that the range between them, which a number holds, can be halved. */
export const PROBES_MAX = 2 + 53;

export interface ComparedLog {
  /** Of the oldest record that is kept. */
  readonly firstOffset: Offset;
  /** As far as it may be compared. */
  readonly last: Offset;
  /** Of a record between the two. */
  positionAt(offset: Offset): Promise<Position>;
}

/** The last position that both logs have; undefined when no record that both keep is the same. */
export async function lastCommon(a: ComparedLog, b: ComparedLog): Promise<Position | undefined> {
  const first = Math.max(a.firstOffset, b.firstOffset, 1);
  let end = Math.min(a.last, b.last);
  if (end < first) return undefined;
  const atEnd = await commonAt(a, b, end);
  if (atEnd !== undefined || end === first) return atEnd;
  let common = await commonAt(a, b, first);
  // They are the same at `common`, and differ at `end`.
  while (common !== undefined && common.offset + 1 < end) {
    const middle = Math.floor((common.offset + end) / 2);
    const found = await commonAt(a, b, middle);
    if (found === undefined) end = middle;
    else common = found;
  }
  return common;
}

async function commonAt(a: ComparedLog, b: ComparedLog, at: number): Promise<Position | undefined> {
  const own = await a.positionAt(asOffset(at));
  return isSamePosition(own, await b.positionAt(asOffset(at))) ? own : undefined;
}
