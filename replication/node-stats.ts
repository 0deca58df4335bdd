/** Puts together what a node tells of itself. */
import { offset as asOffset, BEFORE_FIRST, type LogSegments } from "../log/index.js";
import type { LocalNode } from "./local-node.js";
import type { PeerNote } from "./messages.js";
import { type Clock, describeAddress } from "./ports.js";
import { hostOf, placedAt } from "./reachable.js";
import { nodesBelow } from "./relay.js";
import type { ReplicaSet } from "./replica-set.js";
import type {
  BreakerStats,
  DamageStats,
  FenceStats,
  PeerAddress,
  PeerStats,
  ReplicaStats,
  ReplicationCounters,
  ReplicationStats,
  TwinStats,
} from "./stats.js";
import type { Upstream } from "./upstream.js";

export interface StatsSources {
  readonly local: LocalNode;
  readonly set: ReplicaSet;
  readonly clock: Clock;
  readonly clusterId: string | undefined;
  /** Undefined while there is no log. */
  readonly segments: LogSegments | undefined;
  readonly upstream: Upstream | undefined;
  readonly breakers: readonly BreakerStats[];
  readonly twins: readonly TwinStats[];
  readonly changing: boolean;
  readonly damage: DamageStats;
  readonly counters: ReplicationCounters;
}

export function fenceStats(local: LocalNode): FenceStats | undefined {
  const { heard, leadership } = local;
  if (!local.isFenced || heard === undefined) return undefined;
  const { from, since, primary } = leadership;
  return { heard, from, since, primary: primary && peerAddress(primary) };
}

function peerAddress({ nodeId, name, listen, http }: PeerNote): PeerAddress {
  return { nodeId, name, address: listen && describeAddress(listen), http };
}

export function replicationStats(sources: StatsSources): ReplicationStats {
  const { local, set, upstream, clusterId, breakers, twins, changing, damage, counters } = sources;
  const { log, own, heard, primary, listening, role, place } = local;
  return {
    role,
    clusterId,
    nodeId: place.nodeId,
    name: place.name,
    http: place.http,
    listening: listening && describeAddress(listening),
    leadership: own && { epoch: own.epoch, lineageId: own.lineageId },
    heard: heard && { epoch: heard.epoch, lineageId: heard.lineageId },
    fence: fenceStats(local),
    changing,
    firstOffset: log?.firstOffset ?? asOffset(1),
    end: log?.endOffset ?? BEFORE_FIRST,
    committed: log?.committedOffset ?? BEFORE_FIRST,
    durable: log?.durableOffset ?? BEFORE_FIRST,
    primary: primary && peerAddress(primary),
    replicas: replicas(sources),
    upstream: upstream?.stats(),
    peers: peers(sources),
    breakers,
    twins,
    damage,
    waiting: set.confirmations.waiting,
    counters,
  };
}

function replicas({ local, set, clock, segments }: StatsSources): ReplicaStats[] {
  const durable = local.log?.durableOffset ?? BEFORE_FIRST;
  const wall = clock.now() - clock.stopwatch();
  return set.progress().map(({ of, connected }) => {
    const lagRecords = Math.max(0, durable - of.durable);
    const { listen, http } = placedAt(of.node, hostOf(of.remote));
    return {
      nodeId: of.node.nodeId,
      name: of.node.name,
      address: listen && describeAddress(listen),
      http,
      remote: of.remote,
      connected,
      phase: connected ? of.phase : "gone",
      received: of.received,
      committed: of.committed,
      durable: of.durable,
      lagRecords,
      lagBytes: segments?.bytesAfter(of.durable) ?? 0,
      lagMs: connected ? of.lagMs : clock.stopwatch() - of.lastHeardAt,
      needs: connected ? of.needs : undefined,
      bytesInFlight: connected ? of.bytesInFlight : 0,
      bytesSent: of.bytesSent,
      recordsSent: of.recordsSent,
      connectedAt: of.connectedAt,
      lastHeard: wall + of.lastHeardAt,
      counts: connected && local.leads && of.phase === "streaming" && local.list.counts(of.node.nodeId),
    };
  });
}

function peers({ local, upstream }: StatsSources): PeerStats[] {
  const below = nodesBelow(local.senders(), local.nodeId);
  const primaryId = local.primary?.nodeId;
  return local.list.nodes.map((node) => {
    const heard = local.list.lastHeard(node.nodeId);
    const isSelf = node.nodeId === local.nodeId;
    return {
      ...peerAddress(node),
      isSelf,
      isPrimary: node.nodeId === primaryId,
      offset: isSelf ? local.log?.durableOffset : heard?.durable,
      lastHeard: heard?.at,
      follows: isSelf ? upstream?.node?.nodeId : below.get(node.nodeId)?.follows,
      counts: local.list.counts(node.nodeId),
    };
  });
}
