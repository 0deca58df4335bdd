/** The fields that queue operations share, and messages between JSON and bytes. */
import { isUtf8 } from "node:buffer";
import { type TObject, Type } from "@sinclair/typebox";
import {
  type DeliveredMessage,
  type NewMessage,
  PRIORITY_MAX,
  type SeenMessage,
} from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { type Json, type JsonObject, JsonText } from "../json-write.js";
import type { ApiOptions } from "../options.js";
import { closed } from "./fields.js";
import { defineOperation, type Operation, type OperationDefinition } from "./operation.js";
import type { Later, Reply } from "./reply.js";

/** An operation on queues: refused while queues are switched off, and measured under the name of its queue. */
export function defineQueueOperation<Input extends TObject>(
  definition: OperationDefinition<Input>,
): Operation {
  const { run, prepare, ...facts } = definition;
  if (prepare !== undefined) {
    return defineOperation({
      ...facts,
      subject: queueOf,
      prepare: (input, options) => refusedByConfiguration(options) ?? prepare(input, options),
    });
  }
  return defineOperation({
    ...facts,
    run(input, call, source): Later<Reply> {
      const refused = refusedByConfiguration(call.desk.options);
      if (refused !== undefined) return refused;
      call.subject = queueOf(input);
      return run(input, call, source);
    },
  });
}

function refusedByConfiguration(options: ApiOptions): Refusal | undefined {
  if (options.queuesEnabled) return undefined;
  return refusal("API_DISABLED", "queues are switched off (queue.enabled)");
}

/** The input was checked. */
function queueOf(input: unknown): string {
  if (typeof input !== "object" || input === null) return "";
  const name: unknown = Reflect.get(input, "queue") ?? Reflect.get(input, "name");
  return typeof name === "string" ? name : "";
}

export const QueueName = Type.String({ description: "Any Unicode except nothing at all; bounded in bytes." });

export const MessageId = Type.String({ description: "As publish and consume answer it." });

export const Receipt = Type.String({
  description:
    "Of one delivery. An old one is refused (409). Without it the message's open delivery is meant, whoever has it.",
});

/** Seconds; fractions count to the millisecond, and less than one as one. */
export const seconds = (description: string) =>
  Type.Number({
    minimum: 0,
    maximum: 1e9,
    description: `${description} Seconds, fractions allowed; less than a millisecond counts as one.`,
  });

export const UnixMs = Type.Integer({ description: "Ms since 1970." });

/** One byte. Above 9 counts as 9, as documented. */
export const Priority = Type.Integer({
  minimum: 0,
  maximum: 255,
  description: "0 to 9, 9 is delivered first; above 9 counts as 9.",
});

export const Count32 = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });

export const PageLimit = Type.Integer({ minimum: 1, maximum: 1_000_000, description: "Default 10." });
export const PAGE_DEFAULT = 10;

/** How payloads are shown. */
export const PayloadType = Type.Union([Type.Literal("bytes"), Type.Literal("string")], {
  description:
    "`string`: payloads that are UTF-8 come as text. Default `bytes`: an array of numbers, as documented.",
});
export type PayloadType = "bytes" | "string";

const Payload = Type.Unsafe<unknown>(
  Type.Union([Type.Array(Type.Integer({ minimum: 0, maximum: 255 })), Type.String()], {
    description: "An array of bytes, or a text, of which the UTF-8 bytes are taken.",
  }),
);

const messageFields = {
  payload: Payload,
  priority: Type.Optional(Priority),
  max_retries: Type.Optional(Count32),
  headers: Type.Optional(
    Type.Record(Type.String(), Type.String(), { description: "Given back with the message." }),
  ),
  delay_secs: Type.Optional(seconds("Not to be delivered before so long.")),
  deliver_at: Type.Optional(
    Type.Integer({
      // A time in seconds would be in the past, and the message delivered at once.
      minimum: 100_000_000_000,
      maximum: Number.MAX_SAFE_INTEGER,
      description: "Not to be delivered before this time, in ms since 1970. Not together with `delay_secs`.",
    }),
  ),
  ttl_secs: Type.Optional(
    seconds(
      "Thrown away when it was not acknowledged by then; one in flight when its delivery fails, unless that was its last retry. 0 = never.",
    ),
  ),
  message_key: Type.Optional(
    Type.String({
      description: "A second message with the same key is not published within the queue's window.",
    }),
  ),
};

export const Message = Type.Object(messageFields, closed);
export const PublishInput = Type.Object({ queue: QueueName, ...messageFields }, closed);

export interface MessageInput {
  payload: unknown;
  priority?: number;
  max_retries?: number;
  headers?: Record<string, string>;
  delay_secs?: number;
  deliver_at?: number;
  ttl_secs?: number;
  message_key?: string;
}

/** What is above zero stays so: a span of 0 is none at all, or has no end. */
export function millis(secs: number | undefined): number | undefined {
  return secs === undefined || secs === 0 ? secs : Math.max(1, Math.round(secs * 1000));
}

export function newMessage(input: MessageInput): NewMessage {
  const { payload } = input;
  return {
    // The schema has seen to it that a list holds bytes.
    payload: Array.isArray(payload) ? Uint8Array.from(payload) : String(payload),
    priority: clamped(input.priority),
    maxRetries: input.max_retries,
    headers: input.headers,
    delayMs: millis(input.delay_secs),
    deliverAt: input.deliver_at,
    ttlMs: millis(input.ttl_secs),
    dedupKey: input.message_key,
  };
}

export function clamped(priority: number | undefined): number | undefined {
  return priority === undefined ? undefined : Math.min(priority, PRIORITY_MAX);
}

function payloadJson(payload: Uint8Array, type: PayloadType | undefined): Json {
  if (type === "string" && isUtf8(payload)) {
    return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString("utf8");
  }
  return new JsonText(`[${payload.join(",")}]`);
}

export const DeliveredFields = {
  payload: Type.Unsafe<unknown>(
    Type.Union([Type.Array(Type.Integer({ minimum: 0, maximum: 255 })), Type.String()]),
  ),
  priority: Type.Integer(),
  retry_count: Type.Integer({ description: "Deliveries before this one that failed." }),
  max_retries: Type.Integer(),
  headers: Type.Record(Type.String(), Type.String()),
  receipt: Receipt,
  attempt: Type.Integer({ description: "Which delivery this is, from 1." }),
  published_at: UnixMs,
  deadline_at: UnixMs,
};

export function deliveredJson(message: DeliveredMessage, type: PayloadType | undefined): JsonObject {
  return {
    payload: payloadJson(message.payload, type),
    priority: message.priority,
    retry_count: message.retryCount,
    max_retries: message.maxRetries,
    headers: message.headers,
    receipt: message.receipt,
    attempt: message.attempt,
    published_at: message.publishedAt,
    deadline_at: message.deadline,
  };
}

export const Seen = Type.Object({
  message_id: MessageId,
  state: Type.Union([
    Type.Literal("waiting"),
    Type.Literal("delayed"),
    Type.Literal("in_flight"),
    Type.Literal("dead"),
  ]),
  payload: DeliveredFields.payload,
  priority: Type.Integer(),
  retry_count: Type.Integer(),
  max_retries: Type.Integer(),
  headers: DeliveredFields.headers,
  published_at: UnixMs,
  available_at: Type.Optional(UnixMs),
  expires_at: Type.Optional(UnixMs),
  consumer_id: Type.Optional(Type.String({ description: "In flight: who has it." })),
  deadline_at: Type.Optional(UnixMs),
  died_at: Type.Optional(UnixMs),
  reason: Type.Optional(Type.Union([Type.Literal("max_retries"), Type.Literal("rejected")])),
});

export function seenJson(message: SeenMessage, type: PayloadType | undefined): JsonObject {
  return {
    message_id: message.messageId,
    state: message.state,
    payload: payloadJson(message.payload, type),
    priority: message.priority,
    retry_count: message.retryCount,
    max_retries: message.maxRetries,
    headers: message.headers,
    published_at: message.publishedAt,
    available_at: timeJson(message.availableAt),
    expires_at: timeJson(message.expiresAt),
    consumer_id: message.delivery?.consumer,
    deadline_at: message.delivery?.deadline,
    died_at: message.death?.at,
    reason: message.death?.reason,
  };
}

/** 0 = none. */
const timeJson = (ms: number): number | undefined => (ms === 0 ? undefined : ms);
