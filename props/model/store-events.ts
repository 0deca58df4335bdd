/**
 * Random events of every kind, one generator for each type: the table does not compile when a type has none, and
 * `event-codec.prop.test.ts` fails when the catalogue knows a kind that no generator makes.
 */
import fc from "fast-check";
import { offset } from "../../log/index.js";
import {
  BYTES_TYPE,
  type Cause,
  type EventRef,
  type Fork,
  JSON_TYPE,
  type Lifetime,
  type NewStreamMessage,
  PRIORITY_MAX,
  type Producer,
  type QueueConfig,
  type Retention,
  type StoreEvent,
  TEXT_TYPE,
} from "../../projections/index.js";

type EventOf<Type extends StoreEvent["type"]> = Extract<StoreEvent, { readonly type: Type }>;

export const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: "binary", maxLength }).filter((s) => s.isWellFormed());
export const key = fc.oneof(
  { weight: 6, arbitrary: text(40) },
  fc.constantFrom("__proto__", "\u0000", "\ufeff", "é", "\u{1f600}".repeat(20)),
  fc.integer({ min: 200, max: 70_000 }).map((length) => `\ufeff${"k".repeat(length)}`),
);
/** Names of queues and streams, texts inside events: every width of a string, mostly short. */
const name = fc.oneof(
  { weight: 12, arbitrary: text(40) },
  fc.constantFrom("", "__proto__", "\u0000", "\ufeff", "é".repeat(20)),
  fc.constantFrom(31, 32, 255, 256, 65_536).map((length) => "n".repeat(length)),
);
export const bytes = fc.oneof(
  { weight: 20, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  fc.constantFrom(255, 256, 65_535, 65_536).map((length) => new Uint8Array(length).fill(0xab)),
);
const edges = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
export const number = fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat());
const previous = number.map(offset);
export const contentType = fc.constantFrom(TEXT_TYPE, JSON_TYPE, BYTES_TYPE, "image/png", "x".repeat(255));
export const cause: fc.Arbitrary<Cause> = fc
  .tuple(text(20), fc.option(text(40), { nil: undefined }))
  .map(([command, requestId]) => (requestId === undefined ? { command } : { command, requestId }));

const ref: fc.Arbitrary<EventRef> = fc.record({ offset: previous, place: number });
const priority = fc.integer({ min: 0, max: PRIORITY_MAX });
const by = fc.constantFrom("nack", "deadline");

/** Each member is there or not. */
const partly = <Value>(members: { [Name in keyof Value]: fc.Arbitrary<Value[Name]> }) =>
  fc.record(members, { requiredKeys: [] }) as fc.Arbitrary<Partial<Value>>;

const config: fc.Arbitrary<QueueConfig> = fc.record({
  maxDepth: number,
  ackDeadlineMs: number,
  maxRetries: number,
  priority,
  prefetchLimit: number,
  backoff: fc.record({
    type: fc.constantFrom("none", "fixed", "exponential"),
    delayMs: number,
    maxDelayMs: number,
  }),
  messageTtlMs: number,
  dedupWindowMs: number,
});

const headers = fc
  .array(fc.tuple(name, text(30)), { maxLength: 20 })
  .map((pairs): Record<string, string> => Object.fromEntries(pairs));

const message: fc.Arbitrary<NewStreamMessage> = fc
  .tuple(fc.oneof(text(50), bytes), partly<{ tag: string; metadata: string }>({ tag: name, metadata: name }))
  .map(([body, more]) => ({ bytes: body, ...more }));
/** More than fifteen need another form of array. */
const messages = fc.oneof(
  { weight: 6, arbitrary: fc.array(message, { maxLength: 4 }) },
  fc.array(message, { minLength: 14, maxLength: 18, size: "max" }),
);
const producer: fc.Arbitrary<Producer> = fc.record({ id: name, epoch: number, seq: number });
const fork: fc.Arbitrary<Fork> = fc.record({ source: name, sourceId: ref, at: number });
const ofWriter = partly<{ producer: Producer; writerSeq: string }>({ producer, writerSeq: name });

const messageEvent = <Type extends StoreEvent["type"], More extends object>(
  type: Type,
  more: fc.Arbitrary<More>,
) => fc.tuple(name, ref, more).map(([queue, of, others]) => ({ type, queue, message: of, ...others }));
const nothingMore = fc.constant({});
const queueEvent = <Type extends StoreEvent["type"]>(type: Type) =>
  fc.record({ type: fc.constant(type), queue: name });
const streamEvent = <Type extends StoreEvent["type"]>(type: Type) =>
  fc.record({ type: fc.constant(type), name });

/** One generator for each type of event. */
export const eventsByType: { readonly [Type in StoreEvent["type"]]: fc.Arbitrary<EventOf<Type>> } = {
  "kv.set": fc.record({
    type: fc.constant("kv.set"),
    key,
    value: fc.oneof(text(200), bytes),
    contentType,
    expiresAt: number,
    previous,
  }),
  "kv.deleted": fc.record({ type: fc.constant("kv.deleted"), key, previous }),
  "kv.evicted": fc.record({ type: fc.constant("kv.evicted"), key, previous }),
  "kv.expiry_changed": fc.record({
    type: fc.constant("kv.expiry_changed"),
    key,
    expiresAt: number,
    previous,
  }),
  "point.named": fc.record({ type: fc.constant("point.named"), name }),
  "kv.flushed": fc.record({ type: fc.constant("kv.flushed") }),
  "queue.created": fc.record({ type: fc.constant("queue.created"), queue: name, config }),
  "queue.deleted": queueEvent("queue.deleted"),
  "queue.purged": queueEvent("queue.purged"),
  "queue.dead_purged": queueEvent("queue.dead_purged"),
  "queue.published": fc.record({
    type: fc.constant("queue.published"),
    queue: name,
    payload: bytes,
    headers,
    priority,
    maxRetries: number,
    availableAt: number,
    expiresAt: number,
    dedupKey: name,
    dedupUntil: number,
  }),
  "queue.delivered": messageEvent("queue.delivered", fc.record({ consumer: name, deadline: number })),
  "queue.acked": messageEvent("queue.acked", nothingMore),
  "queue.requeued": messageEvent(
    "queue.requeued",
    fc.record({ by, retryCount: number, availableAt: number }),
  ),
  "queue.died": messageEvent(
    "queue.died",
    fc.record({ by, reason: fc.constantFrom("max_retries", "rejected"), retryCount: number }),
  ),
  "queue.deadline_extended": messageEvent("queue.deadline_extended", fc.record({ deadline: number })),
  "queue.released": messageEvent("queue.released", nothingMore),
  "queue.expired": messageEvent("queue.expired", nothingMore),
  "queue.dead_requeued": messageEvent("queue.dead_requeued", nothingMore),
  "stream.created": fc
    .tuple(
      fc.record({
        name,
        contentType,
        lifetime: partly<Required<Lifetime>>({ ttlMs: number, expiresAt: number }),
        retention: partly<Required<Retention>>({ count: number, bytes: number, ageMs: number }),
        closed: fc.boolean(),
        fingerprint: name,
        messages,
      }),
      partly<{ fork: Fork }>({ fork }),
    )
    .map(([event, more]) => ({ type: "stream.created", ...event, ...more })),
  "stream.appended": fc
    .tuple(fc.record({ name, messages, closes: fc.boolean() }), ofWriter)
    .map(([event, more]) => ({ type: "stream.appended", ...event, ...more })),
  "stream.closed": fc
    .tuple(name, ofWriter)
    .map(([of, more]) => ({ type: "stream.closed", name: of, ...more })),
  "stream.deleted": streamEvent("stream.deleted"),
  "stream.expired": streamEvent("stream.expired"),
  "stream.touched": streamEvent("stream.touched"),
  "stream.trimmed": fc.record({ type: fc.constant("stream.trimmed"), name, before: number }),
  "idempotency.answered": fc.record({
    type: fc.constant("idempotency.answered"),
    key,
    fingerprint: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    expiresAt: number,
    status: number,
    // 0 is how a body says that there is none.
    revision: fc.option(
      previous.filter((at) => at > 0),
      { nil: undefined },
    ),
    body: fc.oneof(text(200), name),
  }),
};

export const EVENT_TYPES = Object.keys(eventsByType) as readonly StoreEvent["type"][];

/** Any event, each type as often as any other. */
export const anyEvent: fc.Arbitrary<StoreEvent> = fc.oneof(...Object.values(eventsByType));

/** The event as a record gives it back: texts that are bodies as bytes, and of tags either none or one for each message. */
export function asStored(event: StoreEvent): StoreEvent {
  switch (event.type) {
    case "kv.set":
      return { ...event, value: bytesOf(event.value) };
    case "stream.created":
    case "stream.appended":
      return { ...event, messages: storedMessages(event.messages) };
    default:
      return event;
  }
}

function storedMessages(all: readonly NewStreamMessage[]): NewStreamMessage[] {
  const isTagged = all.some(({ tag }) => tag !== undefined);
  return all.map(({ bytes: body, tag, ...rest }) => ({
    ...rest,
    bytes: bytesOf(body),
    ...(isTagged ? { tag: tag ?? "" } : {}),
  }));
}

const bytesOf = (value: string | Uint8Array): Uint8Array =>
  typeof value === "string" ? new Uint8Array(Buffer.from(value)) : value;
