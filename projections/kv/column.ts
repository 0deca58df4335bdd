/**
 * One field of every slot, in chunks that are added and never copied: a column that doubles would hold its old half until a
 * collection, and leave holes in the process's memory. A slot that was never written reads as the column's empty value.
 */
const CHUNK_BITS = 14;
const CHUNK_SLOTS = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_SLOTS - 1;

interface Chunk<Value> {
  [index: number]: Value;
}

export class Column<Value> {
  readonly #chunks: Chunk<Value>[] = [];
  readonly #newChunk: (slots: number) => Chunk<Value>;
  readonly #empty: Value;

  constructor(newChunk: (slots: number) => Chunk<Value>, empty: Value) {
    this.#newChunk = newChunk;
    this.#empty = empty;
  }

  get(slot: number): Value {
    return this.#chunks[slot >>> CHUNK_BITS]?.[slot & CHUNK_MASK] ?? this.#empty;
  }

  set(slot: number, value: Value): void {
    let chunk = this.#chunks[slot >>> CHUNK_BITS];
    if (chunk === undefined) {
      for (let next = this.#chunks.length; next <= slot >>> CHUNK_BITS; next++) {
        this.#chunks.push(this.#newChunk(CHUNK_SLOTS));
      }
      chunk = this.#chunks[slot >>> CHUNK_BITS] ?? this.#newChunk(0);
    }
    chunk[slot & CHUNK_MASK] = value;
  }

  clear(): void {
    this.#chunks.length = 0;
  }
}

export const uint32Column = (): Column<number> => new Column((slots) => new Uint32Array(slots), 0);
/** Doubles: offsets and times, both safe integers. */
export const float64Column = (): Column<number> => new Column((slots) => new Float64Array(slots), 0);
