/** What a promotion did and what it may have cost, as plain data. */
import type { Epoch, Offset } from "../log/index.js";
import type { ReplicationErrorCode } from "./errors.js";
import type { PeerAddress } from "./stats.js";

/** How one node answered the fence. */
export interface PromotionAnswer extends PeerAddress {
  /** Whether it led until now: its answer is not needed. */
  readonly wasPrimary: boolean;
  /** It keeps the fence durably, and confirms nothing older from now on. */
  readonly reached: boolean;
  readonly end: Offset | undefined;
  readonly code: ReplicationErrorCode | undefined;
}

export interface PromotionReport {
  readonly epoch: Epoch;
  readonly lineageId: string;
  /** First record of the new epoch. */
  readonly offset: Offset;
  readonly forced: boolean;
  readonly answers: readonly PromotionAnswer[];
  /** The end of the old primary's log, as it said or this node last heard; undefined when nothing was heard. */
  readonly oldEnd: Offset | undefined;
  /**
   * Records that others, the old primary among them, were heard to have and this node lacks: they will be put aside under `diverged/` there. So many at
   * least: what a node that was not reached has, and nobody told of, is not among them.
   */
  readonly recordsLost: number;
  /** From this offset on the log was read and verified before it began to lead; undefined when it is not made of files. */
  readonly verifiedFrom: Offset | undefined;
  /** Sentences for people: what could not be ruled out. */
  readonly warnings: readonly string[];
  readonly durationMs: number;
}
