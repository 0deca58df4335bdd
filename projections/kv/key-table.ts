/**
 * Where keys live: a Map from key to slot, and one column per field. A slot stays a key's own for the key's whole life, so
 * a walk over slots meets every key that is there throughout exactly once. An object per key would cost another 60 bytes.
 *
 * The table knows bytes, deadlines and what everything weighs. It knows no rules and no clock: an expired key is in it
 * until somebody removes it.
 */
import { assert, type Offset, offset } from "../../log/index.js";
import { WELL_KNOWN_TYPES } from "./codec.js";
import type { ByteString } from "./contract.js";
import { copied, ExpiryHeap, larger } from "./expiry-heap.js";

/** V8's Map ends at 2^24 entries, by an error that `evolve` must never see. */
export const KEYS_MAX = 16_000_000;

/** Measured at a million keys: the Map's entry and the columns, with the room that growing leaves empty. */
const SLOT_BYTES = 104;
/** A V8 string: header, then one or two bytes a character, to the next multiple of eight. */
const stringBytes = (bytes: number): number => (bytes + 12 + 7) & ~7;

const OTHER_TYPE = 255;
const EMPTY = "" as ByteString;

export class KeyTable {
  readonly expiries = new ExpiryHeap();
  #slots = new Map<string, number>();
  #keys: (string | undefined)[] = [];
  #values: ByteString[] = [];
  #types = new Uint8Array(1024);
  #revisions = new Float64Array(1024);
  #deadlines = new Float64Array(1024);
  #otherTypes = new Map<number, string>();
  #free: number[] = [];
  #bytes = 0;

  get size(): number {
    return this.#slots.size;
  }

  /** What all keys together are charged. */
  get memoryBytes(): number {
    return this.#bytes;
  }

  /** Slots ever used since the table was empty: a walk goes from 0 to here. */
  get slotEnd(): number {
    return this.#keys.length;
  }

  /** The key's slot, or -1. */
  find(key: string): number {
    return this.#slots.get(key) ?? -1;
  }

  /** The key in a slot, or undefined when the slot is free. */
  keyAt(slot: number): string | undefined {
    return this.#keys[slot];
  }

  valueAt(slot: number): ByteString {
    return this.#values[slot] ?? EMPTY;
  }

  revisionAt(slot: number): Offset {
    return offset(this.#revisions[slot] ?? 0);
  }

  /** Ms since 1970; 0 = never. */
  expiresAt(slot: number): number {
    return this.#deadlines[slot] ?? 0;
  }

  isExpired(slot: number, now: number): boolean {
    const deadline = this.expiresAt(slot);
    return deadline !== 0 && deadline <= now;
  }

  contentTypeAt(slot: number): string {
    const type = this.#types[slot] ?? OTHER_TYPE;
    return WELL_KNOWN_TYPES[type] ?? this.#otherTypes.get(slot) ?? "";
  }

  /** Adds the key or replaces all of it; returns its slot. */
  put(key: string, value: ByteString, contentType: string, expiresAt: number, revision: Offset): number {
    let slot = this.find(key);
    if (slot < 0) slot = this.#occupy(key);
    else this.#bytes -= this.chargeAt(slot);
    this.#values[slot] = value;
    this.#revisions[slot] = revision;
    this.#setType(slot, contentType);
    this.#setDeadline(slot, expiresAt);
    this.#bytes += this.chargeAt(slot);
    return slot;
  }

  setExpiry(slot: number, expiresAt: number, revision: Offset): void {
    this.#revisions[slot] = revision;
    this.#setDeadline(slot, expiresAt);
  }

  remove(slot: number): void {
    const key = this.#keys[slot];
    assert(key !== undefined, "a slot is freed once");
    this.#bytes -= this.chargeAt(slot);
    this.#setDeadline(slot, 0);
    this.#otherTypes.delete(slot);
    this.#slots.delete(key);
    this.#keys[slot] = undefined;
    this.#values[slot] = EMPTY;
    this.#free.push(slot);
    if (this.#slots.size === 0) this.#startOver();
  }

  /** The slots that hold a key, in no useful order, without a walk over free ones. */
  slots(): IterableIterator<number> {
    return this.#slots.values();
  }

  /** Removes every key. */
  clear(): void {
    this.#startOver();
  }

  chargeAt(slot: number): number {
    const key = this.#keys[slot];
    return key === undefined ? 0 : chargeOf(key, this.valueAt(slot).length, this.contentTypeAt(slot));
  }

  #occupy(key: string): number {
    const slot = this.#free.pop() ?? this.#keys.length;
    if (slot === this.#keys.length) {
      if (slot >= this.#types.length) this.#grow(larger(slot + 1));
      this.#keys.push(key);
      this.#values.push(EMPTY);
    } else this.#keys[slot] = key;
    this.#slots.set(key, slot);
    return slot;
  }

  #setType(slot: number, contentType: string): void {
    const type = WELL_KNOWN_TYPES.indexOf(contentType);
    if (type >= 0) {
      if (this.#otherTypes.size > 0) this.#otherTypes.delete(slot);
      this.#types[slot] = type;
    } else {
      this.#otherTypes.set(slot, contentType);
      this.#types[slot] = OTHER_TYPE;
    }
  }

  #setDeadline(slot: number, expiresAt: number): void {
    if (expiresAt === 0 && this.#deadlines[slot] === 0) return;
    this.#deadlines[slot] = expiresAt;
    this.expiries.set(slot, expiresAt);
  }

  #grow(capacity: number): void {
    this.#types = copied(new Uint8Array(capacity), this.#types);
    this.#revisions = copied(new Float64Array(capacity), this.#revisions);
    this.#deadlines = copied(new Float64Array(capacity), this.#deadlines);
  }

  /** An empty table gives back what a large one took. */
  #startOver(): void {
    this.#bytes = 0;
    this.#otherTypes.clear();
    this.expiries.clear();
    this.#slots = new Map();
    this.#keys = [];
    this.#values = [];
    this.#free = [];
    this.#types = new Uint8Array(1024);
    this.#revisions = new Float64Array(1024);
    this.#deadlines = new Float64Array(1024);
  }
}

/** What a key is charged against the memory limit: a function of its sizes, so that it is given back exactly. */
export function chargeOf(key: string, valueBytes: number, contentType: string): number {
  const width = isOneByte(key) ? 1 : 2;
  const type = WELL_KNOWN_TYPES.includes(contentType) ? 0 : 64 + stringBytes(contentType.length);
  return SLOT_BYTES + stringBytes(key.length * width) + stringBytes(valueBytes) + type;
}

function isOneByte(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0xff) return false;
  return true;
}
