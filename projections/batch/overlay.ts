/** What every projection will be when the events of a record that is still being put together have been applied. */
import { assert } from "../../log/index.js";
import type { StoreEvent, StoreView } from "../decision.js";
import type { KvEvent } from "../kv/contract.js";
import { KvOverlay } from "../kv/overlay.js";
import type { QueueEvent } from "../queue/contract.js";
import { queueOverlay } from "../queue/overlay.js";

export interface StoreOverlay {
  readonly view: StoreView;
  /** `place`: that of the event in the record, from 0. */
  apply(event: StoreEvent, place: number): void;
}

export function storeOverlay({ kv, queue, stream, idempotency, nextOffset }: StoreView): StoreOverlay {
  const keys = new KvOverlay(kv, nextOffset);
  const queues = queueOverlay(queue);
  return {
    view: { kv: keys, queue: queues.view, stream, idempotency, nextOffset },
    apply(event, place) {
      if (isKvEvent(event)) keys.apply(event);
      else {
        assert(isQueueEvent(event), `events of ${event.type} have an overlay`);
        queues.apply(event, place);
      }
    },
  };
}

const isKvEvent = (event: StoreEvent): event is KvEvent => event.type.startsWith("kv.");
const isQueueEvent = (event: StoreEvent): event is QueueEvent => event.type.startsWith("queue.");
