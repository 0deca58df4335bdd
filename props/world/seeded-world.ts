/** Clock and random bytes for a simulated run: everything from one seed, nothing from the machine. */
import type { Random } from "./fate.js";

export interface SeededClock {
  /** Ms since 1970; each look moves it a little. */
  readonly now: () => number;
  readonly advance: (durationMs: number) => void;
}

const START_MS = Date.UTC(2026, 0, 1);

export function seededClock(random: Random): SeededClock {
  let nowMs = START_MS + Math.floor(random() * 1000);
  return {
    now: () => {
      if (random() < 0.3) nowMs += Math.floor(random() * 3);
      return nowMs;
    },
    advance: (durationMs) => {
      nowMs += durationMs;
    },
  };
}

export function seededBytes(random: Random): (count: number) => Uint8Array {
  return (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256));
}
