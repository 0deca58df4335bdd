/**
 * Decide → append → evolve → answer: the one way in for commands and queries, and the gate that holds every answer until
 * what it tells of is committed.
 *
 * - A command is decided against a state that contains everything appended so far, since `evolve` runs inside `append`.
 * - An answer to a command that changed something waits for its record; any other for the last change that it tells of.
 * - After a projection's error nothing is answered any more: its state may be half of the truth.
 *
 * Time: no decision or reading is older than the log. A clock that was set back across a restart would otherwise decide on a
 * key that every replay has reclaimed by then, so `now` is never before the last record's timestamp or the last reclaim.
 */
import { createHash } from "node:crypto";
import { Subject, type Subscription } from "rxjs";
import {
  type AppendedRecord,
  assert,
  BEFORE_FIRST,
  EPOCH_STARTED,
  type EventLog,
  type Offset,
  offset,
} from "../log/index.js";
import { Arrivals } from "./arrivals.js";
import type { Context, Decider, Outcome, Reader, Store, StoreReadView, StoreRules } from "./decision.js";
import { ProjectionError } from "./errors.js";
import { changesOf, decodeKvChanges, encodeRecord, isKnownKind, SEVERAL_KIND } from "./events.js";
import { isAnsweredKind, readAnswered } from "./idempotency/codec.js";
import {
  evolve as evolveIdempotency,
  type IdempotencyRecord,
  IdempotencyState,
} from "./idempotency/state.js";
import type { KvStats } from "./kv/contract.js";
import { digestOf } from "./kv/digest.js";
import { evolve, type KvRecord } from "./kv/evolve.js";
import { HASH_SEED_BYTES, keyHash } from "./kv/key-hash.js";
import { KvState } from "./kv/state.js";
import { type Projection, Projector } from "./projector.js";
import type { QueueStats } from "./queue/contract.js";
import { digestOf as queueDigestOf } from "./queue/digest.js";
import type { QueueRecord } from "./queue/evolve.js";
import { queueProjection } from "./queue/projection.js";
import { QueueState } from "./queue/state.js";
import { StreamBodies } from "./stream/bodies.js";
import { isStreamKind, readStreamChange } from "./stream/codec.js";
import type { ReadPlan, ReadSlice, StreamSize, StreamTotals } from "./stream/contract.js";
import { streamDigest } from "./stream/digest.js";
import { evolve as evolveStream, type StreamRecord } from "./stream/evolve.js";
import { StreamState } from "./stream/state.js";
import { TouchedTopics, Wakes } from "./wakes.js";

/** Expired keys and purged messages that each command frees on its way, so that a busy store needs no timer to keep its memory. */
const RECLAIMED_PER_COMMAND = 4;

export interface OpenStoreOptions {
  readonly log: EventLog;
  readonly rules: StoreRules;
  /** Eight bytes that nobody outside knows, against chosen keys that fall into one place. Default: zeros, for tools and tests. */
  readonly hashSeed?: Uint8Array;
  /** Told after each batch of the replay. */
  readonly onProgress?: (offset: Offset, end: Offset) => void;
  /** The projections are lost: the process must stop. Told once. */
  readonly onDead: (error: Error) => void;
}

export interface OpenedStore extends Store {
  kvStats(now: number): KvStats;
  /** Of every queue, by name; for whoever measures. */
  queueStats(): readonly QueueStats[];
  /** The earliest time (ms since 1970) that will change something by itself: then `queue.due` is to be executed. */
  nextDue(): number | undefined;
  /**
   * Canonical SHA-256 of the queues and of the keys and message keys that are there at `at`, at the earliest the store's own time: the later of the last record's
   * and the last reclaim's. States are compared at one offset and one `at` that is no earlier than either's own time.
   */
  digest(at?: number): string;
  streamTotals(): StreamTotals;
  /** Of every stream that is there at `now`, the oldest first; for whoever measures. */
  eachStream(now: number, visit: (size: StreamSize) => void): void;
  /**
   * Frees the memory of up to `budget` keys that expired, purged messages and message keys whose window passed by `now`; returns how
   * many. No answer changes.
   */
  reclaimExpired(now: number, budget: number): number;
}

const kvProjection: Projection<KvState, KvRecord> = {
  reads: (kind) => kind !== EPOCH_STARTED,
  decode: (record) => ({
    offset: record.offset,
    timestamp: record.timestamp,
    changes: decodeKvChanges(record),
  }),
  evolve,
};

const streamProjection: Projection<StreamState, StreamRecord> = {
  reads: (kind) => kind !== EPOCH_STARTED,
  decode: (record) => ({
    offset: record.offset,
    timestamp: record.timestamp,
    changes: changesOf(record, isStreamKind, readStreamChange),
  }),
  evolve: evolveStream,
};

const idempotencyProjection: Projection<IdempotencyState, IdempotencyRecord> = {
  reads: (kind) => kind === SEVERAL_KIND || isAnsweredKind(kind),
  decode: (record) => ({
    offset: record.offset,
    timestamp: record.timestamp,
    changes: changesOf(record, isAnsweredKind, readAnswered),
  }),
  evolve: evolveIdempotency,
};

/**
 * Replays the log, then follows what this process appends. Nobody may append until it resolves.
 * @throws ProjectionError when a record cannot be read; LogError as `EventLog.read` does.
 */
export async function openStore(options: OpenStoreOptions): Promise<OpenedStore> {
  const store = new LogStore(options);
  try {
    await store.replay(options.onProgress);
  } catch (error) {
    await store.close();
    throw error;
  }
  store.follow();
  return store;
}

class LogStore implements OpenedStore {
  readonly #log: EventLog;
  readonly #rules: StoreRules;
  readonly #onDead: (error: Error) => void;
  readonly #records = new Subject<AppendedRecord>();
  readonly wakes = new Wakes();
  readonly #touched = new TouchedTopics(this.wakes);
  readonly #kv: Projector<KvState, KvRecord>;
  readonly #stream: Projector<StreamState, StreamRecord>;
  readonly #idempotency: Projector<IdempotencyState, IdempotencyRecord>;
  readonly #arrivals = new Arrivals();
  readonly #bodies: StreamBodies;
  readonly #queue: Projector<QueueState, QueueRecord>;
  readonly #view: StoreReadView;
  #following: Subscription | undefined;
  #offset: Offset = BEFORE_FIRST;
  #clock = 0;
  #dead: Error | undefined;
  #closed = false;

  constructor({ log, rules, hashSeed = new Uint8Array(HASH_SEED_BYTES), onDead }: OpenStoreOptions) {
    this.#log = log;
    this.#rules = rules;
    this.#onDead = onDead;
    const hash = keyHash(hashSeed);
    const state = new KvState(rules.kv, hash);
    this.#kv = new Projector(this.#records, kvProjection, state, (error) => this.#die(error));
    const queues = new QueueState(this.#touched, hash);
    this.#queue = new Projector(this.#records, queueProjection, queues, (error) => this.#die(error));
    const streams = new StreamState(this.#touched, () => log.committedOffset);
    this.#stream = new Projector(this.#records, streamProjection, streams, (error) => this.#die(error));
    this.#bodies = new StreamBodies(log);
    const answers = new IdempotencyState(rules.idempotency);
    const onDeath = (error: Error): void => this.#die(error);
    this.#idempotency = new Projector(this.#records, idempotencyProjection, answers, onDeath);
    this.#view = {
      kv: state,
      queue: queues,
      stream: streams,
      idempotency: answers,
      get nextOffset() {
        return offset(log.endOffset + 1);
      },
    };
  }

  get offset(): Offset {
    return this.#offset;
  }

  async replay(onProgress: OpenStoreOptions["onProgress"]): Promise<void> {
    const end = this.#log.endOffset;
    if (end >= this.#log.firstOffset && end > 0) {
      for await (const batch of readAhead(this.#log.read(this.#log.firstOffset, { last: end }))) {
        for (const record of batch) {
          this.#take(record);
          if (this.#dead !== undefined) throw this.#dead;
        }
        this.#kv.state.reclaimExpired(this.#clock, batch.length);
        this.#queue.state.reclaim(this.#clock, batch.length);
        onProgress?.(this.#offset, end);
      }
      assert(this.#offset === end, `the replay ended at ${this.#offset}, the log at ${end}`);
    }
    this.#kv.state.startCounting();
  }

  follow(): void {
    assert(this.#offset === this.#log.endOffset, "nobody appends during a replay");
    this.#following = this.#log.appended.subscribe((record) => this.#take(record));
  }

  /** Feeds one record to every projection, in the order of the log and in the turn that appended it. */
  #take(record: AppendedRecord): void {
    if (this.#dead !== undefined) return;
    if (!isKnownKind(record.kind)) {
      this.#die(
        new ProjectionError(
          "PROJECTION_EVENT_UNKNOWN",
          `record ${record.offset} has kind ${record.kind}, which this release does not know`,
          { offset: record.offset, kind: record.kind },
        ),
      );
      return;
    }
    this.#records.next(record);
    if (this.#dead !== undefined) return;
    this.#offset = record.offset;
    if (record.timestamp > this.#clock) this.#clock = record.timestamp;
    // What a replay reads will hardly be asked for; what was appended just now will.
    const isLive = this.#following !== undefined;
    if (isLive && this.#stream.state.lastOffset === record.offset) this.#bodies.keep(record);
  }

  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    this.#assertAlive();
    const inTime = this.#inTime(context);
    this.reclaimExpired(inTime.now, RECLAIMED_PER_COMMAND);
    const decision = decide(this.#view, command, inTime, this.#rules);
    if (decision.type === "rejected") return this.#gated(decision, decision.seen, answer);
    if (decision.events.length === 0) {
      return this.#gated(done(decision.answer(decision.seen, 0), decision.seen), decision.seen, answer);
    }
    const { kind, version, body } = encodeRecord(decision.events, context.cause);
    const appended = this.#log.append({ kind, version, timestamp: inTime.now, body });
    this.#assertAlive();
    assert(this.#offset === appended, "a record is in the state when append returns");
    this.#ring(appended);
    if (this.#arrivals.areDue(appended)) this.#announce(appended);
    return this.#gated(done(decision.answer(appended, 0), appended), appended, answer);
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    this.#assertAlive();
    const found = read(this.#view, query, this.#inTime(context));
    const outcome = found.type === "rejected" ? found : done(found.answer, found.seen);
    return this.#gated(outcome, found.seen, answer);
  }

  /** The gate: at once if `seen` is committed, else when it is. The outcome was fixed before; it only waits. */
  #gated<Answer, Result>(
    outcome: Outcome<Answer>,
    seen: Offset,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    if (seen <= this.#log.committedOffset) return answer(outcome);
    return this.#log.whenCommitted(seen).then(() => answer(outcome));
  }

  #announce(appended: Offset): void {
    this.#log.whenCommitted(appended).then(
      () => this.#arrivals.advance(appended),
      // The log has failed: who waits gives up in its own time.
      () => undefined,
    );
  }

  /** Whoever waits for what the record touched is told when it is committed. */
  #ring(appended: Offset): void {
    const topics = this.#touched.take();
    if (topics.length === 0) return;
    this.#log.whenCommitted(appended).then(
      () => {
        for (const topic of topics) this.wakes.ring(topic);
      },
      // The log has failed: its owner is told, and nothing changes any more.
      () => undefined,
    );
  }

  onReached(wanted: number, reached: () => void): () => void {
    this.#assertAlive();
    if (wanted <= this.#log.committedOffset) {
      reached();
      return () => undefined;
    }
    const end = this.#arrivals.on(wanted, reached);
    if (wanted <= this.#log.endOffset) this.#announce(offset(wanted));
    return end;
  }

  async bodies(plan: ReadPlan): Promise<readonly ReadSlice[]> {
    this.#assertAlive();
    return this.#bodies.read(plan);
  }

  eachStream(now: number, visit: (size: StreamSize) => void): void {
    this.#assertAlive();
    this.#stream.state.eachSize(Math.max(now, this.#clock), visit);
  }

  streamTotals(): StreamTotals {
    this.#assertAlive();
    return this.#stream.state.totals();
  }

  kvStats(now: number): KvStats {
    this.#assertAlive();
    return this.#kv.state.stats(Math.max(now, this.#clock));
  }

  queueStats(): readonly QueueStats[] {
    this.#assertAlive();
    const { state } = this.#queue;
    return state.names().flatMap((name) => state.stats(name) ?? []);
  }

  nextDue(): number | undefined {
    return this.#dead === undefined && !this.#closed ? this.#queue.state.nextDue : undefined;
  }

  digest(at?: number): string {
    this.#assertAlive();
    const time = Math.max(at ?? 0, this.#clock);
    return createHash("sha256")
      .update(digestOf(this.#kv.state, time))
      .update(queueDigestOf(this.#queue.state, time))
      .update(streamDigest(this.#stream.state))
      .update(this.#idempotency.state.digest(time))
      .digest("hex");
  }

  reclaimExpired(now: number, budget: number): number {
    if (this.#dead !== undefined || this.#closed) return 0;
    const keys = this.#kv.state.reclaimExpired(now, budget);
    const freed = keys + this.#queue.state.reclaim(now, budget - keys);
    if (freed > 0 && now > this.#clock) this.#clock = now;
    return freed;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#following?.unsubscribe();
    this.#kv.close();
    this.#stream.close();
    this.#idempotency.close();
    this.#queue.close();
    this.#records.complete();
  }

  #inTime(context: Context): Context {
    return context.now >= this.#clock ? context : { ...context, now: this.#clock };
  }

  #assertAlive(): void {
    if (this.#dead !== undefined) {
      throw new ProjectionError(
        "PROJECTION_DEAD",
        "a projection failed; the state is not shown any more",
        {},
        this.#dead,
      );
    }
    if (this.#closed) throw new ProjectionError("PROJECTION_CLOSED", "the store is closed");
  }

  #die(error: Error): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    // Before that the replay's caller is told, by the error itself.
    if (this.#following === undefined) return;
    this.#following.unsubscribe();
    this.#onDead(error);
  }
}

function done<Answer>(answer: Answer, seen: Offset): { type: "done"; answer: Answer; offset: Offset } {
  return { type: "done", answer, offset: seen };
}

/** The next batch is on its way from the disk while the last one is folded. One batch ahead, never more. */
async function* readAhead<Batch>(batches: AsyncIterable<Batch>): AsyncGenerator<Batch, void> {
  const source = batches[Symbol.asyncIterator]();
  let next = source.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true) return;
      next = source.next();
      // Whoever awaits it is told; nobody does when the fold ends early.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await source.return?.();
  }
}
