/** What every projection will be when the events of a record that is still being put together have been applied. */
import { assert } from "../../log/index.js";
import type { StoreEvent, StoreView } from "../decision.js";
import type { KvEvent } from "../kv/contract.js";
import { KvOverlay } from "../kv/overlay.js";

export interface StoreOverlay {
  readonly view: StoreView;
  apply(event: StoreEvent): void;
}

export function storeOverlay(state: StoreView): StoreOverlay {
  const { nextOffset } = state;
  const kv = new KvOverlay(state.kv, nextOffset);
  return {
    view: { ...state, nextOffset, kv },
    apply(event) {
      assert(isKvEvent(event), `events of ${event.type} have an overlay`);
      kv.apply(event);
    },
  };
}

const isKvEvent = (event: StoreEvent): event is KvEvent => event.type.startsWith("kv.");
