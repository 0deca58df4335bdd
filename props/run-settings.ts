/**
 * How long and from which seed the properties run. One place, so that `npm test` (short), `npm run props` (long) and a
 * replay of a failure agree.
 *
 * - `ANNALS_PROPS_FACTOR` multiplies the number of runs of every property (1 in `npm test`, 20 in `npm run props`).
 * - `ANNALS_PROPS_SEED` fixes the seed; without it each run takes a new one, which fast-check prints on failure.
 */
import fc from "fast-check";

export const factor = Math.max(1, Number(process.env["ANNALS_PROPS_FACTOR"] ?? "1"));
export const seed = Number(process.env["ANNALS_PROPS_SEED"] ?? Date.now() % 2_147_483_647);

/** fast-check settings for a property that does `shortRuns` runs in `npm test`. */
export function runs(shortRuns: number): fc.Parameters<unknown> {
  return { numRuns: Math.round(shortRuns * factor), seed, endOnFailure: false, verbose: 1 };
}

/**
 * The same for a property that few runs could leave without something that has to happen in them: in its short form half of the runs are
 * those of `knownSeed`, in which everything does, and the other half are new ones. A longer form is long enough by itself.
 */
export async function assertKnownAndNew<Ts>(
  property: fc.IAsyncProperty<Ts>,
  shortRuns: number,
  knownSeed: number,
): Promise<void> {
  const known = factor > 1 ? [] : [knownSeed];
  for (const each of [...known, seed]) {
    const settings = runs(shortRuns / (known.length + 1)) as fc.Parameters<Ts>;
    await fc.assert(property, { ...settings, seed: each });
  }
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
