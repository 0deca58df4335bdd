/**
 * The key-value view as it will be when the events of a record that is still being put together have been applied: what the
 * later operations of a batch are decided on. It lives for one decision and changes nothing below it.
 *
 * A key that the record changed has the record's own offset as its revision, which is also the `previous` of a further event
 * of that key in the same record: a walk along a key's chain that finds a record's own offset stays in that record.
 */
import { BEFORE_FIRST, type Offset, unreachable } from "../../log/index.js";
import type { Evictions, KeySet, KvEntry, KvEvent, KvHead, KvView, ValueInput } from "./contract.js";
import { byteStringOf, inputBytes } from "./values.js";

/** A key that the record leaves there. */
interface Held {
  /** Undefined: the value is the one below. */
  readonly value: ValueInput | undefined;
  readonly valueBytes: number;
  readonly contentType: string;
  readonly expiresAt: number;
  readonly charge: number;
}

export class KvOverlay implements KvView {
  readonly #below: KvView;
  readonly #record: Offset;
  /** Undefined: removed. */
  readonly #changed = new Map<string, Held | undefined>();
  /** Keys that the record named before it removed all. */
  readonly #beforeFlush = new Set<string>();
  #flushed = false;
  #removed = false;
  #evictions: Evictions | undefined;
  memoryBytes: number;
  keysHeld: number;
  lastOffset: Offset;

  /** `record` is the offset that the record will have. */
  constructor(below: KvView, record: Offset) {
    this.#below = below;
    this.#record = record;
    this.memoryBytes = below.memoryBytes;
    this.keysHeld = below.keysHeld;
    this.lastOffset = below.lastOffset;
  }

  apply(event: KvEvent): void {
    this.lastOffset = this.#record;
    switch (event.type) {
      case "kv.set":
        this.#put(event.key, this.#heldOf(event));
        break;
      case "kv.deleted":
      case "kv.evicted":
        this.#removed = true;
        this.#put(event.key, undefined);
        break;
      case "kv.expiry_changed":
        this.#changeExpiry(event.key, event.expiresAt);
        break;
      case "kv.flushed":
        this.#flushed = true;
        this.#removed = true;
        for (const key of this.#changed.keys()) this.#beforeFlush.add(key);
        this.#changed.clear();
        this.memoryBytes = 0;
        this.keysHeld = 0;
        break;
      default:
        unreachable(event);
    }
  }

  get(key: string, now: number): KvEntry | undefined {
    const held = this.#changed.get(key);
    if (held === undefined) return this.#isHidden(key) ? undefined : this.#below.get(key, now);
    if (isExpired(held, now)) return undefined;
    const { contentType, expiresAt } = held;
    const bytes = held.value === undefined ? this.#entryBelow(key)?.bytes : byteStringOf(held.value);
    return bytes === undefined ? undefined : { bytes, contentType, expiresAt, revision: this.#record };
  }

  look(key: string, now: number): KvHead | undefined {
    const held = this.#changed.get(key);
    if (held === undefined) return this.#isHidden(key) ? undefined : this.#below.look(key, now);
    if (isExpired(held, now)) return undefined;
    const { valueBytes, contentType, expiresAt } = held;
    return { valueBytes, contentType, expiresAt, revision: this.#record };
  }

  revisionOf(key: string): Offset {
    if (this.#changed.get(key) !== undefined) return this.#record;
    return this.#isHidden(key) ? BEFORE_FIRST : this.#below.revisionOf(key);
  }

  previousOf(key: string): Offset {
    return this.#changed.has(key) || this.#beforeFlush.has(key) ? this.#record : this.#below.previousOf(key);
  }

  mayHaveChanged(key: string, since: Offset): boolean {
    return this.previousOf(key) === this.#record || this.#flushed || this.#below.mayHaveChanged(key, since);
  }

  lastChange(key: string): Offset {
    if (this.#isHidden(key)) return this.#record;
    // What an absent key's answer waits for is the last removal of any key.
    if (this.#removed && this.#below.revisionOf(key) === 0) return this.#record;
    return this.#below.lastChange(key);
  }

  size(now: number): number {
    let size = this.#flushed ? 0 : this.#below.size(now);
    for (const [key, held] of this.#changed) {
      if (!this.#flushed && this.#below.look(key, now) !== undefined) size -= 1;
      if (held !== undefined && !isExpired(held, now)) size += 1;
    }
    return size;
  }

  chargeOf(key: string, valueBytes: number, contentType: string): number {
    return this.#below.chargeOf(key, valueBytes, contentType);
  }

  chargedFor(key: string): number {
    const held = this.#changed.get(key);
    if (held !== undefined) return held.charge;
    return this.#isHidden(key) ? 0 : this.#below.chargedFor(key);
  }

  /** Never a key that the record itself wrote: who asked for several changes at once wants them all. */
  evictions(): Evictions {
    if (this.#flushed) return NO_EVICTIONS;
    this.#evictions ??= this.#below.evictions(this.#changed);
    return this.#evictions;
  }

  /** True when the record says what the key is, so that nothing below counts. */
  #isHidden(key: string): boolean {
    return this.#flushed || this.#changed.has(key);
  }

  #heldOf({ key, value, contentType, expiresAt }: KeySet): Held {
    const valueBytes = inputBytes(value);
    return { value, valueBytes, contentType, expiresAt, charge: this.chargeOf(key, valueBytes, contentType) };
  }

  #changeExpiry(key: string, expiresAt: number): void {
    const held = this.#changed.get(key);
    if (held !== undefined) {
      this.#changed.set(key, { ...held, expiresAt });
      return;
    }
    const head = this.#isHidden(key) ? undefined : this.#below.look(key, BEFORE_ANY_EXPIRY);
    if (head === undefined) return;
    const { valueBytes, contentType } = head;
    const charge = this.#below.chargedFor(key);
    this.#changed.set(key, { value: undefined, valueBytes, contentType, expiresAt, charge });
  }

  #put(key: string, held: Held | undefined): void {
    const before = this.chargedFor(key);
    if (before > 0) this.keysHeld -= 1;
    if (held !== undefined) this.keysHeld += 1;
    this.memoryBytes += (held?.charge ?? 0) - before;
    this.#changed.set(key, held);
  }

  #entryBelow(key: string): KvEntry | undefined {
    return this.#below.get(key, BEFORE_ANY_EXPIRY);
  }
}

/** A key that expired is held until it is reclaimed: at this time it is seen. */
const BEFORE_ANY_EXPIRY = 0;

const NO_EVICTIONS: Evictions = { candidates: () => [] };

const isExpired = ({ expiresAt }: Held, now: number): boolean => expiresAt !== 0 && expiresAt <= now;
