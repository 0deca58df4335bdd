/** One stream as the state holds it: its facts, its producers and the index of its own messages. Changed by `evolve` only. */
import { BEFORE_FIRST, type Offset, offset } from "../../log/index.js";
import type {
  EventPlace,
  Fork,
  Lifetime,
  PageLimits,
  PlanSlice,
  Producer,
  ProducerFacts,
  Retention,
  StreamFacts,
} from "./contract.js";
import { EntryIndex, placeOf } from "./entry-index.js";

/**
 * A ttl is renewed by an event when a twentieth of it has passed since the last one, and lasts that much longer, so that no
 * reader finds a stream gone earlier than a ttl after anybody read it.
 */
export const renewalMs = (ttlMs: number): number => Math.ceil(ttlMs / 20);

/** No place lies after it in a record. */
export const LAST_PLACE = Number.MAX_SAFE_INTEGER;

export interface NewStream {
  readonly name: string;
  readonly id: EventPlace;
  readonly generation: number;
  readonly createdAt: number;
  readonly contentType: string;
  readonly lifetime: Lifetime;
  readonly retention: Retention;
  readonly fingerprint: string;
  readonly fork: Fork | undefined;
  readonly source: Stream | undefined;
}

/** What a page is being put together of. */
export interface PageDraft {
  readonly slices: PlanSlice[];
  count: number;
  bytes: number;
}

export class Stream {
  readonly name: string;
  readonly id: EventPlace;
  readonly generation: number;
  readonly createdAt: number;
  readonly contentType: string;
  readonly lifetime: Lifetime;
  readonly retention: Retention;
  readonly fingerprint: string;
  readonly fork: Fork | undefined;
  /** Of a fork: the stream whose first `fork.at` messages it shares. */
  readonly source: Stream | undefined;
  readonly index: EntryIndex;
  gone = false;
  forks = 0;
  /** First stream offset that was not trimmed for good (by count, by bytes, by age at an append, or because somebody asked). */
  trimmed = 0;
  /** The event of the last append that was dropped. */
  dropped: EventPlace | undefined;
  tail: EventPlace;
  closed = false;
  /** Offset of the record that closed it. */
  closedAt: Offset = BEFORE_FIRST;
  closedBy: Producer | undefined;
  writerSeq = "";
  touchedAt: number;
  lastOffset: Offset;
  /** Made with the first producer: most streams have none. */
  producers: Map<string, ProducerFacts> | undefined;

  /** `firstHeld`: stream offset of the first own message that will be added. */
  constructor(created: NewStream, firstHeld = created.fork?.at ?? 0) {
    this.name = created.name;
    this.id = created.id;
    this.generation = created.generation;
    this.createdAt = created.createdAt;
    this.contentType = created.contentType;
    this.lifetime = created.lifetime;
    this.retention = created.retention;
    this.fingerprint = created.fingerprint;
    this.fork = created.fork;
    this.source = created.source;
    this.index = new EntryIndex(firstHeld);
    this.tail = created.id;
    this.touchedAt = created.createdAt;
    this.lastOffset = created.id.offset;
  }

  get deadline(): number {
    const { ttlMs, expiresAt } = this.lifetime;
    if (ttlMs !== undefined) return this.touchedAt + ttlMs + renewalMs(ttlMs);
    return expiresAt ?? 0;
  }

  /** Messages shared with the source. */
  get shared(): number {
    return this.fork?.at ?? 0;
  }

  /** Its own messages that were not trimmed for good. */
  get kept(): number {
    return this.index.end - Math.max(this.trimmed, this.shared);
  }

  /** First stream offset that is neither trimmed nor, at `now`, past its age. */
  earliest(now: number): number {
    const { ageMs } = this.retention;
    const own = ageMs === undefined ? 0 : this.index.firstSince(now - ageMs);
    // While it has own messages that are kept, or none at all, what it shares with its source is as old as the source says.
    const aged = ageMs !== undefined && own === this.shared ? this.#sharedSince(now - ageMs) : own;
    const shared = this.source === undefined ? 0 : Math.min(this.source.earliest(now), this.shared);
    return Math.max(this.trimmed, shared, aged);
  }

  #sharedSince(time: number): number {
    if (this.source === undefined) return this.shared;
    const own = this.source.index.firstSince(time);
    const first = own === this.source.shared ? this.source.#sharedSince(time) : own;
    return Math.min(first, this.shared);
  }

  /**
   * Stream offset after the last message whose event is at or before a place in the log. Of a place before the last append
   * that was dropped it is not known any more: then an offset that is trimmed.
   */
  endAt(at: EventPlace): number {
    const entry = this.index.lastAt(at);
    if (entry !== undefined) return entry.first + entry.count;
    if (isBefore(at, this.id)) {
      return this.source === undefined ? 0 : Math.min(this.source.endAt(at), this.shared);
    }
    if (this.dropped !== undefined && isBefore(at, this.dropped)) return this.shared;
    return this.index.oldest?.first ?? this.index.end;
  }

  /**
   * False for a place from before this stream that none of the streams it shares messages with ever named: it is of
   * another one, such as an earlier one of this name. Of its own time any place will do, and so does the one before the log.
   */
  knows(at: EventPlace): boolean {
    return (
      at.offset === BEFORE_FIRST ||
      !isBefore(at, this.id) ||
      isSame(at, this.#beforeCreation) ||
      this.source?.named(at) === true
    );
  }

  /** True for the places of its creation and of its appends, and of its sources' before; of dropped ones only the last is known. */
  named(at: EventPlace): boolean {
    if (isBefore(at, this.id)) return isSame(at, this.#beforeCreation) || this.source?.named(at) === true;
    if (isSame(at, this.id) || (this.dropped !== undefined && isSame(at, this.dropped))) return true;
    const entry = this.index.lastAt(at);
    return entry !== undefined && isSame(at, placeOf(entry));
  }

  /**
   * The event of the message before stream offset `end`, so that `endAt` of it is `end` again where an append ends. Of the creation when
   * there is no message before; but if the creation came with messages itself, a place just before it.
   */
  eventBefore(end: number): EventPlace {
    if (end === this.index.end) return this.tail;
    if (end > 0 && end <= this.shared && this.source !== undefined) return this.source.eventBefore(end);
    if (end > this.shared) {
      for (const entry of this.index.from(end - 1)) {
        if (entry.first < end) return placeOf(entry);
        break;
      }
      if (this.dropped !== undefined) return this.dropped;
    }
    return this.#createdWithMessages ? this.#beforeCreation : this.id;
  }

  get #beforeCreation(): EventPlace {
    return { offset: offset(this.id.offset - 1), place: LAST_PLACE };
  }

  get #createdWithMessages(): boolean {
    const first = this.dropped ?? this.index.oldest;
    return first !== undefined && first.offset === this.id.offset && first.place === this.id.place;
  }

  /** Drops the oldest append from the index: its messages are trimmed. */
  drop(): void {
    const { oldest } = this.index;
    if (oldest === undefined) return;
    this.dropped = placeOf(oldest);
    this.trimmed = Math.max(this.trimmed, oldest.first + oldest.count);
    this.index.drop();
  }

  /** Drops the oldest appends in large steps, as far as `goes` (see `EntryIndex.dropChunks`) is sure of them all. */
  dropChunks(goes: Parameters<EntryIndex["dropChunks"]>[0]): void {
    const last = this.index.dropChunks(goes);
    if (last === undefined) return;
    this.dropped = placeOf(last);
    this.trimmed = Math.max(this.trimmed, last.first + last.count);
  }

  /** Adds the messages [from, end) to a page, as far as the limits let it grow. */
  page(from: number, end: number, limits: PageLimits, draft: PageDraft): void {
    if (this.source !== undefined && from < this.shared) {
      this.source.page(from, Math.min(end, this.shared), limits, draft);
      if (draft.count < this.shared - from) return;
    }
    const start = Math.max(from, this.shared);
    if (start >= end) return;
    for (const entry of this.index.from(start)) {
      if (entry.first >= end || !hasRoom(draft, limits, entry.bytes)) return;
      const skip = Math.max(0, start - entry.first);
      const left = Math.min(entry.count, end - entry.first) - skip;
      const count = limits.wholeAppends === true ? left : Math.min(left, limits.messagesMax - draft.count);
      draft.slices.push({ event: placeOf(entry), first: entry.first + skip, skip, count });
      draft.count += count;
      draft.bytes += entry.bytes;
      if (count < left) return;
    }
  }

  /** Messages before `before` go; an append leaves the index with its last message. */
  trimTo(before: number): void {
    if (before <= this.trimmed) return;
    this.trimmed = before;
    this.dropChunks(({ first }) => first <= before);
    for (let { oldest } = this.index; oldest !== undefined; oldest = this.index.oldest) {
      if (oldest.first + oldest.count > before) return;
      this.drop();
    }
  }

  /** The facts as a value of their own. */
  facts(now: number): StreamFacts {
    const facts = {
      name: this.name,
      id: this.id,
      generation: this.generation,
      createdAt: this.createdAt,
      contentType: this.contentType,
      lifetime: this.lifetime,
      retention: this.retention,
      fingerprint: this.fingerprint,
      gone: this.gone,
      forks: this.forks,
      end: this.index.end,
      earliest: this.earliest(now),
      bytes: this.index.bytes,
      tail: this.tail,
      closed: this.closed,
      writerSeq: this.writerSeq,
      producers: this.producers?.size ?? 0,
      deadline: this.deadline,
      touchedAt: this.touchedAt,
      lastOffset: this.lastOffset,
    };
    // Asked for with every append, and hardly a stream has either.
    if (this.fork === undefined && this.closedBy === undefined) return facts;
    return {
      ...facts,
      ...(this.fork === undefined ? {} : { fork: this.fork }),
      ...(this.closedBy === undefined ? {} : { closedBy: this.closedBy }),
    };
  }
}

function hasRoom(draft: PageDraft, limits: PageLimits, bytes: number): boolean {
  if (draft.count >= limits.messagesMax) return false;
  return draft.count === 0 || draft.bytes + bytes <= limits.bytesMax;
}

function isSame(a: EventPlace, b: EventPlace): boolean {
  return a.offset === b.offset && a.place === b.place;
}

function isBefore(a: EventPlace, b: EventPlace): boolean {
  return a.offset < b.offset || (a.offset === b.offset && a.place < b.place);
}
