/**
 * Promise: the primary's list of nodes holds the nodes that there are, each once, and nobody else: a promotion asks everybody on it, and a
 * quorum is counted by it.
 */
import { PromiseBroken } from "./promise-broken.js";

export function checkListed(node: string, listed: readonly string[], nodeIds: readonly string[]): void {
  const [should, is] = [[...nodeIds].sort(), [...listed].sort()];
  if (should.length === is.length && should.every((id, at) => id === is[at])) return;
  const strange = is.filter((id) => !should.includes(id));
  const missing = should.filter((id) => !is.includes(id));
  throw new PromiseBroken(
    "listed",
    `${node} lists ${is.length} nodes of ${should.length}; not there: ${strange.join(", ") || "none"}; not listed: ${missing.join(", ") || "none"}`,
  );
}
