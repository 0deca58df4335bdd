/**
 * One projection as one pipeline: its records → decode → scan(evolve). Owns its single subscription. `Projectors` are all of
 * a store, fed in the order of the log, each with the records of its kinds only.
 *
 * An error in a pipeline means that the state is not what the log says. The projector then tells `onDead` once and takes
 * nothing more: RxJS would let later records vanish without a sound, and a state with a hole must not be asked.
 */
import { Observable, type Subscriber, type Subscription, scan } from "rxjs";
import { type AppendedRecord, assert, type Offset } from "../log/index.js";
import { changesOf, knownKinds, SEVERAL_KIND } from "./events.js";
import type { BodyReader } from "./wire.js";

/** One record's part in one projection, decoded whole. */
export interface ProjectedRecord<Change> {
  readonly offset: Offset;
  /** Milliseconds since 1970, from the record. */
  readonly timestamp: number;
  readonly changes: readonly Change[];
}

export interface Projection<State, Change> {
  readonly owns: (kind: number) => boolean;
  /** Decodes one event of its kinds; the reader is at the beginning of the body. */
  readonly read: (reader: BodyReader, kind: number, version: number, place: number) => Change;
  readonly evolve: (state: State, record: ProjectedRecord<Change>) => State;
}

export class Projector<State, Change> {
  readonly #owns: (kind: number) => boolean;
  /** The pipeline's beginning. A Subject would look for its one observer anew for each of a million records. */
  readonly #records: Subscriber<AppendedRecord>;
  readonly #subscription: Subscription;

  constructor(
    { owns, read, evolve }: Projection<State, Change>,
    initial: State,
    onDead: (error: Error) => void,
  ) {
    this.#owns = owns;
    // All of it, so that a record is applied whole or not at all.
    const decode = (record: AppendedRecord): ProjectedRecord<Change> => ({
      offset: record.offset,
      timestamp: record.timestamp,
      changes: changesOf(record, owns, read),
    });
    let records: Subscriber<AppendedRecord> | undefined;
    this.#subscription = new Observable<AppendedRecord>((subscriber) => {
      records = subscriber;
    })
      .pipe(scan((state, record) => evolve(state, decode(record)), initial))
      .subscribe({
        error: (error: unknown) => onDead(error instanceof Error ? error : new Error(String(error))),
      });
    assert(records !== undefined, "subscribing is done at once");
    this.#records = records;
  }

  /** True when a record of this kind may hold a change of this projection. */
  reads(kind: number): boolean {
    return kind === SEVERAL_KIND || this.#owns(kind);
  }

  take(record: AppendedRecord): void {
    this.#records.next(record);
  }

  close(): void {
    this.#subscription.unsubscribe();
    this.#records.complete();
  }
}

type AnyProjector = Pick<Projector<unknown, unknown>, "reads" | "take" | "close">;

export class Projectors {
  readonly #all: readonly AnyProjector[];
  /** Who reads a kind, for every kind of this release. */
  readonly #byKind: (readonly AnyProjector[])[] = [];

  constructor(all: readonly AnyProjector[]) {
    this.#all = all;
    for (const kind of knownKinds) this.#byKind[kind] = all.filter((projector) => projector.reads(kind));
  }

  /** False, and nothing was done, when this release does not know the record's kind. */
  take(record: AppendedRecord): boolean {
    const readers = this.#byKind[record.kind];
    if (readers === undefined) return false;
    for (const projector of readers) projector.take(record);
    return true;
  }

  close(): void {
    for (const projector of this.#all) projector.close();
  }
}
