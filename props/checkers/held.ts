/**
 * Promise: a confirmation is a disk. When a write is answered as confirmed by n replicas, n other nodes hold it durably at that moment,
 * whatever their mode of syncing; and a write that was to be on more than half of the nodes is.
 */
import { PromiseBroken } from "./promise-broken.js";

export interface ConfirmedWrite {
  readonly node: string;
  readonly offset: number;
  readonly epoch: number;
  readonly confirmed: number;
  /** Other nodes that held it on their disks. */
  readonly holders: readonly string[];
  /** How many there were of which nobody could tell. */
  readonly unknown: number;
  readonly quorum: boolean;
}

/** @param nodes how many there were at least that count for a quorum; 0 when nobody can say */
export function checkHeld(answered: readonly ConfirmedWrite[], nodes: number): void {
  for (const { node, offset, epoch, confirmed, holders, unknown, quorum } of answered) {
    if (holders.length + unknown < confirmed)
      throw new PromiseBroken(
        "held",
        `${node} answered offset ${offset} of epoch ${epoch} as confirmed by ${confirmed}; on the disk of others: ${holders.join(", ") || "nobody"}, of ${unknown} nobody could tell`,
      );
    if (quorum && 2 * (confirmed + 1) <= nodes)
      throw new PromiseBroken(
        "held",
        `${node} answered offset ${offset} of epoch ${epoch} as held by a quorum with ${confirmed} replicas of ${nodes} nodes`,
      );
  }
}
