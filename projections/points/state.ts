/** The restore points, oldest first, and how they follow from the records. Bounded by count: the oldest is forgotten. */
import { createHash } from "node:crypto";
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { ProjectedRecord, Projection } from "../projector.js";
import { isPointKind, readPoint } from "./codec.js";
import { POINTS_MAX, type PointNamed, type PointView, type RestorePoint } from "./contract.js";

export class PointState implements PointView {
  /** In the order of the log. */
  readonly #points = new Map<string, RestorePoint>();
  #lastOffset: Offset = BEFORE_FIRST;

  get size(): number {
    return this.#points.size;
  }

  get lastOffset(): Offset {
    return this.#lastOffset;
  }

  get(name: string): RestorePoint | undefined {
    return this.#points.get(name);
  }

  all(): readonly RestorePoint[] {
    return [...this.#points.values()];
  }

  /** Called by `evolve`, and with the points of a snapshot in their order. */
  put(point: RestorePoint): void {
    // One whose name was forgotten may be named again; a name is in the list once, where it was given last.
    this.#points.delete(point.name);
    this.#points.set(point.name, point);
    this.#lastOffset = point.offset;
    for (const oldest of this.#points.keys()) {
      if (this.#points.size <= POINTS_MAX) break;
      this.#points.delete(oldest);
    }
  }

  /** Canonical SHA-256 of the points. */
  digest(): string {
    const hash = createHash("sha256");
    for (const { name, offset, timestamp } of this.#points.values())
      hash.update(JSON.stringify([name, offset, timestamp]));
    return hash.digest("hex");
  }
}

export const pointProjection: Projection<PointState, PointNamed> = {
  owns: isPointKind,
  read: readPoint,
  evolve,
};

function evolve(state: PointState, { offset, timestamp, changes }: ProjectedRecord<PointNamed>): PointState {
  for (const { name } of changes) state.put({ name, offset, timestamp });
  return state;
}
