/** The clock and the dice of the real world, for whoever puts a node together. */
import { randomBytes } from "node:crypto";
import type { Clock, Random } from "./ports.js";

export const systemClock: Clock = {
  now: () => Date.now(),
  stopwatch: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  unit: () => Math.random(),
};
