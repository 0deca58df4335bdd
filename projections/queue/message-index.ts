/**
 * From a message's place in the log to its slot: open addressing with linear probing over hashes and slot numbers, eight bytes
 * each, at most three quarters full. The keys are in the rows; the hashes are here, so that growing it visits no row. The keys are
 * given by the log, so nobody can choose ones that collide.
 */
import { type MessageRows, OFFSET, PLACE } from "./message-rows.js";

const TWO_32 = 4_294_967_296;
const SMALLEST = 1_024;

export class MessageIndex {
  readonly #rows: MessageRows;
  /** Slot + 1; 0 = free. */
  #slots = new Uint32Array(SMALLEST);
  #hashes = new Uint32Array(SMALLEST);
  #size = 0;

  constructor(rows: MessageRows) {
    this.#rows = rows;
  }

  /** The slot, or -1. */
  find(offset: number, place: number): number {
    const mask = this.#slots.length - 1;
    const hash = hashOf(offset, place);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = (this.#slots[at] ?? 0) - 1;
      if (slot < 0) return -1;
      if (this.#hashes[at] !== hash || this.#rows.double(slot, OFFSET) !== offset) continue;
      if (this.#rows.word(slot, PLACE) === place) return slot;
    }
  }

  /** The slot's row says its key, which is not in the index. */
  add(slot: number): void {
    if (this.#size >= this.#slots.length * 0.75) this.#resize(this.#slots.length * 2);
    this.#size++;
    this.#put(slot + 1, this.#hashOf(slot));
  }

  /** The slot is in the index and its row still says its key. */
  remove(slot: number): void {
    const mask = this.#slots.length - 1;
    let hole = this.#hashOf(slot) & mask;
    while (this.#slots[hole] !== slot + 1) hole = (hole + 1) & mask;
    // Those behind move up, so that no search ends early at the hole.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const next = this.#slots[at] ?? 0;
      if (next === 0) break;
      const hash = this.#hashes[at] ?? 0;
      if (((at - hash) & mask) < ((at - hole) & mask)) continue;
      this.#slots[hole] = next;
      this.#hashes[hole] = hash;
      hole = at;
    }
    this.#slots[hole] = 0;
    this.#size--;
    if (this.#slots.length > SMALLEST && this.#size < this.#slots.length / 8) {
      this.#resize(this.#slots.length / 2);
    }
  }

  #hashOf(slot: number): number {
    return hashOf(this.#rows.double(slot, OFFSET), this.#rows.word(slot, PLACE));
  }

  #put(entry: number, hash: number): void {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#slots[at] = entry;
    this.#hashes[at] = hash;
  }

  #resize(length: number): void {
    const [slots, hashes] = [this.#slots, this.#hashes];
    this.#slots = new Uint32Array(length);
    this.#hashes = new Uint32Array(length);
    for (let at = 0; at < slots.length; at++) {
      const entry = slots[at] ?? 0;
      if (entry > 0) this.#put(entry, hashes[at] ?? 0);
    }
  }
}

function hashOf(offset: number, place: number): number {
  let mixed = Math.imul(offset ^ Math.imul(Math.floor(offset / TWO_32) + 1, 0x85eb_ca6b), 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ place, 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
