/** The types of snapshots: what one says of itself, and what making, reading and looking through them takes. */
import type { FileSystem, LogMark, Offset } from "../../log/index.js";
import type { Digests, Fold, FoldOptions } from "../fold.js";
import type { GiveWay } from "../give-way.js";
import type { SnapshotError } from "./errors.js";

/** Which log the snapshot is of, and up to which record: `LogReader.markAt` gives it. */
export type SnapshotMark = LogMark;

/** How much there is in a snapshot. */
export interface SnapshotCounts {
  /** Held, expired ones that were not reclaimed yet included. */
  readonly keys: number;
  readonly queues: number;
  readonly messages: number;
  readonly streams: number;
  /** Idempotent answers kept. */
  readonly answers: number;
}

export interface SnapshotFacts extends SnapshotMark {
  /** Of the file. */
  readonly name: string;
  readonly bytes: number;
  readonly formatVersion: number;
  /** Ms since 1970. */
  readonly createdAt: number;
  /** The fold's clock: the time at which `digests` are. */
  readonly clock: number;
  readonly counts: SnapshotCounts;
  readonly digests: Digests;
  /** Of everything before it in the file, in hex. */
  readonly sha256: string;
}

/** Where snapshots lie. */
export interface SnapshotDirectory {
  readonly files: FileSystem;
  /** Absolute: `<data-dir>/snapshots`. It need not be there. */
  readonly directory: string;
}

export interface WriteSnapshotOptions {
  readonly now: () => number;
  /** Aborted: the unfinished file is removed and `signal.reason` thrown. */
  readonly signal?: AbortSignal;
  /** Bytes written so far. */
  readonly onProgress?: (bytes: number) => void;
  readonly giveWay?: GiveWay;
}

export interface ReadSnapshotOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
  readonly giveWay?: GiveWay;
}

/** A file that has a snapshot's name, as its header and its end tell of it. */
export interface ListedSnapshot {
  readonly name: string;
  /** As the name says. */
  readonly offset: Offset;
  readonly bytes: number;
  /** Undefined, and `problem` says why, when header or end do not hold. The rest was not looked at. */
  readonly info?: SnapshotFacts;
  readonly problem?: SnapshotError;
}

export interface VerifiedSnapshot {
  /** Present exactly when every byte is as it was written. */
  readonly info?: SnapshotFacts;
  readonly problem?: SnapshotError;
}

/** Where a fold stands: bytes of the snapshot, then offsets of the log. */
export interface FoldProgress {
  readonly step: "snapshot" | "log";
  readonly done: number;
  readonly total: number;
}

export interface FoldToOptions extends FoldOptions {
  /** Default: the end of the log. Not before the first offset that a state can be had of. */
  readonly last?: Offset;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FoldProgress) => void;
  readonly giveWay?: GiveWay;
  /** Told of each snapshot that was passed over, and why. */
  readonly onWarning?: (problem: SnapshotError) => void;
}

export interface FoldedState {
  readonly fold: Fold;
  /** The snapshot that it began with. */
  readonly from: SnapshotFacts | undefined;
}
