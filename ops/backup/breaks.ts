/** Breaks that a long piece of work takes between its pieces, so that whoever else wants the disk and the processor has them. */
import { setTimeout as timer } from "node:timers/promises";

export interface Breaks {
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Resolves when work may go on that was done for so long without a break. */
  readonly take: (workedMs: number) => Promise<void>;
}

export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

// Cut short is as good as over.
const sleepUnlessAborted: Sleep = (ms, signal) => timer(ms, undefined, { signal }).catch(() => undefined);

/** Each as long as the work before it, and no more than so many ms in all; none any more once `hurry` was called. */
export class BoundedBreaks implements Breaks {
  readonly stopwatch: () => number;
  readonly #hurry = new AbortController();
  readonly #sleep: Sleep;
  #leftMs: number;

  constructor(restMsMax: number, stopwatch: () => number, sleep: Sleep = sleepUnlessAborted) {
    this.stopwatch = stopwatch;
    this.#sleep = sleep;
    this.#leftMs = restMsMax;
  }

  hurry(): void {
    this.#leftMs = 0;
    this.#hurry.abort();
  }

  readonly take = async (workedMs: number): Promise<void> => {
    const restMs = Math.min(workedMs, this.#leftMs);
    if (restMs <= 0) return;
    const begun = this.stopwatch();
    await this.#sleep(restMs, this.#hurry.signal);
    this.#leftMs -= this.stopwatch() - begun;
  };
}
