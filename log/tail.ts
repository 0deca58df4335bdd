/**
 * Following the log: what is on the disk up to the durable offset, then what becomes durable, without a gap or a repeat.
 * There is no buffer to overflow: a follower reads when it is asked, and remembers only where it is.
 */

import { Observable } from "rxjs";
import { ignoreReported } from "./errors.js";
import type { LogRecord } from "./event-log.js";
import type { LogCursor } from "./log-cursor.js";
import type { Offset } from "./units.js";

/** What a follower needs to know of the log. */
export interface FollowSource {
  readonly durableOffset: Offset;
  /** Why nothing will become durable any more: the log's failure, or "closed". Undefined while it lives. */
  readonly ended: Error | "closed" | undefined;
  /** Rings when either may have changed. */
  readonly bell: FollowerBell;
}

/** Wakes followers that have nothing to read. One entry for each that waits, gone when it is woken or lets go. */
export class FollowerBell {
  #waiting = new Set<() => void>();

  ring(): void {
    if (this.#waiting.size === 0) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  onRing(wake: () => void): void {
    this.#waiting.add(wake);
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}

type Batch = readonly LogRecord[];

/** @typeParam Part what is read at once: records, or a run of bytes */
export class Follower<Part> implements AsyncIterableIterator<Part> {
  readonly #source: FollowSource;
  readonly #open: () => LogCursor;
  readonly #read: (cursor: LogCursor, last: Offset) => Promise<Part>;
  #cursor: LogCursor | undefined;
  #wake: (() => void) | undefined;
  #done = false;
  /** Calls run one after the other, in the order in which they came. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param open checks the starting offset, so it may throw; called by the first `next` */
  constructor(
    source: FollowSource,
    open: () => LogCursor,
    read: (cursor: LogCursor, last: Offset) => Promise<Part>,
  ) {
    this.#source = source;
    this.#open = open;
    this.#read = read;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Part>> {
    return this.#afterLast(() => this.#pull());
  }

  return(): Promise<IteratorResult<Part>> {
    this.#done = true;
    this.#wake?.();
    return this.#afterLast(async () => {
      await this.#finish();
      return { done: true, value: undefined };
    });
  }

  #afterLast<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#last.then(step);
    this.#last = result.catch(ignoreReported);
    return result;
  }

  async #pull(): Promise<IteratorResult<Part>> {
    try {
      while (!this.#done) {
        this.#cursor ??= this.#open();
        const cursor = this.#cursor;
        cursor.goOn();
        const { durableOffset, ended } = this.#source;
        if (cursor.next <= durableOffset && ended !== "closed") {
          try {
            return { done: false, value: await this.#read(cursor, durableOffset) };
          } catch (error) {
            if (cursor.wasCut) continue;
            throw error;
          }
        }
        if (ended === "closed") break;
        if (ended !== undefined) throw ended;
        await this.#change();
      }
    } catch (error) {
      await this.#finish();
      throw error;
    }
    await this.#finish();
    return { done: true, value: undefined };
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#source.bell.onRing(resolve);
    });
    if (this.#wake !== undefined) this.#source.bell.forget(this.#wake);
    this.#wake = undefined;
  }

  async #finish(): Promise<void> {
    this.#done = true;
    const cursor = this.#cursor;
    this.#cursor = undefined;
    await cursor?.close();
  }
}

/** The records of a follower, pushed one by one: the next batch is read when the subscriber has taken the last one. */
export function tailOf(follow: () => AsyncIterableIterator<Batch>): Observable<LogRecord> {
  return new Observable((subscriber) => {
    const batches = follow();
    const push = async (): Promise<void> => {
      for await (const batch of batches) {
        for (const record of batch) {
          if (subscriber.closed) return;
          subscriber.next(record);
        }
      }
    };
    push().then(
      () => subscriber.complete(),
      (error: unknown) => subscriber.error(error),
    );
    return () => {
      // Whoever unsubscribed has nobody left to tell that the file could not be closed.
      batches.return?.().catch(ignoreReported);
    };
  });
}
