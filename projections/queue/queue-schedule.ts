/** Which queue has something to do next, and when: queues by number, the soonest first. */
import { SlotHeap } from "./slot-heap.js";

export class QueueSchedule {
  /** By number: ms since 1970, and its place in the heap. */
  readonly #at: number[] = [];
  readonly #places: number[] = [];
  readonly #heap = new SlotHeap(
    (number, other) => {
      const bySooner = (this.#at[number] ?? 0) - (this.#at[other] ?? 0);
      return bySooner === 0 ? number < other : bySooner < 0;
    },
    {
      get: (number) => this.#places[number] ?? 0,
      set: (number, place) => {
        this.#places[number] = place;
      },
    },
  );

  /** 0 = never. */
  set(number: number, at: number): void {
    if (at === (this.#at[number] ?? 0) && this.#heap.has(number) === at > 0) return;
    this.#heap.remove(number);
    this.#at[number] = at;
    if (at > 0) this.#heap.add(number);
  }

  /** When the first has something to do; undefined = none has. */
  get next(): number | undefined {
    return this.#heap.size === 0 ? undefined : this.#at[this.#heap.top];
  }

  /** The numbers, soonest first. Nothing may change meanwhile. */
  inOrder(): Iterable<number> {
    return this.#heap.inOrder();
  }

  /** The soonest, if its time has come by `now`; else -1. */
  due(now: number): number {
    return (this.next ?? Number.POSITIVE_INFINITY) <= now ? this.#heap.top : -1;
  }
}
