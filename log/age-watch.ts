/** Looks from time to time whether a tail got old while nothing was written; a busy log sees to that itself. */

/** Bounds of how often. */
const CHECK_MS_MIN = 10;
const CHECK_MS_MAX = 60_000;

/** Returns what ends it. With an age of 0 nobody looks. */
export function watchAge(segmentAgeMs: number, look: () => void): () => void {
  if (segmentAgeMs === 0) return () => undefined;
  const everyMs = Math.min(Math.max(segmentAgeMs / 4, CHECK_MS_MIN), CHECK_MS_MAX);
  const timer = setInterval(look, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
