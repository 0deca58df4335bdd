/**
 * Promise: with at least one confirmation nothing of an older leadership is acknowledged after a newer one began, heard of or not; and a
 * node that has heard of a newer one acknowledges nothing at all under an older. A leadership that was won by force is excused as far as it
 * said so: by the nodes that it did not reach.
 */
import { isHigher, type Leadership } from "../../replication/leadership-order.js";
import { PromiseBroken } from "./promise-broken.js";

export interface Answer extends Leadership {
  readonly offset: number;
  readonly node: string;
  readonly confirmed: number;
  /** In the order of everything. */
  readonly at: number;
}

export interface Began extends Leadership {
  readonly node: string;
  readonly forced: boolean;
  readonly at: number;
}

export interface AnsweredWhileFenced {
  readonly node: string;
  readonly under: Leadership;
  readonly heard: Leadership;
}

export function checkUnfenced(
  answers: readonly Answer[],
  promotions: readonly Began[],
  whileFenced: readonly AnsweredWhileFenced[],
): void {
  const [first] = whileFenced;
  if (first !== undefined)
    throw new PromiseBroken(
      "unfenced",
      `${first.node} answered under epoch ${first.under.epoch} though it had heard of epoch ${first.heard.epoch}`,
    );
  for (const { confirmed, at, node, offset, epoch, lineageId } of answers) {
    if (confirmed === 0) continue;
    const newer = promotions.find(
      (began) => !began.forced && began.at < at && isHigher(began, { epoch, lineageId }),
    );
    if (newer !== undefined)
      throw new PromiseBroken(
        "unfenced",
        `${node} answered offset ${offset} of epoch ${epoch}, confirmed by ${confirmed}, after ${newer.node} led under epoch ${newer.epoch}`,
      );
  }
}
