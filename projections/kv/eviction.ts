/**
 * Which keys to give up when the memory limit is reached: the best of a few drawn at random, again and again, as exact order
 * over all keys would cost every access. Soonest expiry is exact, since the heap has it.
 */
import { unreachable } from "../../log/index.js";
import type { AccessRecord } from "./access.js";
import type { EvictionPolicy, Evictions, HiddenKeys } from "./contract.js";
import type { KeyTable } from "./key-table.js";

/** One command evicts at most so many keys: it bounds its record and its turn. */
export const EVICTIONS_MAX = 1_024;
const SAMPLE = 8;
/** Draws that may hit free slots or keys already chosen before a sample is given up as empty. */
const DRAWS_MAX = 64;

/**
 * The choices of one decision. A batch's operations choose one after the other, and what it has hidden once stays so: nothing
 * that was found hidden is looked at again, or a batch that evicts most of a store would walk over all of that each time.
 */
export class Eviction implements Evictions {
  readonly #table: KeyTable;
  readonly #access: AccessRecord;
  readonly #hidden: HiddenKeys | undefined;
  /** Slots whose keys were found hidden. */
  readonly #known = new Set<number>();
  /** Over all that the policy concerns, where samples find nothing or order counts; nothing below changes during a decision. */
  #walk: { readonly policy: EvictionPolicy; readonly slots: Iterator<number>; passed: number[] } | undefined;

  constructor(table: KeyTable, access: AccessRecord, hidden?: HiddenKeys) {
    this.#table = table;
    this.#access = access;
    this.#hidden = hidden;
  }

  candidates(
    policy: EvictionPolicy,
    bytes: number,
    random: number,
    spare: ReadonlySet<string>,
  ): readonly string[] {
    const table = this.#table;
    const concerned = isVolatile(policy) ? table.expiries.size : table.size;
    if (policy === "noeviction" || concerned === 0) return [];
    const spared = new Set(Array.from(spare, (key) => table.find(key)));
    const chosen = new Set<number>();
    const mayGo = (slot: number): boolean =>
      table.holds(slot) && !chosen.has(slot) && !spared.has(slot) && !this.#isHidden(slot);
    const left = this.#leftOf(policy);
    const draw = policy === "volatile-ttl" ? undefined : drawer(table, policy, random);
    const score = scoreOf(this.#access, policy);
    for (let freed = 0; freed < bytes && chosen.size < EVICTIONS_MAX; ) {
      const sampled = draw === undefined ? undefined : bestOf(draw, mayGo, score);
      // Where samples find nothing (few keys in a table that was large): the first that may go.
      const slot = sampled ?? firstOf(left, mayGo);
      if (slot === undefined) break;
      chosen.add(slot);
      freed += table.chargeAt(slot);
    }
    return Array.from(chosen, (slot) => table.keyAt(slot) ?? "");
  }

  #isHidden(slot: number): boolean {
    if (this.#hidden === undefined) return false;
    if (this.#known.has(slot)) return true;
    if (!this.#hidden.has(this.#table.keyAt(slot) ?? "")) return false;
    this.#known.add(slot);
    return true;
  }

  /** All that was not found hidden by an earlier choice. What this one passes may still be there for the next. */
  *#leftOf(policy: EvictionPolicy): Generator<number> {
    if (this.#walk?.policy !== policy) {
      this.#walk = { policy, slots: slotsOf(this.#table, policy), passed: [] };
    }
    const walk = this.#walk;
    walk.passed = walk.passed.filter((slot) => !this.#isHidden(slot));
    yield* walk.passed;
    for (let next = walk.slots.next(); next.done !== true; next = walk.slots.next()) {
      if (this.#isHidden(next.value)) continue;
      walk.passed.push(next.value);
      yield next.value;
    }
  }
}

function firstOf(slots: Iterator<number>, mayGo: (slot: number) => boolean): number | undefined {
  for (let next = slots.next(); next.done !== true; next = slots.next())
    if (mayGo(next.value)) return next.value;
  return undefined;
}

function slotsOf(table: KeyTable, policy: EvictionPolicy): Iterator<number> {
  if (!isVolatile(policy)) return table.slots();
  return policy === "volatile-ttl" ? table.expiries.soonest() : table.expiries.slots();
}

const isVolatile = (policy: EvictionPolicy): boolean => policy.startsWith("volatile-");

/** A function that draws slots, free ones too: any slot, or for `volatile-*` one that expires. */
function drawer(table: KeyTable, policy: EvictionPolicy, random: number): () => number {
  const next = sequence(random);
  return isVolatile(policy)
    ? () => table.expiries.slotAt(Math.floor(next() * table.expiries.size))
    : () => Math.floor(next() * table.slotEnd);
}

function bestOf(
  draw: () => number,
  mayGo: (slot: number) => boolean,
  score: (slot: number) => number,
): number | undefined {
  let best: number | undefined;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (let draws = 0, found = 0; draws < DRAWS_MAX && found < SAMPLE; draws++) {
    const slot = draw();
    if (!mayGo(slot)) continue;
    found++;
    const itsScore = score(slot);
    if (itsScore > bestScore) {
      best = slot;
      bestScore = itsScore;
    }
  }
  return best;
}

/** The higher, the sooner it goes. */
function scoreOf(access: AccessRecord, policy: EvictionPolicy): (slot: number) => number {
  switch (policy) {
    case "allkeys-lru":
    case "volatile-lru":
      return (slot) => access.idleFor(slot);
    case "allkeys-lfu":
    case "volatile-lfu":
      return (slot) => -access.uses(slot);
    case "allkeys-random":
    case "volatile-random":
    case "volatile-ttl":
    case "noeviction":
      return () => 0;
    default:
      return unreachable(policy);
  }
}

/** Numbers in [0, 1) that follow from the first (mulberry32). */
function sequence(random: number): () => number {
  let state = Math.floor(random * 4_294_967_296) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
