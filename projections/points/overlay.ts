/** The restore points as they will be when those of a record that is still being put together are there. */
import type { Offset } from "../../log/index.js";
import type { StoreEvent } from "../decision.js";
import type { PointView, RestorePoint } from "./contract.js";

/** `events` are of the record so far; it will have this offset and be written at `now`. */
export function pointsWith(
  below: PointView,
  events: readonly StoreEvent[],
  offset: Offset,
  now: number,
): PointView {
  const named = new Map<string, RestorePoint>();
  for (const event of events)
    if (event.type === "point.named") named.set(event.name, { name: event.name, offset, timestamp: now });
  if (named.size === 0) return below;
  return {
    get: (name) => named.get(name) ?? below.get(name),
    all: () => [...below.all(), ...named.values()],
    lastOffset: offset,
  };
}
