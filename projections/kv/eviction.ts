/**
 * Which keys to give up when the memory limit is reached: the best of a few drawn at random, again and again, as exact order
 * over all keys would cost every access. Soonest expiry is exact, since the heap has it.
 */
import { unreachable } from "../../log/index.js";
import type { AccessRecord } from "./access.js";
import type { EvictionPolicy, HiddenKeys } from "./contract.js";
import type { KeyTable } from "./key-table.js";

/** One command evicts at most so many keys: it bounds its record and its turn. */
export const EVICTIONS_MAX = 1_024;
const SAMPLE = 8;
/** Draws that may hit free slots or keys already chosen before a sample is given up as empty. */
const DRAWS_MAX = 64;

interface Wanted {
  readonly policy: EvictionPolicy;
  readonly bytes: number;
  readonly random: number;
  readonly spare: ReadonlySet<string>;
  readonly hidden: HiddenKeys | undefined;
}

export function evictionCandidates(
  table: KeyTable,
  access: AccessRecord,
  { policy, bytes, random, spare, hidden }: Wanted,
): readonly string[] {
  const candidates = isVolatile(policy) ? table.expiries.size : table.size;
  if (policy === "noeviction" || candidates === 0) return [];
  const spared = new Set(Array.from(spare, (key) => table.find(key)));
  const chosen = new Set<number>();
  let freed = 0;
  const isHidden = (slot: number): boolean => hidden?.has(table.keyAt(slot) ?? "") === true;
  const mayGo = (slot: number): boolean =>
    table.holds(slot) && !chosen.has(slot) && !spared.has(slot) && !isHidden(slot);
  const take = (slot: number): void => {
    chosen.add(slot);
    freed += table.chargeAt(slot);
  };
  if (policy === "volatile-ttl") {
    for (const slot of table.expiries.soonest()) {
      if (freed >= bytes || chosen.size === EVICTIONS_MAX) break;
      if (mayGo(slot)) take(slot);
    }
    return keysOf(table, chosen);
  }
  const draw = drawer(table, policy, random);
  while (freed < bytes && chosen.size < EVICTIONS_MAX) {
    const slot =
      bestOf(draw, mayGo, scoreOf(access, policy)) ??
      firstThatMayGo(table, policy, mayGo, EVICTIONS_MAX + spare.size + (hidden?.size ?? 0));
    if (slot === undefined) break;
    take(slot);
  }
  return keysOf(table, chosen);
}

const keysOf = (table: KeyTable, slots: Iterable<number>): string[] =>
  Array.from(slots, (slot) => table.keyAt(slot) ?? "");

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

/**
 * Where samples find nothing (few keys in a table that was large): the first that may go. At most `others` may not, so one
 * more look finds it or there is none.
 */
function firstThatMayGo(
  table: KeyTable,
  policy: EvictionPolicy,
  mayGo: (slot: number) => boolean,
  others: number,
): number | undefined {
  let looked = 0;
  for (const slot of isVolatile(policy) ? table.expiries.soonest() : table.slots()) {
    if (mayGo(slot)) return slot;
    if (looked++ === others) return undefined;
  }
  return undefined;
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
