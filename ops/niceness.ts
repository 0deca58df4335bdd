/** How a thread that works beside the one that serves stays out of its way. */
import { setPriority } from "node:os";

/** Of the thread that calls. On Linux it is the thread that has a priority, elsewhere the process, which is to keep its own. */
export function makeThreadNice(niceness: number): void {
  if (process.platform === "linux") setPriority(niceness);
}

/** Ms of work between two pauses. */
const STRETCH_MS = 0.25;
/** Ms asked for; a timer of the system makes it some 0.05 more. */
const PAUSE_MS = 0.02;
/** Looking at the clock costs a tenth of a small step; a large one may take as long as a stretch. */
const STEPS_PER_LOOK = 8;

/**
 * For a thread's long work, to be called at each small step of it: holds the thread for a moment whenever it has worked for a quarter of a
 * millisecond. A priority says how much of a processor a thread gets, not how soon it lets go of one: Linux leaves it there for a slice of
 * up to 4 ms, and the thread that serves, woken by a request in that time, waits on the same processor though another may be idle.
 */
export function shortStretches(stopwatch: () => number, pause: (ms: number) => void = sleep): () => void {
  let begun = stopwatch();
  let steps = 0;
  return () => {
    steps = (steps + 1) % STEPS_PER_LOOK;
    if (steps !== 0 || stopwatch() - begun < STRETCH_MS) return;
    pause(PAUSE_MS);
    begun = stopwatch();
  };
}

const nobody = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

function sleep(ms: number): void {
  Atomics.wait(nobody, 0, 0, ms);
}
