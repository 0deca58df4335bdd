/**
 * Promise: a node that has heard of a newer leadership writes nothing more under its own, and whoever waits there for confirmations is told
 * at once that none will come.
 */
import { PromiseBroken } from "./promise-broken.js";

export interface WrittenWhileFenced {
  readonly node: string;
  readonly under: { readonly epoch: number };
  readonly heard: { readonly epoch: number };
}

export interface WaitedWhileFenced {
  readonly node: string;
  readonly ms: number;
}

/** "At once" is the same turn; what an answer still waits for is its own disk. */
const AT_ONCE_MS = 250;

export function checkFencedWrites(
  written: readonly WrittenWhileFenced[],
  waited: readonly WaitedWhileFenced[],
): void {
  const [first] = written;
  if (first !== undefined)
    throw new PromiseBroken(
      "fenced writes",
      `${first.node} wrote under epoch ${first.under.epoch} though it had heard of epoch ${first.heard.epoch}`,
    );
  for (const { node, ms } of waited)
    if (ms > AT_ONCE_MS)
      throw new PromiseBroken(
        "fenced writes",
        `${node} was fenced, and a write waited ${ms} ms there for confirmations`,
      );
}
