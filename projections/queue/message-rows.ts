/**
 * What is kept of each message beside its bytes: rows of 88 bytes outside V8's heap, in chunks that are added and never copied.
 *
 *   doubles  0 offset (in a free slot the next free slot + 1) · 1 publishedAt · 2 availableAt · 3 expiresAt
 *            4 dueAt: when time will change it, 0 = never · 5 block of its bytes + 1, 0 = none
 *   words   12 place · 13 payloadBytes · 14 headersBytes · 15 maxRetries · 16 retryCount · 17 number of its lot
 *           18 index in the heap of the waiting + 1 · 19 index in the heap of the timers + 1 · 20 priority · 21 state
 */
import { addRows } from "../row-chunks.js";

const CHUNK_BITS = 10;
const CHUNK_MASK = (1 << CHUNK_BITS) - 1;
const DOUBLES = 11;
const WORDS = 2 * DOUBLES;
export const ROW_BYTES = 8 * DOUBLES;

/** Fields that are doubles. */
export const OFFSET = 0;
export const PUBLISHED_AT = 1;
export const AVAILABLE_AT = 2;
export const EXPIRES_AT = 3;
export const DUE_AT = 4;
export const BLOCK = 5;
/** Fields that are words. */
export const PLACE = 12;
export const PAYLOAD_BYTES = 13;
export const HEADERS_BYTES = 14;
export const MAX_RETRIES = 15;
export const RETRY_COUNT = 16;
export const LOT = 17;
export const WAITING_PLACE = 18;
export const TIMER_PLACE = 19;
export const PRIORITY = 20;
export const STATE = 21;

type DoubleField =
  | typeof OFFSET
  | typeof PUBLISHED_AT
  | typeof AVAILABLE_AT
  | typeof EXPIRES_AT
  | typeof DUE_AT
  | typeof BLOCK;
type WordField =
  | typeof PLACE
  | typeof PAYLOAD_BYTES
  | typeof HEADERS_BYTES
  | typeof MAX_RETRIES
  | typeof RETRY_COUNT
  | typeof LOT
  | typeof WAITING_PLACE
  | typeof TIMER_PLACE
  | typeof PRIORITY
  | typeof STATE;

const NO_WORDS = new Uint32Array(0);
const NO_DOUBLES = new Float64Array(0);

export class MessageRows {
  readonly #words: Uint32Array[] = [];
  readonly #doubles: Float64Array[] = [];
  #rows = 0;

  /** Makes sure that the slot has a row. */
  reserve(slot: number): void {
    while (this.#rows <= slot) this.#rows = addRows(this.#words, this.#doubles, ROW_BYTES, 1 << CHUNK_BITS);
  }

  /** Gives all memory back. */
  clearAll(): void {
    this.#words.length = 0;
    this.#doubles.length = 0;
    this.#rows = 0;
  }

  clear(slot: number): void {
    const start = (slot & CHUNK_MASK) * DOUBLES;
    this.#doubles[slot >>> CHUNK_BITS]?.fill(0, start, start + DOUBLES);
  }

  double(slot: number, field: DoubleField): number {
    return (this.#doubles[slot >>> CHUNK_BITS] ?? NO_DOUBLES)[(slot & CHUNK_MASK) * DOUBLES + field] ?? 0;
  }

  word(slot: number, field: WordField): number {
    return (this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS)[(slot & CHUNK_MASK) * WORDS + field] ?? 0;
  }

  setDouble(slot: number, field: DoubleField, value: number): void {
    (this.#doubles[slot >>> CHUNK_BITS] ?? NO_DOUBLES)[(slot & CHUNK_MASK) * DOUBLES + field] = value;
  }

  setWord(slot: number, field: WordField, value: number): void {
    (this.#words[slot >>> CHUNK_BITS] ?? NO_WORDS)[(slot & CHUNK_MASK) * WORDS + field] = value;
  }
}
