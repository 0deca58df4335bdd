/** Promise: whoever says that it leads has its leadership on its disk, in every mode of syncing, and knows of no damage in its log. */
import { PromiseBroken } from "./promise-broken.js";

export interface Leads {
  readonly node: string;
  /** Where its leadership begins. */
  readonly offset: number;
  readonly durable: number;
  readonly knowsDamage: boolean;
}

export function checkLeadsWhole({ node, offset, durable, knowsDamage }: Leads): void {
  if (knowsDamage) throw new PromiseBroken("leads whole", `${node} knows of damage, and leads`);
  if (durable < offset)
    throw new PromiseBroken(
      "leads whole",
      `${node} leads from offset ${offset} on, with ${durable} on its disk`,
    );
}
