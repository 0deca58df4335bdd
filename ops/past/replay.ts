/** Brings a fold on, a disk read at a time. */
import { type LogReader, type LogRecord, type Offset, offset } from "../../log/index.js";
import type { Fold } from "../../projections/index.js";

/**
 * Takes the records after the fold's offset up to `last`; `each` is told of every one when the state contains it. Yields the
 * number of records of each read: between two the fold is whole and may be left where it is.
 * @throws as `LogReader.read` and `Fold.take`.
 */
export async function* replay(
  log: Pick<LogReader, "read">,
  fold: Fold,
  last: Offset,
  each?: (record: LogRecord) => void,
): AsyncGenerator<number, void> {
  if (fold.offset >= last) return;
  for await (const batch of log.read(offset(fold.offset + 1), { last })) {
    for (const record of batch) {
      fold.take(record);
      each?.(record);
    }
    fold.reclaimExpired(fold.clock, batch.length);
    yield batch.length;
  }
}
