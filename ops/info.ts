/** The sections of `/info`: what runs, where it stands, in flat fields named as the documented server names them. */
import type { OpenedLog } from "../log/index.js";
import type { KvStats, OpenedStore, QueueStats } from "../projections/index.js";
import type { ReplicationStats } from "../replication/index.js";
import type { ConfigValues } from "./config/settings.js";
import type { FreeDisk } from "./metrics/free-disk.js";
import type { HouseFigures } from "./state/house.js";

export interface InfoParts {
  readonly version: string;
  readonly values: () => ConfigValues;
  readonly opened: () => OpenedLog | undefined;
  readonly kvStats: () => KvStats | undefined;
  readonly queueStats: () => readonly QueueStats[];
  readonly disk: FreeDisk;
  readonly store: () => OpenedStore | undefined;
  readonly house: () => HouseFigures | undefined;
  /** Undefined of a node that stands alone. */
  readonly replication: () => ReplicationStats | undefined;
  readonly uptimeSeconds: () => number;
  readonly openConnections: () => number;
}

export type InfoSections = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export function infoSections(parts: InfoParts): InfoSections {
  const opened = parts.opened();
  const stats = parts.kvStats();
  return {
    server: serverSection(parts, opened),
    memory: {
      used_bytes: stats?.memoryBytes ?? 0,
      max_bytes: stats?.maxMemoryBytes ?? 0,
      eviction_policy: parts.values()["kv_store.eviction_policy"],
      rss_bytes: process.memoryUsage.rss(),
    },
    stats: { ...stats?.operations, expired: stats?.expiredTotal ?? 0, evicted: stats?.evictedTotal ?? 0 },
    log: logSection(parts, opened),
    persistence: persistenceSection(parts, opened),
    replication: replicationSection(parts, opened),
    keyspace: { keys: stats?.totalKeys ?? 0, expiring_keys: stats?.expiringKeys ?? 0 },
    queues: queueSection(parts.queueStats()),
    cluster: { enabled: false },
  };
}

/** A node that stands alone reports itself as a master without replicas. */
function replicationSection(parts: InfoParts, opened: OpenedLog | undefined): Record<string, unknown> {
  const stats = parts.replication();
  const upstream = stats?.upstream;
  return {
    role: upstream === undefined ? "master" : "slave",
    connected_slaves: stats?.replicas.filter(({ connected }) => connected).length ?? 0,
    master_repl_offset:
      (upstream === undefined ? undefined : upstream.primaryEnd) ?? opened?.log.durableOffset ?? 0,
    // What is kept for replicas is the log.
    repl_backlog_active: stats !== undefined,
    repl_backlog_size: stats === undefined ? 0 : (opened?.usage().bytes ?? 0),
    ...(upstream && {
      master_link_status: upstream.connected ? "up" : "down",
      // Before anything was heard nobody knows.
      ...(upstream.lagRecords !== undefined && { slave_repl_lag: upstream.lagRecords }),
      slave_repl_offset: opened?.log.durableOffset ?? 0,
      master_address: upstream.address,
    }),
    ...(stats && { epoch: stats.leadership?.epoch ?? 0, fenced: stats.fence !== undefined }),
  };
}

function queueSection(queues: readonly QueueStats[]): Record<string, unknown> {
  const sum = (count: (stats: QueueStats) => number): number =>
    queues.reduce((total, stats) => total + count(stats), 0);
  return {
    queues: queues.length,
    depth: sum((stats) => stats.waiting),
    delayed: sum((stats) => stats.delayed),
    in_flight: sum((stats) => stats.inFlight),
    dead: sum((stats) => stats.dead),
    published: sum((stats) => stats.published),
    consumed: sum((stats) => stats.consumed),
    acked: sum((stats) => stats.acked),
  };
}

function serverSection(parts: InfoParts, opened: OpenedLog | undefined): Record<string, unknown> {
  return {
    version: parts.version,
    node: process.version,
    process_id: process.pid,
    uptime_secs: Math.floor(parts.uptimeSeconds()),
    connections: parts.openConnections(),
    cluster_id: opened?.identity.clusterId,
    node_id: opened?.identity.nodeId,
  };
}

function persistenceSection(parts: InfoParts, opened: OpenedLog | undefined): Record<string, unknown> {
  const house = parts.house();
  const store = parts.store();
  const from = store?.from;
  return {
    snapshots: house?.snapshots ?? 0,
    snapshots_made: house?.made ?? 0,
    snapshots_failed: house?.failed ?? 0,
    last_snapshot_offset: house?.last?.offset ?? 0,
    last_snapshot_bytes: house?.last?.bytes ?? 0,
    last_snapshot_at: house?.last?.createdAt ?? 0,
    snapshot_in_progress: house?.progress !== undefined,
    start_snapshot_offset: from?.offset ?? 0,
    start_replayed_records: store === undefined ? 0 : (opened?.recovery.endOffset ?? 0) - (from?.offset ?? 0),
    retired_records: house?.retiredRecords ?? 0,
  };
}

function logSection(parts: InfoParts, opened: OpenedLog | undefined): Record<string, unknown> {
  return {
    fsync_mode: parts.values()["persistence.wal.fsync_mode"],
    first_offset: opened?.log.firstOffset ?? 0,
    end_offset: opened?.log.endOffset ?? 0,
    durable_offset: opened?.log.durableOffset ?? 0,
    epoch: opened?.log.epochs.at(-1)?.epoch ?? 0,
    segments: opened?.usage().segments ?? 0,
    bytes: opened?.usage().bytes ?? 0,
    free_disk_bytes: parts.disk.bytes,
    last_stop_clean: opened?.recovery.clean,
    torn_bytes: opened?.recovery.tornBytes ?? 0,
  };
}
