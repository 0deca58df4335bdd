/** What operators command and ask of replication: promote, follow, resync, hand over, and what is to be looked after. */
import { Type } from "@sinclair/typebox";
import { type Refusal, refusal } from "../errors.js";
import type { Replication } from "../replication.js";
import type { Call } from "./call.js";
import { closed } from "./fields.js";
import { defineOperation } from "./operation.js";
import { health, seconds, status } from "./replication-status.js";
import { type Reply, shown } from "./reply.js";

const Nothing = Type.Object({}, closed);

const off = (): Refusal => refusal("API_DISABLED", "this node stands alone (replication.role)");

/** What a command of operators answers. */
function commanded(call: Call, run: (replication: Replication) => Promise<Reply>): Promise<Reply> | Refusal {
  const { replication } = call.desk.options;
  return replication === undefined ? off() : run(replication);
}

export const promote = defineOperation({
  name: "replication.promote",
  kind: "read",
  ofNow: true,
  summary: "Make this replica the primary",
  description:
    "Every other replica known is told first, so that none confirms anything of the old primary any more; then a new epoch is made durable, and this node takes writes. Refused when one of them cannot be reached or has more, unless `force`; then the answer says who was not reached and how many records are known to be left behind.",
  input: Type.Object(
    {
      force: Type.Optional(Type.Boolean()),
      from: Type.Optional(
        Type.String({
          maxLength: 64,
          description:
            "Id of the primary that hands its lead over, as a switchover says it. It must have given it up before this node leads; else nothing changes.",
        }),
      ),
    },
    closed,
  ),
  output: Type.Object({
    success: Type.Literal(true),
    role: Type.Literal("master"),
    epoch: Type.Integer(),
    lineage_id: Type.String(),
    offset: Type.Integer({ description: "At which the new epoch begins." }),
    reached: Type.Array(Type.String()),
    not_reached: Type.Array(Type.String()),
    may_be_lost: Type.Integer({
      description:
        "Records at least that others, the old primary among them, were heard to have and this node lacks.",
    }),
    verified_from: Type.Union([Type.Integer(), Type.Null()], {
      description: "From this offset on the log was read and verified before the node began to lead.",
    }),
    warnings: Type.Array(Type.String({ description: "What could not be ruled out." })),
  }),
  errors: [
    ...(["API_DISABLED", "REPLICATION_BETTER_REPLICA", "REPLICATION_NOT_ALL_REACHED"] as const),
    ...(["REPLICATION_ROLE_WRONG", "REPLICATION_CHANGING", "REPLICATION_NOT_READY"] as const),
    ...(["REPLICATION_FENCED", "REPLICATION_LOG_DAMAGED", "REPLICATION_LOG_FAILED"] as const),
  ],
  rest: [{ method: "POST", path: "/api/replication/promote" }],
  run: ({ force, from }, call) =>
    commanded(call, async (replication) => {
      const report = await replication.promote(force ?? false, from);
      if (report.type === "refused") return report;
      return shown({
        success: true,
        role: "master",
        epoch: report.leadership.epoch,
        lineage_id: report.leadership.lineageId,
        offset: report.offset,
        reached: report.reached,
        not_reached: report.notReached,
        may_be_lost: report.mayBeLost,
        verified_from: report.verifiedFrom ?? null,
        warnings: report.warnings,
      });
    }),
});

export const follow = defineOperation({
  name: "replication.follow",
  kind: "read",
  ofNow: true,
  summary: "Follow another node",
  description:
    "Without a restart. A primary stops taking writes first; what only it had is put aside when the other one says so. A node that follows this one, directly or through others, is not followed.",
  input: Type.Object(
    {
      address: Type.String({
        minLength: 1,
        maxLength: 300,
        description: "`host:port` of its replication port.",
      }),
    },
    closed,
  ),
  output: Type.Object({ success: Type.Literal(true), role: Type.Literal("replica"), address: Type.String() }),
  errors: ["API_DISABLED", "API_ADDRESS_INVALID", "REPLICATION_CHANGING", "REPLICATION_CIRCLE"],
  rest: [{ method: "POST", path: "/api/replication/follow" }],
  run: ({ address }, call) =>
    commanded(
      call,
      async (replication) =>
        (await replication.follow(address)) ?? shown({ success: true, role: "replica", address }),
    ),
});

export const resync = defineOperation({
  name: "replication.resync",
  kind: "read",
  ofNow: true,
  summary: "Fetch everything anew from the primary",
  description:
    "The log that is here is replaced once the new one is whole and verified; reads go on until then. Asked again while a full sync is under way it changes nothing.",
  input: Nothing,
  output: Type.Object({
    success: Type.Literal(true),
    begun: Type.Boolean({ description: "False: a full sync was under way, and goes on." }),
  }),
  errors: ["API_DISABLED", "REPLICATION_ROLE_WRONG", "REPLICATION_CHANGING"],
  rest: [{ method: "POST", path: "/api/replication/resync" }],
  run: (_input, call) =>
    commanded(call, async (replication) => {
      const begun = await replication.resync();
      return typeof begun === "boolean" ? shown({ success: true, begun }) : begun;
    }),
});

export const forget = defineOperation({
  name: "replication.forget",
  kind: "read",
  ofNow: true,
  summary: "Strike a node that does not come back off the list",
  description:
    "Asked of the primary. A node on the list counts for a quorum, and a promotion asks it; one that is connected is not struck off.",
  input: Type.Object(
    {
      node: Type.String({
        minLength: 1,
        maxLength: 300,
        description: "Name, id, replication or HTTP address.",
      }),
    },
    closed,
  ),
  output: Type.Object({ success: Type.Literal(true), node: Type.String() }),
  errors: [
    ...(["API_DISABLED", "API_NODE_UNKNOWN", "REPLICATION_ROLE_WRONG", "REPLICATION_CHANGING"] as const),
    "REPLICATION_FENCED",
  ],
  rest: [{ method: "POST", path: "/api/replication/forget" }],
  run: ({ node }, call) =>
    commanded(
      call,
      async (replication) => (await replication.forget(node)) ?? shown({ success: true, node }),
    ),
});

export const switchover = defineOperation({
  name: "replication.switchover",
  kind: "read",
  ofNow: true,
  summary: "Hand the lead over to a replica, as planned",
  description:
    "Asked of the primary: it holds writes (503) until that replica has everything, has it promoted, and points the others there. Nothing that was answered is lost. When anything fails before, it goes on as before. When it gave its lead up and cannot reach the other then (504), it takes no writes until it can.",
  input: Type.Object(
    {
      to: Type.String({
        minLength: 1,
        maxLength: 300,
        description: "Name, id, replication or HTTP address.",
      }),
    },
    closed,
  ),
  output: Type.Object({
    success: Type.Literal(true),
    to: Type.String(),
    epoch: Type.Integer(),
    offset: Type.Integer({ description: "At which the new epoch begins." }),
    held_ms: Type.Integer({
      description: "For how long writes were refused; at most, when the other node's answer was lost.",
    }),
    repointed: Type.Array(Type.String()),
    not_repointed: Type.Array(Type.String()),
  }),
  errors: [
    ...(["API_DISABLED", "API_NODE_UNKNOWN", "REPLICATION_NOT_READY", "REPLICATION_ROLE_WRONG"] as const),
    ...(["REPLICATION_CHANGING", "REPLICATION_NOT_CONFIRMED", "REPLICATION_FENCED"] as const),
    ...(["REPLICATION_NOT_ALL_REACHED", "REPLICATION_BETTER_REPLICA"] as const),
    "REPLICATION_HANDOVER_UNKNOWN",
  ],
  rest: [{ method: "POST", path: "/api/replication/switchover" }],
  run: ({ to }, call) =>
    commanded(call, async (replication) => {
      const report = await replication.switchover(to);
      if (report.type === "refused") return report;
      const { epoch, offset, heldMs, repointed, notRepointed } = report;
      return shown({
        success: true,
        to: report.to,
        epoch,
        offset,
        held_ms: heldMs,
        repointed,
        not_repointed: notRepointed,
      });
    }),
});

export const breakers = defineOperation({
  name: "replication.breakers",
  kind: "read",
  ofNow: true,
  summary: "Links that were given up after what they sent failed verification again and again",
  input: Nothing,
  output: Type.Object({
    count: Type.Integer(),
    tripped: Type.Array(
      Type.Object({
        link: Type.String(),
        failures: Type.Integer(),
        last_error: Type.Union([Type.String(), Type.Null()]),
        tripped_at: Type.Union([Type.Integer(), Type.Null()]),
      }),
    ),
  }),
  errors: ["API_DISABLED"],
  rest: [
    { method: "GET", path: "/api/replication/breakers" },
    { method: "GET", path: "/v1/admin/circuit-breakers/tripped" },
  ],
  run: (_input, call) =>
    commanded(call, async (replication) => {
      const tripped = replication.breakers().filter((breaker) => breaker.tripped);
      return shown({
        count: tripped.length,
        tripped: tripped.map(({ link, failures, lastError, trippedAt }) => ({
          link,
          failures,
          last_error: lastError ?? null,
          tripped_at: seconds(trippedAt),
        })),
      });
    }),
});

export const resetBreakers = defineOperation({
  name: "replication.reset_breakers",
  kind: "read",
  ofNow: true,
  summary: "Let links that were given up try again",
  input: Type.Object(
    {
      link: Type.Optional(Type.String({ maxLength: 300, description: "As listed. Default: all." })),
      agent_id: Type.Optional(Type.String({ maxLength: 300, description: "The documented name of `link`." })),
    },
    closed,
  ),
  output: Type.Object({
    success: Type.Literal(true),
    reset: Type.Integer({ description: "How many had been tripped." }),
  }),
  errors: ["API_DISABLED", "API_LINK_UNKNOWN"],
  rest: [
    { method: "POST", path: "/api/replication/breakers/reset" },
    { method: "POST", path: "/v1/admin/circuit-breaker/reset" },
  ],
  run: (input, call) =>
    commanded(call, async (replication) => {
      const reset = replication.resetBreakers(input.link ?? input.agent_id);
      return typeof reset === "number" ? shown({ success: true, reset }) : reset;
    }),
});

export const diverged = defineOperation({
  name: "replication.diverged",
  kind: "read",
  ofNow: true,
  summary: "What only this node had, and was put aside when it followed another",
  description:
    "`annals dump` reads each of them; `annals at` only one that begins with the first record, for a state is folded from there.",
  input: Nothing,
  output: Type.Object({
    count: Type.Integer(),
    diverged: Type.Array(
      Type.Object({
        directory: Type.String({ description: "Below the data directory." }),
        first_offset: Type.Integer(),
        last_offset: Type.Integer(),
        records: Type.Integer(),
        bytes: Type.Integer({ description: "Of its segment files." }),
        kept_at: Type.Integer(),
      }),
    ),
  }),
  errors: ["API_DISABLED"],
  rest: [{ method: "GET", path: "/api/replication/diverged" }],
  run: (_input, call) =>
    commanded(call, async (replication) => {
      const kept = await replication.diverged();
      return shown({
        count: kept.length,
        diverged: kept.map(({ directory, first, last, records, bytes, keptAt }) => ({
          directory,
          first_offset: first,
          last_offset: last,
          records,
          bytes,
          kept_at: Math.floor(keptAt / 1000),
        })),
      });
    }),
});

export const replicationOperations = [
  ...[status, health, promote, follow, resync, switchover, forget],
  ...[breakers, resetBreakers, diverged],
];
