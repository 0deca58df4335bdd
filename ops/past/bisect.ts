/**
 * The first offset at which a predicate is true. Record by record: nothing says that a predicate, once true, stays true, so
 * halving the range could pass over the first time and find another.
 */
import type { LogReader, LogRecord, Offset } from "../../log/index.js";
import type { Fold } from "../../projections/index.js";
import type { Predicate } from "./predicate.js";
import { replay } from "./replay.js";

export interface Bisection {
  /** The record after which it is true, undefined: never in the range. */
  readonly record: LogRecord | undefined;
  /** True already after the first record looked at, so it may have been true before. */
  readonly fromTheStart: boolean;
}

/** `fold` stands before the first offset to be looked at. @throws as `replay`. */
export async function firstOffsetWhere(
  predicate: Predicate,
  log: Pick<LogReader, "read">,
  fold: Fold,
  last: Offset,
  onProgress: (offset: Offset) => void,
): Promise<Bisection> {
  const start = fold.offset + 1;
  let found: LogRecord | undefined;
  for await (const _records of replay(log, fold, last, (record) => {
    if (found === undefined && predicate.holds(fold)) found = record;
  })) {
    onProgress(fold.offset);
    if (found !== undefined) break;
  }
  return { record: found, fromTheStart: found?.offset === start };
}
