/** Runs of one log, as another one gets them. */
import type { EventLog, Offset, RecordRun } from "../../log/index.js";

/** What the log ships from `from` up to its end, when that is durable, at most so many bytes at once; each run a copy. */
export async function shipped(
  log: EventLog,
  from: Offset,
  last = log.endOffset,
  bytesMax?: number,
): Promise<RecordRun[]> {
  const runs: RecordRun[] = [];
  if (from > last) return runs;
  for await (const run of log.ship(from, bytesMax)) {
    runs.push({ ...run, bytes: Uint8Array.from(run.bytes) });
    if (run.last >= last) break;
  }
  return runs;
}
