/**
 * One queue's state: which of its messages are where, their order, their timers, and what was counted. Changed by `evolve`
 * alone, through the few moves below; each move leaves a message in exactly one place:
 *
 *   arrive → waiting | delayed      delayed → waiting (released)      waiting → in flight (deliver)
 *   in flight → waiting | delayed (requeue) | dead (bury)             dead → waiting (revive)      any → gone (remove)
 *
 * A message has at most one timer: when it becomes ready (delayed), expires (waiting), or its deadline passes (in flight).
 */
import { assert, type Offset, unreachable } from "../../log/index.js";
import type { MessageArrived } from "./codec.js";
import type {
  Death,
  Delivery,
  EventRef,
  MessageHead,
  QueueConfig,
  QueueHead,
  QueueStats,
} from "./contract.js";
import * as field from "./message-rows.js";
import type { MessageBytes, MessageTable } from "./message-table.js";
import { SlotHeap } from "./slot-heap.js";

/** What remembering a message key is charged, beside the key's own characters. */
const KEY_OVERHEAD_BYTES = 160;

/** What a message key is charged while it is remembered. */
export function keyChargeOf(dedupKey: string): number {
  return KEY_OVERHEAD_BYTES + 2 * dedupKey.length;
}

export interface KeyUse {
  readonly ref: EventRef;
  readonly until: number;
}

/** Where a message of a snapshot was. */
export type RestoredPlace = {
  readonly ref: EventRef;
  readonly publishedAt: number;
  readonly retryCount: number;
} & (
  | { readonly state: "waiting" | "delayed"; readonly availableAt: number }
  | { readonly state: "in_flight"; readonly delivery: Delivery }
  | { readonly state: "dead"; readonly death: Death }
);

export type Totals = { -readonly [Name in Exclude<keyof QueueStats, keyof QueueHead | "consumers">]: number };

export class Queue {
  readonly name: string;
  /** Its number among the queues that are there; used again when it is deleted. */
  readonly number: number;
  readonly config: QueueConfig;
  lastOffset: Offset;
  readonly totals: Totals = {
    published: 0,
    consumed: 0,
    acked: 0,
    nacked: 0,
    timedOut: 0,
    deadLettered: 0,
    deadRequeued: 0,
    purged: 0,
    expired: 0,
  };
  readonly waiting: SlotHeap;
  readonly timers: SlotHeap;
  readonly deliveries = new Map<number, Delivery>();
  /** Open deliveries by consumer; nobody without one. */
  readonly held = new Map<string, number>();
  /** In order of death. */
  readonly deaths = new Map<number, Death>();
  /** In order of publish, which is that of being forgotten, since the window never changes. */
  readonly keys = new Map<string, KeyUse>();
  delayed = 0;
  readonly #table: MessageTable;

  constructor(name: string, number: number, config: QueueConfig, created: Offset, table: MessageTable) {
    this.name = name;
    this.number = number;
    this.config = config;
    this.lastOffset = created;
    this.#table = table;
    const { rows } = table;
    this.waiting = new SlotHeap((slot, other) => table.goesBefore(slot, other), {
      get: (slot) => rows.word(slot, field.WAITING_PLACE),
      set: (slot, place) => rows.setWord(slot, field.WAITING_PLACE, place),
    });
    this.timers = new SlotHeap((slot, other) => table.isDueBefore(slot, other), {
      get: (slot) => rows.word(slot, field.TIMER_PLACE),
      set: (slot, place) => rows.setWord(slot, field.TIMER_PLACE, place),
    });
  }

  /** The earliest that time will change, 0 = nothing. */
  get nextDue(): number {
    return this.timers.size === 0 ? 0 : this.#table.rows.double(this.timers.top, field.DUE_AT);
  }

  get head(): QueueHead {
    return {
      name: this.name,
      config: this.config,
      lastOffset: this.lastOffset,
      waiting: this.waiting.size,
      delayed: this.delayed,
      inFlight: this.deliveries.size,
      dead: this.deaths.size,
    };
  }

  headOf(slot: number): MessageHead {
    const { rows } = this.#table;
    const delivery = this.deliveries.get(slot);
    const death = this.deaths.get(slot);
    return {
      ref: this.#table.refOf(slot),
      state: this.#table.stateOf(slot),
      priority: rows.word(slot, field.PRIORITY),
      retryCount: rows.word(slot, field.RETRY_COUNT),
      maxRetries: rows.word(slot, field.MAX_RETRIES),
      publishedAt: rows.double(slot, field.PUBLISHED_AT),
      availableAt: rows.double(slot, field.AVAILABLE_AT),
      expiresAt: rows.double(slot, field.EXPIRES_AT),
      payloadBytes: rows.word(slot, field.PAYLOAD_BYTES),
      ...(delivery === undefined ? {} : { delivery }),
      ...(death === undefined ? {} : { death }),
    };
  }

  arrive(message: MessageArrived, ref: EventRef, at: number): void {
    const slot = this.#table.add(message, ref, at, this.number);
    this.totals.published++;
    if (message.dedupKey !== "") {
      this.#forgetKey(message.dedupKey);
      this.rememberKey(message.dedupKey, { ref, until: message.dedupUntil });
    }
    this.#settle(slot, message.availableAt);
  }

  /** Puts a message of a snapshot where it was. */
  restore(message: MessageBytes, place: RestoredPlace): void {
    const { rows } = this.#table;
    const slot = this.#table.add(message, place.ref, place.publishedAt, this.number);
    rows.setWord(slot, field.RETRY_COUNT, place.retryCount);
    switch (place.state) {
      case "waiting":
      case "delayed":
        this.#settle(slot, place.availableAt);
        break;
      case "in_flight":
        this.#hold(slot, place.delivery);
        break;
      case "dead":
        this.#table.setState(slot, "dead");
        this.deaths.set(slot, place.death);
        break;
      default:
        unreachable(place);
    }
  }

  /** The newest so far. */
  rememberKey(key: string, use: KeyUse): void {
    this.keys.set(key, use);
    this.#table.charge(keyChargeOf(key));
  }

  /** Forgets the keys whose window has passed. */
  forgetKeys(now: number): void {
    for (const [key, { until }] of this.keys) {
      if (until > now) return;
      this.#forgetKey(key);
    }
  }

  release(slot: number): void {
    this.#leave(slot);
    this.#settle(slot, 0);
  }

  deliver(slot: number, delivery: Delivery): void {
    this.#leave(slot);
    this.#hold(slot, delivery);
    this.totals.consumed++;
  }

  extend(slot: number, deadline: number): void {
    const delivery = this.deliveries.get(slot);
    assert(delivery !== undefined, "a deadline is extended in flight");
    this.deliveries.set(slot, { ...delivery, deadline });
    this.#setTimer(slot, deadline);
  }

  /** Waits again: at its place by priority and publish, at once or from `availableAt`. */
  requeue(slot: number, retryCount: number, availableAt: number): void {
    this.#leave(slot);
    this.#table.rows.setWord(slot, field.RETRY_COUNT, retryCount);
    this.#settle(slot, availableAt);
  }

  bury(slot: number, retryCount: number, death: Death): void {
    this.#leave(slot);
    this.#table.rows.setWord(slot, field.RETRY_COUNT, retryCount);
    this.#table.setState(slot, "dead");
    this.deaths.set(slot, death);
    this.totals.deadLettered++;
  }

  revive(slot: number): void {
    this.#table.rows.setDouble(slot, field.EXPIRES_AT, 0);
    this.totals.deadRequeued++;
    this.requeue(slot, 0, 0);
  }

  remove(slot: number): void {
    this.#leave(slot);
    this.#table.remove(slot);
  }

  /** Removes what waits or is delayed; returns how many. */
  purge(): number {
    const slots = this.#ready;
    // All at once: taking a million out of a heap one by one would hold up everybody for a second.
    this.waiting.clear();
    for (const slot of slots) this.remove(slot);
    return slots.length;
  }

  get #ready(): readonly number[] {
    const delayed = this.timers.slots.filter((slot) => this.#table.stateOf(slot) === "delayed");
    return [...this.waiting.slots, ...delayed];
  }

  /** Its messages without a copy of the list: waiting and delayed ones in no order, then in order of delivery, and of death. */
  *eachSlot(): Generator<number> {
    yield* this.waiting.slots;
    for (const slot of this.timers.slots) if (this.#table.stateOf(slot) === "delayed") yield slot;
    yield* this.deliveries.keys();
    yield* this.deaths.keys();
  }

  get slots(): readonly number[] {
    return [...this.#ready, ...this.deliveries.keys(), ...this.deaths.keys()];
  }

  /** The queue goes, with everything that it has. */
  clear(): void {
    const { slots } = this;
    this.waiting.clear();
    this.timers.clear();
    for (const slot of slots) this.remove(slot);
    for (const key of [...this.keys.keys()]) this.#forgetKey(key);
  }

  #hold(slot: number, delivery: Delivery): void {
    this.#table.setState(slot, "in_flight");
    this.deliveries.set(slot, delivery);
    this.held.set(delivery.consumer, (this.held.get(delivery.consumer) ?? 0) + 1);
    this.#setTimer(slot, delivery.deadline);
  }

  #settle(slot: number, availableAt: number): void {
    const expiresAt = this.#table.rows.double(slot, field.EXPIRES_AT);
    this.#table.rows.setDouble(slot, field.AVAILABLE_AT, availableAt);
    if (availableAt === 0) {
      this.#table.setState(slot, "waiting");
      this.waiting.add(slot);
      this.#setTimer(slot, expiresAt);
    } else {
      this.#table.setState(slot, "delayed");
      this.delayed++;
      this.#setTimer(slot, expiresAt === 0 ? availableAt : Math.min(availableAt, expiresAt));
    }
  }

  /** Takes a message out of wherever it is; it has no timer then. */
  #leave(slot: number): void {
    const state = this.#table.stateOf(slot);
    if (state === "waiting") this.waiting.remove(slot);
    else if (state === "delayed") this.delayed--;
    else if (state === "in_flight") this.#close(slot);
    else this.deaths.delete(slot);
    this.#setTimer(slot, 0);
  }

  #close(slot: number): void {
    const consumer = this.deliveries.get(slot)?.consumer ?? "";
    this.deliveries.delete(slot);
    const held = (this.held.get(consumer) ?? 0) - 1;
    if (held > 0) this.held.set(consumer, held);
    else this.held.delete(consumer);
  }

  #setTimer(slot: number, at: number): void {
    this.timers.remove(slot);
    this.#table.rows.setDouble(slot, field.DUE_AT, at);
    if (at > 0) this.timers.add(slot);
  }

  #forgetKey(key: string): void {
    if (this.keys.delete(key)) this.#table.charge(-keyChargeOf(key));
  }
}
