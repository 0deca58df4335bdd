/** Who waits for the log to reach an offset that it does not have yet, or to begin an epoch before it. Costs one comparison an append while nobody waits. */
import type { Offset } from "../log/index.js";

interface Waiting {
  readonly wanted: number;
  readonly arrived: () => void;
}

export class Arrivals {
  readonly #waiting = new Set<Waiting>();
  /** The lowest offset that is waited for. */
  #lowest = Number.POSITIVE_INFINITY;

  /** Calls `arrived` once, when `wanted` is committed, or another epoch has begun, unless the function that this returns is called before. */
  on(wanted: number, arrived: () => void): () => void {
    const waiting = { wanted, arrived };
    this.#waiting.add(waiting);
    this.#lowest = Math.min(this.#lowest, wanted);
    return () => {
      if (this.#waiting.delete(waiting) && wanted === this.#lowest) this.#findLowest();
    };
  }

  /** True when somebody waits for this offset or one before it. */
  areDue(appended: Offset): boolean {
    return this.#lowest <= appended;
  }

  /** Everything up to `committed` has arrived. */
  advance(committed: Offset): void {
    if (this.areDue(committed)) this.#release((wanted) => wanted <= committed);
  }

  /** Another epoch has begun: what is waited for may be of a history that it has left behind, and never come. */
  rouse(): void {
    this.#release(() => true);
  }

  #release(isDue: (wanted: number) => boolean): void {
    const due = [...this.#waiting].filter(({ wanted }) => isDue(wanted));
    for (const waiting of due) this.#waiting.delete(waiting);
    this.#findLowest();
    for (const { arrived } of due) arrived();
  }

  #findLowest(): void {
    this.#lowest = Number.POSITIVE_INFINITY;
    for (const { wanted } of this.#waiting) this.#lowest = Math.min(this.#lowest, wanted);
  }
}
