/** What a row of the bench is: it measures in rounds and says what it found beside the goal that it has. */
import { PeerAbsent } from "./peers.js";
import type { Bench } from "./processes.js";
import type { Spread } from "./statistics.js";

export interface Finding {
  readonly what: string;
  readonly goal: string;
  readonly measured: string;
  /** Undefined when there is no goal, or when it could not be measured. */
  readonly reached: boolean | undefined;
  /** For the JSON: every number behind `measured`, with its unit in its name. */
  readonly numbers: Readonly<Record<string, number | string | Spread>>;
}

export interface Row {
  readonly name: string;
  /** Runs only when asked for by name. */
  readonly onlyByName?: boolean;
  run(bench: Bench): Promise<readonly Finding[]>;
}

export interface Contestant<Name extends string = string> {
  readonly name: Name;
  /** One measurement; `warmUp` ones are thrown away. */
  measure(warmUp: boolean): Promise<number>;
}

/** A B A B …: one warm-up each, then every round runs all, so that they share whatever the machine is doing. */
export async function interleave(
  rounds: number,
  contestants: readonly Contestant[],
): Promise<ReadonlyMap<string, readonly number[]>> {
  const values = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  for (const contestant of contestants) await contestant.measure(true);
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) values.get(contestant.name)?.push(await contestant.measure(false));
  }
  return values;
}

/** What `start` gives, or why it can't be had: a peer that is not installed leaves its column empty, no more. */
export async function orAbsent<T>(start: () => Promise<T>): Promise<T | string> {
  try {
    return await start();
  } catch (error) {
    if (error instanceof PeerAbsent) return error.message;
    throw error;
  }
}
