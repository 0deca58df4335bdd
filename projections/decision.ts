/**
 * The shapes in which commands are decided and answered, the same for every projection.
 *
 * `decide` is pure: it sees the state, the command and the context (clock and randomness as values) and returns what
 * happened or why not. It never throws and never reads a clock.
 */
import type { LogRecord, Offset } from "../log/index.js";
import type { BatchRejectionCode } from "./batch/contract.js";
import type {
  IdempotencyRejectionCode,
  IdempotencyRules,
  IdempotencyView,
  RequestAnswered,
} from "./idempotency/contract.js";
import type { KvEvent, KvReadView, KvRejectionCode, KvRules, KvView } from "./kv/contract.js";
import type { PointNamed, PointRejectionCode, PointView } from "./points/contract.js";
import type {
  QueueEvent,
  QueueReadView,
  QueueRejectionCode,
  QueueRules,
  QueueView,
} from "./queue/contract.js";
import type {
  ReadPlan,
  ReadSlice,
  StreamEvent,
  StreamReadView,
  StreamRejectionCode,
  StreamRules,
  StreamView,
} from "./stream/contract.js";
import type { Wakes } from "./wakes.js";

/** Who asked, kept in the record for history: the command's name and, if the caller gave one, its request id. */
export interface Cause {
  readonly command: string;
  readonly requestId?: string;
}

/** What enters with every command and query from outside; nothing below reads a clock or draws a number. */
export interface Context {
  /** Ms since 1970 by a clock that never runs backward within a process. */
  readonly now: number;
  /** A fresh number in [0, 1), for samples. */
  readonly random: number;
  readonly cause: Cause;
}

export type RejectionCode =
  | KvRejectionCode
  | QueueRejectionCode
  | StreamRejectionCode
  | BatchRejectionCode
  | IdempotencyRejectionCode
  | PointRejectionCode;

/** Facts of a refusal for programs: shown as members of the error's body. */
export type RejectionDetails = Readonly<Record<string, number | string>>;

/** The caller asked for what the rules refuse. A value, never thrown. */
export interface Rejection {
  readonly type: "rejected";
  readonly code: RejectionCode;
  /** One sentence for people; nothing matches on it. */
  readonly message: string;
  /** Last change that the refusal tells of; it waits for this offset, as every answer does. */
  readonly seen: Offset;
  readonly details?: RejectionDetails;
}

export interface Accepted<Answer> {
  readonly type: "accepted";
  /** Nothing happened when empty: then the answer waits for `seen` and no record is appended. */
  readonly events: readonly StoreEvent[];
  /**
   * `offset` is that of the appended record, or `seen` when nothing was appended. `place` is that of the first of these
   * events in it: 0, unless a batch put others before them.
   */
  readonly answer: (offset: Offset, place: number) => Answer;
  readonly seen: Offset;
  /** Of the value that the answer shows, if it shows one: a batch may show only so much. */
  readonly shownBytes?: number | undefined;
}

export type Decision<Answer> = Accepted<Answer> | Rejection;

export type StoreEvent = KvEvent | QueueEvent | StreamEvent | RequestAnswered | PointNamed;

/** One projection's part of the catalogue of events. Methods, so that a codec of some events is one of all. */
export interface EventCodec<Event extends { readonly type: string }> {
  /** The kind number of each type of event. */
  readonly kinds: Readonly<Record<string, number>>;
  readonly version: number;
  /** The body, borrowed: valid until the next call. `cause` is undefined inside a record of several events. */
  encode(event: Event, cause: Cause | undefined): Uint8Array;
  /** @throws ProjectionError PROJECTION_EVENT_MALFORMED, PROJECTION_EVENT_UNKNOWN. */
  decode(kind: number, version: number, body: Uint8Array): { event: Event; cause?: Cause };
}

/** What a decider may look at. */
export interface StoreView {
  readonly kv: KvView;
  readonly queue: QueueView;
  readonly stream: StreamView;
  readonly idempotency: IdempotencyView;
  readonly points: PointView;
  /** The offset that the record of this decision will have, if there is one: appends are synchronous. */
  readonly nextOffset: Offset;
}

/** What a reader may look at. */
export interface StoreReadView extends StoreView {
  readonly kv: KvReadView;
  readonly queue: QueueReadView;
  readonly stream: StreamReadView;
}

export interface StoreRules {
  readonly kv: KvRules;
  readonly queue: QueueRules;
  readonly stream: StreamRules;
  readonly idempotency: IdempotencyRules;
}

export type Decider<Command, Answer> = (
  state: StoreView,
  command: Command,
  context: Context,
  rules: StoreRules,
) => Decision<Answer>;

/** One operation with its command, ready to be decided: alone, or as a part of something larger. Pure, as deciders are. */
export interface Step<Answer> {
  decide(state: StoreView, context: Context, rules: StoreRules): Decision<Answer>;
}

/** A query's answer and the offset of the last change that it tells of. */
export interface Seen<Answer> {
  readonly type: "seen";
  readonly answer: Answer;
  readonly seen: Offset;
}

export type Reader<Query, Answer> = (
  state: StoreReadView,
  query: Query,
  context: Context,
) => Seen<Answer> | Rejection;

/** What a door gets back. `offset` is committed by the configured rule when the door sees it. */
export interface Done<Answer> {
  readonly type: "done";
  readonly answer: Answer;
  readonly offset: Offset;
}

export type Outcome<Answer> = Done<Answer> | Rejection;

/** For callers of the store who want the outcome itself. */
export function asIs<Answer>(outcome: Outcome<Answer>): Outcome<Answer> {
  return outcome;
}

/** The one way from the doors to the log and the state. */
export interface Store {
  /**
   * Decides, appends what happened as one record, evolves, and calls `answer` when the answer may leave; gives back what
   * `answer` made of it. At once, when the outcome tells of nothing that still waits for the log.
   * @throws LogError, also as a rejection, when the log refuses or fails; then the caller must not be told that anything happened.
   * @throws ProjectionError PROJECTION_DEAD, PROJECTION_CLOSED.
   */
  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result>;

  /** Reads; at once if what it tells of is committed already (the common case), else when it is. */
  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result>;

  /**
   * The messages of a page of a stream, read from the log.
   * @throws LogError as `EventLog.read`; ProjectionError PROJECTION_DEAD, PROJECTION_CLOSED.
   */
  bodies(plan: ReadPlan): Promise<readonly ReadSlice[]>;

  /**
   * Records of the log, for history: from `first` to `last`, which is committed. A few that lie apart are asked for one by one.
   * @throws LogError as `LogReader.read`; ProjectionError PROJECTION_DEAD, PROJECTION_CLOSED.
   */
  records(first: Offset, last: Offset): AsyncIterable<readonly LogRecord[]>;

  /**
   * Calls `reached` once, when `wanted` is committed, at once if it is; or when another epoch has begun, so that it may never come. What it
   * returns ends the waiting. An offset that the log does not have yet is waited for.
   */
  onReached(wanted: number, reached: () => void): () => void;

  /** Last offset that the state contains. */
  readonly offset: Offset;
  /** Who waits for a queue or a stream to change. */
  readonly wakes: Wakes;
  close(): Promise<void>;
}
