/** A commit's parts of an atomic batch: its event, its keys, its jobs. All of them are at one offset of the log, or none. */
import type { Commit, Pair } from "./commits.js";
import { jobsOf, QUEUE } from "./jobs.js";
import type { BatchPart } from "./store-client.js";

export const ROOM = "commits";

/** `expectedOffset`: how many commits came before it. */
export function partsOf(
  commit: Commit,
  pairs: readonly Pair[],
  expectedOffset: number,
): readonly BatchPart[] {
  const event = { room: ROOM, event: "commit", data: commit, expected_offset: expectedOffset };
  const messages = jobsOf(commit).map((job) => ({ payload: JSON.stringify(job) }));
  const parts: BatchPart[] = [
    { command: "stream.publish", payload: event },
    { command: "kv.mset", payload: { pairs } },
  ];
  // A commit that touches no file brings no job.
  if (messages.length > 0)
    parts.push({ command: "queue.publish_batch", payload: { queue: QUEUE, messages } });
  return parts;
}
