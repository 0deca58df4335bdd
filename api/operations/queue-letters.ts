/** Looking at messages without taking them, and the dead letter queue. */
import { Type } from "@sinclair/typebox";
import { queue } from "../../projections/index.js";
import { refusal } from "../errors.js";
import { closed, LogOffset, Success } from "./fields.js";
import {
  defineQueueOperation,
  MessageId,
  PAGE_DEFAULT,
  PageLimit,
  PayloadType,
  QueueName,
  Seen,
  seenJson,
} from "./queue-fields.js";
import { shown, written } from "./reply.js";
import { write } from "./write.js";

const page = { limit: Type.Optional(PageLimit), type: Type.Optional(PayloadType) };

export const peek = defineQueueOperation({
  name: "queue.peek",
  kind: "read",
  summary: "See what would be consumed next",
  description: "Takes nothing and counts no retry.",
  input: Type.Object({ queue: QueueName, ...page }, closed),
  output: Type.Object({ messages: Type.Array(Seen), count: Type.Integer() }),
  errors: ["QUEUE_NOT_FOUND", "QUEUE_LIMIT_INVALID"],
  rest: [{ method: "GET", path: "/queue/{queue}/peek" }],
  run({ queue: name, limit = PAGE_DEFAULT, type }, call) {
    return call.query(queue.peek, { queue: name, limit }, ({ messages }) =>
      shown({ messages: messages.map((each) => seenJson(each, type)), count: messages.length }),
    );
  },
});

const one = { queue: QueueName, message_id: MessageId, type: Type.Optional(PayloadType) };

export const get = defineQueueOperation({
  name: "queue.get",
  kind: "read",
  summary: "See one message, whatever its state",
  input: Type.Object(one, closed),
  output: Seen,
  errors: ["QUEUE_NOT_FOUND", "QUEUE_MESSAGE_NOT_FOUND"],
  rest: [{ method: "GET", path: "/queue/{queue}/message/{message_id}" }],
  run({ queue: name, message_id, type }, call) {
    return call.query(queue.get, { queue: name, messageId: message_id }, (message) =>
      shown(seenJson(message, type)),
    );
  },
});

export const deadList = defineQueueOperation({
  name: "queue.dlq_list",
  kind: "read",
  summary: "List dead letters",
  description: "In the order in which they died. `cursor` continues after the last one shown.",
  input: Type.Object(
    {
      queue: QueueName,
      ...page,
      cursor: Type.Optional(Type.String({ description: "From the page before." })),
    },
    closed,
  ),
  output: Type.Object({
    messages: Type.Array(Seen),
    count: Type.Integer(),
    cursor: Type.Union([Type.String(), Type.Null()], { description: "Null when there are no more." }),
  }),
  errors: ["QUEUE_NOT_FOUND", "QUEUE_LIMIT_INVALID"],
  rest: [{ method: "GET", path: "/queue/{queue}/dlq" }],
  run({ queue: name, limit = PAGE_DEFAULT, type, cursor }, call) {
    return call.query(queue.deadLetters, { queue: name, limit, cursor }, (found) =>
      shown({
        messages: found.messages.map((each) => seenJson(each, type)),
        count: found.messages.length,
        cursor: found.cursor ?? null,
      }),
    );
  },
});

export const deadRead = defineQueueOperation({
  name: "queue.dlq_read",
  kind: "read",
  summary: "Read one dead letter",
  input: Type.Object(one, closed),
  output: Seen,
  errors: ["QUEUE_NOT_FOUND", "QUEUE_MESSAGE_NOT_FOUND"],
  rest: [{ method: "GET", path: "/queue/{queue}/dlq/{message_id}" }],
  run({ queue: name, message_id, type }, call) {
    return call.query(queue.get, { queue: name, messageId: message_id }, (message) =>
      message.state === "dead"
        ? shown(seenJson(message, type))
        : refusal("QUEUE_MESSAGE_NOT_FOUND", "the message is not in the dead letter queue"),
    );
  },
});

export const deadRequeue = defineQueueOperation({
  name: "queue.dlq_requeue",
  kind: "write",
  summary: "Put dead letters back into the queue",
  description:
    "One by its id, else the oldest ones, as many as one request may touch; `remaining` says what is left to ask for. They come back at their old place, with all their retries.",
  input: Type.Object(
    { queue: QueueName, message_id: Type.Optional(MessageId), limit: Type.Optional(PageLimit) },
    closed,
  ),
  output: Type.Object({
    success: Success,
    requeued: Type.Integer(),
    remaining: Type.Integer({ description: "Dead letters left." }),
    log_offset: LogOffset,
  }),
  errors: ["QUEUE_NOT_FOUND", "QUEUE_MESSAGE_NOT_FOUND", "QUEUE_FULL", "QUEUE_LIMIT_INVALID"],
  rest: [{ method: "POST", path: "/queue/{queue}/dlq/requeue" }],
  prepare({ queue: name, message_id, limit }) {
    const command = { queue: name, messageId: message_id, limit };
    return write(queue.requeueDead, command, ({ requeued, remaining }, offset) =>
      written({ success: true, requeued, remaining, log_offset: offset }, offset),
    );
  },
});

export const deadPurge = defineQueueOperation({
  name: "queue.dlq_purge",
  kind: "write",
  summary: "Throw away the dead letters",
  input: Type.Object({ queue: QueueName }, closed),
  output: Type.Object({ success: Success, purged: Type.Integer(), log_offset: LogOffset }),
  errors: ["QUEUE_NOT_FOUND"],
  rest: [{ method: "POST", path: "/queue/{queue}/dlq/purge" }],
  prepare(input) {
    return write(queue.purgeDead, input, ({ purged }, offset) =>
      written({ success: true, purged, log_offset: offset }, offset),
    );
  },
});

export const letterOperations = [peek, get, deadList, deadRead, deadRequeue, deadPurge];
