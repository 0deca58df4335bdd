/**
 * Who read how much of which stream since the process began, for statistics only: not in the log, not in the digest, never used
 * to decide anything. Bounded: past the limit of names, of a stream's own and of all, messages are counted, but no further subscribers.
 */
import type { Stream } from "./stream.js";

const SUBSCRIBERS_MAX = 1_000;
/** Of all streams together: some 20 MB of short names. */
const NAMES_MAX = 100_000;

interface Count {
  readonly subscribers: Set<string>;
  consumed: number;
}

export class Consumption {
  /** By the stream itself: a stream made again under the same name begins anew, and one that is gone takes its count along. */
  readonly #counts = new WeakMap<Stream, Count>();
  readonly #namesMax: number;
  #names = 0;
  total = 0;

  constructor(namesMax = NAMES_MAX) {
    this.#namesMax = namesMax;
  }

  /** Returns whether the stream has a subscriber more. */
  note(stream: Stream, subscriber: string, messages: number): boolean {
    let count = this.#counts.get(stream);
    if (count === undefined) {
      count = { subscribers: new Set(), consumed: 0 };
      this.#counts.set(stream, count);
    }
    const before = count.subscribers.size;
    if (before < SUBSCRIBERS_MAX && this.#names < this.#namesMax) count.subscribers.add(subscriber);
    count.consumed += messages;
    this.total += messages;
    if (count.subscribers.size === before) return false;
    this.#names++;
    return true;
  }

  /** The stream is gone. */
  forget(stream: Stream): void {
    this.#names -= this.of(stream).subscribers;
    this.#counts.delete(stream);
  }

  of(stream: Stream): { readonly subscribers: number; readonly consumed: number } {
    const count = this.#counts.get(stream);
    return { subscribers: count?.subscribers.size ?? 0, consumed: count?.consumed ?? 0 };
  }
}
