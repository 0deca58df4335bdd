/** Promise: two sound logs never compare as different. What a node tells of another one's is damage, which is named as such, or nothing. */
import { PromiseBroken } from "./promise-broken.js";

export interface Compared {
  readonly node: string;
  /** The last time that a segment was sound on both sides, and not the same. */
  readonly mismatch?: { readonly offset: number } | undefined;
}

export function checkMismatch(nodes: readonly Compared[]): void {
  for (const { node, mismatch } of nodes)
    if (mismatch !== undefined)
      throw new PromiseBroken("mismatch", `${node} found its log to differ at offset ${mismatch.offset}`);
}
