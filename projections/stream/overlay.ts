/**
 * The streams as the later operations of one batch must see them: with what the earlier ones do, before anything is appended.
 * Nothing of the state is changed; what is touched is copied, a stream's few facts each.
 *
 * The record has no offset yet. Whatever was touched here says `BEFORE_FIRST` where it would name that record: an answer that tells of it is
 * the batch's own, which waits for the record anyway. Of the trims that an append brings only those by count are foreseen; those by
 * bytes and age show when the record is applied.
 */
import { BEFORE_FIRST, unreachable } from "../../log/index.js";
import type {
  EventPlace,
  Producer,
  ProducerFacts,
  StreamCreated,
  StreamEvent,
  StreamFacts,
  StreamView,
} from "./contract.js";
import { renewalMs } from "./stream.js";

type Draft = { -readonly [Name in keyof StreamFacts]: StreamFacts[Name] };

export interface StreamOverlay {
  readonly view: StreamView;
  /** Takes what an earlier operation of the batch decided. `now` is the batch's time. */
  apply(event: StreamEvent): void;
}

/** `now`: the batch's time, which its record will carry. */
export function streamOverlay(base: StreamView, now: number): StreamOverlay {
  const view = new OverlaidStreams(base, now);
  return { view, apply: (event) => view.apply(event) };
}

const UNRECORDED: EventPlace = { offset: BEFORE_FIRST, place: 0 };

class OverlaidStreams implements StreamView {
  readonly #base: StreamView;
  readonly #now: number;
  /** Touched streams; undefined = removed. */
  readonly #touched = new Map<string, Draft | undefined>();
  /** By stream and producer. Of a stream made in the batch nothing of the base counts. */
  readonly #producers = new Map<string, Map<string, ProducerFacts>>();
  readonly #made = new Set<string>();
  count: number;
  generations: number;

  constructor(base: StreamView, now: number) {
    this.#base = base;
    this.#now = now;
    this.count = base.count;
    this.generations = base.generations;
  }

  get lastRemoval() {
    return this.#base.lastRemoval;
  }

  get lastOffset() {
    return this.#base.lastOffset;
  }

  find(name: string): StreamFacts | undefined {
    const touched = this.#touched.get(name);
    // A copy: a later operation of the batch goes on changing the draft.
    if (touched !== undefined) return { ...touched };
    return this.#touched.has(name) ? undefined : this.#base.find(name);
  }

  producer(name: string, id: string): ProducerFacts | undefined {
    const touched = this.#producers.get(name)?.get(id);
    return touched ?? (this.#made.has(name) ? undefined : this.#base.producer(name, id));
  }

  expired(now: number, budget: number): readonly string[] {
    return this.#base.expired(now, budget).filter((name) => !this.#touched.has(name));
  }

  earliest(name: string, now: number): number {
    const touched = this.#touched.get(name);
    if (touched === undefined) return this.#base.earliest(name, now);
    return this.#made.has(name)
      ? touched.earliest
      : Math.max(touched.earliest, this.#base.earliest(name, now));
  }

  apply(event: StreamEvent): void {
    if (event.type === "stream.created") {
      this.#create(event);
      return;
    }
    const draft = this.#draft(event.name);
    if (draft === undefined) return;
    switch (event.type) {
      case "stream.appended":
        this.#append(draft, event.messages.length);
        this.#noteWriter(draft, event.producer, event.writerSeq);
        if (event.closes) close(draft, event.producer);
        break;
      case "stream.closed":
        this.#renew(draft);
        this.#noteWriter(draft, event.producer, event.writerSeq);
        close(draft, event.producer);
        break;
      case "stream.deleted":
      case "stream.expired":
        this.#remove(draft);
        break;
      case "stream.touched":
        this.#renew(draft);
        break;
      case "stream.trimmed":
        draft.earliest = Math.max(draft.earliest, event.before);
        break;
      default:
        unreachable(event);
    }
  }

  /** The stream's facts, copied at its first change. */
  #draft(name: string): Draft | undefined {
    const found = this.#touched.get(name);
    if (found !== undefined || this.#touched.has(name)) return found;
    const facts = this.#base.find(name);
    if (facts === undefined) return undefined;
    const draft: Draft = { ...facts, lastOffset: BEFORE_FIRST };
    this.#touched.set(name, draft);
    return draft;
  }

  #create(event: StreamCreated): void {
    const source = event.fork === undefined ? undefined : this.#draft(event.fork.source);
    if (source !== undefined) source.forks += 1;
    this.generations += 1;
    this.count += 1;
    this.#made.add(event.name);
    this.#producers.delete(event.name);
    const { type: _type, messages, ...facts } = event;
    const start = event.fork?.at ?? 0;
    const earliest = source === undefined ? 0 : Math.min(this.earliest(source.name, this.#now), start);
    const draft: Draft = {
      ...facts,
      id: UNRECORDED,
      generation: this.generations,
      createdAt: this.#now,
      gone: false,
      forks: 0,
      end: start,
      earliest,
      bytes: 0,
      tail: UNRECORDED,
      writerSeq: "",
      producers: 0,
      deadline: 0,
      touchedAt: this.#now,
      lastOffset: BEFORE_FIRST,
    };
    this.#touched.set(event.name, draft);
    this.#append(draft, messages.length);
  }

  #append(draft: Draft, count: number): void {
    this.#renew(draft);
    if (count === 0) return;
    draft.end += count;
    draft.tail = UNRECORDED;
    const { count: kept } = draft.retention;
    if (kept !== undefined) draft.earliest = Math.max(draft.earliest, draft.end - kept);
  }

  #renew(draft: Draft): void {
    const { ttlMs, expiresAt } = draft.lifetime;
    draft.touchedAt = this.#now;
    draft.deadline = ttlMs === undefined ? (expiresAt ?? 0) : this.#now + ttlMs + renewalMs(ttlMs);
  }

  #noteWriter(draft: Draft, producer: Producer | undefined, writerSeq: string | undefined): void {
    if (writerSeq !== undefined) draft.writerSeq = writerSeq;
    if (producer === undefined) return;
    const { id, epoch, seq } = producer;
    if (this.producer(draft.name, id) === undefined) draft.producers += 1;
    const producers = this.#producers.get(draft.name) ?? new Map<string, ProducerFacts>();
    this.#producers.set(draft.name, producers.set(id, { epoch, seq, seen: BEFORE_FIRST }));
  }

  #remove(draft: Draft): void {
    if (draft.forks > 0) {
      draft.gone = true;
      return;
    }
    this.#touched.set(draft.name, undefined);
    this.count -= 1;
    const source = draft.fork === undefined ? undefined : this.#draft(draft.fork.source);
    if (source === undefined) return;
    source.forks -= 1;
    if (source.gone && source.forks === 0) this.#remove(source);
  }
}

function close(draft: Draft, producer: Producer | undefined): void {
  draft.closed = true;
  if (producer === undefined) delete draft.closedBy;
  else draft.closedBy = producer;
}
