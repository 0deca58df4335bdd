/**
 * What a full sync needs next stays in the log until the replica has caught up: retention would else take it while the snapshot is still on
 * its way, the next full sync would be no quicker, and the replica never have a log. Not for ever: one that takes in more slowly than is
 * written here never catches up, and must not fill the disk.
 */
import { offset as asOffset, type LogSegments, type Offset } from "../log/index.js";
import type { FullSync } from "./full-sync.js";

export class FullSyncHold {
  readonly #segments: LogSegments;
  readonly #plan: FullSync;
  /** What the sync brings as it was planned; once as much was written since, nothing is held any more. */
  readonly #bytesMax: number;
  #isOver = false;

  constructor(segments: LogSegments, plan: FullSync) {
    this.#segments = segments;
    this.#plan = plan;
    this.#bytesMax = (plan.snapshot?.bytes ?? 0) + segments.bytesAfter(asOffset(plan.from - 1));
  }

  /** The first record that is needed by a replica that was sent everything up to `lastSent`. */
  neededFrom(lastSent: Offset): Offset | undefined {
    this.#isOver ||= this.#segments.bytesAfter(this.#plan.until) > this.#bytesMax;
    if (this.#isOver) return undefined;
    return lastSent < this.#plan.from ? this.#plan.from : asOffset(lastSent + 1);
  }
}
