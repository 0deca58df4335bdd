/**
 * Who read how much of which stream since the process began, for statistics only: not in the log, not in the digest, never used
 * to decide anything. Bounded: past the limit of names a stream counts messages, but no further subscribers.
 */
import type { Stream } from "./stream.js";

const SUBSCRIBERS_MAX = 1_000;

interface Count {
  readonly subscribers: Set<string>;
  consumed: number;
}

export class Consumption {
  /** By the stream itself: a stream made again under the same name begins anew, and one that is gone takes its count along. */
  readonly #counts = new WeakMap<Stream, Count>();
  total = 0;

  /** Returns whether the stream has a subscriber more. */
  note(stream: Stream, subscriber: string, messages: number): boolean {
    let count = this.#counts.get(stream);
    if (count === undefined) {
      count = { subscribers: new Set(), consumed: 0 };
      this.#counts.set(stream, count);
    }
    const before = count.subscribers.size;
    if (before < SUBSCRIBERS_MAX) count.subscribers.add(subscriber);
    count.consumed += messages;
    this.total += messages;
    return count.subscribers.size > before;
  }

  of(stream: Stream): { readonly subscribers: number; readonly consumed: number } {
    const count = this.#counts.get(stream);
    return { subscribers: count?.subscribers.size ?? 0, consumed: count?.consumed ?? 0 };
  }
}
