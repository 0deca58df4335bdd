/** What one key or one message went through, and a key brought back to one of its revisions. */
import { Type } from "@sinclair/typebox";
import type { Offset } from "../../log/index.js";
import {
  type Happened,
  type KeyEvent,
  keyAtRevision,
  keyHistory,
  kv,
  type LifeEvent,
  type LifePlace,
  messageLife,
  parseMessageId,
  queue,
  type RecordCause,
} from "../../projections/index.js";
import { refusal } from "../errors.js";
import type { JsonObject } from "../json-write.js";
import type { Call } from "./call.js";
import { closed, Key, LogOffset, Revision, Success, TextOrBytes } from "./fields.js";
import { lifeJson, parsePlace, placeText } from "./life-json.js";
import { replyForm } from "./once.js";
import { defineOperation } from "./operation.js";
import { defineQueueOperation, MessageId, QueueName, UnixMs } from "./queue-fields.js";
import { type Reply, shown, written } from "./reply.js";
import { storedText } from "./values.js";
import { write } from "./write.js";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;
/** Bytes of values after which a page ends. */
const PAGE_BYTES_MAX = 4 << 20;

const PageLimit = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: PAGE_MAX,
    description: `Default ${PAGE_DEFAULT}. A page has more when one record did more at once, fewer when the values are large.`,
  }),
);

const CauseShown = Type.Object(
  {
    command: Type.Optional(Type.String({ description: "`batch` when it was a part of one." })),
    request_id: Type.Optional(Type.String({ description: "If the client chose one." })),
    idempotency_key: Type.Optional(Type.String()),
  },
  { description: "What did it, as far as its record says." },
);

function causeJson({ command, requestId, idempotencyKey }: RecordCause): JsonObject {
  return { command, request_id: requestId, idempotency_key: idempotencyKey };
}

const happenedFields = {
  offset: Type.Integer({ description: "Of its record in the log." }),
  time: UnixMs,
};

const RevisionShown = Type.Object({
  ...happenedFields,
  event: Type.Union([
    Type.Literal("set"),
    Type.Literal("deleted"),
    Type.Literal("evicted"),
    Type.Literal("expiry_changed"),
  ]),
  value: Type.Optional(TextOrBytes),
  content_type: Type.Optional(Type.String()),
  value_bytes: Type.Optional(Type.Integer()),
  expires_at: Type.Optional(
    Type.Union([Type.Integer(), Type.Null()], { description: "Ms since 1970; null: never." }),
  ),
  cause: CauseShown,
});

function revisionJson({ offset, time, event, cause }: Happened<KeyEvent>, withValues: boolean): JsonObject {
  const common = { offset, time, event: event.type.slice("kv.".length), cause: causeJson(cause) };
  switch (event.type) {
    case "kv.set":
      return {
        ...common,
        value: withValues ? storedText(event.value) : undefined,
        content_type: event.contentType,
        value_bytes: event.value.length,
        expires_at: event.expiresAt || null,
      };
    case "kv.expiry_changed":
      return { ...common, expires_at: event.expiresAt || null };
    default:
      return common;
  }
}

export const keyLife = defineOperation({
  name: "kv.history",
  kind: "read",
  summary: "What a key went through",
  description:
    "Newest first, along the key's own chain of events: how long the log is does not matter. An expiry is no event: `expires_at` of the revision before tells it. That every key was removed at once (`kv.flushdb`) is not shown either; the chain goes past it. A removed key is remembered for a while (`history.removed_keys_bytes_max`); the history of one that came back later ends where it came back, and `end` says `unknown`.",
  input: Type.Object(
    {
      key: Key,
      limit: PageLimit,
      before: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: Number.MAX_SAFE_INTEGER,
          description: "Only what happened before this offset: `next` of the page before.",
        }),
      ),
      values: Type.Optional(Type.Boolean({ description: "False: without the values. Default: with them." })),
    },
    closed,
  ),
  output: Type.Object({
    key: Type.String(),
    exists: Type.Boolean({ description: "Whether the key is there." }),
    revisions: Type.Array(RevisionShown),
    next: Type.Union([Type.Integer(), Type.Null()], {
      description: "`before` of the next page; null at the end.",
    }),
    complete: Type.Boolean({ description: "True when the last one shown is the key's first event." }),
    end: Type.Union(
      [Type.Literal("first_event"), Type.Literal("unknown"), Type.Literal("retired"), Type.Null()],
      {
        description:
          "Why it goes no further: all is shown; what was before is not remembered; or retention removed it.",
      },
    ),
  }),
  errors: ["KV_KEY_INVALID", "KV_HISTORY_TOO_LONG"],
  rest: [{ method: "GET", path: "/kv/{key}/history" }],
  async run({ key, limit = PAGE_DEFAULT, before, values = true }, call): Promise<Reply> {
    const chain = await chainOf(call, key);
    if (chain.type === "refused") return chain;
    const { store } = call.desk.options;
    const page = await keyHistory(store, {
      key,
      chain,
      before,
      limit,
      bytesMax: values ? PAGE_BYTES_MAX : Number.POSITIVE_INFINITY,
      recordsMax: call.limits.historyRecordsMax,
    });
    if (page.type === "too_long") {
      return refusal(
        "KV_HISTORY_TOO_LONG",
        `more than ${call.limits.historyRecordsMax} revisions are newer; name one as \`before\``,
      );
    }
    return shown({
      key,
      exists: chain.isThere,
      revisions: page.revisions.map((revision) => revisionJson(revision, values)),
      next: page.next ?? null,
      complete: page.end === "first_event",
      end: page.end ?? null,
    });
  },
});

function chainOf(call: Call, key: string) {
  return Promise.resolve(call.query(kv.chain, { key }, (chain) => ({ type: "chain" as const, ...chain })));
}

export const revert = defineOperation({
  name: "kv.revert",
  kind: "write",
  summary: "Set a key back to one of its revisions",
  description:
    "Writes that revision's value and content type as a new event, with its expiry if that is still to come. Of a revision that changed only the expiry, the value is the one that the key had then.",
  input: Type.Object(
    {
      key: Key,
      revision: Type.Integer({
        minimum: 1,
        maximum: Number.MAX_SAFE_INTEGER,
        description: "Offset of one of the key's events, as kv.history shows it.",
      }),
      if_revision: Type.Optional(Revision),
    },
    closed,
  ),
  output: Type.Object({
    success: Success,
    key: Type.String(),
    reverted_to: Type.Integer(),
    revision: Revision,
    expires_at: Type.Union([Type.Integer(), Type.Null()], { description: "Ms since 1970; null: never." }),
    log_offset: LogOffset,
  }),
  errors: [
    "KV_KEY_INVALID",
    "KV_REVISION_NOT_FOUND",
    "KV_REVISION_RETIRED",
    "KV_REVISION_REMOVED",
    "KV_REVISION_MISMATCH",
    "KV_HISTORY_TOO_LONG",
    "KV_MEMORY_FULL",
  ],
  rest: [{ method: "POST", path: "/kv/{key}/revert" }],
  async run({ key, revision, if_revision }, call): Promise<Reply> {
    const { store, log } = call.desk.options;
    const again = await call.repeated(replyForm);
    if (again !== undefined) return again;
    // A revision that somebody was told of is committed.
    const found =
      revision > log.committedOffset
        ? { type: "not_found" as const }
        : await keyAtRevision(store, key, revision as Offset, call.limits.historyRecordsMax);
    const command = { key, found, ...(if_revision !== undefined && { ifRevision: if_revision }) };
    return write(kv.revert, command, (answer, offset) =>
      written(
        {
          success: true,
          key,
          reverted_to: revision,
          revision: answer.revision,
          expires_at: answer.expiresAt || null,
          log_offset: offset,
        },
        offset,
        answer.revision,
      ),
    ).run(call);
  },
});

const LifeShown = Type.Object({
  ...happenedFields,
  event: Type.String({
    description:
      "published, delivered, acked, requeued (`by`: nacked, its deadline passed, or its consumer was gone before the answer could leave, `unsent`), died, deadline_extended, released (its delay ended), expired, dead_requeued, purged, dead_purged, or deleted with its queue.",
  }),
  consumer: Type.Optional(Type.String()),
  receipt: Type.Optional(Type.String()),
  deadline: Type.Optional(UnixMs),
  by: Type.Optional(Type.Union([Type.Literal("nack"), Type.Literal("deadline"), Type.Literal("unsent")])),
  reason: Type.Optional(Type.String()),
  retry_count: Type.Optional(Type.Integer()),
  available_at: Type.Optional(UnixMs),
  expires_at: Type.Optional(UnixMs),
  priority: Type.Optional(Type.Integer()),
  payload_bytes: Type.Optional(Type.Integer()),
  cause: CauseShown,
});

export const messageHistory = defineQueueOperation({
  name: "queue.history",
  kind: "read",
  summary: "What a message went through",
  description:
    "Oldest first, also of a message that is gone, and of a queue that is. The log is read from the message's publish on: one request reads `history.records_max` records at most, and `next` goes on where it ended, perhaps with nothing on a page.",
  input: Type.Object(
    {
      queue: QueueName,
      message_id: MessageId,
      limit: PageLimit,
      from: Type.Optional(Type.String({ description: "`next` of the page before." })),
    },
    closed,
  ),
  output: Type.Object({
    queue: Type.String(),
    message_id: Type.String(),
    events: Type.Array(LifeShown),
    over: Type.Boolean({ description: "True when the message is gone: nothing more can happen to it." }),
    next: Type.Union([Type.String(), Type.Null()], {
      description: "`from` of the next page; null: that is all until now.",
    }),
  }),
  errors: ["QUEUE_MESSAGE_NOT_FOUND", "LOG_OFFSET_RETIRED"],
  rest: [{ method: "GET", path: "/queue/{queue}/messages/{message_id}/history" }],
  async run({ queue: name, message_id, limit = PAGE_DEFAULT, from }, call): Promise<Reply> {
    const message = parseMessageId(message_id);
    const place: LifePlace | undefined = from === undefined ? undefined : parsePlace(from);
    if (from !== undefined && place === undefined) {
      return refusal("API_FIELD_INVALID", 'field "from" is `next` of the page before');
    }
    const last = await call.query(queue.lifeEnd, { queue: name }, (offset) => ({
      type: "last" as const,
      offset,
    }));
    if (last.type === "refused") return last;
    const life =
      message === undefined
        ? { type: "not_found" as const }
        : await messageLife(call.desk.options.store, {
            queue: name,
            message,
            last: last.offset,
            place,
            limit,
            recordsMax: call.limits.historyRecordsMax,
          });
    switch (life.type) {
      case "page":
        return shown({
          queue: name,
          message_id,
          events: life.events.map(eventJson),
          over: life.isOver,
          next: life.next === undefined ? null : placeText(life.next),
        });
      case "retired":
        return refusal("LOG_OFFSET_RETIRED", "retention has removed the beginning of this message's life");
      case "not_found":
        return refusal("QUEUE_MESSAGE_NOT_FOUND", "no message with this id was published to this queue");
    }
  },
});

function eventJson(happened: Happened<LifeEvent>): JsonObject {
  const { offset, time, cause } = happened;
  return { offset, time, ...lifeJson(happened), cause: causeJson(cause) };
}

export const historyOperations = [keyLife, revert, messageHistory];
