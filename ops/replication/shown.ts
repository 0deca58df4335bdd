/** What a node tells of itself, as the API shows it. */
import {
  type BreakerFacts,
  type DamageFacts,
  errorTable,
  type Refusal,
  type ReplicaFacts,
  type ReplicationFacts,
  refusal,
  type PromotionReport as ShownReport,
  type UpstreamFacts,
} from "../../api/index.js";
import type {
  BreakerStats,
  PromotionReport,
  ReplicaStats,
  ReplicationError,
  ReplicationErrorCode,
  ReplicationStats,
  UpstreamStats,
} from "../../replication/index.js";

export function factsOf(
  stats: ReplicationStats,
  maxLagMs: number,
  refused: Refusal | undefined,
): ReplicationFacts {
  const { role, nodeId, name, http, listening, leadership, durable, fence, counters } = stats;
  return {
    role,
    nodeId,
    name,
    listen: listening,
    http,
    leadership,
    offset: durable,
    fence,
    refusal: refused,
    replicas: stats.replicas.map((replica) => replicaFacts(replica, maxLagMs)),
    upstream: stats.upstream === undefined ? undefined : upstreamFacts(stats.upstream, stats),
    peers: stats.peers
      .filter(({ isSelf }) => !isSelf)
      .map(({ nodeId: id, name: called, address, http, follows }) => ({
        id,
        name: called,
        address,
        http,
        follows,
      })),
    listed: stats.peers.some(({ isSelf }) => isSelf),
    divergences: counters.divergences,
    damage: damageFacts(stats),
    twins: stats.twins,
  };
}

function replicaFacts(replica: ReplicaStats, maxLagMs: number): ReplicaFacts {
  const { nodeId, name, address, http, remote, connected, durable, lagRecords, lagBytes, lagMs } = replica;
  return {
    id: nodeId,
    name,
    address: address ?? remote,
    http,
    connected,
    offset: durable,
    lagOperations: lagRecords,
    lagBytes,
    lagMs,
    status: statusOf(replica, maxLagMs),
    connectedAt: replica.connectedAt,
    lastHeartbeatAt: replica.lastHeard,
  };
}

function statusOf({ connected, phase, lagMs }: ReplicaStats, maxLagMs: number): ReplicaFacts["status"] {
  if (!connected) return "disconnected";
  if (phase !== "streaming") return "syncing";
  return lagMs > maxLagMs ? "lagging" : "in_sync";
}

function upstreamFacts(upstream: UpstreamStats, { counters }: ReplicationStats): UpstreamFacts {
  const { address, node, connected, phase, primaryEnd, lagRecords, lagMs, lastHeard, error } = upstream;
  return {
    address,
    id: node?.nodeId,
    http: node?.http,
    connected,
    phase,
    offset: primaryEnd,
    lagOperations: lagRecords,
    lagMs,
    lastHeartbeatAt: lastHeard,
    lastError: error?.code,
    recordsReceived: counters.recordsReceived,
    bytesReceived: counters.bytesReceived,
    fullSyncs: counters.fullSyncs,
    partialSyncs: counters.partialSyncs,
    reconnects: counters.reconnects,
  };
}

function damageFacts({ damage, counters }: ReplicationStats): DamageFacts {
  const { known, owesSince, opening, comparedAt, mismatch, upstream } = damage;
  const { quarantines, refetchedSegments, comparisons, mismatches } = counters;
  return {
    known,
    quarantines,
    refetchedSegments,
    owesSince,
    opening,
    comparisons,
    mismatches,
    comparedAt,
    mismatchAt: mismatch?.offset,
    upstream: upstream?.words,
  };
}

export function breakerFacts({ id, open, failures, lastCode, openedAt }: BreakerStats): BreakerFacts {
  return { link: id, tripped: open, failures, lastError: lastCode, trippedAt: openedAt };
}

export function reportOf(report: PromotionReport): ShownReport {
  const nodes = report.answers.map((answer) => ({
    ...answer,
    called: answer.nodeId.startsWith(answer.name)
      ? answer.name
      : `${answer.name} (${answer.nodeId.slice(0, 8)})`,
  }));
  return {
    type: "promoted",
    leadership: { epoch: report.epoch, lineageId: report.lineageId },
    offset: report.offset,
    reached: nodes.filter(({ reached }) => reached).map(({ called }) => called),
    notReached: nodes.filter(({ reached }) => !reached).map(({ called }) => called),
    mayBeLost: report.recordsLost,
    verifiedFrom: report.verifiedFrom,
    warnings: report.warnings,
  };
}

/** Codes of the replication room that clients are answered with. */
type Shown = Extract<ReplicationErrorCode, keyof typeof errorTable>;

const isShown = (code: ReplicationErrorCode): code is Shown => Object.hasOwn(errorTable, code);

/** @throws the error itself when no client is ever answered so. */
export function refusalOf(error: ReplicationError): Refusal {
  const { code, message, context } = error;
  if (!isShown(code)) throw error;
  const told = Object.entries(context).filter(
    (entry): entry is [string, string | number] =>
      typeof entry[1] === "string" || typeof entry[1] === "number",
  );
  return refusal(code, message, told.length === 0 ? undefined : Object.fromEntries(told));
}
