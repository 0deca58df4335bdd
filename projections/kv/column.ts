/**
 * One field of every slot, in chunks that are added and never copied: a column that doubles would hold its old half until a
 * collection, and leave holes in the process's memory. Only the first chunk begins small and doubles. A slot that was never written reads as
 * the column's empty value.
 */
import { lastingMemory } from "../lasting-memory.js";

const CHUNK_BITS = 14;
const CHUNK_SLOTS = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_SLOTS - 1;
const SLOTS_MIN = 64;

interface Chunk<Value> {
  [index: number]: Value;
}

export class Column<Value> {
  readonly #chunks: Chunk<Value>[] = [];
  readonly #newChunk: (slots: number) => Chunk<Value>;
  readonly #empty: Value;
  #slots = 0;

  constructor(newChunk: (slots: number) => Chunk<Value>, empty: Value) {
    this.#newChunk = newChunk;
    this.#empty = empty;
  }

  get(slot: number): Value {
    return this.#chunks[slot >>> CHUNK_BITS]?.[slot & CHUNK_MASK] ?? this.#empty;
  }

  set(slot: number, value: Value): void {
    while (this.#slots <= slot) this.#addSlots();
    const chunk = this.#chunks[slot >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[slot & CHUNK_MASK] = value;
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#slots = 0;
  }

  #addSlots(): void {
    const [first] = this.#chunks;
    if (this.#slots >= CHUNK_SLOTS) {
      this.#chunks.push(this.#newChunk(CHUNK_SLOTS));
      this.#slots += CHUNK_SLOTS;
      return;
    }
    const slots = Math.max(SLOTS_MIN, 2 * this.#slots);
    const grown = this.#newChunk(slots);
    for (let slot = 0; slot < this.#slots; slot++) grown[slot] = first?.[slot] ?? this.#empty;
    this.#chunks[0] = grown;
    this.#slots = slots;
  }
}

export const uint32Column = (): Column<number> =>
  new Column((slots) => new Uint32Array(lastingMemory(4 * slots)), 0);
/** Doubles: offsets and times, both safe integers. */
export const float64Column = (): Column<number> =>
  new Column((slots) => new Float64Array(lastingMemory(8 * slots)), 0);
