/**
 * The store as the doors see it: there from the first moment, usable when the replay is done. The port opens before the
 * replay, so that probes, readiness with its progress, and metrics answer during a long one.
 */
import { BEFORE_FIRST, LogError, type LogRecord, type Offset } from "../log/index.js";
import type {
  Context,
  Decider,
  Outcome,
  Reader,
  ReadPlan,
  ReadSlice,
  Store,
  Wakes,
} from "../projections/index.js";

export class LateStore implements Store {
  #store: Store | undefined;

  open(store: Store): void {
    this.#store = store;
  }

  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    return this.#opened().execute(decide, command, context, answer);
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    return this.#opened().query(read, query, context, answer);
  }

  onReached(wanted: number, reached: () => void): () => void {
    return this.#opened().onReached(wanted, reached);
  }

  async bodies(plan: ReadPlan): Promise<readonly ReadSlice[]> {
    return this.#opened().bodies(plan);
  }

  records(first: Offset, last: Offset): AsyncIterable<readonly LogRecord[]> {
    return this.#opened().records(first, last);
  }

  get offset(): Offset {
    return this.#store?.offset ?? BEFORE_FIRST;
  }

  get wakes(): Wakes {
    return this.#opened().wakes;
  }

  async close(): Promise<void> {
    await this.#store?.close();
  }

  #opened(): Store {
    if (this.#store === undefined) throw replaying();
    return this.#store;
  }
}

function replaying(): LogError {
  return new LogError("LOG_REPLAYING", "the state is still being folded from the log; try again");
}
