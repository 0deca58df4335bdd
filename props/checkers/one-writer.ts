/** Promise: records of one leadership are written by one node, and by the one that its epoch names; nobody else ever writes under it. */
import type { Leadership } from "../../replication/leadership-order.js";
import { PromiseBroken } from "./promise-broken.js";

export interface WriterOf extends Leadership {
  /** Whoever wrote, or whom an epoch table names. */
  readonly node: string;
}

export function checkOneWriter(writers: Iterable<WriterOf>): void {
  const known = new Map<string, string>();
  for (const { epoch, lineageId, node } of writers) {
    const key = `${epoch} ${lineageId}`;
    const before = known.get(key);
    if (before !== undefined && before !== node)
      throw new PromiseBroken(
        "one writer",
        `both ${before} and ${node} wrote under epoch ${epoch}, lineage ${lineageId}`,
      );
    known.set(key, node);
  }
}
