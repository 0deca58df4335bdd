/** Waiting by a clock, and reading that nobody waits for: a piece, then a pause, so that it takes only a part of a disk and of this thread. */
import type { Clock } from "./ports.js";

const BYTES_PER_MS = 32 * 1024;
const PAUSE_MS_MAX = 1_000;

/** Resolves when so much time has passed on that clock. */
export function sleep(clock: Pick<Clock, "after">, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}

/** To be waited for after so many bytes; less is put together, for a short pause costs more than it gives. */
export function paced(clock: Pick<Clock, "after">): (bytes: number) => Promise<void> {
  let waiting = 0;
  return async (bytes) => {
    waiting += bytes;
    const ms = Math.floor(waiting / BYTES_PER_MS);
    if (ms < 1) return;
    waiting = 0;
    await sleep(clock, Math.min(ms, PAUSE_MS_MAX));
  };
}
