/** A job: one file of one commit, and what its consumer leaves behind when it has done it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Commit, FileChange, Pair } from "./commits.js";
import type { QueueTotals } from "./store-client.js";

export const QUEUE = "jobs";
export const QUEUE_SETTINGS = {
  max_depth: 10_000_000,
  /** Short: what a killed consumer held comes back after so long. */
  ack_deadline_secs: 1,
  /** Higher than any run needs: a job that dies of retries would be one that was not done. */
  default_max_retries: 1000,
};

const LOOK_MS = 50;
/** Of many deadlines that pass: when nothing was acknowledged for so long, nothing will be. */
const STALLED_MS = 30_000;

export const DONE_PREFIX = "done:";

export interface Job extends FileChange {
  readonly sha: string;
  /** Place of the file in its commit. */
  readonly index: number;
}

export function jobsOf({ sha, files }: Commit): Job[] {
  return files.map((file, index) => ({ sha, index, ...file }));
}

/** The same however often the job is done: a delivery may come twice, its effect may not. */
export function doneBy(payload: string): Pair {
  const { sha, index, path, added, deleted }: Job = JSON.parse(payload);
  return { key: `${DONE_PREFIX}${sha}:${index}`, value: { path, added, deleted } };
}

/** Resolves when every job is acknowledged, however often its consumers died. */
export async function jobsDone(read: () => Promise<QueueTotals>): Promise<void> {
  let acked = -1;
  let since = performance.now();
  for (;;) {
    const totals = await read();
    if (waitingIn(totals) === 0) return;
    if (totals.acked !== acked) [acked, since] = [totals.acked, performance.now()];
    if (performance.now() - since > STALLED_MS)
      throw new Error(`the jobs do not get done any more: ${JSON.stringify(totals)}`);
    await sleep(LOOK_MS);
  }
}

const waitingIn = ({ depth, delayed, in_flight }: QueueTotals): number => depth + delayed + in_flight;
