/**
 * The stream projection's types: its events, what deciders and readers may see, and every command and query with its answer.
 * One projection serves rooms (`room/<room>`) and durable streams (`ds/<path>`): a stream is a name, a sequence of messages
 * numbered densely from 0 (its **stream offset**), and a few facts. Bodies stay in the log; the state holds an index.
 *
 * A stream expires, and messages pass their age, at a time that the log already tells: whoever asks, asks with a "now".
 * Trims by count, bytes and age follow from the appended events and the rule in `stream.created`, so they need no event of
 * their own and every replay trims alike; only a trim that somebody asked for is an event.
 */
import type { Offset } from "../../log/index.js";

/** An event for ever: its record's offset and its place among the record's events, from 0. */
export interface EventPlace {
  readonly offset: Offset;
  readonly place: number;
}

/** Text (stored as UTF-8) or bytes. Bytes are copied when the record is made. */
export type MessageBytes = string | Uint8Array;

export interface NewStreamMessage {
  readonly bytes: MessageBytes;
  /** What kind of thing happened, for readers: a room's `event`. */
  readonly tag?: string;
  /** JSON text, for readers. */
  readonly metadata?: string;
}

/** A writer that repeats what it is not sure of. `seq` counts requests of one epoch, from 0. */
export interface Producer {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

/** What is kept at most; what passes a bound is trimmed, the oldest first. Absent = no bound. */
export interface Retention {
  /** Messages. */
  readonly count?: number;
  /** Bytes of message bodies; whole appends are trimmed, the newest append always stays. */
  readonly bytes?: number;
  /** Ms since the append's record; whole appends are trimmed. */
  readonly ageMs?: number;
}

/** A stream that goes on from a point of another one: its messages before `at` are the source's. */
export interface Fork {
  readonly source: string;
  /** Of the source, so that a source deleted and made again meanwhile is not mistaken for it. */
  readonly sourceId: EventPlace;
  /** Stream offset: how many messages of the source (from 0) the fork shares. */
  readonly at: number;
}

/** Until when a stream lives; absent = until it is deleted. Never both. */
export interface Lifetime {
  /** Renewed by creation, appends, close and `touch`. */
  readonly ttlMs?: number;
  /** Ms since 1970. */
  readonly expiresAt?: number;
}

// ---- events: what happened ----

/** With its first messages and closed already, if it was asked for so: one fact, whole or not at all. */
export interface StreamCreated {
  readonly type: "stream.created";
  readonly name: string;
  /** As it was given; compared without letter case and parameters, given back as it is. */
  readonly contentType: string;
  readonly lifetime: Lifetime;
  readonly retention: Retention;
  readonly fork?: Fork;
  readonly closed: boolean;
  /** What the creator wants to recognise a repeat by; the projection only keeps it. Empty for none. */
  readonly fingerprint: string;
  readonly messages: readonly NewStreamMessage[];
}
export interface StreamAppended {
  readonly type: "stream.appended";
  readonly name: string;
  /** At least one. */
  readonly messages: readonly NewStreamMessage[];
  readonly closes: boolean;
  readonly producer?: Producer;
  /** `Stream-Seq`: greater, byte by byte, than the one before. */
  readonly writerSeq?: string;
}
/** Closed without a last message. */
export interface StreamClosed {
  readonly type: "stream.closed";
  readonly name: string;
  readonly producer?: Producer;
  readonly writerSeq?: string;
}
/** Gone; or, while forks share its messages, kept for them only. */
export interface StreamDeleted {
  readonly type: "stream.deleted";
  readonly name: string;
}
/** As deleted, because its time was over; noticed by the primary. */
export interface StreamExpired {
  readonly type: "stream.expired";
  readonly name: string;
}
/** Somebody read it, which renews a ttl: the record's timestamp counts. Written sparingly. */
export interface StreamTouched {
  readonly type: "stream.touched";
  readonly name: string;
}
/** Somebody asked that messages before `before` go. */
export interface StreamTrimmed {
  readonly type: "stream.trimmed";
  readonly name: string;
  readonly before: number;
}
export type StreamEvent =
  | StreamCreated
  | StreamAppended
  | StreamClosed
  | StreamDeleted
  | StreamExpired
  | StreamTouched
  | StreamTrimmed;

// ---- rules and refusals ----

export interface StreamRules {
  readonly nameBytesMax: number;
  /** One message. */
  readonly messageBytesMax: number;
  /** Messages of one append. */
  readonly batchMessagesMax: number;
  readonly streamsMax: number;
  /** Producers that one stream remembers; one more is refused. */
  readonly producersMax: number;
}

export const DEFAULT_STREAM_RULES: StreamRules = {
  nameBytesMax: 1_024,
  messageBytesMax: 8 * 1_048_576,
  batchMessagesMax: 10_000,
  streamsMax: 1_000_000,
  producersMax: 10_000,
};

export type StreamRejectionCode =
  | "STREAM_NOT_FOUND"
  /** Deleted or expired, kept only for its forks; its name is not free. */
  | "STREAM_GONE"
  | "STREAM_EXISTS"
  /** Details: `earliest`, `requested`. */
  | "STREAM_OFFSET_TRIMMED"
  /** Details: `end`, `requested`. */
  | "STREAM_OFFSET_BEYOND_END"
  /** Details: `expected`, `actual`. */
  | "STREAM_OFFSET_MISMATCH"
  | "STREAM_CLOSED"
  /** Details: `epoch` (the current one). */
  | "STREAM_PRODUCER_STALE"
  /** Details: `expected`, `received`. */
  | "STREAM_PRODUCER_GAP"
  /** A new epoch begins with seq 0. */
  | "STREAM_PRODUCER_EPOCH_START"
  | "STREAM_PRODUCER_INVALID"
  | "STREAM_PRODUCERS_FULL"
  | "STREAM_WRITER_SEQ"
  | "STREAM_CONTENT_TYPE_MISMATCH"
  | "STREAM_CONTENT_TYPE_INVALID"
  | "STREAM_NAME_INVALID"
  | "STREAM_CONFIG_INVALID"
  | "STREAM_MESSAGE_INVALID"
  | "STREAM_MESSAGE_TOO_LARGE"
  | "STREAM_BATCH_TOO_LARGE"
  | "STREAM_FORK_INVALID"
  | "STREAM_RANGE_INVALID"
  | "STREAM_TOO_MANY";

// ---- what deciders and readers see ----

/** One producer's place in one stream. */
export interface ProducerFacts {
  readonly epoch: number;
  /** Highest accepted. */
  readonly seq: number;
  /** Offset of the record that said so. */
  readonly seen: Offset;
}

/** A stream as it is, uncommitted changes included. A value: it does not change under whoever holds it. */
export interface StreamFacts {
  readonly name: string;
  /** Of its creation: no other stream ever has it. */
  readonly id: EventPlace;
  /** Grows with every stream ever created; a stream made again has a greater one. */
  readonly generation: number;
  /** Ms since 1970. */
  readonly createdAt: number;
  readonly contentType: string;
  readonly lifetime: Lifetime;
  readonly retention: Retention;
  readonly fork?: Fork;
  readonly fingerprint: string;
  /** True when deleted or expired and kept for its forks. */
  readonly gone: boolean;
  readonly forks: number;
  /** Stream offset of the next message. */
  readonly end: number;
  /** First stream offset that was not trimmed; = `end` when nothing is left. Of a fork: 0 while it shares messages. */
  readonly earliest: number;
  /** Bytes of the bodies of its own appends of which any message is kept. */
  readonly bytes: number;
  /** The event of its last own message; of the creation while it has none. */
  readonly tail: EventPlace;
  readonly closed: boolean;
  /** Who closed it, for the repeat of that request. */
  readonly closedBy?: Producer;
  /** Greatest `writerSeq` accepted; empty = none. */
  readonly writerSeq: string;
  readonly producers: number;
  /** Ms since 1970 when its time is over as far as the log tells, 0 = never. */
  readonly deadline: number;
  /** Ms since 1970 of the last event that renewed its ttl. */
  readonly touchedAt: number;
  /** Offset of its last event: an answer about it waits for this. */
  readonly lastOffset: Offset;
}

/** What deciders see. Narrow, so that a batch can lay its own uncommitted changes over it. */
export interface StreamView {
  /** Whatever the state holds under this name: expired and gone ones too; `decisions.ts` judges. */
  find(name: string): StreamFacts | undefined;
  producer(name: string, id: string): ProducerFacts | undefined;
  /** Streams held. */
  readonly count: number;
  /** Streams ever created: the last generation. */
  readonly generations: number;
  /** Offset of the last removal of any stream: "it is not there" waits for this. */
  readonly lastRemoval: Offset;
  readonly lastOffset: Offset;
  /** Up to `budget` names whose deadline is ≤ `now`. */
  expired(now: number, budget: number): readonly string[];
  /** First stream offset that is neither trimmed nor past its age at `now`. */
  earliest(name: string, now: number): number;
  /** Of the stream itself, not of its source, as far as any message is kept; the oldest first. Nothing may change meanwhile. */
  appends(name: string): Iterable<AppendSize>;
}

/** What one append takes of its stream. */
export interface AppendSize {
  /** Stream offset of its first message. */
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
}

/** Where one append's messages, or some of them, lie. */
export interface PlanSlice {
  readonly event: EventPlace;
  /** Stream offset of the first message taken. */
  readonly first: number;
  /** Messages of the event that are skipped, and how many are taken then. */
  readonly skip: number;
  readonly count: number;
}

/** Some messages in order, not read yet. Only committed ones. `Store.bodies` reads it. */
export interface ReadPlan {
  readonly slices: readonly PlanSlice[];
  /** Messages in all, and the bytes of the appends that they lie in. */
  readonly count: number;
  readonly bytes: number;
}

/** One append's messages, read. */
export interface ReadSlice extends PlanSlice {
  /** Ms since 1970, of the record. */
  readonly timestamp: number;
  /** Bytes of the messages taken, together. */
  readonly bytes: number;
  /** One for each message taken, views that stay valid; made when they are asked for. */
  readonly messages: readonly Uint8Array[];
  /** As long as `messages` when the append gave any, else empty. */
  readonly tags: readonly string[];
  readonly metadata: readonly (string | undefined)[];
  /**
   * Copies the messages to `target` from `at` on, one after the other, each followed by the byte `separator` if it is given.
   * Returns where the copy ends.
   */
  copyTo(target: Uint8Array, at: number, separator?: number): number;
}

export interface StreamReadView extends StreamView {
  /** Offset up to which anything may be shown. */
  readonly committed: Offset;
  /** Stream offset after the last committed message. These four are of a stream that `find` knows. */
  committedEnd(name: string): number;
  /** True when the stream is closed by a committed record. */
  committedClosed(name: string): boolean;
  /** The messages [from, end) as far as the limits let a page grow. */
  page(name: string, from: number, end: number, limits: PageLimits): ReadPlan;
  /** Stream offset after the last message whose event is at or before `at`, fork sources included; a trimmed one when that is not known any more. */
  endAt(name: string, at: EventPlace): number;
  /** False for a place from before the stream that is not of its fork sources either: of a stream that had the name before. */
  knows(name: string, at: EventPlace): boolean;
  /** The event of the message before stream offset `end`; of the creation if there is none. */
  eventBefore(name: string, end: number): EventPlace;
  /** Names with the prefix that come after `after` in order of their code units, up to `limit`, of streams that are there at `now`. */
  names(prefix: string, after: string, limit: number, now: number): readonly string[];
  /** Local counts since the process began; no part of the state's digest. */
  noteConsumed(name: string, subscriber: string, messages: number): void;
  consumption(name: string): { readonly subscribers: number; readonly consumed: number };
}

export interface PageLimits {
  readonly messagesMax: number;
  /** Of the appends touched; the first append is taken whatever its size. */
  readonly bytesMax: number;
  /** True: a page does not end within an append, and passes `messagesMax` rather than cut one. */
  readonly wholeAppends?: boolean;
}

/** For metrics; sums over streams, as the log tells: what only its age has removed is still in them. */
export interface FamilySums {
  readonly streams: number;
  readonly messages: number;
  readonly bytes: number;
  /** Resident bytes of the indexes. */
  readonly indexBytes: number;
  /** Seen since the process began. */
  readonly subscribers: number;
}

/** For metrics; sums over every stream. */
export interface StreamTotals extends FamilySums {
  readonly publishedTotal: number;
  readonly consumedTotal: number;
  readonly trimmedTotal: number;
}

/** For metrics; of one stream. */
export interface StreamSize {
  readonly name: string;
  /** That are there now. */
  readonly messages: number;
  /** As the sums count them: with those that only their age has removed. */
  readonly kept: number;
  /** Stream offset of the next message. */
  readonly end: number;
  /** Seen since the process began. */
  readonly subscribers: number;
}

// ---- commands and queries: payloads and answers ----

export interface CreateStreamCommand {
  readonly name: string;
  readonly contentType: string;
  readonly lifetime?: Lifetime;
  readonly retention?: Retention;
  readonly fork?: Fork;
  readonly closed?: boolean;
  readonly fingerprint?: string;
  readonly messages?: readonly NewStreamMessage[];
}
/**
 * `stream.create` refuses an existing one with STREAM_EXISTS; `stream.getOrCreate` answers it with `created: false` (the door compares
 * `facts.fingerprint` if it wants). Both refuse a gone one with STREAM_GONE.
 */
export interface CreateStreamAnswer {
  readonly created: boolean;
  readonly id: EventPlace;
  readonly generation: number;
  /** As they are afterwards. */
  readonly end: number;
  readonly tail: EventPlace;
  readonly closed: boolean;
  /** Of the stream that was there. */
  readonly existing?: StreamFacts;
}

export interface AppendStreamCommand {
  readonly name: string;
  /** Empty only with `close`. */
  readonly messages: readonly NewStreamMessage[];
  readonly close?: boolean;
  /** Must be the stream's (STREAM_CONTENT_TYPE_MISMATCH). Absent: not compared. */
  readonly contentType?: string;
  readonly producer?: Producer;
  readonly writerSeq?: string;
  /** `end` that the stream must have, else STREAM_OFFSET_MISMATCH. A duplicate of a producer is one before that is compared. */
  readonly expectedOffset?: number;
  /** Messages that no writer may have (a body that does not parse): refused with STREAM_MESSAGE_INVALID after every check of the state. */
  readonly invalid?: string;
}
/** Where the stream stands, told with every outcome. `tail` is the event that its last message came with (see StreamFacts.tail). */
export interface AppendTail {
  readonly end: number;
  readonly tail: EventPlace;
  readonly closed: boolean;
}
/**
 * What became of an append. Only `appended` and `closed` changed anything. `stream.append` answers every one; `stream.publish` (for rooms
 * and batches) answers `appended`, `closed`, `duplicate` and `already_closed`, and refuses the others with STREAM_PRODUCER_STALE, STREAM_PRODUCER_GAP,
 * STREAM_PRODUCER_EPOCH_START, STREAM_CLOSED.
 */
export type AppendOutcome =
  | ({ readonly type: "appended"; readonly first: number } & AppendTail & ProducerSaid)
  | ({ readonly type: "closed" } & AppendTail & ProducerSaid)
  /** The producer's request was accepted before. `first` of that time is not known any more. */
  | ({ readonly type: "duplicate" } & AppendTail & ProducerSaid)
  /** Close without messages of a closed stream. */
  | ({ readonly type: "already_closed" } & AppendTail)
  /** The stream is closed and the request is not the one that closed it. */
  | ({ readonly type: "refused_closed" } & AppendTail)
  | ({ readonly type: "stale_epoch"; readonly epoch: number } & AppendTail)
  | ({ readonly type: "gap"; readonly expected: number; readonly received: number } & AppendTail)
  | ({ readonly type: "epoch_start" } & AppendTail);
/** Where the producer stands afterwards, if one was named. */
export interface ProducerSaid {
  readonly producer?: { readonly epoch: number; readonly seq: number };
}

export interface StreamQuery {
  readonly name: string;
}
export interface TrimStreamCommand extends StreamQuery {
  /** First stream offset to keep; not beyond the end. */
  readonly before: number;
}
/** `stream.touch`: renews a ttl if it is due; `renewed` false when there was nothing to write. */
export interface TouchAnswer {
  readonly renewed: boolean;
}

/**
 * `stream.read`: a page from a stream offset, or from after an event, up to what is committed.
 * Refuses with STREAM_NOT_FOUND, STREAM_GONE, STREAM_OFFSET_TRIMMED, STREAM_OFFSET_BEYOND_END (stream offset > end), STREAM_RANGE_INVALID.
 */
export interface ReadStreamQuery extends StreamQuery {
  /** A stream offset; after an event; the first that is kept; or the committed end. */
  readonly from: number | EventPlace | "earliest" | "now";
  readonly limits: PageLimits;
}
export interface ReadStreamAnswer {
  readonly plan: ReadPlan;
  /** Stream offset of the first message of the page, and after its last. */
  readonly from: number;
  readonly next: number;
  /**
   * The event of the last message before `next`; of the creation if there is none. Never before `from` when that is an event.
   * To go on from it is exact when the page ends with an append (`wholeAppends`).
   */
  readonly nextEvent: EventPlace;
  /** The committed end: stream offset after the last message that may be shown. */
  readonly end: number;
  /** True when `next` is not before it. */
  readonly atEnd: boolean;
  /** Closed, and `atEnd`. */
  readonly closed: boolean;
  readonly earliest: number;
  /** True when it was asked from a place that is of another stream, such as an earlier one of this name. */
  readonly foreign: boolean;
  /** What never changes of a stream: these may be shown, however much of its end is not committed yet. */
  readonly stream: Pick<
    StreamFacts,
    "name" | "id" | "generation" | "createdAt" | "contentType" | "lifetime" | "fork"
  >;
}
export interface ConsumeStreamQuery extends StreamQuery {
  readonly from: number;
  readonly limits: PageLimits;
  readonly subscriber: string;
}

/** `stream.head`: the facts as committed (it waits for the stream's last event), judged at now. */
export interface StreamHead {
  readonly facts: StreamFacts;
  readonly earliest: number;
}
export interface StreamStats extends StreamHead {
  readonly subscribers: number;
  readonly consumed: number;
}
export interface ListStreamsQuery {
  readonly prefix: string;
  /** Names after this one; empty = from the first. */
  readonly after: string;
  readonly limit: number;
}
export interface ListStreamsAnswer {
  readonly names: readonly string[];
}
