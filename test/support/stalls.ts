/**
 * Whether the machine stood still: one durable write after the other against a real server, and the times at which one took too long. Test,
 * server and disk are all in its way, so it sees a stall of any of them.
 */
import { setTimeout as sleep } from "node:timers/promises";

const BETWEEN_MS = 50;

export class Stalls {
  readonly #stopping = new AbortController();
  readonly #beats: Promise<void>;
  /** As `performance.now` tells it, when the last write that took too long was answered. */
  #last = Number.NEGATIVE_INFINITY;
  #began = performance.now();

  /** `stallMs`: what a write, with the pause before it, may take. */
  constructor(
    baseUrl: string,
    private readonly stallMs: number,
  ) {
    this.#beats = this.#beat(`${baseUrl}/kv/heartbeat`);
  }

  /** Whether one ended in the last `ms`, or lasts still. */
  seenWithin(ms: number): boolean {
    const now = performance.now();
    return now - this.#began > this.stallMs || now - this.#last <= ms;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#beats;
  }

  async #beat(url: string): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#began = performance.now();
      await sleep(BETWEEN_MS);
      const answer = await fetch(url, { method: "PUT", body: "beat" });
      await answer.arrayBuffer();
      const now = performance.now();
      if (now - this.#began > this.stallMs) this.#last = now;
    }
  }
}
