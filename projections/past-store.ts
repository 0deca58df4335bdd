/**
 * A store over a state that is over: the same readers as ever, on a fold that somebody brought to an offset. It judges every
 * query at one time, however late it is asked, and decides nothing.
 */
import type { LogReader, Offset } from "../log/index.js";
import type { Context, Outcome, Reader, Store } from "./decision.js";
import { ProjectionError } from "./errors.js";
import type { Fold } from "./fold.js";
import { StreamBodies } from "./stream/bodies.js";
import type { ReadPlan, ReadSlice } from "./stream/contract.js";
import { Wakes } from "./wakes.js";

export class PastStore implements Store {
  readonly wakes = new Wakes();
  readonly #fold: Fold;
  readonly #time: number;
  readonly #bodies: StreamBodies;

  /**
   * `time` is when the questions are asked, at the earliest the fold's own clock. The fold's owner lets it alone as long as
   * this store is used; `log` holds the bodies of its streams.
   */
  constructor(fold: Fold, log: Pick<LogReader, "read">, time = 0) {
    this.#fold = fold;
    this.#time = Math.max(time, fold.clock);
    this.#bodies = new StreamBodies(log);
    // Counted since the process began, says the contract; of what a replay happened to count nothing is told.
    fold.kv.startCounting();
  }

  get offset(): Offset {
    return this.#fold.offset;
  }

  /** Ms since 1970: what every query takes for now. */
  get time(): number {
    return this.#time;
  }

  /** @throws ProjectionError PROJECTION_PAST, always. */
  execute(): never {
    throw new ProjectionError("PROJECTION_PAST", "what was cannot be changed");
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result {
    const found = read(this.#fold.view, query, { ...context, now: this.#time });
    if (found.type === "rejected") return answer(found);
    return answer({ type: "done", answer: found.answer, offset: found.seen });
  }

  bodies(plan: ReadPlan): Promise<readonly ReadSlice[]> {
    return this.#bodies.read(plan);
  }

  onReached(_wanted: number, reached: () => void): () => void {
    reached();
    return () => undefined;
  }

  async close(): Promise<void> {
    // The fold is its owner's.
  }
}
