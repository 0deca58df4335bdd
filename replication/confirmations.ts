/**
 * Which replicas hold what durably, and the writes that wait for it. A write is confirmed when enough replicas that count hold its offset:
 * who counts is the node list's to say, that an acknowledgement was given under this node's leadership is the links'.
 *
 * An acknowledgement counts while its lease lasts (`lease.ts`), at the moment in which somebody is told: who was replaced without hearing of it
 * confirms nothing.
 */
import type { Offset } from "../log/index.js";
import { BEFORE_FIRST } from "../log/index.js";
import type { ReplicationError } from "./errors.js";
import { PlacedHeap } from "./placed-heap.js";
import type { Clock } from "./ports.js";

export interface Confirmation {
  /** Replicas that hold it durably, as far as they told. */
  readonly confirmed: number;
  readonly wanted: number;
}

interface Holder {
  readonly nodeId: string;
  readonly durable: Offset;
}

interface Waiter {
  readonly offset: Offset;
  readonly wanted: number;
  readonly settle: (confirmation: Confirmation) => void;
  readonly reject: (error: ReplicationError) => void;
  cancelTimer: () => void;
  place: number;
}

export interface ConfirmationsOptions {
  readonly clock: Pick<Clock, "after">;
  /** Past it a write is told at once how far it is. */
  readonly waitersMax: number;
  /** Whether acknowledgements of this node confirm anything. */
  readonly counts: (nodeId: string) => boolean;
  /** Whether they do at this moment. */
  readonly isLeased: (nodeId: string) => boolean;
}

export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #durable = new Map<string, Offset>();
  /** By the number of replicas that are waited for; in each, the lowest offset first. */
  readonly #waiting = new Map<number, PlacedHeap<Waiter>>();
  /** Those that count, whoever holds most first. */
  #held: readonly Holder[] = [];
  #waiters = 0;
  #confirmed = 0;
  #notConfirmed = 0;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiters;
  }

  /** Writes that were, or were not, confirmed in time. */
  get counters(): { readonly confirmed: number; readonly notConfirmed: number } {
    return { confirmed: this.#confirmed, notConfirmed: this.#notConfirmed };
  }

  durableOf(nodeId: string): Offset | undefined {
    return this.#durable.get(nodeId);
  }

  /** What a replica holds durably of this node's log; may be less than before, when it lost something. The same again may have a later lease. */
  acknowledged(nodeId: string, durable: Offset): void {
    if (this.#durable.get(nodeId) === durable && this.#waiters === 0) return;
    this.#durable.set(nodeId, durable);
    this.recount();
  }

  forget(nodeId: string): void {
    this.#durable.delete(nodeId);
    this.recount();
  }

  /** Who counts may have changed. */
  recount(): void {
    const held: Holder[] = [];
    for (const [nodeId, durable] of this.#durable)
      if (this.#options.counts(nodeId)) held.push({ nodeId, durable });
    this.#held = held.sort((a, b) => b.durable - a.durable);
    for (const [wanted, heap] of this.#waiting) {
      const reached = this.#heldBy(wanted);
      for (let first = heap.first; first !== undefined && first.offset <= reached; first = heap.first)
        this.#settle(heap, first);
    }
  }

  /** How many replicas hold the record, as far as they told. */
  holders(offset: Offset): number {
    const { isLeased } = this.#options;
    let holders = 0;
    for (const { nodeId, durable } of this.#held) if (durable >= offset && isLeased(nodeId)) holders++;
    return holders;
  }

  /** Settles when `wanted` replicas hold the record, or when the time is over: with as many as do. */
  confirmed(offset: Offset, wanted: number, timeoutMs: number): Promise<Confirmation> {
    const confirmed = this.holders(offset);
    if (confirmed >= wanted || timeoutMs <= 0 || this.#waiters >= this.#options.waitersMax) {
      this.#count(confirmed >= wanted);
      return Promise.resolve({ confirmed, wanted });
    }
    return new Promise((settle, reject) => {
      const waiter: Waiter = { offset, wanted, settle, reject, cancelTimer: () => undefined, place: -1 };
      const heap = this.#heapOf(wanted);
      heap.add(waiter);
      this.#waiters++;
      waiter.cancelTimer = this.#options.clock.after(timeoutMs, () => this.#settle(heap, waiter));
    });
  }

  /** This node leads no more, or stops: nothing that waits will be confirmed, and what was acknowledged to it counts no longer. */
  end(reason: ReplicationError): void {
    this.#durable.clear();
    this.#held = [];
    for (const heap of this.#waiting.values()) {
      for (let first = heap.first; first !== undefined; first = heap.first) {
        heap.remove(first);
        first.cancelTimer();
        this.#count(false);
        first.reject(reason);
      }
    }
    this.#waiting.clear();
    this.#waiters = 0;
  }

  #heldBy(count: number): Offset {
    let holders = 0;
    for (const { nodeId, durable } of this.#held)
      if (this.#options.isLeased(nodeId) && ++holders === count) return durable;
    return BEFORE_FIRST;
  }

  #heapOf(wanted: number): PlacedHeap<Waiter> {
    let heap = this.#waiting.get(wanted);
    if (heap === undefined) {
      heap = new PlacedHeap<Waiter>((a, b) => a.offset < b.offset);
      this.#waiting.set(wanted, heap);
    }
    return heap;
  }

  #settle(heap: PlacedHeap<Waiter>, waiter: Waiter): void {
    heap.remove(waiter);
    if (heap.size === 0) this.#waiting.delete(waiter.wanted);
    this.#waiters--;
    waiter.cancelTimer();
    const confirmed = this.holders(waiter.offset);
    this.#count(confirmed >= waiter.wanted);
    waiter.settle({ confirmed, wanted: waiter.wanted });
  }

  #count(isConfirmed: boolean): void {
    if (isConfirmed) this.#confirmed++;
    else this.#notConfirmed++;
  }
}
