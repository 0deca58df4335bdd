/**
 * Which slots expire, soonest first: an indexed binary heap, so that moving or removing one is exact and nothing stale stays.
 * It knows slots and deadlines, no keys. A slot appears at most once.
 */
import { float64Column, uint32Column } from "./column.js";

export class ExpiryHeap {
  readonly #slots = uint32Column();
  readonly #deadlines = float64Column();
  /** By slot: its index in the heap plus 1; 0 = not in it. */
  readonly #places = uint32Column();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The soonest slot if its deadline is at or before `now`, else -1. */
  due(now: number): number {
    return this.#size > 0 && this.#deadline(0) <= now ? this.slotAt(0) : -1;
  }

  /** The slot at a heap index; index 0 is the soonest, the rest are in heap order only. */
  slotAt(index: number): number {
    return this.#slots.get(index);
  }

  /** Every slot, in no useful order. Nothing may change meanwhile. */
  *slots(): Generator<number> {
    for (let index = 0; index < this.#size; index++) yield this.slotAt(index);
  }

  /** Sets, moves or (0) removes a slot's deadline. */
  set(slot: number, deadline: number): void {
    const place = this.#places.get(slot);
    if (deadline === 0) {
      if (place > 0) this.#removeAt(place - 1);
      return;
    }
    if (place > 0) {
      this.#deadlines.set(place - 1, deadline);
      this.#settle(place - 1);
      return;
    }
    const index = this.#size++;
    this.#store(index, slot, deadline);
    this.#settle(index);
  }

  clear(): void {
    this.#slots.clear();
    this.#deadlines.clear();
    this.#places.clear();
    this.#size = 0;
  }

  /** How many deadlines are at or before `now`. Visits those and their children, nothing else. */
  countDue(now: number): number {
    let count = 0;
    const open = [0];
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (index >= this.#size || this.#deadline(index) > now) continue;
      count++;
      open.push(2 * index + 1, 2 * index + 2);
    }
    return count;
  }

  /** Every slot, soonest first: a best-first walk that leaves the heap as it is. Cheap for the first few hundred. */
  *soonest(): Generator<number> {
    const open: number[] = this.#size > 0 ? [0] : [];
    while (open.length > 0) {
      let best = 0;
      for (let at = 1; at < open.length; at++) {
        if (this.#deadline(open[at] ?? 0) < this.#deadline(open[best] ?? 0)) best = at;
      }
      const index = open[best] ?? 0;
      open[best] = open[open.length - 1] ?? 0;
      open.pop();
      for (const child of [2 * index + 1, 2 * index + 2]) if (child < this.#size) open.push(child);
      yield this.slotAt(index);
    }
  }

  #removeAt(index: number): void {
    this.#places.set(this.slotAt(index), 0);
    const last = --this.#size;
    if (index === last) return;
    this.#store(index, this.slotAt(last), this.#deadline(last));
    this.#settle(index);
  }

  #settle(start: number): void {
    const slot = this.slotAt(start);
    const deadline = this.#deadline(start);
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >>> 1;
      if (this.#deadline(parent) <= deadline) break;
      this.#store(index, this.slotAt(parent), this.#deadline(parent));
      index = parent;
    }
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#deadline(child + 1) < this.#deadline(child)) child++;
      if (this.#deadline(child) >= deadline) break;
      this.#store(index, this.slotAt(child), this.#deadline(child));
      index = child;
    }
    this.#store(index, slot, deadline);
  }

  #store(index: number, slot: number, deadline: number): void {
    this.#slots.set(index, slot);
    this.#deadlines.set(index, deadline);
    this.#places.set(slot, index + 1);
  }

  #deadline(index: number): number {
    return this.#deadlines.get(index);
  }
}
