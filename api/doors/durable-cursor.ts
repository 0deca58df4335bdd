/**
 * The cursor of live reads: the number of the 20-second interval since the protocol's epoch. It goes into the URL of the
 * next request, so that readers who ask at the same time share one entry of a cache, and no reader gets a stale one.
 */
const EPOCH_MS = Date.UTC(2024, 9, 9);
const INTERVAL_MS = 20_000;
/** A client whose cursor is not behind gets one that is ahead by up to an hour, at random, so that it leaves a stuck cache entry. */
const AHEAD_MAX_SECS = 3_600;

/** `random` in [0, 1). Anything but digits in `given` counts as no cursor. */
export function nextCursor(nowMs: number, given: string | undefined, random: number): string {
  const current = Math.max(0, Math.floor((nowMs - EPOCH_MS) / INTERVAL_MS));
  if (given === undefined || !/^[0-9]{1,15}$/.test(given)) return String(current);
  const cursor = Number(given);
  if (cursor < current) return String(current);
  const aheadSecs = 1 + Math.floor(random * AHEAD_MAX_SECS);
  return String(cursor + Math.max(1, Math.ceil((aheadSecs * 1_000) / INTERVAL_MS)));
}
