/**
 * Keeps records that are about to be cut off, because the log that this one follows has others in their place: as a data directory of
 * their own, which every reader of logs can read.
 */
import { AssertionFailed } from "./errors.js";
import type { EventLog } from "./event-log.js";
import type { FileSystem } from "./file-system.js";
import type { Offset } from "./units.js";

export interface KeptRecords {
  /** Below the data directory. */
  readonly directory: string;
  readonly first: Offset;
  readonly last: Offset;
  readonly records: number;
  readonly bytes: number;
}

/**
 * Keeps the records after `last` under `diverged/<now>-<first>-<last>-<lineage, 8 digits>/`, durably, then cuts the log after `last`. Nothing may
 * be waiting for the disk. Undefined when there is none after `last`: then nothing has changed.
 * @throws LogError as `truncate`.
 */
export async function keepDiverged(
  _files: FileSystem,
  _dataDirectory: string,
  _log: EventLog,
  _last: Offset,
  _now: number,
): Promise<KeptRecords | undefined> {
  throw new AssertionFailed("not built yet");
}
