/** Runs of one log, as another one gets them. */
import type { EventLog, Offset, RecordRun } from "../../log/index.js";

/** What the log ships from `from` up to its end, when that is durable; each run a copy. */
export async function shipped(log: EventLog, from: Offset, last = log.endOffset): Promise<RecordRun[]> {
  const runs: RecordRun[] = [];
  if (from > last) return runs;
  for await (const run of log.ship(from)) {
    runs.push({ ...run, bytes: Uint8Array.from(run.bytes) });
    if (run.last >= last) break;
  }
  return runs;
}
