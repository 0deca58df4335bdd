/** The operations on queues themselves, and publishing to them. */
import { Type } from "@sinclair/typebox";
import {
  type Backoff,
  type PartialConfig,
  type QueueConfig,
  type QueueStats,
  queue,
} from "../../projections/index.js";
import { refusal } from "../errors.js";
import type { JsonObject } from "../json-write.js";
import { closed, LogOffset, Success } from "./fields.js";
import {
  Count32,
  clamped,
  defineQueueOperation,
  Message,
  MessageId,
  millis,
  newMessage,
  Priority,
  PublishInput,
  QueueName,
  seconds,
} from "./queue-fields.js";
import { shown, written } from "./reply.js";
import { write } from "./write.js";

const BackoffSchema = Type.Object(
  {
    type: Type.Union([Type.Literal("none"), Type.Literal("fixed"), Type.Literal("exponential")]),
    delay_secs: Type.Optional(seconds("Before the first redelivery; `exponential` doubles it each time.")),
    max_delay_secs: Type.Optional(
      seconds("The longest delay of `exponential`; default an hour, or the first delay if that is longer."),
    ),
  },
  { ...closed, description: "Delay before a message is delivered again. Default none." },
);

const configFields = {
  max_depth: Type.Optional(
    Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: "Messages that it may hold." }),
  ),
  ack_deadline_secs: Type.Optional(seconds("Time to acknowledge a delivery.")),
  default_max_retries: Type.Optional(Count32),
  default_priority: Type.Optional(Priority),
  prefetch_limit: Type.Optional(
    Type.Integer({ ...Count32, description: "Open deliveries that one consumer may have; 0 = any number." }),
  ),
  backoff: Type.Optional(BackoffSchema),
  message_ttl_secs: Type.Optional(seconds("Ttl of messages that have none of their own; 0 = they stay.")),
  dedup_window_secs: Type.Optional(seconds("For how long a message key is remembered; 0 = not at all.")),
};

interface BackoffInput {
  type: Backoff["type"];
  delay_secs?: number;
  max_delay_secs?: number;
}

interface ConfigInput {
  max_depth?: number;
  ack_deadline_secs?: number;
  default_max_retries?: number;
  default_priority?: number;
  prefetch_limit?: number;
  backoff?: BackoffInput;
  message_ttl_secs?: number;
  dedup_window_secs?: number;
}

const MAX_BACKOFF_MS = 3_600_000;

function partialConfig(input: ConfigInput): PartialConfig {
  return {
    maxDepth: input.max_depth,
    ackDeadlineMs: millis(input.ack_deadline_secs),
    maxRetries: input.default_max_retries,
    priority: clamped(input.default_priority),
    prefetchLimit: input.prefetch_limit,
    backoff: input.backoff && backoffOf(input.backoff),
    messageTtlMs: millis(input.message_ttl_secs),
    dedupWindowMs: millis(input.dedup_window_secs),
  };
}

function backoffOf({ type, delay_secs, max_delay_secs }: BackoffInput): Backoff {
  const delayMs = millis(delay_secs) ?? 0;
  return { type, delayMs, maxDelayMs: millis(max_delay_secs) ?? Math.max(delayMs, MAX_BACKOFF_MS) };
}

function configJson(config: QueueConfig): JsonObject {
  const { type, delayMs, maxDelayMs } = config.backoff;
  return {
    max_depth: config.maxDepth,
    ack_deadline_secs: config.ackDeadlineMs / 1000,
    default_max_retries: config.maxRetries,
    default_priority: config.priority,
    prefetch_limit: config.prefetchLimit,
    backoff:
      type === "none" ? { type } : { type, delay_secs: delayMs / 1000, max_delay_secs: maxDelayMs / 1000 },
    message_ttl_secs: config.messageTtlMs / 1000,
    dedup_window_secs: config.dedupWindowMs / 1000,
  };
}

const ConfigOutput = Type.Object({
  max_depth: Type.Integer(),
  ack_deadline_secs: Type.Number(),
  default_max_retries: Type.Integer(),
  default_priority: Type.Integer(),
  prefetch_limit: Type.Integer(),
  backoff: BackoffSchema,
  message_ttl_secs: Type.Number(),
  dedup_window_secs: Type.Number(),
});

export const create = defineQueueOperation({
  name: "queue.create",
  kind: "write",
  summary: "Create a queue",
  description:
    "One that is there already keeps its configuration, and the answer is the same: `created` and `config` tell. In the envelope the settings are in `config`; the REST body takes them directly too.",
  input: Type.Object(
    { name: QueueName, config: Type.Optional(Type.Object(configFields, closed)), ...configFields },
    closed,
  ),
  output: Type.Object({
    success: Success,
    queue: Type.String(),
    created: Type.Boolean(),
    config: ConfigOutput,
    log_offset: LogOffset,
  }),
  errors: ["QUEUE_NAME_INVALID", "QUEUE_CONFIG_INVALID", "QUEUE_TOO_MANY"],
  rest: [{ method: "POST", path: "/queue/{name}" }],
  prepare({ name, config, ...direct }) {
    const command = { queue: name, config: partialConfig({ ...direct, ...config }) };
    return write(queue.create, command, (answer, offset) =>
      written(
        {
          success: true,
          queue: name,
          created: answer.created,
          config: configJson(answer.config),
          log_offset: offset,
        },
        offset,
      ),
    );
  },
});

const messageErrors = [
  "QUEUE_NOT_FOUND",
  "QUEUE_FULL",
  "QUEUE_MEMORY_FULL",
  "QUEUE_MESSAGE_INVALID",
  "QUEUE_PAYLOAD_TOO_LARGE",
  "QUEUE_TIME_INVALID",
] as const;

const Published = {
  message_id: MessageId,
  duplicate: Type.Boolean({
    description:
      "True: a message with this key is there already; the id is that one's, and nothing was published.",
  }),
};

export const publish = defineQueueOperation({
  name: "queue.publish",
  kind: "write",
  summary: "Publish a message",
  input: PublishInput,
  output: Type.Object({ ...Published, log_offset: LogOffset }),
  errors: messageErrors,
  rest: [{ method: "POST", path: "/queue/{queue}/publish" }],
  prepare(input) {
    return write(queue.publish, { queue: input.queue, ...newMessage(input) }, (answer, offset) =>
      written({ message_id: answer.messageId, duplicate: answer.duplicate, log_offset: offset }, offset),
    );
  },
});

export const publishBatch = defineQueueOperation({
  name: "queue.publish_batch",
  kind: "write",
  summary: "Publish several messages",
  description: "One record: all of them or none, in their order.",
  input: Type.Object({ queue: QueueName, messages: Type.Array(Message) }, closed),
  output: Type.Object({ messages: Type.Array(Type.Object(Published)), log_offset: LogOffset }),
  errors: [...messageErrors, "QUEUE_LIMIT_INVALID"],
  rest: [{ method: "POST", path: "/queue/{queue}/publish/batch" }],
  prepare(input) {
    const messages = input.messages.map((message) => newMessage(message));
    return write(queue.publishMany, { queue: input.queue, messages }, (answer, offset) =>
      written(
        {
          messages: answer.messages.map(({ messageId, duplicate }) => ({ message_id: messageId, duplicate })),
          log_offset: offset,
        },
        offset,
      ),
    );
  },
});

export const list = defineQueueOperation({
  name: "queue.list",
  kind: "read",
  summary: "List the queues",
  input: Type.Object({}, closed),
  output: Type.Object({ queues: Type.Array(Type.String(), { description: "Sorted." }) }),
  errors: [],
  rest: [{ method: "GET", path: "/queue/list" }],
  run(_input, call) {
    return call.query(queue.list, {}, ({ queues }) => shown({ queues }));
  },
});

const Total = Type.Integer({ description: "Since the queue was created." });
const TotalButExpired = Type.Integer({
  description:
    "Since the queue was created; a delivery that fails after its message's ttl counts as `expired`.",
});

export const stats = defineQueueOperation({
  name: "queue.stats",
  kind: "read",
  summary: "Count what a queue holds and has seen",
  input: Type.Object({ queue: QueueName }, closed),
  output: Type.Object({
    depth: Type.Integer({ description: "Messages that are ready to be consumed." }),
    delayed: Type.Integer(),
    in_flight: Type.Integer({ description: "Delivered and not acknowledged yet." }),
    dlq_count: Type.Integer({ description: "In the dead letter queue now." }),
    consumers: Type.Integer({ description: "Different consumers with messages in flight." }),
    published: Total,
    consumed: Total,
    acked: Total,
    nacked: TotalButExpired,
    timed_out: TotalButExpired,
    dead_lettered: Total,
    dead_requeued: Total,
    purged: Total,
    expired: Total,
    config: ConfigOutput,
  }),
  errors: ["QUEUE_NOT_FOUND"],
  rest: [{ method: "GET", path: "/queue/{queue}/stats" }],
  run(input, call) {
    return call.query(queue.stats, input, (found) => shown(statsJson(found)));
  },
});

function statsJson(found: QueueStats): JsonObject {
  return {
    depth: found.waiting,
    delayed: found.delayed,
    in_flight: found.inFlight,
    dlq_count: found.dead,
    consumers: found.consumers,
    published: found.published,
    consumed: found.consumed,
    acked: found.acked,
    nacked: found.nacked,
    timed_out: found.timedOut,
    dead_lettered: found.deadLettered,
    dead_requeued: found.deadRequeued,
    purged: found.purged,
    expired: found.expired,
    config: configJson(found.config),
  };
}

export const purge = defineQueueOperation({
  name: "queue.purge",
  kind: "write",
  summary: "Throw away what waits",
  description: "Ready and delayed messages. What is in flight and the dead letters stay.",
  input: Type.Object({ queue: QueueName }, closed),
  output: Type.Object({ success: Success, purged: Type.Integer(), log_offset: LogOffset }),
  errors: ["QUEUE_NOT_FOUND"],
  rest: [{ method: "POST", path: "/queue/{queue}/purge" }],
  prepare(input) {
    return write(queue.purge, input, ({ purged }, offset) =>
      written({ success: true, purged, log_offset: offset }, offset),
    );
  },
});

export const del = defineQueueOperation({
  name: "queue.delete",
  kind: "write",
  summary: "Delete a queue with everything in it",
  description: "The envelope takes the name as `queue` or as `name`.",
  input: Type.Object({ queue: Type.Optional(QueueName), name: Type.Optional(QueueName) }, closed),
  output: Type.Object({ success: Success, deleted: Type.Boolean(), log_offset: LogOffset }),
  errors: [],
  rest: [{ method: "DELETE", path: "/queue/{queue}" }],
  run(input, call) {
    const name = input.queue ?? input.name;
    if (name === undefined) return refusal("API_FIELD_MISSING", 'field "queue" is missing');
    if (input.queue !== undefined && input.name !== undefined) {
      return refusal("API_FIELD_INVALID", 'fields "queue" and "name" are the same; give one');
    }
    return write(queue.delete, { queue: name }, ({ deleted }, offset) => {
      // What isn't there is not named in metrics.
      if (!deleted) call.subject = "";
      return written({ success: true, deleted, log_offset: offset }, offset);
    }).run(call);
  },
});

export const queueOperations = [create, publish, publishBatch, list, stats, purge, del];
