/**
 * The commit queue: records wait here for the disk, in memory, encoded one behind the other in an arena. While one
 * batch is written the next gathers in the other arena, so batches grow with the load by themselves, without a timer.
 *
 * It decides when a batch goes and who is told; where its bytes go and what makes them durable is the writer's.
 */
import { assert, ignoreReported, LogError } from "./errors.js";
import { offset as asOffset, type Offset } from "./units.js";

const ARENA_BYTES = 64 * 1024;
/** An arena that grew past this is let go once its batch is written. */
const ARENA_BYTES_KEPT = 8 * 1024 * 1024;

/** Records that go to the disk together. `bytes` and `view` show the same memory, of which `used` bytes count. */
export interface Batch<Mark> {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly used: number;
  readonly records: number;
  readonly first: Offset;
  /** When its first record was appended. */
  readonly since: number;
  /** What the writer has to do before these records, such as to begin an epoch. */
  readonly mark: Mark | undefined;
}

export interface CommitQueueOptions<Mark> {
  readonly bytesMax: number;
  readonly now: () => number;
  /**
   * Writes a batch so that it is committed when the promise resolves, or already on return (undefined). Never called
   * while another runs. Whatever it fails with is final.
   */
  readonly write: (batch: Batch<Mark>) => Promise<void> | undefined;
  readonly committed: (batch: Batch<Mark>) => void;
  readonly failed: (error: unknown) => void;
}

class Arena<Mark> implements Batch<Mark> {
  bytes: Uint8Array;
  view: DataView;
  used = 0;
  records = 0;
  first: Offset = asOffset(0);
  since = 0;
  mark: Mark | undefined;
  #promise: Promise<void> | undefined;
  #settle: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, capacity);
  }

  get last(): number {
    return this.first + this.records - 1;
  }

  grow(needed: number): void {
    let capacity = this.bytes.length;
    while (capacity < needed) capacity *= 2;
    const grown = Buffer.allocUnsafeSlow(capacity);
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
    this.view = new DataView(grown.buffer, grown.byteOffset, capacity);
  }

  /** One promise for all who wait for this batch, made when the first one asks. */
  promise(): Promise<void> {
    if (this.#promise === undefined) {
      this.#promise = new Promise((resolve, reject) => {
        this.#settle = { resolve, reject };
      });
      // Whoever waits sees the rejection; that nobody waits any more must not end the process.
      this.#promise.catch(ignoreReported);
    }
    return this.#promise;
  }

  settle(failure: Error | undefined): void {
    const settle = this.#settle;
    this.#promise = undefined;
    this.#settle = undefined;
    if (failure === undefined) settle?.resolve();
    else settle?.reject(failure);
  }

  /** Ready for the next batch. */
  clear(): void {
    this.used = 0;
    this.records = 0;
    this.mark = undefined;
  }
}

interface Task {
  /** Never rejects: whoever asked for the task gets its failure. */
  readonly run: () => Promise<void>;
  readonly drop: (failure: Error) => void;
}

const COMMITTED = Promise.resolve();

export class CommitQueue<Mark> {
  readonly #options: CommitQueueOptions<Mark>;
  #gathering: Arena<Mark> = new Arena(ARENA_BYTES);
  #spare: Arena<Mark> | undefined = new Arena(ARENA_BYTES);
  /** Batches that nothing more may join, oldest first. */
  readonly #closed: Arena<Mark>[] = [];
  #inFlight: Arena<Mark> | undefined;
  readonly #tasks: Task[] = [];
  #waitingBytes = 0;
  #busy = false;
  #scheduled = false;
  #committed: Offset;
  #failure: Error | undefined;

  /** @param committed the last offset already committed */
  constructor(options: CommitQueueOptions<Mark>, committed: Offset) {
    this.#options = options;
    this.#committed = committed;
  }

  /** True when nothing waits and nothing runs. */
  get idle(): boolean {
    return !this.#busy && this.#waitingBytes === 0 && this.#tasks.length === 0;
  }

  /**
   * The arena that takes `size` more bytes, to be written at its `used`, then reported by `added`.
   * @throws LogError LOG_BUSY when more would wait than the log may hold. A record alone always fits.
   */
  room(size: number): Batch<Mark> {
    this.checkRoom(size);
    const arena = this.#gathering;
    if (arena.used + size > arena.bytes.length) arena.grow(arena.used + size);
    return arena;
  }

  /** @throws LogError LOG_BUSY as `room`. */
  checkRoom(size: number): void {
    const waiting = this.#waitingBytes;
    if (waiting > 0 && waiting + size > this.#options.bytesMax) {
      throw new LogError("LOG_BUSY", "too much is waiting for the disk; try again shortly", {
        waitingBytes: waiting,
        waitingBytesMax: this.#options.bytesMax,
      });
    }
  }

  /** So many records, of which the first has this offset, were written into the arena that `room` gave. */
  added(first: Offset, records: number, size: number): void {
    const arena = this.#gathering;
    if (arena.records === 0) {
      arena.first = first;
      arena.since = this.#options.now();
    }
    assert(arena.first + arena.records === first, "a batch holds consecutive offsets");
    arena.used += size;
    arena.records += records;
    this.#waitingBytes += size;
    // One turn of the event loop's requests go together; while a batch is in flight, its end starts the next.
    if (!this.#busy) this.#schedule();
  }

  /** Nothing more joins what has gathered so far; what is added next belongs to a batch of its own, with this mark. */
  cut(mark: Mark | undefined): void {
    if (this.#gathering.records > 0) {
      this.#closed.push(this.#gathering);
      this.#gathering = this.#takeSpare();
    }
    this.#gathering.mark = mark;
  }

  /** Resolves when `offset` is committed. Callers share one promise for each batch. */
  whenCommitted(offset: Offset): Promise<void> {
    if (offset <= this.#committed) return COMMITTED;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#inFlight !== undefined && offset <= this.#inFlight.last) return this.#inFlight.promise();
    for (const arena of this.#closed) if (offset <= arena.last) return arena.promise();
    assert(
      this.#gathering.records > 0 && offset <= this.#gathering.last,
      "only what was appended can be waited for",
    );
    return this.#gathering.promise();
  }

  /** Runs a task while no batch is in flight and none waits. */
  whenIdle<T>(task: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      this.#tasks.push({ run: () => task().then(resolve, reject), drop: reject });
      this.#pump();
    });
  }

  /** Part of a batch, or all of it, is committed. */
  advance(committed: Offset): void {
    this.#committed = committed;
  }

  /** Nothing more is written; everyone who waits is told. Tasks that wait never run. */
  fail(failure: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#inFlight?.settle(failure);
    for (const arena of this.#closed) arena.settle(failure);
    this.#gathering.settle(failure);
    for (const task of this.#tasks.splice(0)) task.drop(failure);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    this.#pump();
  };

  #pump(): void {
    while (!this.#busy && this.#failure === undefined) {
      const batch = this.#nextBatch();
      if (batch === undefined) {
        this.#runTask();
        return;
      }
      this.#write(batch);
    }
  }

  #nextBatch(): Arena<Mark> | undefined {
    const closed = this.#closed.shift();
    if (closed !== undefined) return closed;
    if (this.#gathering.records === 0) return undefined;
    const gathered = this.#gathering;
    this.#gathering = this.#takeSpare();
    return gathered;
  }

  #takeSpare(): Arena<Mark> {
    const spare = this.#spare ?? new Arena<Mark>(ARENA_BYTES);
    this.#spare = undefined;
    return spare;
  }

  #write(batch: Arena<Mark>): void {
    this.#busy = true;
    this.#inFlight = batch;
    let running: Promise<void> | undefined;
    try {
      running = this.#options.write(batch);
    } catch (error) {
      this.#options.failed(error);
      return;
    }
    if (running === undefined) {
      this.#finish(batch);
      return;
    }
    running.then(
      () => {
        if (this.#failure !== undefined) return;
        this.#finish(batch);
        // What arrives in this turn still joins the next batch: submitting a write costs as much as several requests.
        this.#schedule();
      },
      (error: unknown) => this.#options.failed(error),
    );
  }

  #finish(batch: Arena<Mark>): void {
    this.#committed = asOffset(batch.last);
    this.#waitingBytes -= batch.used;
    this.#inFlight = undefined;
    this.#busy = false;
    batch.settle(undefined);
    this.#options.committed(batch);
    batch.clear();
    if (this.#spare === undefined && batch.bytes.length <= ARENA_BYTES_KEPT) this.#spare = batch;
  }

  #runTask(): void {
    const task = this.#tasks.shift();
    if (task === undefined) return;
    this.#busy = true;
    void task.run().then(() => {
      this.#busy = false;
      this.#pump();
    });
  }
}
