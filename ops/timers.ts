/**
 * The periodic work of a server: sampling, and reclaiming the memory of expired keys. None of it keeps the process alive.
 * What throws in here is a bug and ends the process as any uncaught exception does.
 */

const SAMPLE_MS = 1000;
const DISK_SAMPLE_MS = 5000;
/** Keys a round: about a millisecond, so that nobody waits for it. */
const RECLAIM_BUDGET = 2000;

export interface PeriodicWork {
  readonly reclaimIntervalMs: number;
  /** Reclaims up to `budget` keys; returns how many. */
  readonly reclaim: (budget: number) => number;
  readonly sample: () => void;
  readonly sampleDisk: () => Promise<void>;
}

export class Timers {
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #work: PeriodicWork;
  #closed = false;

  constructor(work: PeriodicWork) {
    this.#work = work;
    this.#every(SAMPLE_MS, work.sample);
    this.#every(DISK_SAMPLE_MS, () => void work.sampleDisk());
    this.#every(work.reclaimIntervalMs, () => this.#reclaim());
    void work.sampleDisk();
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
  }

  #every(intervalMs: number, work: () => void): void {
    this.#timers.push(setInterval(work, intervalMs).unref());
  }

  /** Goes on in the next turn while there is more: requests come in between. */
  #reclaim(): void {
    if (this.#closed) return;
    if (this.#work.reclaim(RECLAIM_BUDGET) >= RECLAIM_BUDGET) setImmediate(() => this.#reclaim());
  }
}
