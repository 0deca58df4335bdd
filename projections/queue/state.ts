/**
 * The queue read model: the queues by name, the table of their messages, and which queue time changes next. Changed by `evolve`
 * alone; everyone else sees it through `QueueReadView`.
 */
import { assert, BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { KeyHash } from "../kv/key-hash.js";
import { KeyScratch } from "../kv/key-scratch.js";
import type { TouchedTopics } from "../wakes.js";
import type {
  EventRef,
  MessageBody,
  MessageHead,
  QueueConfig,
  QueueHead,
  QueueReadView,
  QueueStats,
} from "./contract.js";
import * as field from "./message-rows.js";
import { MessageTable } from "./message-table.js";
import { expiredBy } from "./passed-times.js";
import { Queue } from "./queue.js";
import { QueueSchedule } from "./queue-schedule.js";
import { SlotHeap } from "./slot-heap.js";

/** Expired messages that a walk in order goes past, one by one: some milliseconds. */
const PASSED_IN_ORDER_MAX = 1_000;

export class QueueState implements QueueReadView {
  readonly isBatch = false;
  readonly requeuedDead = 0;
  readonly table = new MessageTable();
  readonly touched: TouchedTopics;
  /** Written by `evolve` alone. */
  lastListChange: Offset = BEFORE_FIRST;
  readonly #queues = new Map<string, Queue>();
  /** By number; undefined = the number is vacant. */
  readonly #numbered: (Queue | undefined)[] = [];
  readonly #vacant: number[] = [];
  /** When time changes a queue next, and when it forgets a message key next. */
  readonly #due = new QueueSchedule();
  readonly #forgetting = new QueueSchedule();
  readonly #scratch: KeyScratch;

  /** `hash`: of message keys. */
  constructor(touched: TouchedTopics, hash: KeyHash) {
    this.touched = touched;
    this.#scratch = new KeyScratch(hash);
  }

  // ---- for `evolve` ----

  create(name: string, config: QueueConfig, at: Offset): void {
    assert(!this.#queues.has(name), "a queue is created once");
    this.#add({ name, number: this.#vacant.pop() ?? this.#numbered.length, config }, at);
    this.lastListChange = at;
  }

  delete(queue: Queue, at: Offset): void {
    queue.end();
    this.#due.set(queue.number, 0);
    this.#forgetting.set(queue.number, 0);
    this.#numbered[queue.number] = undefined;
    this.#vacant.push(queue.number);
    this.#queues.delete(queue.name);
    this.lastListChange = at;
  }

  existing(name: string): Queue {
    const queue = this.#queues.get(name);
    assert(queue !== undefined, "an event's queue is there");
    return queue;
  }

  /** The slot of a message of this queue. */
  slotOf(queue: Queue, ref: EventRef): number {
    const slot = this.#find(queue, ref);
    assert(slot >= 0, "an event's message is there");
    return slot;
  }

  /** Called when the queue's timers may have changed. */
  reschedule(queue: Queue): void {
    this.#due.set(queue.number, queue.nextDue);
    this.#forgetting.set(queue.number, queue.keys.nextEnd);
  }

  /**
   * Gives back the memory of up to `budget` messages that were purged and keys whose window has passed; returns how many. Local and
   * invisible: no answer changes.
   */
  reclaim(now: number, budget: number): number {
    let reclaimed = this.table.reclaim(budget);
    while (reclaimed < budget) {
      const queue = this.#numbered[this.#forgetting.due(now)];
      if (queue === undefined) break;
      reclaimed += queue.forgetKeys(now, budget - reclaimed);
      this.#forgetting.set(queue.number, queue.keys.nextEnd);
    }
    return reclaimed;
  }

  // ---- for snapshots ----

  /** Numbers of deleted queues; the last is given out next. */
  get vacantNumbers(): readonly number[] {
    return this.#vacant;
  }

  /** Of a state that is empty. */
  restoreVacant(numbers: readonly number[]): void {
    for (const number of numbers) {
      this.#numbered[number] = undefined;
      this.#vacant.push(number);
    }
  }

  /** Adds a queue with the number that it had. */
  restore(named: Pick<Queue, "name" | "number" | "config">, lastOffset: Offset): Queue {
    return this.#add(named, lastOffset);
  }

  // ---- the view ----

  get queueCount(): number {
    return this.#queues.size;
  }

  get memoryBytes(): number {
    return this.table.memoryBytes;
  }

  /** The earliest that time will change, undefined = nothing. */
  get nextDue(): number | undefined {
    return this.#due.next;
  }

  queues(): IterableIterator<Queue> {
    return this.#queues.values();
  }

  names(): readonly string[] {
    return [...this.#queues.keys()].sort();
  }

  queue(name: string): QueueHead | undefined {
    return this.#queues.get(name)?.head;
  }

  stats(name: string): QueueStats | undefined {
    const queue = this.#queues.get(name);
    return queue && { ...queue.head, consumers: queue.held.size, ...queue.totals };
  }

  message(name: string, ref: EventRef): MessageHead | undefined {
    const queue = this.#queues.get(name);
    const slot = queue === undefined ? -1 : this.#find(queue, ref);
    return slot < 0 ? undefined : queue?.headOf(slot);
  }

  body(name: string, ref: EventRef): MessageBody | undefined {
    const queue = this.#queues.get(name);
    const slot = queue === undefined ? -1 : this.#find(queue, ref);
    if (slot < 0) return undefined;
    return { payload: this.table.payloadOf(slot), headers: this.table.headersOf(slot) };
  }

  published(name: string, dedupKey: string, now: number): EventRef | undefined {
    const use = this.#queues.get(name)?.keys.find(dedupKey);
    return use !== undefined && use.until > now ? use.ref : undefined;
  }

  heldBy(name: string, consumer: string): number {
    return this.#queues.get(name)?.held.get(consumer) ?? 0;
  }

  *first(name: string, now: number): Generator<MessageHead> {
    const queue = this.#queues.get(name);
    if (queue === undefined) return;
    for (const slot of this.#waitingAt(queue, now)) yield queue.headOf(slot);
  }

  /** What waits and has not expired, in order. */
  *#waitingAt({ waiting }: Queue, now: number): Generator<number> {
    const isThere = (slot: number): boolean =>
      !expiredBy(this.table.rows.double(slot, field.EXPIRES_AT), now);
    const before = (slot: number, other: number): boolean => this.table.goesBefore(slot, other);
    let passed = 0;
    for (const slot of waiting.inOrder()) {
      if (isThere(slot)) yield slot;
      else if (++passed === PASSED_IN_ORDER_MAX) {
        // A look at each that is left costs a hundredth of a step in order.
        const left = new SlotHeap(before);
        for (const each of waiting.slots) if (isThere(each) && before(slot, each)) left.add(each);
        yield* left.inOrder();
        return;
      }
    }
  }

  due(name: string, now: number, limit: number): readonly MessageHead[] {
    const queue = this.#queues.get(name);
    const due: MessageHead[] = [];
    if (queue === undefined || queue.nextDue === 0 || queue.nextDue > now) return due;
    for (const slot of queue.due()) {
      if (due.length >= limit || this.table.rows.double(slot, field.DUE_AT) > now) break;
      due.push(queue.headOf(slot));
    }
    return due;
  }

  dueQueues(now: number, limit: number): readonly string[] {
    const names: string[] = [];
    for (const number of this.#due.inOrder()) {
      const queue = this.#numbered[number];
      if (names.length >= limit || queue === undefined || queue.nextDue > now) break;
      names.push(queue.name);
    }
    return names;
  }

  deadLetters(name: string, limit: number, after?: EventRef): readonly MessageHead[] {
    const queue = this.#queues.get(name);
    const letters: MessageHead[] = [];
    if (queue === undefined) return letters;
    for (const slot of queue.deaths.slots(after)) {
      if (letters.length >= limit) break;
      letters.push(queue.headOf(slot));
    }
    return letters;
  }

  #add(named: Pick<Queue, "name" | "number" | "config">, at: Offset): Queue {
    const queue = new Queue(named, at, this.table, this.#scratch);
    this.#numbered[queue.number] = queue;
    this.#queues.set(queue.name, queue);
    return queue;
  }

  #find(queue: Queue, ref: EventRef): number {
    const slot = this.table.find(ref);
    return slot >= 0 && queue.holds(slot) ? slot : -1;
  }
}
