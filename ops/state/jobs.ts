/** What the state worker can be asked to do, and what it answers: plain data, so that both travel between threads. */
import type { Offset } from "../../log/index.js";
import type { SnapshotFacts } from "../../projections/index.js";
import type { ConfigValues } from "../config/settings.js";
import type { PastAnswered, PastJob, PastThreadSettings } from "../past/question.js";

/** Folds the newest snapshot and the log after it up to `last`, and writes what comes out as a snapshot. */
export interface SnapshotJob {
  readonly type: "snapshot";
  readonly dataDirectory: string;
  readonly last: Offset;
  /** The rules by which records are folded come from here, as in the live store. */
  readonly values: ConfigValues;
}

/** Reads a snapshot back as a start would: whether it can replace the log before it. */
export interface CheckJob {
  readonly type: "check";
  readonly dataDirectory: string;
  readonly name: string;
  readonly values: ConfigValues;
}

/** What makes no use of what earlier jobs left in the thread. */
export type FileJob = SnapshotJob | CheckJob;

export type Job = FileJob | PastJob;

export interface SnapshotMade {
  readonly type: "snapshot";
  readonly facts: SnapshotFacts;
  /** The snapshot that it began with; undefined: the beginning of the log. */
  readonly from: Offset | undefined;
  readonly replayedRecords: number;
  readonly foldMs: number;
  readonly writeMs: number;
  /** Of snapshots that were passed over on the way, what was wrong. */
  readonly warnings: readonly SnapshotWarning[];
}

export interface SnapshotWarning {
  readonly code: string;
  readonly message: string;
}

export interface SnapshotChecked {
  readonly type: "check";
  /** Why it cannot be used; undefined when a start could begin with it. */
  readonly problem: SnapshotWarning | undefined;
  /** The oldest record that a stream in it shows; undefined: none. Reads of streams need the log from there. */
  readonly streamsFrom: Offset | undefined;
}

export type FileJobResult = SnapshotMade | SnapshotChecked;
export type JobResult = FileJobResult | PastAnswered;
export type ResultOf<Asked extends Job> = Extract<JobResult, { type: Asked["type"] }>;

export interface JobProgress {
  readonly step: "snapshot" | "log" | "writing";
  /** Bytes of the snapshot that is read, offset of the log, bytes written. */
  readonly done: number;
  readonly total: number | undefined;
}

/** What the thread is started with. */
export interface WorkerSettings {
  /** Scheduling priority, 0 (as everything else) to 19 (the rest comes first). */
  readonly niceness: number;
  /** Present in a thread that looks back. */
  readonly past?: PastThreadSettings;
}

export type ToWorker =
  | { readonly type: "run"; readonly id: number; readonly job: Job }
  | { readonly type: "cancel"; readonly id: number };

export type FromWorker =
  | { readonly type: "progress"; readonly id: number; readonly progress: JobProgress }
  | { readonly type: "done"; readonly id: number; readonly result: JobResult }
  | {
      readonly type: "failed";
      readonly id: number;
      readonly code: string | undefined;
      readonly message: string;
      readonly stack: string | undefined;
    };
