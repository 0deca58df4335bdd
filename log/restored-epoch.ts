/**
 * A log that was restored ends with an epoch of its own, above all that the backup knew, so that whoever serves it leads. One that is to
 * follow the log that it was restored from must not: its epoch would be heard as a newer leadership, and end the one that is there.
 */
import { decodeEpochStart } from "./epoch-start.js";
import type { EpochEntry, EventLog } from "./event-log.js";
import { offset as asOffset } from "./units.js";

/**
 * Cuts off the epoch that a restore began, if nothing was written under it; what is left is the log as it was backed up. Only for a log that
 * was never served: nobody else may have heard of that epoch. Undefined when the log ends otherwise.
 * @throws LogError as `read` and `truncate`.
 */
export async function cutRestoredEpoch(log: EventLog): Promise<EpochEntry | undefined> {
  const entry = log.epochs.at(-1);
  if (entry === undefined || entry.first !== log.endOffset || entry.first <= log.firstOffset)
    return undefined;
  await log.whenCommitted(log.endOffset);
  for await (const [record] of log.read(entry.first)) {
    if (record === undefined || decodeEpochStart(record.version, record.body)?.reason !== "restored")
      return undefined;
  }
  await log.truncate(asOffset(entry.first - 1));
  return entry;
}
