/**
 * Slots in an order that somebody else knows: an indexed binary heap, so that any one can be removed and nothing stale
 * stays. A slot appears at most once. While it is in the heap its order must not change.
 */

/** Keeps one number for each slot: its index in the heap plus 1, 0 = not in it. */
export interface Places {
  get(slot: number): number;
  set(slot: number, place: number): void;
}

/** For a heap of which none is removed but the first. */
const NOWHERE: Places = { get: () => 0, set: () => undefined };

export class SlotHeap {
  #slots: number[] = [];
  readonly #before: (slot: number, other: number) => boolean;
  readonly #places: Places;

  constructor(before: (slot: number, other: number) => boolean, places: Places = NOWHERE) {
    this.#before = before;
    this.#places = places;
  }

  get size(): number {
    return this.#slots.length;
  }

  /** The first slot, or -1. */
  get top(): number {
    return this.#slots[0] ?? -1;
  }

  has(slot: number): boolean {
    return this.#places.get(slot) > 0;
  }

  add(slot: number): void {
    this.#slots.push(slot);
    this.#settle(this.#slots.length - 1, slot);
  }

  /** Nothing happens when the slot is not there. */
  remove(slot: number): void {
    const place = this.#places.get(slot);
    if (place === 0) return;
    this.#places.set(slot, 0);
    const last = this.#slots.pop();
    if (last !== undefined && last !== slot) this.#settle(place - 1, last);
  }

  /** Empties the heap in one step; gives what was in it, in no order. Their places are as they were: nobody may ask for them. */
  take(): readonly number[] {
    const slots = this.#slots;
    this.#slots = [];
    return slots;
  }

  /** In no order. */
  get slots(): readonly number[] {
    return this.#slots;
  }

  /** In order, without a change of the heap: a walk that keeps what it may visit next in a heap of its own. */
  *inOrder(): Generator<number> {
    const slots = this.#slots;
    const slotAt = (index: number): number => slots[index] ?? -1;
    const open = new SlotHeap((index, other) => this.#before(slotAt(index), slotAt(other)));
    if (slots.length > 0) open.add(0);
    for (let index = open.#pop(); index >= 0; index = open.#pop()) {
      yield slotAt(index);
      for (const child of [2 * index + 1, 2 * index + 2]) if (child < slots.length) open.add(child);
    }
  }

  /** Takes the first out; -1 when there is none. */
  #pop(): number {
    const { top } = this;
    const last = this.#slots.pop();
    if (last !== undefined && last !== top) this.#settle(0, last);
    return top;
  }

  /** Finds the place of a slot that may have any, beginning at `start`, which is free for it. */
  #settle(start: number, slot: number): void {
    const slots = this.#slots;
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = slots[parent] ?? -1;
      if (!this.#before(slot, above)) break;
      this.#store(index, above);
      index = parent;
    }
    for (;;) {
      let child = 2 * index + 1;
      if (child >= slots.length) break;
      if (child + 1 < slots.length && this.#before(slots[child + 1] ?? -1, slots[child] ?? -1)) child++;
      const below = slots[child] ?? -1;
      if (!this.#before(below, slot)) break;
      this.#store(index, below);
      index = child;
    }
    this.#store(index, slot);
  }

  #store(index: number, slot: number): void {
    this.#slots[index] = slot;
    this.#places.set(slot, index + 1);
  }
}
