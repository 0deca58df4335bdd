/** When things die in the demo: drawn from a seed (mulberry32), so that a run can be asked for again. */

/** Moments of deaths, in order. */
export interface KillMoment {
  /** So much has been done (commits answered, jobs taken) … */
  readonly after: number;
  /** … and so much time has passed since, in which further requests are on their way. */
  readonly delayMs: number;
}

/** Draws whole numbers from 0 to below `below`. */
export type Draw = (below: number) => number;

export function drawFrom(seed: number): Draw {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Different moments, none at the very end of `total`. */
export function momentsOf(kills: number, total: number, draw: Draw): KillMoment[] {
  const moments = new Map<number, KillMoment>();
  while (moments.size < Math.min(kills, Math.max(0, total - 1))) {
    const after = 1 + draw(total - 1);
    moments.set(after, { after, delayMs: draw(5) });
  }
  return [...moments.values()].sort((a, b) => a.after - b.after);
}
