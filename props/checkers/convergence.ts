/** Promise: when faults stop, every node reaches the same end and the same digest of its state. */
import { PromiseBroken } from "./promise-broken.js";

export interface NodeState {
  readonly node: string;
  readonly offset: number;
  readonly digest: string | number;
}

export function checkConvergence(states: readonly NodeState[]): void {
  const [first] = states;
  if (first === undefined) return;
  for (const { node, offset, digest } of states)
    if (offset !== first.offset || digest !== first.digest)
      throw new PromiseBroken(
        "convergence",
        `${first.node} is at ${first.offset} with ${first.digest}, ${node} at ${offset} with ${digest}`,
      );
}
