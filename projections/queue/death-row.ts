/**
 * The dead letters of one queue in order of their death: slots in short runs, so that one is taken out anywhere, and a page begins
 * anywhere, without a walk past the others. (A Map keeps a hole for each that was deleted, and walks over them.)
 */
import { assert } from "../../log/index.js";
import type { EventRef } from "./contract.js";
import { compareRefs } from "./ids.js";

const RUN_SLOTS = 512;

export class DeathRow {
  /** None is empty. */
  #runs: number[][] = [];
  #size = 0;
  readonly #deathOf: (slot: number) => EventRef;

  /** `deathOf`: when a slot in the row died. */
  constructor(deathOf: (slot: number) => EventRef) {
    this.#deathOf = deathOf;
  }

  get size(): number {
    return this.#size;
  }

  /** It died after all the others. */
  add(slot: number): void {
    const last = this.#runs.at(-1);
    if (last !== undefined && last.length < RUN_SLOTS) last.push(slot);
    else this.#runs.push([slot]);
    this.#size++;
  }

  remove(slot: number): void {
    const number = this.#runFrom(this.#deathOf(slot));
    const run = this.#runs[number] ?? [];
    const at = run.indexOf(slot);
    assert(at >= 0, "a dead letter stands where its death says");
    run.splice(at, 1);
    if (run.length === 0) this.#runs.splice(number, 1);
    this.#size--;
  }

  /** In order of death, those that died after `after`. Nothing may change meanwhile. */
  *slots(after?: EventRef): Generator<number> {
    const first = after === undefined ? 0 : this.#runFrom(after);
    for (let number = first; number < this.#runs.length; number++) {
      for (const slot of this.#runs[number] ?? []) {
        if (after === undefined || compareRefs(this.#deathOf(slot), after) > 0) yield slot;
      }
    }
  }

  /** Empties the row; gives what was in it. */
  take(): Iterable<number> {
    const runs = this.#runs;
    this.#runs = [];
    this.#size = 0;
    return each(runs);
  }

  /** The first run whose last slot did not die before `death`. */
  #runFrom(death: EventRef): number {
    let [low, high] = [0, this.#runs.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const last = this.#runs[middle]?.at(-1);
      if (last !== undefined && compareRefs(this.#deathOf(last), death) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function* each(runs: readonly (readonly number[])[]): Generator<number> {
  for (const run of runs) yield* run;
}
