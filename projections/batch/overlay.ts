/**
 * What every projection will be when the events of a record that is still being put together have been applied. A projection's
 * part is made when somebody looks at it and events of its own came before: most operations of a batch are about different things.
 */
import { assert, type Offset } from "../../log/index.js";
import type { StoreEvent, StoreView } from "../decision.js";
import type { IdempotencyView } from "../idempotency/contract.js";
import type { KvEvent, KvView } from "../kv/contract.js";
import { KvOverlay } from "../kv/overlay.js";
import type { PointView } from "../points/contract.js";
import { pointsWith } from "../points/overlay.js";
import type { QueueEvent, QueueView } from "../queue/contract.js";
import { type QueueOverlay, queueOverlay } from "../queue/overlay.js";
import type { StreamEvent, StreamView } from "../stream/contract.js";
import { type StreamOverlay, streamOverlay } from "../stream/overlay.js";

export class OverlaidStore implements StoreView {
  readonly nextOffset: Offset;
  readonly idempotency: IdempotencyView;
  readonly #below: StoreView;
  readonly #now: number;
  /** Of the record, as far as it is decided; grows. */
  readonly #events: readonly StoreEvent[];
  #keys: KvOverlay | undefined;
  #queues: QueueOverlay | undefined;
  #streams: StreamOverlay | undefined;
  /** How many of the events each projection has been shown. */
  #keysSeen = 0;
  #queuesSeen = 0;
  #streamsSeen = 0;

  /** `now`: the batch's time. `events` are added to by the caller, in their places in the record. */
  constructor(below: StoreView, now: number, events: readonly StoreEvent[]) {
    this.nextOffset = below.nextOffset;
    this.idempotency = below.idempotency;
    this.#below = below;
    this.#now = now;
    this.#events = events;
  }

  get kv(): KvView {
    for (; this.#keysSeen < this.#events.length; this.#keysSeen++) {
      const event = this.#event(this.#keysSeen);
      if (!isKvEvent(event)) continue;
      this.#keys ??= new KvOverlay(this.#below.kv, this.nextOffset);
      this.#keys.apply(event);
    }
    return this.#keys ?? this.#below.kv;
  }

  get queue(): QueueView {
    // Also without events of its own: it says that it is a batch's.
    this.#queues ??= queueOverlay(this.#below.queue);
    for (; this.#queuesSeen < this.#events.length; this.#queuesSeen++) {
      const event = this.#event(this.#queuesSeen);
      if (isQueueEvent(event)) this.#queues.apply(event, this.#queuesSeen);
    }
    return this.#queues.view;
  }

  get stream(): StreamView {
    for (; this.#streamsSeen < this.#events.length; this.#streamsSeen++) {
      const event = this.#event(this.#streamsSeen);
      if (!isStreamEvent(event)) continue;
      this.#streams ??= streamOverlay(this.#below.stream, this.#now);
      this.#streams.apply(event);
    }
    return this.#streams?.view ?? this.#below.stream;
  }

  get points(): PointView {
    return pointsWith(this.#below.points, this.#events, this.nextOffset, this.#now);
  }

  #event(place: number): StoreEvent {
    const event = this.#events[place];
    assert(event !== undefined, "the record has an event at each place");
    assert(
      isKvEvent(event) || isQueueEvent(event) || isStreamEvent(event) || event.type === "point.named",
      `events of ${event.type} have an overlay`,
    );
    return event;
  }
}

const isKvEvent = (event: StoreEvent): event is KvEvent => event.type.startsWith("kv.");
const isQueueEvent = (event: StoreEvent): event is QueueEvent => event.type.startsWith("queue.");
const isStreamEvent = (event: StoreEvent): event is StreamEvent => event.type.startsWith("stream.");
