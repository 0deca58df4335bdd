/**
 * From a message's place in the log to its slot. The keys are in the rows; the index has their hashes, and grows a bucket at a time,
 * so that no publish waits for a million others to move. The keys are given by the log, so nobody can choose ones that collide.
 */
import { HashIndex } from "../kv/hash-index.js";
import { type MessageRows, OFFSET, PLACE } from "./message-rows.js";

const TWO_32 = 4_294_967_296;

export class MessageIndex {
  readonly #rows: MessageRows;
  readonly #slots = new HashIndex();

  constructor(rows: MessageRows) {
    this.#rows = rows;
  }

  /** The slot, or -1. */
  find(offset: number, place: number): number {
    const hash = hashOf(offset, place);
    const bucket = this.#slots.bucketOf(hash);
    for (let cell = bucket.first(hash); cell >= 0; cell = bucket.next(cell, hash)) {
      const slot = bucket.slotAt(cell);
      if (this.#rows.double(slot, OFFSET) === offset && this.#rows.word(slot, PLACE) === place) return slot;
    }
    return -1;
  }

  /** The slot's row says its key, which is not in the index. */
  add(slot: number): void {
    this.#slots.add(this.#hashOf(slot), slot);
  }

  /** The slot is in the index and its row still says its key. */
  remove(slot: number): void {
    this.#slots.remove(this.#hashOf(slot), slot);
  }

  clear(): void {
    this.#slots.clear();
  }

  #hashOf(slot: number): number {
    return hashOf(this.#rows.double(slot, OFFSET), this.#rows.word(slot, PLACE));
  }
}

function hashOf(offset: number, place: number): number {
  let mixed = Math.imul(offset ^ Math.imul(Math.floor(offset / TWO_32) + 1, 0x85eb_ca6b), 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ place, 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
