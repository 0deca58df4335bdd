/**
 * Where keys live: a slot number for each, found through a hash index; a row of numbers for each slot; key and value as bytes,
 * one after the other, in one block outside V8's heap. A slot stays a key's own for the key's whole life, so a walk over slots
 * meets every key that is there throughout exactly once.
 *
 * The table knows bytes, deadlines and what everything weighs. It knows no rules and no clock: an expired key is in it
 * until somebody removes it. What it shows of a value is a copy: a block is written over by the key's next value.
 */
import { assert, type Offset, offset } from "../../log/index.js";
import { copyBytes, latin1, utf8 } from "../bytes.js";
import { type KeyStored, WELL_KNOWN_TYPES } from "./codec.js";
import { ContentTypes, OTHER_TYPE } from "./content-types.js";
import type { ByteString } from "./contract.js";
import { ExpiryHeap } from "./expiry-heap.js";
import { HashIndex } from "./hash-index.js";
import type { KeyHash } from "./key-hash.js";
import { KeyScratch } from "./key-scratch.js";
import { blockBytes, SlabStore } from "./slab-store.js";
import { ROW_BYTES, SlotRows } from "./slot-rows.js";

/** Slots are 32-bit numbers, and the index keeps them plus one. */
export const KEYS_MAX = 4_000_000_000;

/**
 * A slot's share of what is not in its block, derived and not measured: the row (40), the access record (8) and the index (24,
 * as it is at the least load, 0.35, with cells of 8 bytes).
 */
const SLOT_BYTES = ROW_BYTES + 8 + 24;
/** A content type that is not well known is charged as an entry in a Map and a string, which it is when very many are in use. */
const TYPE_ENTRY_BYTES = 80;

export class KeyTable {
  readonly expiries = new ExpiryHeap();
  readonly #hash: KeyHash;
  readonly #scratch: KeyScratch;
  readonly #index = new HashIndex();
  readonly #rows = new SlotRows();
  readonly #blocks: SlabStore;
  readonly #types = new ContentTypes();
  /** Of slots whose type has no number. */
  readonly #otherTypes = new Map<number, string>();
  #size = 0;
  #slotEnd = 0;
  /** The first free slot plus 1, the next in its row, and so on; 0 = none. */
  #free = 0;
  #bytes = 0;

  /** `blocks`: where keys and values go; the table's alone. */
  constructor(hash: KeyHash, blocks = new SlabStore()) {
    this.#hash = hash;
    this.#blocks = blocks;
    this.#scratch = new KeyScratch(hash);
  }

  get size(): number {
    return this.#size;
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
    const { bytes, length, hash } = this.#scratch.encode(key);
    return this.findBytes(bytes, 0, length, hash);
  }

  hashOf(bytes: Uint8Array, start: number, end: number): number {
    return this.#hash(bytes, start, end);
  }

  /** The slot of the key bytes[start, end), which have this hash, or -1. */
  findBytes(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const bucket = this.#index.bucketOf(hash);
    for (let cell = bucket.first(hash); cell >= 0; cell = bucket.next(cell, hash)) {
      const slot = bucket.slotAt(cell);
      if (this.#rows.keyBytes(slot) === end - start && this.#begins(slot, bytes, start, end)) return slot;
    }
    return -1;
  }

  /** Whether a slot holds a key. */
  holds(slot: number): boolean {
    return this.#rows.keyBytes(slot) > 0;
  }

  /** The key in a slot, or undefined when the slot is free. */
  keyAt(slot: number): string | undefined {
    const length = this.#rows.keyBytes(slot);
    if (length === 0) return undefined;
    const block = this.#rows.block(slot);
    const at = this.#blocks.positionOf(block);
    return utf8(this.#blocks.bytesOf(block), at, at + length);
  }

  /** Whether the key in a slot begins with these bytes. */
  keyBegins(slot: number, prefix: Uint8Array): boolean {
    return this.#rows.keyBytes(slot) >= prefix.length && this.#begins(slot, prefix, 0, prefix.length);
  }

  valueAt(slot: number): ByteString {
    const block = this.#rows.block(slot);
    const start = this.#blocks.positionOf(block) + this.#rows.keyBytes(slot);
    return latin1(this.#blocks.bytesOf(block), start, start + this.#rows.valueBytes(slot)) as ByteString;
  }

  keyBytesAt(slot: number): number {
    return this.#rows.keyBytes(slot);
  }

  /** The memory in which a slot's key lies, directly followed by its value: borrowed until the table changes. */
  memoryAt(slot: number): Buffer {
    return this.#blocks.bytesOf(this.#rows.block(slot));
  }

  /** Where in it the key begins. */
  positionAt(slot: number): number {
    return this.#blocks.positionOf(this.#rows.block(slot));
  }

  valueBytesAt(slot: number): number {
    return this.#rows.valueBytes(slot);
  }

  revisionAt(slot: number): Offset {
    return offset(this.#rows.revision(slot));
  }

  /** Ms since 1970; 0 = never. */
  expiresAt(slot: number): number {
    return this.#rows.expiresAt(slot);
  }

  isExpired(slot: number, now: number): boolean {
    const deadline = this.expiresAt(slot);
    return deadline !== 0 && deadline <= now;
  }

  /** Whether the key's chain of events is known to lead to its first; of a key that was added, until somebody says so, not. */
  isWholeAt(slot: number): boolean {
    return this.#rows.isWhole(slot);
  }

  setWhole(slot: number, isWhole: boolean): void {
    this.#rows.setWhole(slot, isWhole);
  }

  contentTypeAt(slot: number): string {
    return this.#types.nameOf(this.#rows.contentType(slot)) ?? this.#otherTypes.get(slot) ?? "";
  }

  /** Adds a key with this hash that `findBytes` did not find; returns its slot. */
  add(stored: KeyStored, hash: number, revision: Offset): number {
    const { source, keyStart, keyEnd, valueStart, valueEnd } = stored;
    const slot = this.#occupy();
    const block = this.#blocks.allocate(keyEnd - keyStart + valueEnd - valueStart);
    const bytes = this.#blocks.bytesOf(block);
    const at = this.#blocks.positionOf(block);
    copyBytes(source, keyStart, keyEnd, bytes, at);
    copyBytes(source, valueStart, valueEnd, bytes, at + keyEnd - keyStart);
    this.#rows.begin(slot, block, keyEnd - keyStart, hash);
    this.#index.add(hash, slot);
    this.#size++;
    this.#note(slot, stored, revision);
    return slot;
  }

  /** Replaces all that a slot holds but its key, which is the one that is stored. */
  replace(slot: number, stored: KeyStored, revision: Offset): void {
    this.#bytes -= this.chargeAt(slot);
    const { source, keyStart, keyEnd, valueStart, valueEnd } = stored;
    const keyBytes = keyEnd - keyStart;
    const before = this.#rows.block(slot);
    const needed = keyBytes + valueEnd - valueStart;
    let block = before;
    if (blockBytes(needed) !== blockBytes(keyBytes + this.#rows.valueBytes(slot))) {
      this.#blocks.free(before);
      block = this.#blocks.allocate(needed);
      copyBytes(source, keyStart, keyEnd, this.#blocks.bytesOf(block), this.#blocks.positionOf(block));
      this.#rows.setBlock(slot, block);
    }
    copyBytes(
      source,
      valueStart,
      valueEnd,
      this.#blocks.bytesOf(block),
      this.#blocks.positionOf(block) + keyBytes,
    );
    this.#note(slot, stored, revision);
  }

  setExpiry(slot: number, expiresAt: number, revision: Offset): void {
    this.#rows.setRevision(slot, revision);
    this.#setDeadline(slot, expiresAt);
  }

  remove(slot: number): void {
    assert(this.holds(slot), "a slot is freed once");
    this.#bytes -= this.chargeAt(slot);
    this.#setDeadline(slot, 0);
    this.#otherTypes.delete(slot);
    this.#index.remove(this.#rows.hash(slot), slot);
    this.#blocks.free(this.#rows.block(slot));
    this.#rows.setKeyBytes(slot, 0);
    this.#rows.setBlock(slot, this.#free);
    this.#free = slot + 1;
    this.#size--;
    if (this.#size === 0) this.clear();
  }

  /** The slots that hold a key, in no useful order, without a walk over free ones. */
  slots(): Generator<number> {
    return this.#index.slots();
  }

  /** Removes every key. An empty table gives back what a large one took. */
  clear(): void {
    this.#bytes = 0;
    this.#size = 0;
    this.#slotEnd = 0;
    this.#free = 0;
    this.#types.clear();
    this.#otherTypes.clear();
    this.expiries.clear();
    this.#index.clear();
    this.#rows.clear();
    this.#blocks.clear();
  }

  chargeAt(slot: number): number {
    const keyBytes = this.#rows.keyBytes(slot);
    if (keyBytes === 0) return 0;
    const bytes = keyBytes + this.#rows.valueBytes(slot);
    // Without looking for the type's name, which a well-known one is not charged for.
    if (this.#rows.contentType(slot) < WELL_KNOWN_TYPES.length) return SLOT_BYTES + blockBytes(bytes);
    return chargeWithType(bytes, this.contentTypeAt(slot));
  }

  /**
   * What a key is charged against the memory limit: its block and its share of rows and index. A function of its sizes, so
   * that it is given back exactly.
   */
  chargeOf(key: string, valueBytes: number, contentType: string): number {
    return charge(this.#scratch.encode(key).length + valueBytes, contentType);
  }

  #occupy(): number {
    if (this.#free > 0) {
      const slot = this.#free - 1;
      this.#free = this.#rows.block(slot);
      return slot;
    }
    const slot = this.#slotEnd++;
    this.#rows.reserve(slot);
    return slot;
  }

  #note(slot: number, stored: KeyStored, revision: Offset): void {
    const { contentType, valueStart, valueEnd, expiresAt } = stored;
    const type = this.#types.numberOf(contentType);
    this.#rows.change(slot, revision, valueEnd - valueStart, type);
    if (type === OTHER_TYPE) this.#otherTypes.set(slot, contentType);
    else if (this.#otherTypes.size > 0) this.#otherTypes.delete(slot);
    this.#setDeadline(slot, expiresAt);
    this.#bytes += this.chargeAt(slot);
  }

  /** The key in the slot is at least as long as bytes[start, end). */
  #begins(slot: number, bytes: Uint8Array, start: number, end: number): boolean {
    const block = this.#rows.block(slot);
    const held = this.#blocks.bytesOf(block);
    let at = this.#blocks.positionOf(block);
    for (let each = start; each < end; each++) if (bytes[each] !== held[at++]) return false;
    return true;
  }

  #setDeadline(slot: number, expiresAt: number): void {
    if (expiresAt === 0 && this.#rows.expiresAt(slot) === 0) return;
    this.#rows.setExpiresAt(slot, expiresAt);
    this.expiries.set(slot, expiresAt);
  }
}

function charge(bytes: number, contentType: string): number {
  if (WELL_KNOWN_TYPES.includes(contentType)) return SLOT_BYTES + blockBytes(bytes);
  return chargeWithType(bytes, contentType);
}

function chargeWithType(bytes: number, contentType: string): number {
  return SLOT_BYTES + blockBytes(bytes) + TYPE_ENTRY_BYTES + contentType.length;
}
