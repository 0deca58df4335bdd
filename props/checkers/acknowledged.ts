/**
 * Promise: what was answered as confirmed by a replica is in the history of every later leadership that was not won by force; force says
 * whom it did not ask. What only nodes had that were struck off the list since went with them.
 */
import { isHigher, type Leadership } from "../../replication/leadership-order.js";
import { PromiseBroken } from "./promise-broken.js";

export interface Acknowledged extends Leadership {
  readonly offset: number;
  readonly body: string;
  readonly confirmed: number;
  /** When, and which nodes had it then; where nodes are struck off. */
  readonly at?: number;
  readonly holders?: readonly string[];
}

export interface Won extends Leadership {
  readonly forced: boolean;
}

/** @param found the body that the log of the primary that all follow at last has at an offset; undefined beyond its end, null when retention took it */
export function checkAcknowledged(
  answered: readonly Acknowledged[],
  promotions: readonly Won[],
  found: (offset: number) => string | undefined | null,
  forgotten: ReadonlyMap<string, { readonly at: number }> = new Map(),
): number {
  let checked = 0;
  for (const write of answered) {
    if (write.confirmed === 0) continue;
    if (promotions.some((won) => won.forced && isHigher(won, write))) continue;
    const { holders, at = 0 } = write;
    const isGone = (holder: string): boolean => (forgotten.get(holder)?.at ?? 0) > at;
    if (holders?.every(isGone) === true) continue;
    const there = found(write.offset);
    if (there === null) continue;
    checked += 1;
    if (there !== write.body)
      throw new PromiseBroken(
        "acknowledged",
        `offset ${write.offset} of epoch ${write.epoch}, confirmed by ${write.confirmed}, is ${there === undefined ? "gone" : "something else"}`,
      );
  }
  return checked;
}
