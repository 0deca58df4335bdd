/** What every projection will be when the events of a record that is still being put together have been applied. */
import { assert } from "../../log/index.js";
import type { StoreEvent, StoreView } from "../decision.js";
import type { KvEvent } from "../kv/contract.js";
import { KvOverlay } from "../kv/overlay.js";
import { pointOverlay } from "../points/overlay.js";
import type { QueueEvent } from "../queue/contract.js";
import { queueOverlay } from "../queue/overlay.js";
import type { StreamEvent } from "../stream/contract.js";
import { streamOverlay } from "../stream/overlay.js";

export interface StoreOverlay {
  readonly view: StoreView;
  /** `place`: that of the event in the record, from 0. */
  apply(event: StoreEvent, place: number): void;
}

/** `now`: the batch's time. */
export function storeOverlay(state: StoreView, now: number): StoreOverlay {
  const { kv, queue, stream, idempotency, points, nextOffset } = state;
  const keys = new KvOverlay(kv, nextOffset);
  const queues = queueOverlay(queue);
  const streams = streamOverlay(stream, now);
  const named = pointOverlay(points);
  return {
    view: {
      kv: keys,
      queue: queues.view,
      stream: streams.view,
      idempotency,
      points: named.view,
      nextOffset,
    },
    apply(event, place) {
      if (isKvEvent(event)) keys.apply(event);
      else if (isQueueEvent(event)) queues.apply(event, place);
      else if (event.type === "point.named")
        named.apply({ name: event.name, offset: nextOffset, timestamp: now });
      else {
        assert(isStreamEvent(event), `events of ${event.type} have an overlay`);
        streams.apply(event);
      }
    },
  };
}

const isKvEvent = (event: StoreEvent): event is KvEvent => event.type.startsWith("kv.");
const isQueueEvent = (event: StoreEvent): event is QueueEvent => event.type.startsWith("queue.");
const isStreamEvent = (event: StoreEvent): event is StreamEvent => event.type.startsWith("stream.");
