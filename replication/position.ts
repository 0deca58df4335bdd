/**
 * Where a log ends, or what it holds up to a record. The crc is chained over every record, so the same position means the same log up to
 * there; an offset alone means nothing between two nodes.
 */
import { EMPTY_LOG, type LogPosition, type Offset } from "../log/index.js";
import type { Leadership } from "./leadership-order.js";

export type Position = LogPosition;

/** Where another node's log was last heard to end. */
export interface KnownEnd extends Leadership {
  readonly nodeId: string;
  readonly offset: Offset;
}

/** Of every log, before its first record. */
export const EMPTY_POSITION: Position = EMPTY_LOG;

export function isSamePosition(a: Position, b: Position): boolean {
  return a.offset === b.offset && a.crc === b.crc && a.epoch === b.epoch && a.lineageId === b.lineageId;
}

export const describePosition = ({ offset, crc, epoch: leadership, lineageId }: Position): string =>
  `offset ${offset}, crc ${crc.toString(16).padStart(8, "0")}, epoch ${leadership} (${lineageId.slice(0, 8)})`;
