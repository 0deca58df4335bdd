/** The types of history: what one key or one message went through, read from the log. */
import type { LogRecord, Offset } from "../../log/index.js";
import type { Cause } from "../decision.js";
import type { KeyDeleted, KeyEvicted, KeyExpiryChanged, KeySet } from "../kv/contract.js";
import type {
  DeadPurged,
  EventRef,
  MessageEvent,
  MessagePublished,
  QueueDeleted,
  QueuePurged,
} from "../queue/contract.js";

/** Where history is read: the part of `Store` that it uses. */
export interface RecordSource {
  records(first: Offset, last: Offset): AsyncIterable<readonly LogRecord[]>;
}

/** What did it, as far as the record says. */
export interface RecordCause extends Partial<Cause> {
  readonly idempotencyKey?: string;
}

/** An event with its place in the log. */
export interface Happened<Event> {
  readonly offset: Offset;
  /** Among the events of its record, from 0. */
  readonly place: number;
  /** Ms since 1970, of the record. */
  readonly time: number;
  readonly event: Event;
  readonly cause: RecordCause;
}

// ---- keys ----

/** The events that name the key. That every key was removed at once names none: a chain goes past it. */
export type KeyEvent = KeySet | KeyDeleted | KeyEvicted | KeyExpiryChanged;

export interface KeyHistoryQuery {
  readonly key: string;
  /** Where its chain ends, see `KvReadView.chainOf`. */
  readonly chain: { readonly offset: Offset; readonly isWhole: boolean };
  /** Only what happened before this offset. At once where it is a revision of the key, else by walking to it. */
  readonly before?: number | undefined;
  /** A page ends at the record that reaches it: a record's events are shown together. */
  readonly limit: number;
  /** And at the record that reaches so many bytes of values. */
  readonly bytesMax: number;
  /** Records that may be read. */
  readonly recordsMax: number;
}

/**
 * Why a history goes no further: its first event was shown; nobody knows whether there was more (what was removed long ago is
 * forgotten); or retention removed the rest.
 */
export type HistoryEnd = "first_event" | "unknown" | "retired";

export interface KeyHistoryPage {
  readonly type: "page";
  /** Newest first. */
  readonly revisions: readonly Happened<KeyEvent>[];
  /** For `before` of the next page; undefined at the end. */
  readonly next: Offset | undefined;
  /** Set when there is no next page. */
  readonly end: HistoryEnd | undefined;
}

/** More records than allowed lie between the newest revision and what was asked for. */
export interface TooLong {
  readonly type: "too_long";
}

// ---- messages ----

/** What changes or ends the life of a message: its own events, and those that end many at once. */
export type LifeEvent = MessagePublished | MessageEvent | QueuePurged | DeadPurged | QueueDeleted;

/** Where a message lies, as far as it decides which later events mean it. */
export type LifeState = "waiting" | "in_flight" | "dead";

/** Where a page goes on: the record that is read next, and what the message was then. */
export interface LifePlace {
  readonly from: Offset;
  readonly state: LifeState;
}

export interface MessageLifeQuery {
  readonly queue: string;
  readonly message: EventRef;
  /** The last record that may tell of the message; committed. */
  readonly last: Offset;
  /** Default: its publish event. */
  readonly place?: LifePlace | undefined;
  /** A page ends at the record that reaches it. */
  readonly limit: number;
  readonly recordsMax: number;
}

export type MessageLifePage =
  | {
      readonly type: "page";
      /** Oldest first. */
      readonly events: readonly Happened<LifeEvent>[];
      readonly next: LifePlace | undefined;
      /** True when the message is gone: nothing more can happen to it. */
      readonly isOver: boolean;
    }
  /** No message of this queue was published there. */
  | { readonly type: "not_found" }
  | { readonly type: "retired" };
