/** What every queue decider is made of: how to accept and to refuse, and the checks before anything is looked at. All pure. */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Accepted, Rejection } from "../decision.js";
import { payloadBytesOf } from "./codec.js";
import type {
  Headers,
  NewMessage,
  PartialConfig,
  QueueConfig,
  QueueEvent,
  QueueHead,
  QueueRejectionCode,
  QueueRules,
  QueueView,
} from "./contract.js";
import { PRIORITY_MAX } from "./contract.js";

/** The latest time a Date can show: a time beyond it is a mistake of units. */
const TIME_MAX_MS = 8_640_000_000_000_000;
/** A year: longer spans are mistakes of units. */
const SPAN_MAX_MS = 366 * 24 * 3_600_000;
const CONSUMER_BYTES_MAX = 256;
const DEDUP_KEY_BYTES_MAX = 256;
const RETRIES_MAX = 1_000_000;
const DEPTH_MAX = 100_000_000;
/** Of a message that has none: the same object for all of them. */
export const NO_HEADERS: Headers = Object.freeze({});
/** What a header costs at least in the body. */
const HEADER_OVERHEAD_BYTES = 2;

export function rejected(code: QueueRejectionCode, message: string, seen: Offset = BEFORE_FIRST): Rejection {
  return { type: "rejected", code, message, seen };
}

/** Something happened. The answer waits for its own record, which comes after everything it was decided on. */
export function accepted<Answer>(
  events: readonly QueueEvent[],
  answer: (offset: Offset, place: number) => Answer,
): Accepted<Answer> {
  return { type: "accepted", events, answer, seen: BEFORE_FIRST };
}

/** As `accepted`; when nothing happened the answer waits for the queue's last change. */
export function acceptedFrom<Answer>(
  head: QueueHead,
  events: readonly QueueEvent[],
  answer: (offset: Offset, place: number) => Answer,
): Accepted<Answer> {
  return { type: "accepted", events, answer, seen: head.lastOffset };
}

/** Nothing had to happen. The answer waits for the last change that it tells of. */
export function unchanged<Answer>(answer: Answer, seen: Offset): Accepted<Answer> {
  return { type: "accepted", events: [], answer: () => answer, seen };
}

export function queueNotFound(queue: QueueView): Rejection {
  return rejected("QUEUE_NOT_FOUND", "the queue does not exist", queue.lastListChange);
}

export function queueFull({ config, lastOffset }: QueueHead): Rejection {
  return rejected("QUEUE_FULL", `the queue holds at most ${config.maxDepth} messages`, lastOffset);
}

export function checkName(name: string, rules: QueueRules): Rejection | undefined {
  if (isText(name, rules.nameBytesMax)) return undefined;
  return rejected(
    "QUEUE_NAME_INVALID",
    `a queue name is well-formed Unicode of 1 to ${rules.nameBytesMax} bytes`,
  );
}

export function checkConsumer(consumer: string): Rejection | undefined {
  if (isText(consumer, CONSUMER_BYTES_MAX)) return undefined;
  return rejected(
    "QUEUE_CONSUMER_INVALID",
    `a consumer id is well-formed Unicode of 1 to ${CONSUMER_BYTES_MAX} bytes`,
  );
}

/** How many messages one command asks for; `before`: what those before it in its batch got. */
export function checkCount(count: number, rules: QueueRules, before = 0): Rejection | undefined {
  if (isWhole(count, 1, rules.batchMax - before)) return undefined;
  return rejected("QUEUE_LIMIT_INVALID", `one request is about 1 to ${rules.batchMax} messages`);
}

/** A span of time that a caller gives. */
export function checkSpan(what: string, ms: number | undefined, least: number): Rejection | undefined {
  if (ms === undefined || isWhole(ms, least, SPAN_MAX_MS)) return undefined;
  return rejected("QUEUE_TIME_INVALID", `${what} must be ${least} to ${SPAN_MAX_MS} ms`);
}

export function checkMessage(message: NewMessage, rules: QueueRules): Rejection | undefined {
  const { payload, priority = 0, maxRetries = 0, dedupKey, delayMs, deliverAt, ttlMs } = message;
  if (typeof payload === "string" && !payload.isWellFormed()) {
    return rejected(
      "QUEUE_MESSAGE_INVALID",
      "a text payload must be well-formed Unicode (no lone surrogates)",
    );
  }
  if (payloadBytesOf(payload) > rules.payloadBytesMax) {
    return rejected(
      "QUEUE_PAYLOAD_TOO_LARGE",
      `a payload must not be longer than ${rules.payloadBytesMax} bytes`,
    );
  }
  if (!isWhole(priority, 0, PRIORITY_MAX)) {
    return rejected("QUEUE_MESSAGE_INVALID", `a priority is 0 to ${PRIORITY_MAX}`);
  }
  if (!isWhole(maxRetries, 0, RETRIES_MAX)) {
    return rejected("QUEUE_MESSAGE_INVALID", `the most retries are 0 to ${RETRIES_MAX}`);
  }
  if (dedupKey !== undefined && !isText(dedupKey, DEDUP_KEY_BYTES_MAX)) {
    return rejected(
      "QUEUE_MESSAGE_INVALID",
      `a message key is well-formed Unicode of 1 to ${DEDUP_KEY_BYTES_MAX} bytes`,
    );
  }
  if (delayMs !== undefined && deliverAt !== undefined) {
    return rejected("QUEUE_TIME_INVALID", "a delay and a time of delivery exclude each other");
  }
  if (deliverAt !== undefined && !isWhole(deliverAt, 0, TIME_MAX_MS)) {
    return rejected("QUEUE_TIME_INVALID", "the time of delivery must be ms since 1970");
  }
  return (
    checkSpan("a delay", delayMs, 0) ?? checkSpan("a ttl", ttlMs, 0) ?? checkHeaders(message.headers, rules)
  );
}

function checkHeaders(headers: Headers | undefined, rules: QueueRules): Rejection | undefined {
  if (headers === undefined) return undefined;
  for (const [name, value] of Object.entries(headers)) {
    if (name.length === 0 || !name.isWellFormed() || !value.isWellFormed()) {
      return rejected(
        "QUEUE_MESSAGE_INVALID",
        "headers are well-formed Unicode, with names that are not empty",
      );
    }
  }
  if (headersBytesOf(headers) <= rules.headersBytesMax) return undefined;
  return rejected(
    "QUEUE_MESSAGE_INVALID",
    `headers must not be longer than ${rules.headersBytesMax} bytes together`,
  );
}

/** About as many as the body takes for them. */
export function headersBytesOf(headers: Headers | undefined): number {
  let bytes = 0;
  if (headers === undefined || headers === NO_HEADERS) return bytes;
  for (const [name, value] of Object.entries(headers)) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + HEADER_OVERHEAD_BYTES;
  }
  return bytes;
}

/** The whole configuration that a partial one means. */
export function configOf(partial: PartialConfig, rules: QueueRules): QueueConfig | Rejection {
  const { defaults } = rules;
  const config: QueueConfig = {
    maxDepth: partial.maxDepth ?? defaults.maxDepth,
    ackDeadlineMs: partial.ackDeadlineMs ?? defaults.ackDeadlineMs,
    maxRetries: partial.maxRetries ?? defaults.maxRetries,
    priority: partial.priority ?? defaults.priority,
    prefetchLimit: partial.prefetchLimit ?? defaults.prefetchLimit,
    backoff: partial.backoff ?? defaults.backoff,
    messageTtlMs: partial.messageTtlMs ?? defaults.messageTtlMs,
    dedupWindowMs: partial.dedupWindowMs ?? defaults.dedupWindowMs,
  };
  const { type, delayMs, maxDelayMs } = config.backoff;
  const limits: readonly [what: string, value: number, least: number, most: number][] = [
    ["the depth", config.maxDepth, 1, DEPTH_MAX],
    ["the ack deadline in ms", config.ackDeadlineMs, 1, SPAN_MAX_MS],
    ["the most retries", config.maxRetries, 0, RETRIES_MAX],
    ["the priority", config.priority, 0, PRIORITY_MAX],
    ["the prefetch limit", config.prefetchLimit, 0, DEPTH_MAX],
    ["the backoff's delay in ms", delayMs, type === "none" ? 0 : 1, SPAN_MAX_MS],
    ["the backoff's longest delay in ms", maxDelayMs, type === "none" ? 0 : delayMs, SPAN_MAX_MS],
    ["the messages' ttl in ms", config.messageTtlMs, 0, SPAN_MAX_MS],
    ["the window of message keys in ms", config.dedupWindowMs, 0, SPAN_MAX_MS],
  ];
  for (const [what, value, least, most] of limits) {
    if (!isWhole(value, least, most)) {
      return rejected("QUEUE_CONFIG_INVALID", `${what} must be a whole number from ${least} to ${most}`);
    }
  }
  return config;
}

function isText(text: string, bytesMax: number): boolean {
  return text.length > 0 && text.isWellFormed() && Buffer.byteLength(text) <= bytesMax;
}

function isWhole(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}
