/** A binary heap whose entries know their place, so that any of them can be taken out in O(log n). */
import { assert } from "../log/index.js";

export interface Placed {
  /** The heap's; -1 outside of one. */
  place: number;
}

export class PlacedHeap<Entry extends Placed> {
  readonly #entries: Entry[] = [];
  readonly #isBefore: (a: Entry, b: Entry) => boolean;

  constructor(isBefore: (a: Entry, b: Entry) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#entries.length;
  }

  get first(): Entry | undefined {
    return this.#entries[0];
  }

  add(entry: Entry): void {
    this.#rise(this.#entries.length, entry);
  }

  remove(entry: Entry): void {
    const { place } = entry;
    assert(this.#entries[place] === entry, "an entry lies where it says");
    const last = this.#entries.pop();
    entry.place = -1;
    if (last === undefined || last === entry) return;
    // The last one fills the gap, and moves to where it belongs from there: up or down.
    this.#rise(place, last);
    this.#sink(last.place, last);
  }

  #rise(from: number, entry: Entry): void {
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = this.#entries[above];
      if (parent === undefined || !this.#isBefore(entry, parent)) break;
      this.#put(place, parent);
      place = above;
    }
    this.#put(place, entry);
  }

  #sink(from: number, entry: Entry): void {
    let place = from;
    for (;;) {
      const [left, right] = [2 * place + 1, 2 * place + 2];
      const below = this.#isLess(right, left) ? right : left;
      const child = this.#entries[below];
      if (child === undefined || !this.#isBefore(child, entry)) break;
      this.#put(place, child);
      place = below;
    }
    this.#put(place, entry);
  }

  #isLess(a: number, b: number): boolean {
    const [first, second] = [this.#entries[a], this.#entries[b]];
    return first !== undefined && second !== undefined && this.#isBefore(first, second);
  }

  #put(place: number, entry: Entry): void {
    this.#entries[place] = entry;
    entry.place = place;
  }
}
