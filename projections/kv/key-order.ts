/**
 * The keys of a table in order of their UTF-8 bytes, without a string or an object for any of them: twelve bytes a key while it
 * runs, so that a digest costs little memory beside the state.
 *
 * A quicksort by words: six bytes of each key, at the same place of all, are one number. Keys that agree in it are sorted
 * by the next six. Sorting numbers that lie side by side is what makes it fast; each word is fetched from the keys once.
 */
import { type GiveWay, goOn } from "../give-way.js";
import type { KeyTable } from "./key-table.js";

const WORD_BYTES = 6;
/** Shorter runs are sorted by insertion. */
const FEW = 12;

/** The slots of keys that are there at `at`. */
export function slotsInOrder(table: KeyTable, at: number, giveWay: GiveWay = goOn): Uint32Array {
  const slots = new Uint32Array(table.size);
  let count = 0;
  for (let slot = 0; slot < table.slotEnd; slot++) {
    if (table.holds(slot) && !table.isExpired(slot, at)) slots[count++] = slot;
  }
  new KeySort(table, slots.subarray(0, count), giveWay).sort();
  return slots.subarray(0, count);
}

class KeySort {
  readonly #table: KeyTable;
  readonly #slots: Uint32Array;
  /** By place: the word of the slot that is there. */
  readonly #words: Float64Array;
  readonly #giveWay: GiveWay;

  constructor(table: KeyTable, slots: Uint32Array, giveWay: GiveWay) {
    this.#table = table;
    this.#giveWay = giveWay;
    this.#slots = slots;
    this.#words = new Float64Array(slots.length);
  }

  sort(): void {
    // Runs of keys that agree in their first `depth` bytes: three numbers each. A stack of its own, since keys can agree for long.
    const open = [0, this.#slots.length, 0];
    while (open.length > 0) {
      const depth = open.pop() ?? 0;
      const end = open.pop() ?? 0;
      const from = open.pop() ?? 0;
      if (end - from < 2) continue;
      for (let place = from; place < end; place++) {
        this.#words[place] = this.#wordAt(this.#slots[place] ?? 0, depth);
        this.#giveWay();
      }
      this.#sortWords(from, end);
      for (let begin = from, place = from + 1; place <= end; place++) {
        if (place < end && this.#words[place] === this.#words[begin]) continue;
        open.push(begin, place, depth + WORD_BYTES);
        begin = place;
      }
    }
  }

  /** Six bytes of the key from `depth` on, and below them how many there were: an end comes before a zero byte. */
  #wordAt(slot: number, depth: number): number {
    const bytes = this.#table.memoryAt(slot);
    const start = this.#table.positionAt(slot) + depth;
    const left = Math.max(0, Math.min(WORD_BYTES, this.#table.keyBytesAt(slot) - depth));
    let word = 0;
    for (let each = 0; each < WORD_BYTES; each++)
      word = word * 256 + (each < left ? (bytes[start + each] ?? 0) : 0);
    return word * 8 + left;
  }

  #sortWords(first: number, end: number): void {
    const words = this.#words;
    const open = [first, end];
    while (open.length > 0) {
      const to = open.pop() ?? 0;
      const from = open.pop() ?? 0;
      if (to - from <= FEW) {
        this.#insert(from, to);
        continue;
      }
      // Three ways, so that many keys with one word cost one pass.
      const pivot = middleOf(words[from] ?? 0, words[(from + to) >>> 1] ?? 0, words[to - 1] ?? 0);
      let [less, place, more] = [from, from, to];
      while (place < more) {
        if ((place & 255) === 0) this.#giveWay();
        const word = words[place] ?? 0;
        if (word < pivot) this.#swap(less++, place++);
        else if (word > pivot) this.#swap(place, --more);
        else place++;
      }
      // The larger part waits: the stack stays short.
      if (less - from < to - more) open.push(more, to, from, less);
      else open.push(from, less, more, to);
    }
  }

  #insert(from: number, to: number): void {
    const words = this.#words;
    for (let next = from + 1; next < to; next++) {
      for (let place = next; place > from && (words[place - 1] ?? 0) > (words[place] ?? 0); place--) {
        this.#swap(place - 1, place);
      }
    }
  }

  #swap(a: number, b: number): void {
    const [words, slots] = [this.#words, this.#slots];
    const word = words[a] ?? 0;
    words[a] = words[b] ?? 0;
    words[b] = word;
    const slot = slots[a] ?? 0;
    slots[a] = slots[b] ?? 0;
    slots[b] = slot;
  }
}

function middleOf(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
