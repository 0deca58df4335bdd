/** The documented bodies of replication, and what is added to them. */
import { type TSchema, Type } from "@sinclair/typebox";

const orNull = (schema: TSchema) => Type.Union([schema, Type.Null()]);

const Role = Type.Union([Type.Literal("master"), Type.Literal("replica"), Type.Literal("standalone")]);
const Seconds = Type.Integer({ description: "Since 1970." });
const Status = Type.Union(
  ["in_sync", "lagging", "syncing", "disconnected"].map((name) => Type.Literal(name)),
);

export const FenceJson = Type.Object({
  epoch: Type.Integer(),
  lineage_id: Type.String(),
  from: Type.String({ description: "The node that told." }),
  since: Seconds,
});

const Replica = Type.Object({
  id: Type.String(),
  name: Type.String(),
  address: Type.String(),
  http: orNull(Type.String()),
  offset: Type.Integer({ description: "What it has on its disk." }),
  lag_operations: Type.Integer(),
  lag_bytes: Type.Integer({
    description: "Exact but for the segment that it is in: there by the mean size of its records.",
  }),
  lag_ms: Type.Integer(),
  status: Status,
  connected: Type.Boolean(),
  connected_at: orNull(Seconds),
  last_heartbeat: orNull(Seconds),
});

const Lacking = Type.Integer({
  description: "So many at least while it is not connected, and then null when it has all that it heard of.",
});

const Upstream = {
  replica_offset: Type.Optional(Type.Integer()),
  lag_operations: Type.Optional(orNull(Lacking)),
  lag_ms: Type.Optional(orNull(Type.Integer())),
  total_replicated: Type.Optional(Type.Integer({ description: "Records received since the process began." })),
  total_bytes: Type.Optional(Type.Integer()),
  connected: Type.Optional(Type.Boolean()),
  last_heartbeat: Type.Optional(orNull(Seconds)),
  phase: Type.Optional(Type.String()),
  last_error: Type.Optional(orNull(Type.String({ description: "An error code." }))),
  full_syncs: Type.Optional(Type.Integer()),
  partial_syncs: Type.Optional(Type.Integer()),
  reconnects: Type.Optional(Type.Integer()),
  master: Type.Optional(
    Type.Object({ address: Type.String(), id: orNull(Type.String()), http: orNull(Type.String()) }),
  ),
};

const Damage = Type.Object({
  known: Type.Array(
    Type.Object({ first: Type.Integer(), file: Type.String(), words: Type.String(), since: Seconds }),
    { description: "Segments of this node that are known to be damaged now." },
  ),
  quarantines: Type.Integer({ description: "Damaged files that were put aside since the process began." }),
  refetched_segments: Type.Integer(),
  owes_since: orNull(
    Type.Integer({
      description: "Since when it lacks records that it may have confirmed: a promotion needs force.",
    }),
  ),
  mending: orNull(Type.String({ description: "The log is not open because of damage: what is waited for." })),
  comparisons: Type.Integer({ description: "Segments compared with the node that is followed." }),
  mismatches: Type.Integer({ description: "Of those, sound on both sides and not the same." }),
  last_compared: orNull(Seconds),
  mismatch_offset: orNull(Type.Integer()),
  master: orNull(Type.String({ description: "What the node that is followed has damaged on its own disk." })),
});

const Twins = Type.Array(
  Type.Object({
    id: Type.String(),
    name: Type.String(),
    stays: Type.String({ description: "From where the one follows that is let in." }),
    refused: Type.String({ description: "From where the other one came last." }),
    refused_at: Seconds,
  }),
  {
    description:
      "Nodes that were not let in during the last five minutes, because another one that follows has the same id: one data directory is a copy of the other's.",
  },
);

export const ReplicationStats = Type.Object({
  role: Role,
  master_offset: orNull(Type.Integer()),
  ...Upstream,
  node_id: Type.String(),
  name: Type.String(),
  listen: orNull(Type.String()),
  http: orNull(Type.String()),
  epoch: orNull(Type.Integer()),
  lineage_id: orNull(Type.String()),
  fenced: orNull(FenceJson),
  refuses_writes: orNull(Type.String({ description: "The code that a write is refused with now." })),
  divergences: Type.Integer({
    description:
      "How often an end that only this node had, or a whole log that a full sync replaced, was put aside.",
  }),
  damage: Damage,
  listed: Type.Boolean({
    description: "On the primary's list of nodes, and it knows it: before that a promotion needs force.",
  }),
  replicas: Type.Array(Replica),
  twins: Twins,
  peers: Type.Array(
    Type.Object({
      id: Type.String(),
      name: Type.String(),
      address: orNull(Type.String()),
      http: orNull(Type.String()),
      follows: orNull(
        Type.String({ description: "Id of the node that it follows, as far as this node knows." }),
      ),
    }),
  ),
});

export const ReplicationHealth = Type.Object({
  role: Role,
  epoch: orNull(Type.Integer()),
  fenced: Type.Boolean(),
  refuses_writes: orNull(Type.String()),
  damage: orNull(Type.String({ description: "What is wrong with a log on a disk, here or there." })),
  twins: Twins,
  replicas: Type.Array(
    Type.Object({ id: Type.String(), offset: Type.Integer(), lag_ms: Type.Integer(), status: Status }),
  ),
  current_offset: Type.Optional(Type.Integer()),
  master_host: Type.Optional(Type.String()),
  master_offset: Type.Optional(orNull(Type.Integer())),
  local_offset: Type.Optional(Type.Integer()),
  lag_entries: Type.Optional(orNull(Lacking)),
  lag_ms: Type.Optional(orNull(Type.Integer())),
  status: Type.Optional(Status),
  last_sync: Type.Optional(orNull(Seconds)),
});
