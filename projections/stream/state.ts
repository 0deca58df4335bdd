/**
 * The stream projection's state: every stream by name, and what readers and deciders may ask of it. `evolve` changes it; the
 * local counts of consumption are the only thing that a reader leaves behind.
 */
import { assert, BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { TouchedTopics } from "../wakes.js";
import { Consumption } from "./consumption.js";
import type {
  AppendSize,
  EventPlace,
  FamilySums,
  PageLimits,
  ProducerFacts,
  ReadPlan,
  StreamFacts,
  StreamReadView,
  StreamSize,
  StreamTotals,
} from "./contract.js";
import { StreamFamilies } from "./families.js";
import { LAST_PLACE, type PageDraft, type Stream } from "./stream.js";

/** Mortal streams looked at for one that is found expired: a sweep stays short however many live. */
const LOOKED_AT_PER_FOUND = 32;

const ONE_MESSAGE: PageLimits = { messagesMax: 1, bytesMax: 1 };
const NO_STREAMS: FamilySums = { streams: 0, messages: 0, bytes: 0, indexBytes: 0, subscribers: 0 };

export class StreamState implements StreamReadView {
  readonly streams = new Map<string, Stream>();
  readonly families = new StreamFamilies();
  /** Streams that have a deadline, the longest unlooked-at first. */
  readonly mortal = new Set<Stream>();
  readonly #consumption = new Consumption();
  readonly #committed: () => Offset;
  /** Streams ever created: the last generation. */
  generations = 0;
  /** Timestamp of the last record. */
  clock = 0;
  lastOffset: Offset = BEFORE_FIRST;
  lastRemoval: Offset = BEFORE_FIRST;
  publishedTotal = 0;
  trimmedTotal = 0;

  readonly touched: TouchedTopics;

  /** `committed` tells up to where the log may be shown. */
  constructor(touched: TouchedTopics, committed: () => Offset) {
    this.touched = touched;
    this.#committed = committed;
  }

  get count(): number {
    return this.streams.size;
  }

  get committed(): Offset {
    return this.#committed();
  }

  find(name: string): StreamFacts | undefined {
    return this.streams.get(name)?.facts(this.clock);
  }

  producer(name: string, id: string): ProducerFacts | undefined {
    return this.streams.get(name)?.producers?.get(id);
  }

  earliest(name: string, now: number): number {
    return this.#stream(name).earliest(now);
  }

  appends(name: string): Iterable<AppendSize> {
    return this.#stream(name).index.from(0);
  }

  expired(now: number, budget: number): readonly string[] {
    const found: string[] = [];
    let looks = Math.min(this.mortal.size, budget * LOOKED_AT_PER_FOUND);
    for (const stream of this.mortal) {
      if (looks-- === 0 || found.length === budget) break;
      // To the end of the row: the next sweep goes on where this one stopped.
      this.mortal.delete(stream);
      this.mortal.add(stream);
      if (stream.deadline <= now) found.push(stream.name);
    }
    return found;
  }

  committedEnd(name: string): number {
    const stream = this.#stream(name);
    const committed = this.committed;
    if (stream.tail.offset <= committed) return stream.index.end;
    return stream.endAt({ offset: committed, place: LAST_PLACE });
  }

  committedClosed(name: string): boolean {
    const { closed, closedAt } = this.#stream(name);
    return closed && closedAt <= this.committed;
  }

  page(name: string, from: number, end: number, limits: PageLimits): ReadPlan {
    const draft: PageDraft = { slices: [], count: 0, bytes: 0 };
    this.#stream(name).page(from, end, limits, draft);
    return draft;
  }

  endAt(name: string, at: EventPlace): number {
    return this.#stream(name).endAt(at);
  }

  knows(name: string, at: EventPlace): boolean {
    return this.#stream(name).knows(at);
  }

  eventBefore(name: string, end: number): EventPlace {
    return this.#stream(name).eventBefore(end);
  }

  names(prefix: string, after: string, limit: number, now: number): readonly string[] {
    const names: string[] = [];
    for (const [name, stream] of this.streams) {
      if (name <= after || !name.startsWith(prefix) || stream.gone) continue;
      if (stream.deadline !== 0 && stream.deadline <= now) continue;
      names.push(name);
    }
    return names.sort((a, b) => (a < b ? -1 : 1)).slice(0, limit);
  }

  noteConsumed(name: string, subscriber: string, messages: number): void {
    const stream = this.#stream(name);
    if (this.#consumption.note(stream, subscriber, messages)) this.families.of(stream).subscribers++;
  }

  consumption(name: string): { readonly subscribers: number; readonly consumed: number } {
    return this.#consumption.of(this.#stream(name));
  }

  /** For `evolve`: a stream that is there from now on, or not any more. */
  add(stream: Stream): void {
    this.streams.set(stream.name, stream);
    if (stream.deadline !== 0) this.mortal.add(stream);
    this.families.of(stream).streams.add(stream);
  }

  drop(stream: Stream): void {
    this.streams.delete(stream.name);
    const family = this.families.of(stream);
    family.streams.delete(stream);
    family.subscribers -= this.#consumption.of(stream).subscribers;
    this.#consumption.forget(stream);
  }

  /** Sums over every stream. */
  totals(): StreamTotals {
    const totals = { streams: 0, messages: 0, bytes: 0, indexBytes: 0, subscribers: 0 };
    for (const { sums } of this.families.all()) {
      totals.streams += sums.streams;
      totals.messages += sums.messages;
      totals.bytes += sums.bytes;
      totals.indexBytes += sums.indexBytes;
      totals.subscribers += sums.subscribers;
    }
    return {
      ...totals,
      publishedTotal: this.publishedTotal,
      consumedTotal: this.#consumption.total,
      trimmedTotal: this.trimmedTotal,
    };
  }

  sums(prefix: string): FamilySums {
    return this.families.get(prefix)?.sums ?? NO_STREAMS;
  }

  /** The oldest streams of a family that are there, at most `limit`. */
  oldest(prefix: string, now: number, limit: number): readonly StreamSize[] {
    const sizes: StreamSize[] = [];
    for (const stream of this.families.get(prefix)?.streams ?? []) {
      if (sizes.length >= limit) break;
      if (stream.gone || (stream.deadline !== 0 && stream.deadline <= now)) continue;
      const { end } = stream.index;
      const { subscribers } = this.#consumption.of(stream);
      sizes.push({
        name: stream.name,
        messages: end - stream.earliest(now),
        kept: stream.kept,
        end,
        subscribers,
      });
    }
    return sizes;
  }

  /**
   * The oldest record that a stream shows at `now` or later, undefined when none shows any: the log before it is needed by no
   * read. Streams that expired by then show nothing.
   */
  oldestShown(now: number): Offset | undefined {
    let oldest: Offset | undefined;
    for (const stream of this.streams.values()) {
      if (stream.gone || (stream.deadline !== 0 && stream.deadline <= now)) continue;
      const first: PageDraft = { slices: [], count: 0, bytes: 0 };
      stream.page(stream.earliest(now), stream.index.end, ONE_MESSAGE, first);
      const at = first.slices[0]?.event.offset;
      if (at !== undefined && (oldest === undefined || at < oldest)) oldest = at;
    }
    return oldest;
  }

  #stream(name: string): Stream {
    const stream = this.streams.get(name);
    assert(stream !== undefined, "the caller found the stream before it asked about it");
    return stream;
  }
}
