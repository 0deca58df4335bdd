/**
 * The store as the doors see it: there from the first moment, usable when the replay is done. The port opens before the
 * replay, so that probes, readiness with its progress, and metrics answer during a long one. When a replica's log is cut or replaced,
 * another store takes the place of the first; whoever waits goes on waiting at that one.
 */
import { BEFORE_FIRST, type LogRecord, type Offset } from "../log/index.js";
import {
  type Context,
  type Decider,
  type Outcome,
  type Reader,
  type ReadPlan,
  type ReadSlice,
  type Store,
  Wakes,
} from "../projections/index.js";
import { notYet } from "./not-yet.js";

interface Waiting {
  /** Asks the store that is open now. */
  attach(): void;
  cancel(): void;
}

export class LateStore implements Store {
  /** Of every store that is opened here. */
  readonly wakes = new Wakes();
  readonly #waiting = new Set<Waiting>();
  #store: Store | undefined;

  open(store: Store): void {
    this.#store = store;
    for (const waiting of [...this.#waiting]) waiting.attach();
    // What it waited for may have come with this one.
    this.wakes.ringAll();
  }

  /** From now on requests are told to come again. */
  shut(): void {
    this.#store = undefined;
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
    const store = this.#opened();
    const arrived = (): void => {
      this.#waiting.delete(waiting);
      reached();
    };
    const waiting: Waiting = {
      attach: () => {
        waiting.cancel = this.#opened().onReached(wanted, arrived);
      },
      cancel: () => undefined,
    };
    this.#waiting.add(waiting);
    waiting.cancel = store.onReached(wanted, arrived);
    return () => {
      this.#waiting.delete(waiting);
      waiting.cancel();
    };
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

  async close(): Promise<void> {
    await this.#store?.close();
  }

  #opened(): Store {
    if (this.#store === undefined) throw notYet();
    return this.#store;
  }
}
