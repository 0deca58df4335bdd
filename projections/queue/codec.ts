/**
 * The bodies of queue events, each a MessagePack array that begins with the queue's name and ends with the cause: nil or
 * [command] or [command, request id]; nil inside a `several` record, which has one for all. Times are ms since 1970, nil = none.
 * `message` is two fields, offset uint and place uint, those of the message's publish event.
 *
 *   kind  event                    v  fields between queue and cause
 *   32    queue.created            1  maxDepth, ackDeadlineMs, maxRetries, priority, prefetchLimit, backoff type (0 none, 1 fixed,
 *                                     2 exponential), backoff delayMs, backoff maxDelayMs, messageTtlMs, dedupWindowMs
 *   33    queue.deleted            1
 *   34    queue.published          1  payload bin, headers [name str, value str, …], priority, maxRetries, available, expires,
 *                                     dedup key str ("" = none), dedup until
 *   35    queue.delivered          1  message, consumer str, deadline
 *   36    queue.acked              1  message
 *   37    queue.requeued           1  message, by (0 nack, 1 deadline, 2 unsent), retryCount, available
 *   38    queue.died               1  message, by (0, 1), reason (0 max_retries, 1 rejected), retryCount
 *   39    queue.deadline_extended  1  message, deadline
 *   40    queue.released           1  message
 *   41    queue.expired            1  message
 *   42    queue.purged             1
 *   43    queue.dead_requeued      1  message
 *   44    queue.dead_purged        1
 *
 * Checked on read: shape, UTF-8, integers < 2^53, numbers that stand for names, priority ≤ 9. Example, queue.acked of message
 * 7-0 in queue "q", cause queue.ack:
 *
 *   94  a1 71  07 00  91 a9 71 75 65 75 65 2e 61 63 6b
 *
 * All are written and read by hand (see `wire.ts`): queues are made of many small events.
 */
import { offset, unreachable } from "../../log/index.js";
import type { Cause, EventCodec } from "../decision.js";
import { malformed, ProjectionError } from "../errors.js";
import { writeCause } from "../kv/codec.js";
import { BodyReader, BodyWriter } from "../wire.js";
import {
  type Backoff,
  type DeathReason,
  type EventRef,
  type Headers,
  type MessagePublished,
  type PayloadInput,
  PRIORITY_MAX,
  type QueueConfig,
  type QueueEvent,
} from "./contract.js";

const QUEUE_KINDS = {
  "queue.created": 32,
  "queue.deleted": 33,
  "queue.published": 34,
  "queue.delivered": 35,
  "queue.acked": 36,
  "queue.requeued": 37,
  "queue.died": 38,
  "queue.deadline_extended": 39,
  "queue.released": 40,
  "queue.expired": 41,
  "queue.purged": 42,
  "queue.dead_requeued": 43,
  "queue.dead_purged": 44,
} as const satisfies Record<QueueEvent["type"], number>;

const QUEUE_VERSION = 1;
/** By the numbers that stand for them in bodies. Never reordered. */
const BACKOFF_TYPES = ["none", "fixed", "exponential"] as const satisfies readonly Backoff["type"][];
const CAUSES_OF_FAILURE = ["nack", "deadline"] as const;
const CAUSES_OF_REQUEUE = [...CAUSES_OF_FAILURE, "unsent"] as const;
export const DEATH_REASONS = ["max_retries", "rejected"] as const satisfies readonly DeathReason[];

const typesByKind = new Map(
  (Object.keys(QUEUE_KINDS) as QueueEvent["type"][]).map((type) => [QUEUE_KINDS[type] as number, type]),
);

export const isQueueKind = (kind: number): boolean => typesByKind.has(kind);

/**
 * queue.published as the state takes it: where its bytes lie in the record's memory, so that they are copied once, into the
 * table. Borrowed, as the record's body is: read it at once.
 */
export interface MessageArrived extends Omit<MessagePublished, "payload" | "headers"> {
  readonly source: Uint8Array;
  readonly payloadStart: number;
  readonly payloadEnd: number;
  /** The headers as they are in the body; `readHeaders` reads them. */
  readonly headersStart: number;
  readonly headersEnd: number;
}

/** What `evolve` applies: the newest shape of every event, with its place in the record. */
export interface QueueChange {
  readonly place: number;
  readonly event: MessageArrived | Exclude<QueueEvent, MessagePublished>;
}

export function payloadBytesOf(payload: PayloadInput): number {
  return typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
}

// ---- writing ----

const writer = new BodyWriter();

/** Borrowed: valid until the next call. */
function encodeQueueEvent(event: QueueEvent, cause: Cause | undefined): Uint8Array {
  writer.begin();
  writer.array(FIELDS[event.type]);
  text(event.queue);
  writeFields(event);
  writeCause(writer, cause);
  return writer.finish();
}

/** Fields of each body, queue and cause included. */
const FIELDS: Readonly<Record<QueueEvent["type"], number>> = {
  "queue.created": 12,
  "queue.deleted": 2,
  "queue.published": 10,
  "queue.delivered": 6,
  "queue.acked": 4,
  "queue.requeued": 7,
  "queue.died": 7,
  "queue.deadline_extended": 5,
  "queue.released": 4,
  "queue.expired": 4,
  "queue.purged": 2,
  "queue.dead_requeued": 4,
  "queue.dead_purged": 2,
};

function writeFields(event: QueueEvent): void {
  switch (event.type) {
    case "queue.created":
      writeConfig(writer, event.config);
      break;
    case "queue.published":
      writePublished(event);
      break;
    case "queue.delivered":
      message(event.message);
      text(event.consumer);
      writer.uint(event.deadline);
      break;
    case "queue.requeued":
      message(event.message);
      writer.uint(CAUSES_OF_REQUEUE.indexOf(event.by));
      writer.uint(event.retryCount);
      time(event.availableAt);
      break;
    case "queue.died":
      message(event.message);
      writer.uint(CAUSES_OF_FAILURE.indexOf(event.by));
      writer.uint(DEATH_REASONS.indexOf(event.reason));
      writer.uint(event.retryCount);
      break;
    case "queue.deadline_extended":
      message(event.message);
      writer.uint(event.deadline);
      break;
    case "queue.acked":
    case "queue.released":
    case "queue.expired":
    case "queue.dead_requeued":
      message(event.message);
      break;
    case "queue.deleted":
    case "queue.purged":
    case "queue.dead_purged":
      break;
    default:
      unreachable(event);
  }
}

export function writeConfig(to: BodyWriter, config: QueueConfig): void {
  to.uint(config.maxDepth);
  to.uint(config.ackDeadlineMs);
  to.uint(config.maxRetries);
  to.uint(config.priority);
  to.uint(config.prefetchLimit);
  to.uint(BACKOFF_TYPES.indexOf(config.backoff.type));
  to.uint(config.backoff.delayMs);
  to.uint(config.backoff.maxDelayMs);
  to.uint(config.messageTtlMs);
  to.uint(config.dedupWindowMs);
}

function writePublished(event: MessagePublished): void {
  writer.bin(event.payload, payloadBytesOf(event.payload));
  const headers = Object.entries(event.headers);
  writer.array(2 * headers.length);
  for (const [name, value] of headers) {
    text(name);
    text(value);
  }
  writer.uint(event.priority);
  writer.uint(event.maxRetries);
  time(event.availableAt);
  time(event.expiresAt);
  text(event.dedupKey);
  time(event.dedupUntil);
}

function text(value: string): void {
  writer.str(value, Buffer.byteLength(value));
}

function message(ref: EventRef): void {
  writer.uint(ref.offset);
  writer.uint(ref.place);
}

function time(at: number): void {
  if (at === 0) writer.nil();
  else writer.uint(at);
}

// ---- reading ----

/** Reads one event for `evolve`. The reader stands at the beginning of its body. */
export function readQueueChange(
  reader: BodyReader,
  kind: number,
  version: number,
  place: number,
): QueueChange {
  const event = readBody(reader, kind, version);
  reader.skipFewStrings();
  reader.atEnd();
  return { place, event };
}

const decoder = new BodyReader();

function decodeQueueEvent(
  kind: number,
  version: number,
  body: Uint8Array,
): { event: QueueEvent; cause?: Cause } {
  decoder.begin(body);
  const read = readBody(decoder, kind, version);
  const event = read.type === "queue.published" ? published(read) : read;
  const [command, requestId] = decoder.fewStrings() ?? [];
  decoder.atEnd();
  if (command === undefined) return { event };
  return { event, cause: requestId === undefined ? { command } : { command, requestId } };
}

/** With copies of its own. */
function published(arrived: MessageArrived): MessagePublished {
  const { source, payloadStart, payloadEnd, headersStart, headersEnd, ...rest } = arrived;
  return {
    ...rest,
    payload: new Uint8Array(source.subarray(payloadStart, payloadEnd)),
    headers: readHeaders(source.subarray(headersStart, headersEnd)),
  };
}

/** Every event of this projection, for the catalogue. */
export const queueCodec: EventCodec<QueueEvent> = {
  kinds: QUEUE_KINDS,
  version: QUEUE_VERSION,
  encode: encodeQueueEvent,
  decode: decodeQueueEvent,
};

/** Older versions would be upgraded here, by one small function each; there are none yet. */
function typeOf(kind: number, version: number): QueueEvent["type"] {
  const type = typesByKind.get(kind);
  if (type !== undefined && version === QUEUE_VERSION) return type;
  throw new ProjectionError(
    "PROJECTION_EVENT_UNKNOWN",
    `event kind ${kind} version ${version} is not known to this release`,
    { kind, version },
  );
}

function readBody(reader: BodyReader, kind: number, version: number): QueueChange["event"] {
  const type = typeOf(kind, version);
  if (reader.array() !== FIELDS[type]) throw malformed(`${type} has another number of fields`, 0);
  const queue = reader.str();
  switch (type) {
    case "queue.created":
      return { type, queue, config: readConfig(reader) };
    case "queue.deleted":
    case "queue.purged":
    case "queue.dead_purged":
      return { type, queue };
    case "queue.published":
      return readPublished(reader, queue);
    case "queue.delivered":
      return { type, queue, message: readRef(reader), consumer: reader.str(), deadline: reader.uint() };
    case "queue.requeued":
      return {
        type,
        queue,
        message: readRef(reader),
        by: named(CAUSES_OF_REQUEUE, reader.uint()),
        retryCount: reader.uint(),
        availableAt: reader.uintOrNil(0),
      };
    case "queue.died":
      return {
        type,
        queue,
        message: readRef(reader),
        by: named(CAUSES_OF_FAILURE, reader.uint()),
        reason: named(DEATH_REASONS, reader.uint()),
        retryCount: reader.uint(),
      };
    case "queue.deadline_extended":
      return { type, queue, message: readRef(reader), deadline: reader.uint() };
    case "queue.acked":
    case "queue.released":
    case "queue.expired":
    case "queue.dead_requeued":
      return { type, queue, message: readRef(reader) };
    default:
      return unreachable(type);
  }
}

export function readConfig(reader: BodyReader): QueueConfig {
  return {
    maxDepth: reader.uint(),
    ackDeadlineMs: reader.uint(),
    maxRetries: reader.uint(),
    priority: readPriority(reader),
    prefetchLimit: reader.uint(),
    backoff: {
      type: named(BACKOFF_TYPES, reader.uint()),
      delayMs: reader.uint(),
      maxDelayMs: reader.uint(),
    },
    messageTtlMs: reader.uint(),
    dedupWindowMs: reader.uint(),
  };
}

function readPublished(reader: BodyReader, queue: string): MessageArrived {
  const payloadStart = reader.passBin();
  const payloadEnd = reader.at;
  const headersStart = payloadEnd;
  const strings = reader.array();
  if (strings % 2 !== 0) throw malformed("a header has a name and a value", 0);
  for (let index = 0; index < strings; index++) reader.passStr();
  return {
    type: "queue.published",
    queue,
    source: reader.bytes,
    payloadStart,
    payloadEnd,
    headersStart,
    headersEnd: reader.at,
    priority: readPriority(reader),
    maxRetries: reader.uint(),
    availableAt: reader.uintOrNil(0),
    expiresAt: reader.uintOrNil(0),
    dedupKey: reader.str(),
    dedupUntil: reader.uintOrNil(0),
  };
}

const headersReader = new BodyReader();

/** Headers from the bytes that a body or the table has of them. */
export function readHeaders(bytes: Uint8Array): Headers {
  headersReader.begin(bytes);
  const pairs: [string, string][] = [];
  for (let left = headersReader.array(); left > 0; left -= 2) {
    pairs.push([headersReader.str(), headersReader.str()]);
  }
  return Object.fromEntries(pairs);
}

function readPriority(reader: BodyReader): number {
  const priority = reader.uint();
  if (priority > PRIORITY_MAX) throw malformed("a priority is at most 9", 0);
  return priority;
}

export function readRef(reader: BodyReader): EventRef {
  return { offset: offset(reader.uint()), place: reader.uint() };
}

export function named<Name>(names: readonly Name[], number: number): Name {
  const name = names[number];
  if (name !== undefined) return name;
  throw new ProjectionError("PROJECTION_EVENT_UNKNOWN", `number ${number} stands for nothing known`, {
    found: number,
  });
}
