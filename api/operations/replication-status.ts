/** Replication as it is told: who leads, who is how far behind, in the documented shapes. */
import { type Static, Type } from "@sinclair/typebox";
import type { JsonObject } from "../json-write.js";
import type { DamageFacts, ReplicaFacts, ReplicationFacts, UpstreamFacts } from "../replication.js";
import type { Call } from "./call.js";
import { closed } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type FenceJson, ReplicationHealth, ReplicationStats } from "./replication-shapes.js";
import { type Answered, shown } from "./reply.js";

const Nothing = Type.Object({}, closed);

/** Times are told in whole seconds, as documented. */
export const seconds = (ms: number | undefined): number | null =>
  ms === undefined ? null : Math.floor(ms / 1000);
const whole = (value: number | undefined): number | null => (value === undefined ? null : Math.round(value));

function replicaJson(replica: ReplicaFacts): JsonObject {
  return {
    id: replica.id,
    name: replica.name,
    address: replica.address,
    http: replica.http ?? null,
    offset: replica.offset,
    lag_operations: replica.lagOperations,
    lag_bytes: replica.lagBytes,
    lag_ms: Math.round(replica.lagMs),
    status: replica.status,
    connected: replica.connected,
    connected_at: seconds(replica.connectedAt),
    last_heartbeat: seconds(replica.lastHeartbeatAt),
  };
}

function upstreamJson(upstream: UpstreamFacts): JsonObject {
  return {
    master_offset: upstream.offset ?? null,
    lag_operations: upstream.lagOperations ?? null,
    lag_ms: whole(upstream.lagMs),
    total_replicated: upstream.recordsReceived,
    total_bytes: upstream.bytesReceived,
    connected: upstream.connected,
    last_heartbeat: seconds(upstream.lastHeartbeatAt),
    phase: upstream.phase,
    last_error: upstream.lastError ?? null,
    full_syncs: upstream.fullSyncs,
    partial_syncs: upstream.partialSyncs,
    reconnects: upstream.reconnects,
    master: { address: upstream.address, id: upstream.id ?? null, http: upstream.http ?? null },
  };
}

function fenceJson({ fence }: ReplicationFacts): Static<typeof FenceJson> | null {
  if (fence === undefined) return null;
  const { heard, from, since } = fence;
  return { epoch: heard.epoch, lineage_id: heard.lineageId, from, since: Math.floor(since / 1000) };
}

function damageJson({ damage }: ReplicationFacts): JsonObject {
  return {
    known: damage.known.map(({ first, file, words, since }) => ({
      first,
      file,
      words,
      since: Math.floor(since / 1000),
    })),
    quarantines: damage.quarantines,
    refetched_segments: damage.refetchedSegments,
    owes_since: seconds(damage.owesSince),
    mending: damage.opening ?? null,
    comparisons: damage.comparisons,
    mismatches: damage.mismatches,
    last_compared: seconds(damage.comparedAt),
    mismatch_offset: damage.mismatchAt ?? null,
    master: damage.upstream ?? null,
  };
}

/** The worst of it, in one line. */
function damageLine({ damage }: ReplicationFacts): string | null {
  const { known, opening, upstream, mismatchAt, owesSince } = damage;
  const words = opening ?? known[0]?.words;
  if (words !== undefined) return words;
  if (upstream !== undefined) return `on the node that is followed: ${upstream}`;
  if (mismatchAt !== undefined)
    return `two sound logs are not the same at offset ${mismatchAt}: see annals diff`;
  return owesSince === undefined ? null : "records that this node may have confirmed are fetched again";
}

const twinsJson = ({ twins }: ReplicationFacts): JsonObject[] =>
  twins.map(({ nodeId, name, stays, refused, refusedAt }) => ({
    id: nodeId,
    name,
    stays,
    refused,
    refused_at: Math.floor(refusedAt / 1000),
  }));

const UNDAMAGED: DamageFacts = {
  known: [],
  quarantines: 0,
  refetchedSegments: 0,
  owesSince: undefined,
  opening: undefined,
  comparisons: 0,
  mismatches: 0,
  comparedAt: undefined,
  mismatchAt: undefined,
  upstream: undefined,
};

function statsJson(facts: ReplicationFacts): JsonObject {
  const { upstream } = facts;
  const place =
    upstream === undefined
      ? { master_offset: facts.offset }
      : { replica_offset: facts.offset, ...upstreamJson(upstream) };
  return {
    role: facts.role,
    ...place,
    node_id: facts.nodeId,
    name: facts.name,
    listen: facts.listen ?? null,
    http: facts.http ?? null,
    epoch: facts.leadership?.epoch ?? null,
    lineage_id: facts.leadership?.lineageId ?? null,
    fenced: fenceJson(facts),
    refuses_writes: facts.refusal?.code ?? null,
    divergences: facts.divergences,
    damage: damageJson(facts),
    listed: facts.listed,
    replicas: facts.replicas.map(replicaJson),
    twins: twinsJson(facts),
    peers: facts.peers.map(({ id, name, address, http, follows }) => ({
      id,
      name,
      address: address ?? null,
      http: http ?? null,
      follows: follows ?? null,
    })),
  };
}

/** What a node without replication says of itself, so that whoever watches need not know which it is. */
function factsOf({ desk }: Call): ReplicationFacts {
  const { replication, log, role } = desk.options;
  if (replication !== undefined) return replication.facts();
  const last = log.epochs.at(-1);
  return {
    role: role(),
    nodeId: last?.nodeId ?? "",
    name: "",
    listen: undefined,
    http: undefined,
    leadership: last,
    offset: log.durableOffset,
    fence: undefined,
    refusal: undefined,
    replicas: [],
    upstream: undefined,
    peers: [],
    listed: false,
    divergences: 0,
    damage: UNDAMAGED,
    twins: [],
  };
}

export const status = defineOperation({
  name: "replication.status",
  aliases: ["replication.stats"],
  kind: "read",
  ofNow: true,
  summary: "Who leads, and who is how far behind",
  description:
    "`master_offset` and `replica_offset` are durable offsets; times are seconds since 1970. A replica shows its own replicas, too; a primary those that it has lost, `disconnected`, until they are forgotten or follow another.",
  input: Nothing,
  output: ReplicationStats,
  errors: [],
  rest: [{ method: "GET", path: "/api/replication/stats" }],
  run: (_input, call) => shown(statsJson(factsOf(call))),
});

export const health = defineOperation({
  name: "admin.replication_health",
  kind: "read",
  ofNow: true,
  summary: "Is replication well?",
  description:
    "`status` of a replica is what its readiness says: `in_sync`, `lagging`, or what it waits for.",
  input: Nothing,
  output: ReplicationHealth,
  errors: [],
  rest: [{ method: "GET", path: "/health/replication" }],
  envelope: false,
  whileDraining: true,
  run(_input, call): Answered {
    const facts = factsOf(call);
    const { upstream } = facts;
    const common = {
      role: facts.role,
      epoch: facts.leadership?.epoch ?? null,
      fenced: facts.fence !== undefined,
      refuses_writes: facts.refusal?.code ?? null,
      damage: damageLine(facts),
      twins: twinsJson(facts),
      replicas: facts.replicas.map(({ id, offset, lagMs, status: state }) => ({
        id,
        offset,
        lag_ms: Math.round(lagMs),
        status: state,
      })),
    };
    if (upstream === undefined) return shown({ ...common, current_offset: facts.offset });
    const lagging = replicaStatus(upstream, call);
    return shown({
      ...common,
      master_host: upstream.address,
      master_offset: upstream.offset ?? null,
      local_offset: facts.offset,
      lag_entries: upstream.lagOperations ?? null,
      lag_ms: whole(upstream.lagMs),
      status: lagging,
      last_sync: seconds(upstream.lastHeartbeatAt),
    });
  },
});

function replicaStatus(upstream: UpstreamFacts, { desk }: Call): string {
  if (!upstream.connected) return "disconnected";
  if (upstream.phase !== "streaming") return "syncing";
  const check = desk.options.health.readiness().find(({ name }) => name === "replication");
  return check?.ok === false ? "lagging" : "in_sync";
}
