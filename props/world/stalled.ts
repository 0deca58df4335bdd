/** Waiting for what may never come: a log without space waits until it has some. */
import { nextTurn } from "./log-lives.js";
import type { SimulatedDisk } from "./simulated-file-system.js";

/** Turns without a new operation of the disk after which nothing moves any more. */
const QUIET_TURNS = 60;

/** Resolves with the promise, or with "stalled" when nothing moves any more. Not for what waits for a timer. */
export async function unlessStalled<T>(disk: SimulatedDisk, waited: Promise<T>): Promise<T | "stalled"> {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  waited.then(settle, settle);
  let quiet = 0;
  let before = -1;
  while (!settled && quiet < QUIET_TURNS) {
    await nextTurn();
    quiet = disk.counts.total === before ? quiet + 1 : 0;
    before = disk.counts.total;
  }
  return settled ? waited : "stalled";
}
