/**
 * The key-value read model: the table, how it was used, and the offsets that answers wait for. Changed by `evolve` and by the
 * reclaiming of expired keys, which nobody can observe; everyone else sees it through `KvReadView`.
 *
 * What an absent key's answer waits for: the last removal of any key (deleted, evicted, flushed). A reclaimed key was removed
 * by its own expiry, told by the event that set it, so its revision counts as a removal too.
 *
 * The chain of a key's events goes on through its absence as long as `removed` remembers the key.
 */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import { AccessRecord } from "./access.js";
import type {
  Evictions,
  HiddenKeys,
  KvEntry,
  KvHead,
  KvReadView,
  KvRules,
  KvStats,
  ScanPage,
  ScanQuery,
} from "./contract.js";
import { Eviction } from "./eviction.js";
import type { KeyHash } from "./key-hash.js";
import { KeyTable } from "./key-table.js";
import { type ChainEnd, RemovedKeys } from "./removed-keys.js";
import { scanPage } from "./scan.js";

/** Keys that one flush remembers: it bounds its turn. */
export const REMEMBERED_AT_ONCE_MAX = 10_000;

export class KvState implements KvReadView {
  readonly table: KeyTable;
  readonly access = new AccessRecord();
  readonly removed: RemovedKeys;
  /** Written by `evolve` alone. */
  lastOffset: Offset = BEFORE_FIRST;
  lastRemoval: Offset = BEFORE_FIRST;
  expiredTotal = 0;
  evictedTotal = 0;
  readonly operations = { gets: 0, sets: 0, dels: 0, hits: 0, misses: 0 };
  readonly #rules: KvRules;
  #incarnation: string | undefined;

  /** `rules` may change while the state lives; nothing of them is kept. */
  constructor(rules: KvRules, hash: KeyHash) {
    this.#rules = rules;
    this.table = new KeyTable(hash);
    this.removed = new RemovedKeys(() => this.#rules.removedKeysBytesMax);
  }

  get memoryBytes(): number {
    return this.table.memoryBytes;
  }

  get keysHeld(): number {
    return this.table.size;
  }

  get(key: string, now: number): KvEntry | undefined {
    const slot = this.table.find(key);
    return slot < 0 || this.table.isExpired(slot, now) ? undefined : this.#entry(slot);
  }

  look(key: string, now: number): KvHead | undefined {
    const slot = this.table.find(key);
    return slot < 0 || this.table.isExpired(slot, now) ? undefined : this.#head(slot);
  }

  read(key: string, now: number): KvEntry | undefined {
    const slot = this.#use(key, now);
    return slot < 0 ? undefined : this.#entry(slot);
  }

  readHead(key: string, now: number): KvHead | undefined {
    const slot = this.#use(key, now);
    return slot < 0 ? undefined : this.#head(slot);
  }

  revisionOf(key: string): Offset {
    const slot = this.table.find(key);
    return slot < 0 ? BEFORE_FIRST : this.table.revisionAt(slot);
  }

  previousOf(key: string): Offset {
    const slot = this.table.find(key);
    return slot < 0 ? (this.removed.endOf(key)?.offset ?? BEFORE_FIRST) : this.table.revisionAt(slot);
  }

  chainOf(key: string): ChainEnd {
    const slot = this.table.find(key);
    if (slot >= 0) return { offset: this.table.revisionAt(slot), isWhole: this.table.isWholeAt(slot) };
    return this.removed.endOf(key) ?? { offset: BEFORE_FIRST, isWhole: this.removed.isWhole };
  }

  mayHaveChanged(key: string, since: Offset): boolean {
    const last = this.previousOf(key);
    return (last === BEFORE_FIRST ? this.removed.forgottenTo : last) > since;
  }

  /** A key was added, by an event that names `previous`: whether its chain is known to lead to its first event. */
  beginsWhole(slot: number, previous: number): boolean {
    const { removed, table } = this;
    // The key as text is made only where it may be found.
    const end = removed.size === 0 ? undefined : removed.takeBack(table.keyAt(slot) ?? "");
    return end === undefined ? previous === 0 && removed.isWhole : previous !== 0 && end.isWhole;
  }

  /** Before every key goes at once, at `record`. No event of their own says so: the chain of each that comes back goes on from here. */
  rememberAll(record: Offset): void {
    let left = REMEMBERED_AT_ONCE_MAX;
    for (const slot of this.table.slots()) {
      if (left-- === 0) {
        this.removed.forgetTo(record);
        return;
      }
      this.#remember(slot);
    }
  }

  #remember(slot: number): void {
    const key = this.table.keyAt(slot);
    if (key !== undefined)
      this.removed.remember(key, this.table.revisionAt(slot), this.table.isWholeAt(slot));
  }

  lastChange(key: string): Offset {
    const slot = this.table.find(key);
    return slot < 0 ? this.lastRemoval : this.table.revisionAt(slot);
  }

  size(now: number): number {
    return this.table.size - this.table.expiries.countDue(now);
  }

  chargeOf(key: string, valueBytes: number, contentType: string): number {
    return this.table.chargeOf(key, valueBytes, contentType);
  }

  chargedFor(key: string): number {
    const slot = this.table.find(key);
    return slot < 0 ? 0 : this.table.chargeAt(slot);
  }

  evictions(hidden?: HiddenKeys): Evictions {
    return new Eviction(this.table, this.access, hidden);
  }

  scan(query: ScanQuery, now: number, random: number): ScanPage {
    this.#incarnation ??= Math.floor(random * 4_294_967_296)
      .toString(16)
      .padStart(8, "0");
    return scanPage(this.table, this.#incarnation, query, now);
  }

  randomKey(now: number, random: number): string | undefined {
    const { table } = this;
    const start = Math.floor(random * table.slotEnd);
    const near = Math.min(table.slotEnd, start + 64);
    for (let slot = start; slot < near; slot++) {
      const key = table.keyAt(slot);
      if (key !== undefined && !table.isExpired(slot, now)) return key;
    }
    for (const slot of table.slots()) if (!table.isExpired(slot, now)) return table.keyAt(slot);
    return undefined;
  }

  stats(now: number): KvStats {
    const due = this.table.expiries.countDue(now);
    return {
      totalKeys: this.table.size - due,
      memoryBytes: this.memoryBytes,
      maxMemoryBytes: this.#rules.maxMemoryBytes,
      expiringKeys: this.table.expiries.size - due,
      expiredTotal: this.expiredTotal + due,
      evictedTotal: this.evictedTotal,
      operations: { ...this.operations },
    };
  }

  /** Frees up to `budget` keys that expired by `now`; returns how many. Local and invisible: no answer changes. */
  reclaimExpired(now: number, budget: number): number {
    const { table } = this;
    let freed = 0;
    for (; freed < budget; freed++) {
      const slot = table.expiries.due(now);
      if (slot < 0) break;
      if (table.revisionAt(slot) > this.lastRemoval) this.lastRemoval = table.revisionAt(slot);
      this.expiredTotal++;
      this.#remember(slot);
      table.remove(slot);
    }
    return freed;
  }

  /** What the process has counted so far is forgotten: it counted a replay. */
  startCounting(): void {
    this.expiredTotal = 0;
    this.evictedTotal = 0;
    Object.assign(this.operations, { gets: 0, sets: 0, dels: 0, hits: 0, misses: 0 });
  }

  /** The slot of a key that is there, or -1; counts. */
  #use(key: string, now: number): number {
    this.operations.gets++;
    const slot = this.table.find(key);
    if (slot < 0 || this.table.isExpired(slot, now)) {
      this.operations.misses++;
      return -1;
    }
    this.operations.hits++;
    this.access.touch(slot, now);
    return slot;
  }

  #head(slot: number): KvHead {
    const { table } = this;
    return {
      contentType: table.contentTypeAt(slot),
      revision: table.revisionAt(slot),
      expiresAt: table.expiresAt(slot),
      valueBytes: table.valueBytesAt(slot),
    };
  }

  #entry(slot: number): KvEntry {
    const { table } = this;
    return {
      bytes: table.valueAt(slot),
      contentType: table.contentTypeAt(slot),
      revision: table.revisionAt(slot),
      expiresAt: table.expiresAt(slot),
    };
  }
}
