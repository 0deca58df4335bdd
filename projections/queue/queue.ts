/**
 * One queue's state: which of its messages are where, their order, their timers, and what was counted. Changed by `evolve`
 * alone, through the few moves below; each move leaves a message in exactly one place:
 *
 *   arrive → waiting | delayed      delayed → waiting (released)      waiting → in flight (deliver)
 *   in flight → waiting | delayed (requeue) | dead (bury)             dead → waiting (revive)      any → gone (remove)
 *
 * A message has at most one timer: when it becomes ready (delayed), expires (waiting), or its deadline passes (in flight).
 *
 * What can go at once – all that is ready, all dead letters, the whole queue – goes in one step, whatever its number: the messages
 * of each kind are a lot (`lots.ts`) and have order and timers of their own.
 */
import { assert, type Offset, unreachable } from "../../log/index.js";
import type { KeyScratch } from "../kv/key-scratch.js";
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
import { DeathRow } from "./death-row.js";
import { DedupKeys, type KeyUse } from "./dedup-keys.js";
import type { Lot } from "./lots.js";
import * as field from "./message-rows.js";
import type { MessageBytes, MessageTable } from "./message-table.js";
import { type Places, SlotHeap } from "./slot-heap.js";

/** Keys past their window that each publish with one forgets: more than it adds. */
const FORGOTTEN_PER_KEY = 2;

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
  /** Of what is ready: delays and ttls. */
  readonly timers: SlotHeap;
  /** Of what is in flight: all of it, since each has one. */
  readonly deadlines: SlotHeap;
  /** Open deliveries by consumer; nobody without one. */
  readonly held = new Map<string, number>();
  readonly deaths: DeathRow;
  readonly keys: DedupKeys;
  delayed = 0;
  readonly #table: MessageTable;
  #ready: Lot;
  #inFlight: Lot;
  #dead: Lot;

  constructor(
    { name, number, config }: { name: string; number: number; config: QueueConfig },
    created: Offset,
    table: MessageTable,
    scratch: KeyScratch,
  ) {
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
    const timerPlaces: Places = {
      get: (slot) => rows.word(slot, field.TIMER_PLACE),
      set: (slot, place) => rows.setWord(slot, field.TIMER_PLACE, place),
    };
    this.timers = new SlotHeap((slot, other) => table.isDueBefore(slot, other), timerPlaces);
    this.deadlines = new SlotHeap((slot, other) => table.isDueBefore(slot, other), timerPlaces);
    this.deaths = new DeathRow((slot) => this.#deathOf(slot).ref);
    this.keys = new DedupKeys(scratch);
    this.#ready = table.openLot();
    this.#inFlight = table.openLot();
    this.#dead = table.openLot();
  }

  /** The earliest that time will change, 0 = nothing. */
  get nextDue(): number {
    const [timer, deadline] = [this.#firstOf(this.timers), this.#firstOf(this.deadlines)];
    return timer === 0 || deadline === 0 ? timer + deadline : Math.min(timer, deadline);
  }

  #firstOf(timers: SlotHeap): number {
    return timers.size === 0 ? 0 : this.#table.rows.double(timers.top, field.DUE_AT);
  }

  /** What has a timer, the soonest first. Nothing may change meanwhile. */
  *due(): Generator<number> {
    const deadlines = this.deadlines.inOrder();
    let deadline = deadlines.next();
    for (const timer of this.timers.inOrder()) {
      for (
        ;
        deadline.done !== true && this.#table.isDueBefore(deadline.value, timer);
        deadline = deadlines.next()
      ) {
        yield deadline.value;
      }
      yield timer;
    }
    for (; deadline.done !== true; deadline = deadlines.next()) yield deadline.value;
  }

  /** Whether a slot holds a message of this queue. */
  holds(slot: number): boolean {
    const lot = this.#table.rows.word(slot, field.LOT);
    return lot === this.#ready.number || lot === this.#inFlight.number || lot === this.#dead.number;
  }

  get head(): QueueHead {
    return {
      name: this.name,
      config: this.config,
      lastOffset: this.lastOffset,
      waiting: this.waiting.size,
      delayed: this.delayed,
      inFlight: this.deadlines.size,
      dead: this.deaths.size,
    };
  }

  headOf(slot: number): MessageHead {
    const { rows } = this.#table;
    const delivery = this.#table.deliveries.get(slot);
    const death = this.#table.deaths.get(slot);
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
    const slot = this.#table.add(message, ref, at);
    this.totals.published++;
    if (message.dedupKey !== "") {
      this.forgetKeys(at, FORGOTTEN_PER_KEY);
      this.rememberKey(message.dedupKey, { ref, until: message.dedupUntil });
    }
    this.#settle(slot, message.availableAt);
  }

  /** Puts a message of a snapshot where it was; of dead ones the one that died first comes first. */
  restore(message: MessageBytes, place: RestoredPlace): void {
    const { rows } = this.#table;
    const slot = this.#table.add(message, place.ref, place.publishedAt);
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
        this.#lay(slot, place.death);
        break;
      default:
        unreachable(place);
    }
  }

  rememberKey(key: string, { ref, until }: KeyUse): void {
    const before = this.keys.chargedBytes;
    this.keys.remember(key, ref, until);
    this.#table.charge(this.keys.chargedBytes - before);
  }

  /** Forgets up to `budget` keys whose window has passed; returns how many. No answer tells of it. */
  forgetKeys(now: number, budget: number): number {
    const before = this.keys.chargedBytes;
    const forgotten = this.keys.forget(now, budget);
    this.#table.charge(this.keys.chargedBytes - before);
    return forgotten;
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
    const delivery = this.#table.deliveries.get(slot);
    assert(delivery !== undefined, "a deadline is extended in flight");
    this.#table.deliveries.set(slot, { ...delivery, deadline });
    this.#setTimer(this.deadlines, slot, deadline);
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
    this.#lay(slot, death);
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

  /** What waits or is delayed goes; returns how many. */
  purge(): number {
    const purged = this.#ready.messages;
    const slots = both(this.waiting.take(), this.timers.take());
    this.delayed = 0;
    this.#table.condemn(this.#ready, slots);
    this.#ready = this.#table.openLot();
    return purged;
  }

  /** The dead letters go; returns how many. */
  purgeDead(): number {
    const purged = this.#dead.messages;
    this.#table.condemn(this.#dead, this.deaths.take());
    this.#dead = this.#table.openLot();
    return purged;
  }

  /** Every message, without a list of them: the dead ones in order of their death, the others in no order. */
  *eachSlot(): Generator<number> {
    yield* this.waiting.slots;
    for (const slot of this.timers.slots) if (this.#table.stateOf(slot) === "delayed") yield slot;
    yield* this.deadlines.slots;
    yield* this.deaths.slots();
  }

  /** Every message, in no order. */
  get slots(): readonly number[] {
    return [...this.eachSlot()];
  }

  /** The queue goes, with everything that it has. */
  end(): void {
    this.#table.charge(-this.keys.chargedBytes);
    this.#table.condemn(this.#ready, both(this.waiting.take(), this.timers.take()));
    this.#table.condemn(this.#inFlight, this.deadlines.take());
    this.#table.condemn(this.#dead, this.deaths.take());
  }

  #hold(slot: number, delivery: Delivery): void {
    this.#table.setState(slot, "in_flight");
    this.#table.enter(slot, this.#inFlight);
    this.#table.deliveries.set(slot, delivery);
    this.held.set(delivery.consumer, (this.held.get(delivery.consumer) ?? 0) + 1);
    this.#setTimer(this.deadlines, slot, delivery.deadline);
  }

  #lay(slot: number, death: Death): void {
    this.#table.setState(slot, "dead");
    this.#table.enter(slot, this.#dead);
    this.#table.deaths.set(slot, death);
    this.deaths.add(slot);
  }

  #settle(slot: number, availableAt: number): void {
    const expiresAt = this.#table.rows.double(slot, field.EXPIRES_AT);
    this.#table.rows.setDouble(slot, field.AVAILABLE_AT, availableAt);
    this.#table.enter(slot, this.#ready);
    if (availableAt === 0) {
      this.#table.setState(slot, "waiting");
      this.waiting.add(slot);
      this.#setTimer(this.timers, slot, expiresAt);
    } else {
      this.#table.setState(slot, "delayed");
      this.delayed++;
      this.#setTimer(this.timers, slot, expiresAt === 0 ? availableAt : Math.min(availableAt, expiresAt));
    }
  }

  /** Takes a message out of wherever it is; it has no timer then, and is in no lot. */
  #leave(slot: number): void {
    const state = this.#table.stateOf(slot);
    if (state === "in_flight") {
      this.#close(slot);
      this.#table.leave(slot, this.#inFlight);
      this.#setTimer(this.deadlines, slot, 0);
      return;
    }
    if (state === "dead") {
      this.deaths.remove(slot);
      this.#table.deaths.set(slot, undefined);
      this.#table.leave(slot, this.#dead);
      return;
    }
    if (state === "waiting") this.waiting.remove(slot);
    else this.delayed--;
    this.#table.leave(slot, this.#ready);
    this.#setTimer(this.timers, slot, 0);
  }

  #close(slot: number): void {
    const consumer = this.#table.deliveries.get(slot)?.consumer ?? "";
    this.#table.deliveries.set(slot, undefined);
    const held = (this.held.get(consumer) ?? 0) - 1;
    if (held > 0) this.held.set(consumer, held);
    else this.held.delete(consumer);
  }

  #setTimer(timers: SlotHeap, slot: number, at: number): void {
    timers.remove(slot);
    this.#table.rows.setDouble(slot, field.DUE_AT, at);
    if (at > 0) timers.add(slot);
  }

  #deathOf(slot: number): Death {
    const death = this.#table.deaths.get(slot);
    assert(death !== undefined, "a dead letter has a death");
    return death;
  }
}

function* both(first: Iterable<number>, second: Iterable<number>): Generator<number> {
  yield* first;
  yield* second;
}
