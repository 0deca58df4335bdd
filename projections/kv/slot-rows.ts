/**
 * What the table keeps of each slot beside the key and the value: rows of 40 bytes in chunks (row-chunks.ts).
 * A row is one or two lines of the processor's cache; a column for each field would be one line for each.
 *
 *   words 0-1  revision     double   offset of the key's last change
 *   words 2-3  expiresAt    double   ms since 1970; 0 = never
 *   words 4-5  block        double   where key and value lie; in a free slot the next free slot + 1
 *   word  6    keyBytes     u32      0 = the slot is free: no key is empty
 *   word  7    valueBytes   u32
 *   word  8    hash         u32      the key's
 *   word  9    contentType  u8       the number of a type, or OTHER_TYPE
 *              isWhole      bit 8    the key's chain of events is known to lead to its first
 */
import { addRows } from "../row-chunks.js";

const CHUNK_BITS = 12;
const CHUNK_MASK = (1 << CHUNK_BITS) - 1;
const DOUBLES = 5;
const WORDS = 2 * DOUBLES;
export const ROW_BYTES = 4 * WORDS;

const WHOLE = 0x100;

const NO_WORDS = new Uint32Array(0);
const NO_DOUBLES = new Float64Array(0);

export class SlotRows {
  readonly #words: Uint32Array[] = [];
  readonly #doubles: Float64Array[] = [];
  #rows = 0;

  /** Makes sure that the slot has a row; a new one is all zeros. */
  reserve(slot: number): void {
    while (this.#rows <= slot) this.#rows = addRows(this.#words, this.#doubles, ROW_BYTES, 1 << CHUNK_BITS);
  }

  /** The slot holds a key from now on; what its row says of a value is to be set. */
  begin(slot: number, block: number, keyBytes: number, hash: number): void {
    const words = this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS;
    const at = (slot & CHUNK_MASK) * WORDS;
    words[at + 6] = keyBytes;
    words[at + 8] = hash;
    words[at + 9] = 0;
    this.setBlock(slot, block);
  }

  /** The slot's key has another value. */
  change(slot: number, revision: number, valueBytes: number, contentType: number): void {
    const words = this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS;
    const at = (slot & CHUNK_MASK) * WORDS;
    words[at + 7] = valueBytes;
    words[at + 9] = ((words[at + 9] ?? 0) & WHOLE) | contentType;
    this.setRevision(slot, revision);
  }

  revision(slot: number): number {
    return this.#double(slot, 0);
  }

  expiresAt(slot: number): number {
    return this.#double(slot, 1);
  }

  block(slot: number): number {
    return this.#double(slot, 2);
  }

  keyBytes(slot: number): number {
    return this.#word(slot, 6);
  }

  valueBytes(slot: number): number {
    return this.#word(slot, 7);
  }

  hash(slot: number): number {
    return this.#word(slot, 8);
  }

  contentType(slot: number): number {
    return this.#word(slot, 9) & 0xff;
  }

  setRevision(slot: number, revision: number): void {
    this.#setDouble(slot, 0, revision);
  }

  setExpiresAt(slot: number, expiresAt: number): void {
    this.#setDouble(slot, 1, expiresAt);
  }

  setBlock(slot: number, block: number): void {
    this.#setDouble(slot, 2, block);
  }

  setKeyBytes(slot: number, bytes: number): void {
    this.#setWord(slot, 6, bytes);
  }

  isWhole(slot: number): boolean {
    return (this.#word(slot, 9) & WHOLE) !== 0;
  }

  setWhole(slot: number, isWhole: boolean): void {
    this.#setWord(slot, 9, this.contentType(slot) | (isWhole ? WHOLE : 0));
  }

  clear(): void {
    this.#words.length = 0;
    this.#doubles.length = 0;
    this.#rows = 0;
  }

  #word(slot: number, field: number): number {
    return (this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS)[(slot & CHUNK_MASK) * WORDS + field] ?? 0;
  }

  #double(slot: number, field: number): number {
    return (this.#doubles[slot >>> CHUNK_BITS] ?? NO_DOUBLES)[(slot & CHUNK_MASK) * DOUBLES + field] ?? 0;
  }

  #setWord(slot: number, field: number, value: number): void {
    (this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS)[(slot & CHUNK_MASK) * WORDS + field] = value;
  }

  #setDouble(slot: number, field: number, value: number): void {
    (this.#doubles[slot >>> CHUNK_BITS] ?? NO_DOUBLES)[(slot & CHUNK_MASK) * DOUBLES + field] = value;
  }
}
