/** How long to wait before another try: longer with each one that came to nothing, and never in step with others. */

const WAIT_MS_MAX = 60_000;
const DOUBLINGS_MAX = 16;

/** @param failures tries in a row that came to nothing  @param unit in [0, 1) */
export function backoffMs(firstMs: number, failures: number, unit: number): number {
  const doubled = firstMs * 2 ** Math.min(Math.max(0, failures - 1), DOUBLINGS_MAX);
  return Math.round(Math.min(doubled, Math.max(firstMs, WAIT_MS_MAX)) * (0.75 + 0.25 * unit));
}
