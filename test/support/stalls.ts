/** Whether something stood still: one beat after the other, and the times at which one took too long. */
import { setTimeout as sleep } from "node:timers/promises";

const BETWEEN_MS = 50;

/** The error by which a test that failed meanwhile is run again. */
export const STOOD_STILL = "the machine stood still meanwhile";

/** As `Date.now` tells it. */
export interface Stall {
  readonly fromMs: number;
  readonly toMs: number;
}

export class Stalls {
  readonly #stopping = new AbortController();
  readonly #beats: Promise<void>;
  #last: Stall = { fromMs: 0, toMs: 0 };
  #began = Date.now();

  /**
   * `beat`: what is done all the time. `stallMs`: how long it may take, with the pause before it. `onStall` hears of each that took longer, when
   * it is over.
   */
  constructor(
    private readonly beat: () => Promise<unknown>,
    private readonly stallMs: number,
    private readonly onStall: (stall: Stall) => void = () => undefined,
  ) {
    this.#beats = this.#go();
  }

  /** Whether one ended in the last `ms`, or lasts still. */
  seenWithin(ms: number): boolean {
    const now = Date.now();
    return now - this.#began > this.stallMs || now - this.#last.toMs <= ms;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#beats;
  }

  async #go(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#began = Date.now();
      await sleep(BETWEEN_MS);
      await this.beat();
      const stall = { fromMs: this.#began, toMs: Date.now() };
      if (stall.toMs - stall.fromMs <= this.stallMs) continue;
      this.#last = stall;
      this.onStall(stall);
    }
  }
}
