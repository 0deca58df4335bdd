/**
 * Promise: nothing that was answered vanishes without a trace. What a fail-over left behind – it was answered by a primary that was replaced,
 * before any replica had it, or force passed over those that did – is kept beside the log of each node that had it when it was answered.
 */
import { PromiseBroken } from "./promise-broken.js";

export interface AnsweredRecord {
  /** Answered it, or held it on its disk then. */
  readonly node: string;
  readonly epoch: number;
  readonly offset: number;
  readonly body: string;
}

/** @returns how many records were found beside the log */
export function checkEvidence(
  answered: readonly AnsweredRecord[],
  found: (offset: number) => string | undefined,
  putAside: ReadonlyMap<string, Pick<ReadonlySet<string>, "has">>,
): number {
  let aside = 0;
  for (const { node, epoch, offset, body } of answered) {
    if (found(offset) === body) continue;
    if (putAside.get(node)?.has(body) !== true)
      throw new PromiseBroken(
        "evidence",
        `offset ${offset} of epoch ${epoch}, which ${node} had when it was answered, is neither in the log nor beside it`,
      );
    aside += 1;
  }
  return aside;
}
