/**
 * The store as the doors see it: there from the first moment, usable when the replay is done. The port opens before the
 * replay, so that probes, readiness with its progress, and metrics answer during a long one.
 */
import { BEFORE_FIRST, LogError, type Offset } from "../log/index.js";
import type { Context, Decider, Outcome, Reader, Store } from "../projections/index.js";

export class LateStore implements Store {
  #store: Store | undefined;

  open(store: Store): void {
    this.#store = store;
  }

  execute<Command, Answer>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
  ): Promise<Outcome<Answer>> {
    return this.#store?.execute(decide, command, context) ?? Promise.reject(replaying());
  }

  query<Query, Answer>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
  ): Outcome<Answer> | Promise<Outcome<Answer>> {
    return this.#opened().query(read, query, context);
  }

  get offset(): Offset {
    return this.#store?.offset ?? BEFORE_FIRST;
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
