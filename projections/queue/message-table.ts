/**
 * Every message of every queue, by slot: its row, its bytes (payload, then headers as the event's body has them) in blocks outside
 * V8's heap, the index by its place in the log, and what is known of an open delivery or a death. What a message's state means is
 * the queue's business (`queue.ts`); which go together when many go at once, that of their lots (`lots.ts`).
 */
import { assert, type Offset, offset } from "../../log/index.js";
import { copyBytes } from "../bytes.js";
import { Column } from "../kv/column.js";
import { blockBytes, SlabStore } from "../kv/slab-store.js";
import { type MessageArrived, readHeaders } from "./codec.js";
import type { Death, Delivery, EventRef, Headers, MessageState } from "./contract.js";
import { type Lot, Lots } from "./lots.js";
import { MessageIndex } from "./message-index.js";
import * as field from "./message-rows.js";
import { MessageRows, ROW_BYTES } from "./message-rows.js";

/** By the number in the row; 0 = the slot is free. */
const STATES: readonly (MessageState | undefined)[] = [undefined, "waiting", "delayed", "in_flight", "dead"];

/** A row, its share of the index and of two heaps. */
const MESSAGE_OVERHEAD_BYTES = ROW_BYTES + 32;

/** Condemned slots that each new message takes back: more than it needs itself, so that the table does not grow meanwhile. */
const RECLAIMED_PER_MESSAGE = 2;
/** A table that never had more keeps what it has. */
const SLOTS_KEPT = 4_096;

/** What a message is charged. */
export function chargeOf(payloadBytes: number, headersBytes: number): number {
  return MESSAGE_OVERHEAD_BYTES + blockBytes(payloadBytes + headersBytes);
}

/** What the table takes of a message that arrived. */
export type MessageBytes = Pick<
  MessageArrived,
  | "source"
  | "payloadStart"
  | "payloadEnd"
  | "headersStart"
  | "headersEnd"
  | "priority"
  | "maxRetries"
  | "expiresAt"
>;

export class MessageTable {
  readonly rows = new MessageRows();
  readonly #slabs = new SlabStore();
  readonly #index = new MessageIndex(this.rows);
  readonly #lots = new Lots();
  /** By slot: of messages in flight, and of dead ones. */
  readonly deliveries = new Column<Delivery | undefined>((slots) => new Array(slots), undefined);
  readonly deaths = new Column<Death | undefined>((slots) => new Array(slots), undefined);
  #slotEnd = 0;
  /** The first free slot + 1; each holds the next in its row. */
  #free = 0;
  #size = 0;
  #chargedBytes = 0;

  /** Messages that are there. */
  get size(): number {
    return this.#size;
  }

  /** Slots that are free or in use. */
  get slotEnd(): number {
    return this.#slotEnd;
  }

  get memoryBytes(): number {
    return this.#chargedBytes;
  }

  find(ref: EventRef): number {
    return this.#index.find(ref.offset, ref.place);
  }

  /** It is in no lot yet. */
  add(message: MessageBytes, ref: EventRef, publishedAt: number): number {
    this.#reclaimCondemned(RECLAIMED_PER_MESSAGE);
    const slot = this.#take();
    const { rows } = this;
    const { source, payloadStart, payloadEnd, headersStart, headersEnd } = message;
    const payloadBytes = payloadEnd - payloadStart;
    // No headers are one byte that says so, which need not be kept.
    const headersBytes = headersEnd - headersStart > 1 ? headersEnd - headersStart : 0;
    if (payloadBytes + headersBytes > 0) {
      const block = this.#slabs.allocate(payloadBytes + headersBytes);
      const [bytes, at] = [this.#slabs.bytesOf(block), this.#slabs.positionOf(block)];
      copyBytes(source, payloadStart, payloadEnd, bytes, at);
      if (headersBytes > 0) copyBytes(source, headersStart, headersEnd, bytes, at + payloadBytes);
      rows.setDouble(slot, field.BLOCK, block + 1);
    }
    rows.setDouble(slot, field.OFFSET, ref.offset);
    rows.setWord(slot, field.PLACE, ref.place);
    rows.setDouble(slot, field.PUBLISHED_AT, publishedAt);
    rows.setDouble(slot, field.EXPIRES_AT, message.expiresAt);
    rows.setWord(slot, field.PAYLOAD_BYTES, payloadBytes);
    rows.setWord(slot, field.HEADERS_BYTES, headersBytes);
    rows.setWord(slot, field.MAX_RETRIES, message.maxRetries);
    rows.setWord(slot, field.PRIORITY, message.priority);
    this.#index.add(slot);
    this.#size++;
    this.#chargedBytes += chargeOf(payloadBytes, headersBytes);
    return slot;
  }

  /** It has left its lot. */
  remove(slot: number): void {
    this.#size--;
    this.#chargedBytes -= this.#chargeAt(slot);
    this.#release(slot);
  }

  openLot(): Lot {
    return this.#lots.open();
  }

  enter(slot: number, lot: Lot): void {
    this.rows.setWord(slot, field.LOT, lot.number);
    lot.messages++;
    lot.chargedBytes += this.#chargeAt(slot);
  }

  leave(slot: number, lot: Lot): void {
    assert(this.rows.word(slot, field.LOT) === lot.number, "a message leaves the lot that it is in");
    this.rows.setWord(slot, field.LOT, 0);
    lot.messages--;
    lot.chargedBytes -= this.#chargeAt(slot);
  }

  /** All messages of the lot go at once; `slots` gives at least theirs. The lot may not be used any more. */
  condemn(lot: Lot, slots: Iterable<number>): void {
    this.#size -= lot.messages;
    this.#chargedBytes -= lot.chargedBytes;
    this.#lots.condemn(lot, slots);
    if (this.#size === 0) this.#clear();
  }

  /** Takes back up to `budget` slots of condemned lots; returns how many it looked at. No answer changes. */
  reclaim(budget: number): number {
    const reclaimed = this.#reclaimCondemned(budget);
    // An empty table gives back what a large one took.
    if (this.#size === 0 && this.#slotEnd > SLOTS_KEPT) this.#clear();
    return reclaimed;
  }

  #reclaimCondemned(budget: number): number {
    let looked = 0;
    for (; looked < budget && this.#lots.hasCondemned; looked++) {
      const next = this.#lots.next();
      if (next === undefined) break;
      if (this.rows.word(next.slot, field.LOT) === next.lot) this.#release(next.slot);
    }
    return looked;
  }

  #clear(): void {
    this.#lots.forgetCondemned();
    this.#index.clear();
    this.#slabs.clear();
    this.rows.clearAll();
    this.deliveries.clear();
    this.deaths.clear();
    this.#slotEnd = 0;
    this.#free = 0;
  }

  #chargeAt(slot: number): number {
    const { rows } = this;
    return chargeOf(rows.word(slot, field.PAYLOAD_BYTES), rows.word(slot, field.HEADERS_BYTES));
  }

  /** Gives back the slot with all that it has. */
  #release(slot: number): void {
    const { rows } = this;
    this.#index.remove(slot);
    if (this.deliveries.get(slot) !== undefined) this.deliveries.set(slot, undefined);
    if (this.deaths.get(slot) !== undefined) this.deaths.set(slot, undefined);
    const block = rows.double(slot, field.BLOCK) - 1;
    if (block >= 0) this.#slabs.free(block);
    rows.clear(slot);
    rows.setDouble(slot, field.OFFSET, this.#free);
    this.#free = slot + 1;
  }

  /** What keeping something beside the messages costs, in their budget. */
  charge(bytes: number): void {
    this.#chargedBytes += bytes;
  }

  refOf(slot: number): EventRef {
    const record: Offset = offset(this.rows.double(slot, field.OFFSET));
    return { offset: record, place: this.rows.word(slot, field.PLACE) };
  }

  stateOf(slot: number): MessageState {
    const state = STATES[this.rows.word(slot, field.STATE)];
    assert(state !== undefined, "a message has a state");
    return state;
  }

  setState(slot: number, state: MessageState): void {
    this.rows.setWord(slot, field.STATE, STATES.indexOf(state));
  }

  /** A copy. */
  payloadOf(slot: number): Uint8Array {
    return this.#bytes(slot, 0, this.rows.word(slot, field.PAYLOAD_BYTES));
  }

  headersOf(slot: number): Headers {
    const bytes = this.headerBytesOf(slot);
    return bytes.length === 0 ? {} : readHeaders(bytes);
  }

  /** As the event's body has them; empty when there are none. A copy. */
  headerBytesOf(slot: number): Uint8Array {
    const { rows } = this;
    return this.#bytes(slot, rows.word(slot, field.PAYLOAD_BYTES), rows.word(slot, field.HEADERS_BYTES));
  }

  /** The order of consuming: higher priority, then earlier publish. */
  goesBefore(slot: number, other: number): boolean {
    const { rows } = this;
    const byPriority = rows.word(slot, field.PRIORITY) - rows.word(other, field.PRIORITY);
    return byPriority === 0 ? this.isOlder(slot, other) : byPriority > 0;
  }

  /** The order of the timers: sooner, then earlier publish. */
  isDueBefore(slot: number, other: number): boolean {
    const bySooner = this.rows.double(slot, field.DUE_AT) - this.rows.double(other, field.DUE_AT);
    return bySooner === 0 ? this.isOlder(slot, other) : bySooner < 0;
  }

  isOlder(slot: number, other: number): boolean {
    const { rows } = this;
    const byOffset = rows.double(slot, field.OFFSET) - rows.double(other, field.OFFSET);
    return byOffset === 0 ? rows.word(slot, field.PLACE) < rows.word(other, field.PLACE) : byOffset < 0;
  }

  #bytes(slot: number, from: number, length: number): Uint8Array {
    const copy = new Uint8Array(length);
    const block = this.rows.double(slot, field.BLOCK) - 1;
    if (block >= 0) {
      const start = this.#slabs.positionOf(block) + from;
      copyBytes(this.#slabs.bytesOf(block), start, start + length, copy, 0);
    }
    return copy;
  }

  #take(): number {
    if (this.#free > 0) {
      const slot = this.#free - 1;
      this.#free = this.rows.double(slot, field.OFFSET);
      this.rows.setDouble(slot, field.OFFSET, 0);
      return slot;
    }
    const slot = this.#slotEnd++;
    this.rows.reserve(slot);
    return slot;
  }
}
