/**
 * Decides what a power cut takes and leaves, from a seeded random source. A cut has a mood, so that besides mixtures the
 * two extremes are common too: a cache that was never written back, and one that was written back completely.
 */
export type Random = () => number;

export class Fate {
  readonly random: Random;
  readonly #survival: number;

  constructor(random: Random) {
    this.random = random;
    const mood = random();
    this.#survival = mood < 0.15 ? 0 : mood < 0.3 ? 1 : random();
  }

  survives(): boolean {
    return this.random() < this.#survival;
  }

  coin(): boolean {
    return this.random() < 0.5;
  }

  /** A whole number in [0, end). */
  below(end: number): number {
    return Math.floor(this.random() * end);
  }
}
