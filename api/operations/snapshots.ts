/** Snapshots: to make one, and to see those that there are. */
import { Type } from "@sinclair/typebox";
import type { ListedSnapshot, SnapshotFacts } from "../../projections/index.js";
import { refusal } from "../errors.js";
import type { JsonObject } from "../json-write.js";
import { closed } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type Reply, shown } from "./reply.js";

const Nothing = Type.Object({}, closed);

const factFields = {
  timestamp: Type.Integer({ description: "Of its last record, ms since 1970." }),
  created_at: Type.Integer({ description: "When it was made, ms since 1970." }),
  format_version: Type.Integer(),
  epoch: Type.Integer(),
  lineage_id: Type.String(),
  crc: Type.Integer({ description: "Of every record of the log up to its offset, as `/log/crc` tells it." }),
  sha256: Type.String({ description: "Of the file before its last 32 bytes, which are this hash." }),
  digest: Type.String({ description: "Of the state in it, as `/digest` tells it." }),
  keys: Type.Integer(),
  queues: Type.Integer(),
  messages: Type.Integer(),
  streams: Type.Integer(),
  answers: Type.Integer({ description: "To writes with idempotency keys." }),
};

const Name = Type.String({ description: "Of the file in `snapshots`, below the data directory." });
const At = Type.Integer({ description: "The last record that it contains." });

function factsJson(facts: SnapshotFacts): JsonObject {
  const { timestamp, createdAt, formatVersion, epoch, lineageId, crc, sha256, digests, counts } = facts;
  return {
    timestamp,
    created_at: createdAt,
    format_version: formatVersion,
    epoch,
    lineage_id: lineageId,
    crc,
    sha256,
    digest: digests.all,
    ...counts,
  };
}

function listedJson({ name, offset, bytes, info, problem }: ListedSnapshot): JsonObject {
  const told = info === undefined ? {} : factsJson(info);
  return { name, offset, bytes, ...told, ...(problem === undefined ? {} : { problem: problem.code }) };
}

export const snapshot = defineOperation({
  name: "admin.snapshot",
  kind: "write",
  summary: "Make a snapshot",
  description:
    "Answers when the file is durable; requests go on meanwhile. Who asks while one is being made gets that one, which may have begun before the request came. A start reads the newest one and replays the log behind it.",
  input: Nothing,
  output: Type.Object({
    success: Type.Boolean(),
    message: Type.String(),
    name: Name,
    offset: At,
    bytes: Type.Integer(),
    duration_ms: Type.Integer(),
    ...factFields,
  }),
  errors: ["API_DISABLED", "API_SNAPSHOT_FAILED", "LOG_DISK_FULL"],
  rest: [{ method: "POST", path: "/snapshot" }],
  envelope: false,
  async run(_input, { desk, once }): Promise<Reply> {
    if (once !== undefined) {
      return refusal("API_IDEMPOTENCY_KEY_INVALID", "a snapshot is no record of the log: it takes no key");
    }
    const { snapshots } = desk.options;
    if (snapshots === undefined) {
      return refusal("API_DISABLED", "snapshots are switched off (persistence.snapshot.enabled)");
    }
    const made = await snapshots.make();
    if (made.type === "refused") return made;
    const { facts, durationMs } = made;
    return shown({
      success: true,
      message: `snapshot of offset ${facts.offset}`,
      name: facts.name,
      offset: facts.offset,
      bytes: facts.bytes,
      duration_ms: Math.round(durationMs),
      ...factsJson(facts),
    });
  },
});

export const list = defineOperation({
  name: "admin.snapshots",
  kind: "read",
  ofNow: true,
  summary: "The snapshots that there are",
  description:
    "The oldest first. `problem` stands instead of the facts where a file's beginning or end does not hold; the rest of a file is looked at by `annals verify`, and by a start that begins with it.",
  input: Nothing,
  output: Type.Object({
    count: Type.Integer(),
    snapshots: Type.Array(
      Type.Object({
        name: Name,
        offset: At,
        bytes: Type.Integer(),
        ...Type.Partial(Type.Object(factFields)).properties,
        problem: Type.Optional(Type.String({ description: "An error code." })),
      }),
    ),
  }),
  errors: ["API_DISABLED"],
  rest: [{ method: "GET", path: "/snapshots" }],
  envelope: false,
  async run(_input, { desk }): Promise<Reply> {
    const { snapshots } = desk.options;
    if (snapshots === undefined) {
      return refusal("API_DISABLED", "snapshots are switched off (persistence.snapshot.enabled)");
    }
    const listed = await snapshots.list();
    return shown({ count: listed.length, snapshots: listed.map(listedJson) });
  },
});

export const snapshotOperations = [snapshot, list];
