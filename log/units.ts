/**
 * The numbers of the log, each a type of its own, so that an offset cannot be passed where a position is meant.
 * All are safe integers in memory and unsigned on disk.
 */

declare const unit: unique symbol;

/** Logical number of a record: dense, from 1. 0 means "before the first". */
export type Offset = number & { readonly [unit]: "offset" };
/** Bytes from the beginning of one segment file. Nothing outside `log/` sees one. */
export type Position = number & { readonly [unit]: "position" };
/** A leadership: from 1, grows with every promotion and restore. */
export type Epoch = number & { readonly [unit]: "epoch" };

export const BEFORE_FIRST = 0 as Offset;

export function offset(value: number): Offset {
  return value as Offset;
}

export function position(value: number): Position {
  return value as Position;
}

export function epoch(value: number): Epoch {
  return value as Epoch;
}
