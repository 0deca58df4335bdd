/**
 * From a message's place in the log to its slot: open addressing with linear probing over slot numbers, four bytes each, at most
 * three quarters full. The keys are in the rows. They are given by the log, so nobody can choose ones that collide.
 */
import { type MessageRows, OFFSET, PLACE } from "./message-rows.js";

const TWO_32 = 4_294_967_296;
const SMALLEST = 1_024;

export class MessageIndex {
  readonly #rows: MessageRows;
  /** Slot + 1; 0 = free. */
  #table = new Uint32Array(SMALLEST);
  #size = 0;

  constructor(rows: MessageRows) {
    this.#rows = rows;
  }

  /** The slot, or -1. */
  find(offset: number, place: number): number {
    const mask = this.#table.length - 1;
    for (let at = homeOf(offset, place) & mask; ; at = (at + 1) & mask) {
      const slot = (this.#table[at] ?? 0) - 1;
      if (slot < 0) return -1;
      if (this.#rows.double(slot, OFFSET) === offset && this.#rows.word(slot, PLACE) === place) return slot;
    }
  }

  /** The slot's row says its key, which is not in the index. */
  add(slot: number): void {
    if (this.#size >= this.#table.length * 0.75) this.#resize(this.#table.length * 2);
    this.#size++;
    this.#put(slot);
  }

  /** The slot is in the index and its row still says its key. */
  remove(slot: number): void {
    const mask = this.#table.length - 1;
    let hole = this.#home(slot);
    while (this.#table[hole] !== slot + 1) hole = (hole + 1) & mask;
    // Those behind move up, so that no search ends early at the hole.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const next = (this.#table[at] ?? 0) - 1;
      if (next < 0) break;
      const fromHome = (at - this.#home(next)) & mask;
      if (fromHome < ((at - hole) & mask)) continue;
      this.#table[hole] = next + 1;
      hole = at;
    }
    this.#table[hole] = 0;
    this.#size--;
    if (this.#table.length > SMALLEST && this.#size < this.#table.length / 8) {
      this.#resize(this.#table.length / 2);
    }
  }

  #home(slot: number): number {
    const home = homeOf(this.#rows.double(slot, OFFSET), this.#rows.word(slot, PLACE));
    return home & (this.#table.length - 1);
  }

  #put(slot: number): void {
    const mask = this.#table.length - 1;
    let at = this.#home(slot);
    while (this.#table[at] !== 0) at = (at + 1) & mask;
    this.#table[at] = slot + 1;
  }

  #resize(length: number): void {
    const before = this.#table;
    this.#table = new Uint32Array(length);
    for (const entry of before) if (entry > 0) this.#put(entry - 1);
  }
}

function homeOf(offset: number, place: number): number {
  let mixed = Math.imul(offset ^ Math.imul(Math.floor(offset / TWO_32) + 1, 0x85eb_ca6b), 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ place, 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
