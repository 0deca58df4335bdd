/** A clock that stands still until it is moved, or until a test waits for something that only time brings. */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../replication/ports.js";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Turns of the event loop after which nothing more is expected to happen by itself. */
const TURNS = 60;
const IDLE_MAX = 50;

export class VirtualClock implements Clock {
  #ms = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  readonly now = (): number => 1_800_000_000_000 + this.#ms;
  readonly stopwatch = (): number => this.#ms;

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#ms + ms, order: this.#order++, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Runs what is due within `ms`, in order; after each, what follows from it in a few turns. */
  async advance(ms: number): Promise<void> {
    const end = this.#ms + ms;
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.at > end) break;
      this.#fire(next);
      await turns(20);
    }
    this.#ms = end;
    await turns(20);
  }

  /** Waits until something holds; time passes only when nothing else happens any more. */
  async until(holds: () => boolean, what: string, msMax = 300_000): Promise<void> {
    const end = this.#ms + msMax;
    for (let idle = 0; idle < IDLE_MAX; idle++) {
      for (let i = 0; i < TURNS && !holds(); i++) await setImmediate();
      if (holds()) return;
      const next = this.#next();
      if (next === undefined) continue;
      if (next.at > end) break;
      idle = 0;
      this.#fire(next);
    }
    throw new Error(`waited in vain until ${what}`);
  }

  /** Moves on until the promise settles, and gives it back. */
  async settled<T>(promise: Promise<T>, what: string): Promise<T> {
    let done = false;
    const end = (): void => {
      done = true;
    };
    promise.then(end, end);
    await this.until(() => done, what);
    return promise;
  }

  #next(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers)
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer;
    return first;
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer);
    this.#ms = Math.max(this.#ms, timer.at);
    timer.run();
  }
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate();
}
