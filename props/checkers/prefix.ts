/**
 * Promise: after any crash the log holds a prefix of what was appended, byte by byte, ending at a record boundary, with
 * dense offsets and timestamps that never go back.
 */
import type { LogRecord } from "../../log/index.js";
import { PromiseBroken } from "./promise-broken.js";

/** What was handed to `append`. A record of the log's own has no `body` to compare. */
export interface ExpectedRecord {
  readonly kind: number;
  readonly version: number;
  readonly timestamp: number;
  readonly body: Uint8Array;
}

/** Kind of the record that begins an epoch: the log appends it itself. */
export const EPOCH_STARTED = 1;

/**
 * @param appended what was appended, by offset; an offset that is missing in it belongs to the log itself
 * @param found what the log gives back from its first offset on
 * @param end last offset that the log says it has
 */
export function checkPrefix(
  appended: ReadonlyMap<number, ExpectedRecord>,
  found: readonly LogRecord[],
  first: number,
  end: number,
): void {
  const broken = (evidence: string): never => {
    throw new PromiseBroken("prefix", evidence);
  };
  if (found.length !== end - first + 1)
    broken(`${found.length} records were read, the log says ${first} to ${end}`);
  let timestamp = 0;
  let epoch = 0;
  for (const [index, record] of found.entries()) {
    const offset = first + index;
    if (record.offset !== offset) broken(`offset ${record.offset} stands where ${offset} belongs`);
    if (record.timestamp < timestamp) broken(`the timestamp goes back at offset ${offset}`);
    if (record.epoch < epoch) broken(`the epoch goes back at offset ${offset}`);
    const expected = appended.get(offset);
    if (expected === undefined) {
      if (record.kind !== EPOCH_STARTED) broken(`nobody appended offset ${offset}, kind ${record.kind}`);
    } else if (record.kind !== expected.kind || record.version !== expected.version) {
      broken(
        `offset ${offset} has kind ${record.kind} version ${record.version}, appended was kind ${expected.kind} version ${expected.version}`,
      );
    } else if (Buffer.compare(record.body, expected.body) !== 0) {
      broken(`the body of offset ${offset} is not what was appended`);
    } else if (index > 0 && record.timestamp !== Math.max(timestamp, expected.timestamp)) {
      broken(
        `offset ${offset} has timestamp ${record.timestamp}, appended was ${expected.timestamp} after ${timestamp}`,
      );
    }
    timestamp = record.timestamp;
    epoch = record.epoch;
  }
}
