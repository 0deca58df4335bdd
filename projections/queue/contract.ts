/**
 * The queue projection's types: its events (`queue-events.ts`), what deciders may see, and every command and query with its answer.
 *
 * A message is waiting (ready to be consumed), delayed (not before a time), in flight (one open delivery) or dead (in the dead
 * letter queue); else it is gone: acked, purged or expired. Waiting messages go out by (priority, 9 first; place of the publish
 * event in the log), also after a redelivery.
 *
 * Times are ms since 1970, 0 = none. A decider treats a time that has passed at `context.now` as passed. A reader shows what
 * the log says: that a time has passed shows when the event that says so is appended, which `due` does.
 */
import type { Offset } from "../../log/index.js";
import type { DeathReason, EventRef, Headers, PayloadInput, QueueConfig } from "./queue-events.js";

export * from "./queue-events.js";

// ---- what deciders see, and the rules they obey ----

export interface QueueRules {
  readonly queuesMax: number;
  readonly nameBytesMax: number;
  readonly payloadBytesMax: number;
  readonly headersBytesMax: number;
  /** All messages of all queues together, with what keeping them costs. */
  readonly memoryBytesMax: number;
  /** A queue with so many dead letters takes no more messages until they are requeued or purged. */
  readonly deadLettersMax: number;
  /** Most messages of one command: published, consumed, acked, requeued. */
  readonly batchMax: number;
  /** Most payload bytes of one consume; the first message always comes. */
  readonly consumeBytesMax: number;
  /** What a queue has whose creator says nothing. */
  readonly defaults: QueueConfig;
}

export const DEFAULT_QUEUE_CONFIG: QueueConfig = {
  maxDepth: 100_000,
  ackDeadlineMs: 30_000,
  maxRetries: 3,
  priority: 5,
  prefetchLimit: 0,
  backoff: { type: "none", delayMs: 0, maxDelayMs: 0 },
  messageTtlMs: 0,
  dedupWindowMs: 300_000,
};

export const DEFAULT_QUEUE_RULES: QueueRules = {
  queuesMax: 10_000,
  nameBytesMax: 256,
  payloadBytesMax: 1 << 20,
  headersBytesMax: 16_384,
  memoryBytesMax: 4 * 1024 ** 3,
  deadLettersMax: 100_000,
  batchMax: 1_000,
  consumeBytesMax: 8 << 20,
  defaults: DEFAULT_QUEUE_CONFIG,
};

export type QueueRejectionCode =
  | "QUEUE_NOT_FOUND"
  | "QUEUE_NAME_INVALID"
  | "QUEUE_CONFIG_INVALID"
  /** The number of queues. */
  | "QUEUE_TOO_MANY"
  /** `maxDepth`, or the dead letters. */
  | "QUEUE_FULL"
  | "QUEUE_MEMORY_FULL"
  /** Priority, retries, headers, message key. */
  | "QUEUE_MESSAGE_INVALID"
  | "QUEUE_PAYLOAD_TOO_LARGE"
  /** A delay, a time, a ttl or a deadline. */
  | "QUEUE_TIME_INVALID"
  | "QUEUE_CONSUMER_INVALID"
  /** How many. */
  | "QUEUE_LIMIT_INVALID"
  /** No such message; without a receipt also: it is not in flight. */
  | "QUEUE_MESSAGE_NOT_FOUND"
  /** The delivery is not open any more: acked, nacked, its deadline passed, or the message is gone. */
  | "QUEUE_RECEIPT_STALE"
  /** This operation is not possible inside a batch. */
  | "QUEUE_NOT_IN_BATCH";

export type MessageState = "waiting" | "delayed" | "in_flight" | "dead";

export interface Delivery {
  readonly receipt: EventRef;
  readonly consumer: string;
  readonly deadline: number;
}

/** A message as it is, without its bytes. */
export interface MessageHead {
  readonly ref: EventRef;
  readonly state: MessageState;
  readonly priority: number;
  readonly retryCount: number;
  readonly maxRetries: number;
  readonly publishedAt: number;
  readonly availableAt: number;
  readonly expiresAt: number;
  readonly payloadBytes: number;
  /** In flight only. */
  readonly delivery?: Delivery;
  /** Dead only. */
  readonly death?: Death;
}

export interface Death {
  readonly reason: DeathReason;
  readonly at: number;
  /** The event that says so: dead letters are listed by it. */
  readonly ref: EventRef;
}

export interface MessageBody {
  /** A copy. */
  readonly payload: Uint8Array;
  readonly headers: Headers;
}

/** A queue as it is. */
export interface QueueHead {
  readonly name: string;
  readonly config: QueueConfig;
  /** Offset of its last change, of whatever kind. */
  readonly lastOffset: Offset;
  readonly waiting: number;
  readonly delayed: number;
  readonly inFlight: number;
  readonly dead: number;
}

/** What deciders see. Narrow, so that a batch can lay its own uncommitted changes over it. */
export interface QueueView {
  /** True inside a batch: messages cannot be consumed there, for what it publishes has no id yet. */
  readonly isBatch: boolean;
  /** Dead letters that the batch has put back so far, in all queues; 0 outside of one. */
  readonly requeuedDead: number;
  /** Offset of the last creation or deletion of any queue: what "not found" waits for. */
  readonly lastListChange: Offset;
  readonly queueCount: number;
  readonly memoryBytes: number;
  queue(name: string): QueueHead | undefined;
  message(queue: string, ref: EventRef): MessageHead | undefined;
  body(queue: string, ref: EventRef): MessageBody | undefined;
  /** The message that was published with this key, while the key is remembered at `now`. */
  published(queue: string, dedupKey: string, now: number): EventRef | undefined;
  /** Open deliveries of a consumer. */
  heldBy(queue: string, consumer: string): number;
  /**
   * Waiting messages in order, but for those whose ttl has passed by `now`: that is told by an event that passes with this command or a
   * later one. Ends early only when there are no more. Must be used up before anything changes.
   */
  first(queue: string, now: number): Iterable<MessageHead>;
  /** Messages that a time has passed for, soonest first, at most `limit`. */
  due(queue: string, now: number, limit: number): readonly MessageHead[];
  /** Queues with such messages, soonest first, at most `limit`. */
  dueQueues(now: number, limit: number): readonly string[];
  /** Dead letters in order of their death, those after `after` (default all), at most `limit`. */
  deadLetters(queue: string, limit: number, after?: EventRef): readonly MessageHead[];
}

/** What readers see beside that. */
export interface QueueReadView extends QueueView {
  /** Sorted. */
  names(): readonly string[];
  stats(queue: string): QueueStats | undefined;
}

// ---- commands and queries: payloads and answers ----

export interface QueueQuery {
  readonly queue: string;
}
export type PartialConfig = { readonly [Name in keyof QueueConfig]?: QueueConfig[Name] | undefined };
export interface CreateCommand {
  readonly queue: string;
  /** What is left out is as `QueueRules.defaults` says. An existing queue keeps what it has. */
  readonly config?: PartialConfig;
}
export interface CreateAnswer {
  readonly created: boolean;
  readonly config: QueueConfig;
}

export interface NewMessage {
  readonly payload: PayloadInput;
  /** 0 to 9. A door that clamps does so before. */
  readonly priority?: number | undefined;
  readonly maxRetries?: number | undefined;
  readonly headers?: Headers | undefined;
  /** Not before so long / not before that time; a time in the past is now. Not both. */
  readonly delayMs?: number | undefined;
  readonly deliverAt?: number | undefined;
  /** From now, whenever it is delivered first; 0 = stays, whatever the queue says. */
  readonly ttlMs?: number | undefined;
  /** A message with a key that was published within the window is not published again. */
  readonly dedupKey?: string | undefined;
}
export interface PublishCommand extends NewMessage {
  readonly queue: string;
}
export interface PublishAnswer {
  /** Of the first message with this key when `duplicate`. */
  readonly messageId: string;
  readonly duplicate: boolean;
}
/** All or nothing. */
export interface PublishManyCommand {
  readonly queue: string;
  readonly messages: readonly NewMessage[];
}
export interface PublishManyAnswer {
  /** In the order of the messages. */
  readonly messages: readonly PublishAnswer[];
}

export interface ConsumeCommand {
  readonly queue: string;
  readonly consumer: string;
  /** At most so many; default 1. Fewer come when fewer wait, at the consumer's prefetch limit, or past `consumeBytesMax`. */
  readonly count?: number | undefined;
  /** Default: the queue's. */
  readonly ackDeadlineMs?: number | undefined;
}
export interface DeliveredMessage extends MessageBody {
  readonly messageId: string;
  readonly receipt: string;
  readonly priority: number;
  /** Failed deliveries before this one. */
  readonly retryCount: number;
  readonly maxRetries: number;
  /** From 1; since the publish, or since it came back from the dead. */
  readonly attempt: number;
  readonly publishedAt: number;
  readonly deadline: number;
}
export interface ConsumeAnswer {
  readonly messages: readonly DeliveredMessage[];
}

export interface DeliveryName {
  readonly messageId: string;
  /** Without it the one open delivery of the message is meant, whoever has it. */
  readonly receipt?: string | undefined;
}
export interface AckCommand extends DeliveryName {
  readonly queue: string;
}
/** Each for itself: what cannot be acked hinders no other. */
export interface AckManyCommand {
  readonly queue: string;
  readonly deliveries: readonly DeliveryName[];
}
export interface AckManyAnswer {
  readonly acked: number;
  /** In the order of the deliveries. */
  readonly results: readonly ("acked" | "not_found" | "stale")[];
}
export interface NackCommand extends DeliveryName {
  readonly queue: string;
  /** False: to the dead letter queue at once. Default true. */
  readonly requeue?: boolean | undefined;
  /** Instead of the queue's backoff. */
  readonly delayMs?: number | undefined;
}
export interface NackAnswer {
  readonly outcome: "waiting" | "delayed" | "dead" | "expired";
  readonly retryCount: number;
}
/** Deliveries of one consume whose answer never left: they are as if they had not been, but for `consumed`. */
export interface GiveBackCommand {
  readonly queue: string;
  readonly deliveries: readonly { readonly messageId: string; readonly receipt: string }[];
}
export interface GiveBackAnswer {
  /** Fewer than asked for when some are not open any more. */
  readonly givenBack: number;
}
export interface ExtendCommand extends DeliveryName {
  readonly queue: string;
  /** From now; default: the queue's deadline. */
  readonly ackDeadlineMs?: number | undefined;
}
export interface ExtendAnswer {
  readonly deadline: number;
}

export interface DeleteQueueAnswer {
  readonly deleted: boolean;
}
export interface PurgeAnswer {
  readonly purged: number;
}
export interface RequeueDeadCommand {
  readonly queue: string;
  /** Without it: the oldest dead letters, at most `limit` (default and most: `batchMax`, less what a batch has put back before). Full queue: none at all. */
  readonly messageId?: string | undefined;
  readonly limit?: number | undefined;
}
export interface RequeueDeadAnswer {
  readonly requeued: number;
  /** Dead letters left. */
  readonly remaining: number;
}
/** Says of up to `limit` messages of any queues that their time has passed. For the timer, see `OpenedStore.nextDue`. */
export interface DueCommand {
  readonly limit: number;
}
export interface DueAnswer {
  readonly passed: number;
}

export interface OverdueQuery {
  readonly queue: string;
  readonly limit: number;
}

export interface ListAnswer {
  readonly queues: readonly string[];
}
/** Totals count since the queue was created, restarts included. */
export interface QueueStats extends QueueHead {
  /** Different consumers with open deliveries. */
  readonly consumers: number;
  readonly published: number;
  /** Deliveries, each attempt. */
  readonly consumed: number;
  readonly acked: number;
  /** Nacks by consumers, but for those that found the message past its ttl: it expired. */
  readonly nacked: number;
  /** Deliveries whose deadline passed, but for the same. */
  readonly timedOut: number;
  /** Deaths; `dead` is how many lie there. */
  readonly deadLettered: number;
  readonly deadRequeued: number;
  /** Dead letters purged included. */
  readonly purged: number;
  readonly expired: number;
}
export interface PeekQuery {
  readonly queue: string;
  /** 1 to `batchMax`. */
  readonly limit: number;
}
export interface SeenMessage extends MessageBody {
  readonly messageId: string;
  readonly state: MessageState;
  readonly priority: number;
  readonly retryCount: number;
  readonly maxRetries: number;
  readonly publishedAt: number;
  readonly availableAt: number;
  readonly expiresAt: number;
  readonly delivery?: { readonly consumer: string; readonly deadline: number };
  readonly death?: { readonly reason: DeathReason; readonly at: number };
}
export interface PeekAnswer {
  /** In the order in which they would be consumed; fewer than asked for when their payloads are more than 8 MiB together. */
  readonly messages: readonly SeenMessage[];
}
export interface DeadLettersQuery extends PeekQuery {
  /** From the page before. */
  readonly cursor?: string | undefined;
}
export interface DeadLettersAnswer {
  /** In order of their death; fewer than asked for when their payloads are more than 8 MiB together. */
  readonly messages: readonly SeenMessage[];
  /** Absent when there are no more. */
  readonly cursor?: string;
}
export interface MessageQuery {
  readonly queue: string;
  readonly messageId: string;
}
