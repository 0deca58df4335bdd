/** Promise: a primary that hands its lead over loses nothing that it answered: everything lies before the new leadership begins. */
import { isSameLeadership, type Leadership } from "../../replication/leadership-order.js";
import { PromiseBroken } from "./promise-broken.js";

export interface Answered extends Leadership {
  readonly node: string;
  readonly offset: number;
}

export interface Handover {
  readonly from: string;
  readonly under: Leadership;
  readonly to: string;
  readonly offset: number;
}

export function checkHandedOver(handovers: readonly Handover[], answered: readonly Answered[]): void {
  for (const { from, under, to, offset } of handovers)
    for (const write of answered)
      if (write.node === from && isSameLeadership(write, under) && write.offset >= offset)
        throw new PromiseBroken(
          "handed over",
          `${from} answered offset ${write.offset} of epoch ${write.epoch} and handed over to ${to}, which leads from offset ${offset} on`,
        );
}
