/**
 * One projection as one pipeline: records → only its kinds → decode → scan(evolve). Owns its single subscription.
 *
 * An error in the pipeline means that the state is not what the log says. The projector then tells `onDead` once and takes
 * nothing more: RxJS would let later records vanish without a sound, and a state with a hole must not be asked.
 */
import { filter, map, type Observable, type Subscription, scan } from "rxjs";
import type { AppendedRecord } from "../log/index.js";

export interface Projection<State, Record> {
  readonly reads: (kind: number) => boolean;
  /** Decodes all of a record, so that it is applied whole or not at all. */
  readonly decode: (record: AppendedRecord) => Record;
  readonly evolve: (state: State, record: Record) => State;
}

export class Projector<State, Record> {
  readonly state: State;
  readonly #subscription: Subscription;
  #error: Error | undefined;

  constructor(
    records: Observable<AppendedRecord>,
    projection: Projection<State, Record>,
    initial: State,
    onDead: (error: Error) => void,
  ) {
    this.state = initial;
    this.#subscription = records
      .pipe(
        filter((record) => projection.reads(record.kind)),
        map((record) => projection.decode(record)),
        scan((state, record) => projection.evolve(state, record), initial),
      )
      .subscribe({
        error: (error: unknown) => {
          this.#error = error instanceof Error ? error : new Error(String(error));
          onDead(this.#error);
        },
      });
  }

  /** Why the state may not be asked any more, or undefined. */
  get error(): Error | undefined {
    return this.#error;
  }

  close(): void {
    this.#subscription.unsubscribe();
  }
}
