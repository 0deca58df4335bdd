/** The restore points as they will be when those of a record that is still being put together are there. */
import type { PointView, RestorePoint } from "./contract.js";

export interface PointOverlay {
  readonly view: PointView;
  apply(point: RestorePoint): void;
}

export function pointOverlay(points: PointView): PointOverlay {
  const named = new Map<string, RestorePoint>();
  return {
    view: {
      get: (name) => named.get(name) ?? points.get(name),
      all: () => [...points.all(), ...named.values()],
      lastOffset: points.lastOffset,
    },
    apply(point) {
      named.set(point.name, point);
    },
  };
}
