/** A job: one file of one commit, and what its consumer leaves behind when it has done it. */
import type { Commit, FileChange, Pair } from "./commits.js";

export const QUEUE = "jobs";
/** Short: what a killed consumer held comes back after so long. */
export const ACK_DEADLINE_SECS = 1;
/** Higher than any run needs: a job that dies of retries would be one that was not done. */
export const MAX_RETRIES = 1000;

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
