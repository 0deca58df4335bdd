/** What replication tells of itself when asked, under the documented names where there are some. Nothing is shown of a node that stands alone. */
import type { ReplicaStats, ReplicationCounters, ReplicationStats } from "../../replication/index.js";
import type { Reading, Series } from "./series.js";

export function addReplicationSeries(
  series: Series,
  readNow: () => ReplicationStats | undefined,
  certificateExpiresAt: () => number | undefined,
): void {
  const read = series.oncePerPage(readNow);
  series.gauge(
    "replication_certificate_expires_timestamp_seconds",
    "When this node's certificate for links to other nodes ends",
    () => {
      const at = certificateExpiresAt();
      return at === undefined ? undefined : at / 1000;
    },
  );
  addLags(series, read);
  addState(series, read);
  addDamage(series, read);
  addCounters(series, read);
}

type Read = () => ReplicationStats | undefined;

/** Of a primary, each of its replicas; of a replica, itself. */
function addLags(series: Series, read: Read): void {
  const lags = (
    ofReplica: (replica: ReplicaStats) => number,
    ofUpstream: (stats: ReplicationStats) => number | undefined,
  ): Reading[] => {
    const stats = read();
    if (stats === undefined) return [];
    const own = ofUpstream(stats);
    const readings = stats.replicas.map(
      (replica): Reading => [{ replica_id: replica.nodeId }, ofReplica(replica)],
    );
    return own === undefined ? readings : [[{ replica_id: stats.nodeId }, own], ...readings];
  };
  const labels = ["replica_id"];
  series.gauges("replication_lag_operations", "Records that the replica does not have on disk", labels, () =>
    lags(
      ({ lagRecords }) => lagRecords,
      ({ upstream }) => upstream?.lagRecords,
    ),
  );
  series.gauges(
    "replication_lag_bytes",
    "How many bytes those are: exact but for the segment that it is in, there by the mean size of its records",
    labels,
    () =>
      lags(
        ({ lagBytes }) => lagBytes,
        () => undefined,
      ),
  );
  const lagMs = () =>
    lags(
      (replica) => replica.lagMs,
      ({ upstream }) => upstream?.lagMs,
    );
  series.gauges("replication_lag_ms", "For how long the replica has not had everything", labels, lagMs);
  series.gauges("replication_lag_seconds", "The same in seconds", labels, () =>
    lagMs().map(([which, ms]): Reading => [which, ms / 1000]),
  );
}

function addState(series: Series, read: Read): void {
  series.gauges("replication_role", "1 for the role that the node has", ["role"], () => {
    const role = read()?.role;
    return role === undefined ? [] : [[{ role }, 1]];
  });
  series.gauge("replication_epoch", "Epoch of the node's own log", () => read()?.leadership?.epoch);
  series.gauge(
    "replication_heard_epoch",
    "Highest epoch that the node ever heard of",
    () => read()?.heard?.epoch,
  );
  series.gauge("replication_fenced", "1 while the node takes no writes because another was promoted", () => {
    const stats = read();
    return stats === undefined ? undefined : Number(stats.fence !== undefined);
  });
  series.gauge("replication_connected", "1 while a replica is connected to the node that it follows", () => {
    const upstream = read()?.upstream;
    return upstream === undefined ? undefined : Number(upstream.connected);
  });
  series.gauge(
    "replication_connected_replicas",
    "Replicas that are connected to this node",
    () => read()?.replicas.filter(({ connected }) => connected).length,
  );
  series.gauge(
    "replication_breakers_open",
    "Links that were given up",
    () => read()?.breakers.filter(({ open }) => open).length,
  );
  series.gauge(
    "replication_twins",
    "Nodes that were refused, or believed no longer, lately because another one has the same id",
    () => read()?.twins.length,
  );
  series.gauge("replication_waiting_writes", "Writes that wait for confirmations", () => read()?.waiting);
}

/** Of the log on this node's disk, and beside that of the node that it follows. */
function addDamage(series: Series, read: Read): void {
  series.gauge(
    "replication_damaged_segments",
    "Segments of this node's log that are known to be damaged",
    () => read()?.damage.known.length,
  );
  series.gauge("replication_mending", "1 while the log is not open because it is damaged", () => {
    const stats = read();
    return stats === undefined ? undefined : Number(stats.damage.opening !== undefined);
  });
  series.gauge("replication_owes", "1 while the node lacks records that it may have confirmed", () => {
    const stats = read();
    return stats === undefined ? undefined : Number(stats.damage.owesSince !== undefined);
  });
  series.gauge(
    "replication_primary_damaged",
    "1 after the node that is followed was heard to have damage on its own disk",
    () => {
      const stats = read();
      return stats === undefined ? undefined : Number(stats.damage.upstream !== undefined);
    },
  );
  series.gauge(
    "replication_last_comparison_timestamp_seconds",
    "When a segment was last compared with the node that is followed",
    () => {
      const at = read()?.damage.comparedAt;
      return at === undefined ? undefined : at / 1000;
    },
  );
}

function addCounters(series: Series, read: Read): void {
  const count = (which: keyof ReplicationCounters): number => read()?.counters[which] ?? 0;
  series.counters(
    "replication_operations_total",
    "Syncs, and records sent and received",
    ["type", "status"],
    () => [
      [{ type: "full_sync", status: "success" }, count("fullSyncs")],
      [{ type: "partial_sync", status: "success" }, count("partialSyncs")],
      [{ type: "append", status: "success" }, count("recordsSent") + count("recordsReceived")],
      [{ type: "append", status: "error" }, count("verificationFailures")],
    ],
  );
  series.counters("replication_bytes_total", "Bytes of records and snapshots", ["direction"], () => [
    [{ direction: "sent" }, count("bytesSent")],
    [{ direction: "received" }, count("bytesReceived")],
  ]);
  series.counters("replication_records_total", "Records", ["direction"], () => [
    [{ direction: "sent" }, count("recordsSent")],
    [{ direction: "received" }, count("recordsReceived")],
  ]);
  series.counters("replication_writes_total", "Writes that waited for confirmations", ["outcome"], () => [
    [{ outcome: "confirmed" }, count("confirmed")],
    [{ outcome: "not_confirmed" }, count("notConfirmed")],
  ]);
  const plain: readonly (readonly [string, string, keyof ReplicationCounters])[] = [
    ["replication_reconnects_total", "Attempts to connect to the primary after the first", "reconnects"],
    [
      "replication_divergences_total",
      "Ends that only this node had, and whole logs that full syncs replaced, put aside",
      "divergences",
    ],
    ["replication_diverged_records_total", "Records in them", "divergedRecords"],
    [
      "replication_verification_failures_total",
      "Links that ended because what came over them, or the log of one side, did not hold",
      "verificationFailures",
    ],
    ["replication_quarantines_total", "Damaged segment files that were put aside", "quarantines"],
    ["replication_refetched_segments_total", "Damaged segments that were fetched again", "refetchedSegments"],
    ["replication_refetched_bytes_total", "Bytes of them", "refetchedBytes"],
    ["replication_checks_total", "Segments that were read whole to find damage", "checks"],
    ["replication_comparisons_total", "Segments compared with the node that is followed", "comparisons"],
    ["replication_mismatches_total", "Of those, sound on both sides and not the same", "mismatches"],
    ["replication_promotions_total", "Times that this node was promoted", "promotions"],
    ["replication_fenced_total", "Times that this node heard that another was promoted", "timesFenced"],
  ];
  for (const [name, help, which] of plain) series.counter(name, help, () => count(which));
}
