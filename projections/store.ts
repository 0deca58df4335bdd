import type { Subscription } from "rxjs";
import {
  type AppendedRecord,
  assert,
  EPOCH_STARTED,
  type EventLog,
  LogError,
  type LogRecord,
  type Offset,
  offset,
} from "../log/index.js";
import { Arrivals } from "./arrivals.js";
import type { Context, Decider, Decision, Outcome, Reader, Store, StoreRules } from "./decision.js";
import { ProjectionError } from "./errors.js";
import { encodeRecord } from "./events.js";
import type { Fold } from "./fold.js";
import type { KvStats } from "./kv/contract.js";
import type { QueueStats } from "./queue/contract.js";
import type { FoldedState, FoldProgress, SnapshotDirectory, SnapshotFacts } from "./snapshot/contract.js";
import type { SnapshotError } from "./snapshot/errors.js";
import { foldTo } from "./snapshot/fold-to.js";
import { findLost } from "./snapshot/lost-records.js";
import { StreamBodies } from "./stream/bodies.js";
import type { FamilySums, ReadPlan, ReadSlice, StreamSize, StreamTotals } from "./stream/contract.js";
import { TouchedTopics, Wakes } from "./wakes.js";

/** Expired keys and purged messages that each command frees on its way, so that a busy store needs no timer to keep its memory. */
const RECLAIMED_PER_COMMAND = 4;
/** Some milliseconds, before a command is refused for want of memory. */
const RECLAIMED_WHEN_FULL = 10_000;

export interface OpenStoreOptions {
  readonly log: EventLog;
  readonly rules: StoreRules;
  /** Eight bytes that nobody outside knows, against chosen keys that fall into one place. Default: zeros, for tools and tests. */
  readonly hashSeed?: Uint8Array;
  /** Where snapshots lie, if there are any to begin with. */
  readonly snapshots?: SnapshotDirectory;
  /**
   * Of records that a snapshot has and the log has no more: refuse to open, which is the default, or warn. For a log that a power cut
   * may have taken records from (`fsync_mode: never`) they prove nothing.
   */
  readonly lostRecords?: "refuse" | "warn";
  /** Rung for what is waited for. Of a state that takes another's place it is the same one, so that whoever waits need not know. */
  readonly wakes?: Wakes;
  /**
   * The primary's clock, ms since 1970, while the log follows it: what has expired there has expired here. Undefined before it was
   * heard of; then time stands still at the last record.
   */
  readonly followedTime?: () => number | undefined;
  /** Told after each batch of the replay, and of the snapshot before it. */
  readonly onProgress?: (progress: FoldProgress) => void;
  /** Told of each snapshot that was passed over, and why. */
  readonly onWarning?: (problem: SnapshotError) => void;
  /** The projections are lost: the process must stop. Told once. */
  readonly onDead: (error: Error) => void;
}

export interface OpenedStore extends Store {
  /** The snapshot that the state began with; undefined: every record was replayed. */
  readonly from: SnapshotFacts | undefined;
  kvStats(now: number): KvStats;
  /** Of every queue, by name; for whoever measures. */
  queueStats(): readonly QueueStats[];
  /** The earliest time (ms since 1970) that will change something by itself: then `queue.due` is to be executed. */
  nextDue(): number | undefined;
  /** One canonical SHA-256 over every projection: `Fold.digests`. */
  digest(at?: number): string;
  streamTotals(): StreamTotals;
  /** The oldest record that a stream shows at `now` or later; undefined when none shows any. Retention keeps the log from there. */
  oldestShown(now: number): Offset | undefined;
  /** As `streamTotals`, of the streams whose names begin with `prefix`, which ends at their first `/`. */
  streamSums(prefix: string): FamilySums;
  /** The oldest of them that are there at `now`, at most `limit`. */
  oldestStreams(prefix: string, now: number, limit: number): readonly StreamSize[];
  /**
   * Frees the memory of up to `budget` keys that expired, purged messages and message keys whose window passed by `now`; returns how
   * many. No answer changes.
   */
  reclaimExpired(now: number, budget: number): number;
}

/**
 * Folds the log up to its end (`foldTo`), then follows what this process appends or receives. Nobody may append until it resolves.
 * @throws ProjectionError when a record cannot be read; SnapshotError SNAPSHOT_MISSING, SNAPSHOT_BEYOND_LOG; LogError as `EventLog.read` does.
 */
export async function openStore(options: OpenStoreOptions): Promise<OpenedStore> {
  const { log, rules, hashSeed, onProgress, onWarning } = options;
  const lost = options.snapshots === undefined ? undefined : await findLost(log, options.snapshots);
  if (lost !== undefined && options.lostRecords !== "warn") throw lost;
  if (lost !== undefined) onWarning?.(lost);
  const wakes = options.wakes ?? new Wakes();
  const touched = new TouchedTopics(wakes);
  const { fold, from } = await foldTo(log, options.snapshots, {
    rules,
    touched,
    committed: () => log.committedOffset,
    ...(hashSeed === undefined ? {} : { hashSeed }),
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(onWarning === undefined ? {} : { onWarning }),
  });
  fold.kv.startCounting();
  const store = new LogStore(options, { fold, from }, wakes, touched);
  store.follow();
  return store;
}

class LogStore implements OpenedStore {
  readonly #log: EventLog;
  readonly #rules: StoreRules;
  readonly #onDead: (error: Error) => void;
  readonly #followedTime: () => number | undefined;
  readonly wakes: Wakes;
  readonly from: SnapshotFacts | undefined;
  readonly #touched: TouchedTopics;
  readonly #fold: Fold;
  readonly #arrivals = new Arrivals();
  readonly #bodies: StreamBodies;
  #following: Subscription | undefined;
  #dead: Error | undefined;
  #closed = false;

  constructor(
    { log, rules, onDead, followedTime }: OpenStoreOptions,
    { fold, from }: FoldedState,
    wakes: Wakes,
    touched: TouchedTopics,
  ) {
    this.#log = log;
    this.#rules = rules;
    this.#onDead = onDead;
    this.#followedTime = followedTime ?? (() => undefined);
    this.#fold = fold;
    this.from = from;
    this.wakes = wakes;
    this.#touched = touched;
    this.#bodies = new StreamBodies(log);
  }

  get offset(): Offset {
    return this.#fold.offset;
  }

  follow(): void {
    assert(this.offset === this.#log.endOffset, "nobody appends during a replay");
    this.#following = this.#log.appended.subscribe((record) => this.#take(record));
  }

  /** In the order of the log and in the turn that appended the record. */
  #take(record: AppendedRecord): void {
    if (this.#dead !== undefined) return;
    try {
      this.#fold.take(record);
    } catch (error) {
      this.#die(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    // What a replay reads will hardly be asked for; what was appended just now will.
    if (this.#fold.stream.lastOffset === record.offset) this.#bodies.keep(record);
    // Its own commands tell when they are decided.
    if (this.#log.following || record.kind === EPOCH_STARTED) this.#tell(record.offset);
    if (record.kind === EPOCH_STARTED) this.#announce(record.offset, () => this.#arrivals.rouse());
  }

  /** Of a record that is in the state now: whoever waits for it, or for what it touched, hears when it is committed. */
  #tell(appended: Offset): void {
    this.#ring(appended);
    if (this.#arrivals.areDue(appended)) this.#announce(appended);
  }

  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    this.#assertAlive();
    // Before anything is reclaimed by this node's own clock: the primary may still see it.
    if (this.#log.following) throw new LogError("LOG_FOLLOWING", "this node follows another one");
    const inTime = this.#inTime(context);
    this.reclaimExpired(inTime.now, RECLAIMED_PER_COMMAND);
    const decision = this.#decided(decide, command, inTime);
    if (decision.type === "rejected") return this.#gated(decision, decision.seen, answer);
    if (decision.events.length === 0) {
      return this.#gated(done(decision.answer(decision.seen, 0), decision.seen), decision.seen, answer);
    }
    const { kind, version, body } = encodeRecord(decision.events, context.cause);
    const appended = this.#log.append({ kind, version, timestamp: inTime.now, body });
    this.#assertAlive();
    assert(this.offset === appended, "a record is in the state when append returns");
    this.#tell(appended);
    return this.#gated(done(decision.answer(appended, 0), appended), appended, answer);
  }

  #decided<Command, Answer>(
    decide: Decider<Command, Answer>,
    command: Command,
    context: Context,
  ): Decision<Answer> {
    const first = decide(this.#fold.view, command, context, this.#rules);
    const isFull = first.type === "rejected" && first.code === "KV_MEMORY_FULL";
    // Keys that are there for nobody any more keep nobody out, however seldom they are cleaned up.
    if (!isFull || this.reclaimExpired(context.now, RECLAIMED_WHEN_FULL) === 0) return first;
    return decide(this.#fold.view, command, context, this.#rules);
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    context: Context,
    answer: (outcome: Outcome<Answer>) => Result,
  ): Result | Promise<Result> {
    this.#assertAlive();
    const found = read(this.#fold.view, query, this.#inTime(context));
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

  #announce(appended: Offset, arrived = () => this.#arrivals.advance(appended)): void {
    this.#log.whenCommitted(appended).then(
      arrived,
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

  records(first: Offset, last: Offset): AsyncIterable<readonly LogRecord[]> {
    this.#assertAlive();
    assert(last <= this.#log.committedOffset, "history shows what is committed");
    return this.#log.read(first, { last });
  }

  async bodies(plan: ReadPlan): Promise<readonly ReadSlice[]> {
    this.#assertAlive();
    return this.#bodies.read(plan);
  }

  oldestStreams(prefix: string, now: number, limit: number): readonly StreamSize[] {
    this.#assertAlive();
    return this.#fold.stream.oldest(prefix, this.#timeAt(now), limit);
  }

  streamSums(prefix: string): FamilySums {
    this.#assertAlive();
    return this.#fold.stream.sums(prefix);
  }

  oldestShown(now: number): Offset | undefined {
    this.#assertAlive();
    return this.#fold.stream.oldestShown(this.#timeAt(now));
  }

  streamTotals(): StreamTotals {
    this.#assertAlive();
    return this.#fold.stream.totals();
  }

  kvStats(now: number): KvStats {
    this.#assertAlive();
    return this.#fold.kv.stats(this.#timeAt(now));
  }

  queueStats(): readonly QueueStats[] {
    this.#assertAlive();
    return this.#fold.queue.names().flatMap((name) => this.#fold.queue.stats(name) ?? []);
  }

  nextDue(): number | undefined {
    return this.#dead === undefined && !this.#closed ? this.#fold.queue.nextDue : undefined;
  }

  digest(at?: number): string {
    this.#assertAlive();
    return this.#fold.digests(at).all;
  }

  reclaimExpired(now: number, budget: number): number {
    if (this.#dead !== undefined || this.#closed) return 0;
    // A replica frees only what had expired at its last record: what comes next was decided no earlier, and may be about the rest.
    return this.#fold.reclaimExpired(this.#log.following ? this.#fold.clock : now, budget);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#following?.unsubscribe();
    this.#fold.close();
  }

  #inTime(context: Context): Context {
    const now = this.#timeAt(context.now);
    return now === context.now ? context : { ...context, now };
  }

  /** No time is earlier than the state; that of a replica is its primary's. */
  #timeAt(now: number): number {
    const time = this.#log.following ? (this.#followedTime() ?? 0) : now;
    return Math.max(time, this.#fold.clock);
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
    this.#dead = error;
    this.#following?.unsubscribe();
    this.#onDead(error);
  }
}

function done<Answer>(answer: Answer, seen: Offset): { type: "done"; answer: Answer; offset: Offset } {
  return { type: "done", answer, offset: seen };
}
