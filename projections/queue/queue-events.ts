/** The queue projection's events, and the facts that they are made of. Times are ms since 1970, 0 = none. */
import type { Offset } from "../../log/index.js";

/** An event by its place in the log: its record's offset, and its place among the record's events, from 0. */
export interface EventRef {
  /** 0 = of the record that is being decided: a batch's own, which has no offset yet. */
  readonly offset: Offset;
  readonly place: number;
}

export const PRIORITY_MAX = 9;

export interface Backoff {
  readonly type: "none" | "fixed" | "exponential";
  /** Before the first redelivery; exponential doubles it with each retry. */
  readonly delayMs: number;
  readonly maxDelayMs: number;
}

export interface QueueConfig {
  /** Most messages waiting, delayed and in flight together. */
  readonly maxDepth: number;
  readonly ackDeadlineMs: number;
  /** Failed deliveries that are tried again, for messages that say nothing: a message is delivered at most once more than that. */
  readonly maxRetries: number;
  /** Of messages that say nothing. */
  readonly priority: number;
  /** Most open deliveries of one consumer; 0 = any number. */
  readonly prefetchLimit: number;
  readonly backoff: Backoff;
  /** Ttl of messages that say nothing; 0 = they stay. */
  readonly messageTtlMs: number;
  /** For how long a message key is remembered, from its publish; 0 = keys are ignored. */
  readonly dedupWindowMs: number;
}

export type Headers = Readonly<Record<string, string>>;

/** Text (stored as UTF-8) or bytes. Read from the log it is always bytes. */
export type PayloadInput = string | Uint8Array;

export type DeathReason =
  /** A nack or a passed deadline after the last retry. */
  | "max_retries"
  /** A nack that asked for no redelivery. */
  | "rejected";

// ---- events ----

export interface QueueCreated {
  readonly type: "queue.created";
  readonly queue: string;
  readonly config: QueueConfig;
}
/** With all its messages, whatever their state. */
export interface QueueDeleted {
  readonly type: "queue.deleted";
  readonly queue: string;
}
/** Its place in the log is the message's id and its place in the order. */
export interface MessagePublished {
  readonly type: "queue.published";
  readonly queue: string;
  readonly payload: PayloadInput;
  readonly headers: Headers;
  readonly priority: number;
  readonly maxRetries: number;
  readonly availableAt: number;
  readonly expiresAt: number;
  /** "" = none. */
  readonly dedupKey: string;
  /** When the key is forgotten. */
  readonly dedupUntil: number;
}
/** Its place in the log is the delivery's receipt. */
export interface MessageDelivered {
  readonly type: "queue.delivered";
  readonly queue: string;
  readonly message: EventRef;
  readonly consumer: string;
  readonly deadline: number;
}
export interface MessageAcked {
  readonly type: "queue.acked";
  readonly queue: string;
  readonly message: EventRef;
}
/**
 * A delivery ended and the message is tried again, at once or (`availableAt`) later. `unsent`: its consumer had gone before the first
 * byte of the answer left, so it never was a try.
 */
export interface MessageRequeued {
  readonly type: "queue.requeued";
  readonly queue: string;
  readonly message: EventRef;
  readonly by: "nack" | "deadline" | "unsent";
  readonly retryCount: number;
  readonly availableAt: number;
}
/** A delivery failed for the last time. */
export interface MessageDied {
  readonly type: "queue.died";
  readonly queue: string;
  readonly message: EventRef;
  readonly by: "nack" | "deadline";
  readonly reason: DeathReason;
  readonly retryCount: number;
}
export interface DeadlineExtended {
  readonly type: "queue.deadline_extended";
  readonly queue: string;
  readonly message: EventRef;
  readonly deadline: number;
}
/** A delayed message became ready. */
export interface MessageReleased {
  readonly type: "queue.released";
  readonly queue: string;
  readonly message: EventRef;
}
/** Its ttl passed, or had passed when its delivery failed. */
export interface MessageExpired {
  readonly type: "queue.expired";
  readonly queue: string;
  readonly message: EventRef;
}
/** Every message that was waiting or delayed is gone. */
export interface QueuePurged {
  readonly type: "queue.purged";
  readonly queue: string;
}
/** Back from the dead: waiting at its old place, as if never delivered, and without a ttl. */
export interface DeadRequeued {
  readonly type: "queue.dead_requeued";
  readonly queue: string;
  readonly message: EventRef;
}
/** The dead letter queue was emptied. */
export interface DeadPurged {
  readonly type: "queue.dead_purged";
  readonly queue: string;
}
/** The events that end or change the life of one message. */
export type MessageEvent =
  | MessageDelivered
  | MessageAcked
  | MessageRequeued
  | MessageDied
  | DeadlineExtended
  | MessageReleased
  | MessageExpired
  | DeadRequeued;
export type QueueEvent =
  | QueueCreated
  | QueueDeleted
  | QueuePurged
  | DeadPurged
  | MessagePublished
  | MessageEvent;
