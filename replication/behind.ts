/** What a node knows of records that it does not have: whether they may be history already, or cannot be. */
import { isSameLeadership } from "./leadership-order.js";
import type { ReplicationStats } from "./stats.js";

/** Whether another node may have written what this one does not have yet. */
export function isBehind({ role, fence }: Pick<ReplicationStats, "role" | "fence">): boolean {
  return role === "replica" || fence !== undefined;
}

/**
 * Whether the log of this replica is a beginning of the primary's: it streams under the highest leadership that it has heard of. Then
 * no other history has a record in its place. A node on the list hears of every leadership before it begins, unless a promotion with
 * `force` passes over it; then it takes the older primary's word, as whoever asks that one does.
 */
export function hasPrimarysLog({ role, upstream, leadership, heard, peers }: ReplicationStats): boolean {
  const isStreaming = role === "replica" && upstream?.phase === "streaming";
  const isNewest = leadership !== undefined && isSameLeadership(leadership, heard);
  return isStreaming && isNewest && peers.some(({ isSelf }) => isSelf);
}
