/**
 * Where a log ends, or what it holds up to a record. The crc is chained over every record, so the same position means the same log up to
 * there; an offset alone means nothing between two nodes.
 */
import type { EventLog, LogMark, Offset } from "../log/index.js";
import { BEFORE_FIRST, epoch } from "../log/index.js";

export type Position = Pick<LogMark, "offset" | "crc" | "epoch" | "lineageId">;

export const NO_LINEAGE = "0".repeat(32);

/** Of every log, before its first record. */
export const EMPTY_POSITION: Position = {
  offset: BEFORE_FIRST,
  crc: 0,
  epoch: epoch(0),
  lineageId: NO_LINEAGE,
};

export function isSamePosition(a: Position, b: Position): boolean {
  return a.offset === b.offset && a.crc === b.crc && a.epoch === b.epoch && a.lineageId === b.lineageId;
}

/** @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END, LOG_CORRUPT. */
export async function positionAt(log: Pick<EventLog, "markAt">, offset: Offset): Promise<Position> {
  if (offset === BEFORE_FIRST) return EMPTY_POSITION;
  const { crc, epoch: leadership, lineageId } = await log.markAt(offset);
  return { offset, crc, epoch: leadership, lineageId };
}

export const describePosition = ({ offset, crc, epoch: leadership, lineageId }: Position): string =>
  `offset ${offset}, crc ${crc.toString(16).padStart(8, "0")}, epoch ${leadership} (${lineageId.slice(0, 8)})`;
