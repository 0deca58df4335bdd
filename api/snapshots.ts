/** Snapshots as the API asks for them: how they come about is not its business. */
import type { ListedSnapshot, SnapshotFacts } from "../projections/index.js";
import type { Refusal } from "./errors.js";

export interface NewSnapshot {
  readonly type: "snapshot";
  readonly facts: SnapshotFacts;
  readonly durationMs: number;
}

export interface Snapshots {
  /** A new one, or the one that is being made; durable when it resolves. Refuses with API_SNAPSHOT_FAILED, LOG_DISK_FULL, API_DRAINING. */
  make(): Promise<NewSnapshot | Refusal>;
  /** Oldest first. */
  list(): Promise<readonly ListedSnapshot[]>;
}
