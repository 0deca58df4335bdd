/** A job: one file of one commit, and what its consumer leaves behind when it has done it. */
import type { Commit, FileChange, Pair } from "./commits.js";

export const QUEUE = "jobs";
/** Short: what a killed consumer held comes back after so long. */
export const ACK_DEADLINE_SECS = 1;
/** Higher than any run needs: a job that dies of retries would be one that was not done. */
export const MAX_RETRIES = 1000;
/** Longer than any run: a publish that is repeated publishes nothing that is there. */
export const DEDUP_WINDOW_SECS = 3600;

export const DONE_PREFIX = "done:";

export interface Job extends FileChange {
  readonly sha: string;
  /** Place of the file in its commit. */
  readonly index: number;
}

/** `id` makes the job's message unique, however often it is published. */
export interface NewJob {
  readonly id: string;
  readonly job: Job;
}

export function jobsOf(commit: Commit): NewJob[] {
  return commit.files.map((file, index) => ({
    id: `${commit.sha}:${index}`,
    job: { sha: commit.sha, index, ...file },
  }));
}

/** The same however often the job is done: a delivery may come twice, its effect may not. */
export function doneBy(payload: string): Pair {
  const { sha, index, path, added, deleted }: Job = JSON.parse(payload);
  return { key: `${DONE_PREFIX}${sha}:${index}`, value: { path, added, deleted } };
}
