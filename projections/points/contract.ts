/** The types of restore points: names for places in the log, given by an operator before something risky. */
import type { Offset } from "../../log/index.js";

/** A point was named. It stands for the log up to and with its own record. */
export interface PointNamed {
  readonly type: "point.named";
  readonly name: string;
}

export interface RestorePoint {
  readonly name: string;
  readonly offset: Offset;
  /** Ms since 1970. */
  readonly timestamp: number;
}

export interface PointView {
  get(name: string): RestorePoint | undefined;
  /** Oldest first. */
  all(): readonly RestorePoint[];
  /** Of the newest point. */
  readonly lastOffset: Offset;
}

/** Points remembered for the list. Past it the oldest is forgotten there, and still found in the log by a restore. */
export const POINTS_MAX = 1_000;
export const POINT_NAME_CHARS_MAX = 128;

export type PointRejectionCode = "RESTORE_POINT_EXISTS" | "RESTORE_POINT_NAME_INVALID";
