/** Promise: with `min_replicas_for_write` = n no write is taken by a primary that has not heard of n replicas for the replica timeout. */
import { PromiseBroken } from "./promise-broken.js";

export interface TakenWrite {
  readonly node: string;
  readonly wanted: number;
  /** Ms since each of the other machines was last heard of, the shortest first. */
  readonly silentMs: readonly number[];
  readonly timeoutMs: number;
}

/** @returns how many writes were looked at */
export function checkTooFew(taken: readonly TakenWrite[]): number {
  for (const { node, wanted, silentMs, timeoutMs } of taken) {
    const silent = silentMs[wanted - 1];
    if (silent === undefined || silent > timeoutMs)
      throw new PromiseBroken(
        "too few replicas",
        `${node} took a write although it had heard of fewer than ${wanted} in ${timeoutMs} ms: ${silentMs.join(", ")}`,
      );
  }
  return taken.length;
}
