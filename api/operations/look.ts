/** What lets nodes be compared: the fingerprint of the state, and of the log, at an offset. */
import { Type } from "@sinclair/typebox";
import type { LogMark, Offset } from "../../log/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { Call } from "./call.js";
import { closed } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type Reply, shown } from "./reply.js";

const AtOffset = Type.Object(
  {
    offset: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: Number.MAX_SAFE_INTEGER,
        description: "Of a record. Default: the last one that is committed.",
      }),
    ),
  },
  closed,
);

const markFields = {
  offset: Type.Integer(),
  time: Type.Integer({ description: "The record's, ms since 1970." }),
  crc: Type.Integer({
    description:
      "Of every record up to this one: two nodes that say the same have the same log up to there, to the byte.",
  }),
  epoch: Type.Integer(),
  lineage_id: Type.String(),
  cluster_id: Type.String(),
};

function markJson({ offset, timestamp, crc, epoch, lineageId, clusterId }: LogMark) {
  return { offset, time: timestamp, crc, epoch, lineage_id: lineageId, cluster_id: clusterId };
}

/** The record's offset, if the log has it committed and kept. */
function committed({ desk }: Call, wanted: number | undefined): Offset | Refusal {
  const { committedOffset: end, firstOffset } = desk.options.log;
  const bounds = { first_offset: firstOffset, end_offset: end };
  if ((wanted ?? end) > end) {
    return refusal("LOG_OFFSET_BEYOND_END", `offset ${wanted} lies beyond the end ${end}`, bounds);
  }
  if (end === 0) return refusal("API_AT_BEFORE_FIRST", "there is no record yet", bounds);
  const at = (wanted ?? end) as Offset;
  if (at >= firstOffset) return at;
  return refusal("LOG_OFFSET_RETIRED", `offset ${at} was removed by retention`, bounds);
}

const errors = ["LOG_OFFSET_BEYOND_END", "LOG_OFFSET_RETIRED", "API_AT_BEFORE_FIRST"] as const;

export const crc = defineOperation({
  name: "admin.log_crc",
  kind: "read",
  ofNow: true,
  summary: "The fingerprint of the log up to an offset",
  input: AtOffset,
  output: Type.Object({ ...markFields, first_offset: Type.Integer(), end_offset: Type.Integer() }),
  errors,
  rest: [{ method: "GET", path: "/log/crc" }],
  async run(input, call): Promise<Reply> {
    const at = committed(call, input.offset);
    if (typeof at !== "number") return at;
    const { log } = call.desk.options;
    const mark = markJson(await log.markAt(at));
    return shown({ ...mark, first_offset: log.firstOffset, end_offset: log.committedOffset });
  },
});

const Hash = Type.String({ description: "SHA-256, in hex." });

export const digest = defineOperation({
  name: "admin.digest",
  kind: "read",
  ofNow: true,
  summary: "The fingerprint of the state at an offset",
  description:
    "Of every projection, at the time of the record: nodes whose logs agree up to the offset have the same, but for `idempotency` (and so `all`) where their `idempotency.*` settings differ or did. Found as every look at the past is, and under the same limits.",
  input: AtOffset,
  output: Type.Object({
    ...markFields,
    digests: Type.Object({ kv: Hash, queue: Hash, stream: Hash, idempotency: Hash, all: Hash }),
  }),
  errors,
  rest: [{ method: "GET", path: "/digest" }],
  async run(input, call): Promise<Reply> {
    const at = committed(call, input.offset);
    if (typeof at !== "number") return at;
    const found = await call.lookBack((past, signal) => past.digest({ type: "offset", offset: at }, signal));
    if (found.type === "refused") return found;
    const { kv, queue, stream, idempotency, all } = found.digests;
    const mark = markJson(await call.desk.options.log.markAt(at));
    return shown({ ...mark, digests: { kv, queue, stream, idempotency, all } });
  },
});

export const lookOperations = [crc, digest];
