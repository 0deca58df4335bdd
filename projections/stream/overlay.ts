/**
 * The streams as the later operations of one batch must see them: with what the earlier ones do, before anything is appended.
 * Nothing of the state is changed; what is touched is copied, a stream's few facts each.
 *
 * The record has no offset yet. Whatever was touched here says `BEFORE_FIRST` where it would name that record: an answer that tells of it is
 * the batch's own, which waits for the record anyway.
 */
import { BEFORE_FIRST, unreachable } from "../../log/index.js";
import { messageBytes } from "./codec.js";
import type {
  AppendSize,
  EventPlace,
  NewStreamMessage,
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
  /** Of touched streams that keep so many bytes. */
  readonly #kept = new Map<string, KeptAppends>();
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

  /** Those of before the batch. */
  appends(name: string): Iterable<AppendSize> {
    return this.#made.has(name) ? [] : this.#base.appends(name);
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
        this.#append(draft, event.messages);
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
    this.#kept.delete(event.name);
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
    this.#append(draft, messages);
  }

  /** What it pushes out by age `earliest` tells. */
  #append(draft: Draft, messages: readonly NewStreamMessage[]): void {
    this.#renew(draft);
    if (messages.length === 0) return;
    const first = draft.end;
    draft.end += messages.length;
    draft.tail = UNRECORDED;
    const { count, bytes } = draft.retention;
    if (count !== undefined) draft.earliest = Math.max(draft.earliest, draft.end - count);
    if (bytes === undefined) return;
    const kept = this.#kept.get(draft.name) ?? new KeptAppends(this.appends(draft.name), draft.bytes);
    this.#kept.set(draft.name, kept);
    const size = messages.reduce((sum, message) => sum + messageBytes(message.bytes), 0);
    draft.earliest = Math.max(
      draft.earliest,
      kept.add({ first, count: messages.length, bytes: size }, bytes),
    );
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

/** The appends that a stream's rule leaves of those that it had and of the batch's. */
class KeptAppends {
  readonly #had: Iterator<AppendSize>;
  readonly #added: AppendSize[] = [];
  #bytes: number;

  constructor(had: Iterable<AppendSize>, bytes: number) {
    this.#had = had[Symbol.iterator]();
    this.#bytes = bytes;
  }

  /** As when the record is applied: the oldest go whole, never the one that is added. Returns where the last that went has ended. */
  add(append: AppendSize, bytesMax: number): number {
    let end = 0;
    this.#bytes += append.bytes;
    while (this.#bytes > bytesMax) {
      const oldest = this.#oldest();
      if (oldest === undefined) break;
      this.#bytes -= oldest.bytes;
      end = oldest.first + oldest.count;
    }
    this.#added.push(append);
    return end;
  }

  #oldest(): AppendSize | undefined {
    const had = this.#had.next();
    return had.done === true ? this.#added.shift() : had.value;
  }
}

function close(draft: Draft, producer: Producer | undefined): void {
  draft.closed = true;
  if (producer === undefined) delete draft.closedBy;
  else draft.closedBy = producer;
}
