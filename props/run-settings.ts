/**
 * How long and from which seed the properties run. One place, so that `npm test` (short), `npm run props` (long) and a
 * replay of a failure agree.
 *
 * - `ANNALS_PROPS_FACTOR` multiplies the number of runs of every property (1 in `npm test`, 20 in `npm run props`).
 * - `ANNALS_PROPS_SEED` fixes the seed; `new` takes one from the clock. Without it the short form has one seed that is always the same, so
 *   that `npm test` says the same of the same code twice and a red run is about the change; the long form takes a new one each time. A
 *   failure prints it.
 */
import type fc from "fast-check";

/** Of the short form: with it the few runs of each property meet all that the property asks to have met. */
const SHORT_SEED = 101;

export const factor = Math.max(1, Number(process.env["ANNALS_PROPS_FACTOR"] ?? "1"));
export const seed = seedOf(process.env["ANNALS_PROPS_SEED"] ?? (factor > 1 ? "new" : String(SHORT_SEED)));

function seedOf(setting: string): number {
  return setting === "new" ? Date.now() % 2_147_483_647 : Number(setting);
}

/** fast-check settings for a property that does `shortRuns` runs in `npm test`. */
export function runs(shortRuns: number): fc.Parameters<unknown> {
  return { numRuns: Math.round(shortRuns * factor), seed, endOnFailure: false, verbose: 1 };
}

/** A small seeded generator (mulberry32) for worlds that draw faults outside fast-check; returns numbers in [0, 1). */
export function seededRandom(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
