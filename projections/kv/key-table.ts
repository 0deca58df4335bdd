/**
 * Where keys live: a Map from key to slot, and one column per field. A slot stays a key's own for the key's whole life, so
 * a walk over slots meets every key that is there throughout exactly once. An object per key would cost another 60 bytes.
 *
 * The table knows bytes, deadlines and what everything weighs. It knows no rules and no clock: an expired key is in it
 * until somebody removes it.
 */
import { assert, type Offset, offset } from "../../log/index.js";
import { WELL_KNOWN_TYPES } from "./codec.js";
import { float64Column, stringColumn, uint8Column } from "./column.js";
import type { ByteString } from "./contract.js";
import { ExpiryHeap } from "./expiry-heap.js";

/** V8's Map ends at 2^24 entries, by an error that `evolve` must never see. */
export const KEYS_MAX = 16_000_000;

/** Measured at a million keys: the Map's entry and the columns, with the room that growing leaves empty. */
const SLOT_BYTES = 136;
/** A V8 string: 16 bytes of header, then one or two bytes a character, to the next multiple of eight. */
const stringBytes = (bytes: number): number => 16 + 8 * Math.ceil(bytes / 8);

const OTHER_TYPE = 255;

export class KeyTable {
  readonly expiries = new ExpiryHeap();
  #slots = new Map<string, number>();
  #free: number[] = [];
  #slotEnd = 0;
  /** "" = the slot is free: no key is empty. */
  readonly #keys = stringColumn();
  readonly #values = stringColumn();
  readonly #types = uint8Column();
  readonly #revisions = float64Column();
  readonly #deadlines = float64Column();
  readonly #otherTypes = new Map<number, string>();
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
    return this.#slotEnd;
  }

  /** The key's slot, or -1. */
  find(key: string): number {
    return this.#slots.get(key) ?? -1;
  }

  /** The key in a slot, or undefined when the slot is free. */
  keyAt(slot: number): string | undefined {
    return this.#keys.get(slot) || undefined;
  }

  valueAt(slot: number): ByteString {
    return this.#values.get(slot) as ByteString;
  }

  revisionAt(slot: number): Offset {
    return offset(this.#revisions.get(slot));
  }

  /** Ms since 1970; 0 = never. */
  expiresAt(slot: number): number {
    return this.#deadlines.get(slot);
  }

  isExpired(slot: number, now: number): boolean {
    const deadline = this.expiresAt(slot);
    return deadline !== 0 && deadline <= now;
  }

  contentTypeAt(slot: number): string {
    return WELL_KNOWN_TYPES[this.#types.get(slot)] ?? this.#otherTypes.get(slot) ?? "";
  }

  /** Adds a key that `find` did not find; returns its slot. */
  add(key: string, value: ByteString, contentType: string, expiresAt: number, revision: Offset): number {
    const slot = this.#occupy(key);
    this.#fill(slot, value, contentType, expiresAt, revision);
    return slot;
  }

  /** Replaces all that a slot holds but its key. */
  replace(slot: number, value: ByteString, contentType: string, expiresAt: number, revision: Offset): void {
    this.#bytes -= this.chargeAt(slot);
    this.#fill(slot, value, contentType, expiresAt, revision);
  }

  setExpiry(slot: number, expiresAt: number, revision: Offset): void {
    this.#revisions.set(slot, revision);
    this.#setDeadline(slot, expiresAt);
  }

  remove(slot: number): void {
    const key = this.keyAt(slot);
    assert(key !== undefined, "a slot is freed once");
    this.#bytes -= this.chargeAt(slot);
    this.#setDeadline(slot, 0);
    this.#otherTypes.delete(slot);
    this.#slots.delete(key);
    this.#keys.set(slot, "");
    this.#values.set(slot, "");
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
    const key = this.#keys.get(slot);
    return key === "" ? 0 : chargeOf(key, this.valueAt(slot).length, this.contentTypeAt(slot));
  }

  #occupy(key: string): number {
    const slot = this.#free.pop() ?? this.#slotEnd++;
    this.#keys.set(slot, key);
    this.#slots.set(key, slot);
    return slot;
  }

  #fill(slot: number, value: ByteString, contentType: string, expiresAt: number, revision: Offset): void {
    this.#values.set(slot, value);
    this.#revisions.set(slot, revision);
    this.#setType(slot, contentType);
    this.#setDeadline(slot, expiresAt);
    this.#bytes += this.chargeAt(slot);
  }

  #setType(slot: number, contentType: string): void {
    const type = WELL_KNOWN_TYPES.indexOf(contentType);
    if (type >= 0) {
      if (this.#otherTypes.size > 0) this.#otherTypes.delete(slot);
      this.#types.set(slot, type);
    } else {
      this.#otherTypes.set(slot, contentType);
      this.#types.set(slot, OTHER_TYPE);
    }
  }

  #setDeadline(slot: number, expiresAt: number): void {
    if (expiresAt === 0 && this.#deadlines.get(slot) === 0) return;
    this.#deadlines.set(slot, expiresAt);
    this.expiries.set(slot, expiresAt);
  }

  /** An empty table gives back what a large one took. */
  #startOver(): void {
    this.#bytes = 0;
    this.#otherTypes.clear();
    this.expiries.clear();
    this.#slots = new Map();
    this.#free = [];
    this.#slotEnd = 0;
    this.#keys.clear();
    this.#values.clear();
    this.#types.clear();
    this.#revisions.clear();
    this.#deadlines.clear();
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
