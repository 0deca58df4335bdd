/**
 * Which of two leaderships is the higher: by epoch, then by lineage. Lineages are drawn at random, so two nodes that were promoted at
 * once never share a leadership, and everyone agrees which of them has lost. Who leads is decided elsewhere.
 */
import type { Epoch } from "../log/index.js";

export interface Leadership {
  readonly epoch: Epoch;
  /** 32 hex digits. */
  readonly lineageId: string;
}

/** Negative when `a` is the lower, 0 when they are the same, positive when `a` is the higher. */
export function compareLeaderships(a: Leadership, b: Leadership): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.lineageId === b.lineageId) return 0;
  return a.lineageId < b.lineageId ? -1 : 1;
}

/** Whether `a` fences whoever leads under `b`. Anything is higher than nothing. */
export function isHigher(a: Leadership | undefined, b: Leadership | undefined): boolean {
  if (a === undefined) return false;
  return b === undefined || compareLeaderships(a, b) > 0;
}

export function isSameLeadership(a: Leadership | undefined, b: Leadership | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return compareLeaderships(a, b) === 0;
}

export const describeLeadership = (leadership: Leadership | undefined): string =>
  leadership === undefined ? "none" : `epoch ${leadership.epoch} (${leadership.lineageId.slice(0, 8)})`;
