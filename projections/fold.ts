/**
 * The state as a fold over the log: every projection, how far they have read, and what time it is there. Live, at a restart,
 * in a worker that makes a snapshot or looks at the past, it is this same fold; what differs is who feeds it.
 *
 * Time: the fold's clock is the later of the last record's timestamp and the last reclaim's. Nothing is decided or read at
 * an earlier "now": a key that the fold has reclaimed would otherwise be asked for.
 */
import { createHash } from "node:crypto";
import { type AppendedRecord, assert, BEFORE_FIRST, type Offset, offset } from "../log/index.js";
import type { StoreReadView, StoreRules } from "./decision.js";
import { ProjectionError } from "./errors.js";
import { type GiveWay, goOn } from "./give-way.js";
import { IdempotencyState, idempotencyProjection } from "./idempotency/state.js";
import { digestOf as kvDigest } from "./kv/digest.js";
import { HASH_SEED_BYTES, keyHash } from "./kv/key-hash.js";
import { kvProjection } from "./kv/projection.js";
import { KvState } from "./kv/state.js";
import { PointState, pointProjection } from "./points/state.js";
import { Projector, Projectors } from "./projector.js";
import { digestOf as queueDigest } from "./queue/digest.js";
import { queueProjection } from "./queue/projection.js";
import { QueueState } from "./queue/state.js";
import { streamDigest } from "./stream/digest.js";
import { streamProjection } from "./stream/projection.js";
import { StreamState } from "./stream/state.js";
import { TouchedTopics, Wakes } from "./wakes.js";

export interface FoldOptions {
  readonly rules: StoreRules;
  /** Eight bytes that nobody outside knows, against chosen keys that fall into one place. Default: zeros, for tools and tests. */
  readonly hashSeed?: Uint8Array;
  /** Told what the events touch. Default: nobody. */
  readonly touched?: TouchedTopics;
  /** Up to where streams may be shown. Default: all of the fold. */
  readonly committed?: () => Offset;
}

/** The canonical SHA-256 of each projection's state, in hex, and one over them all and the restore points. */
export interface Digests {
  readonly kv: string;
  readonly queue: string;
  readonly stream: string;
  readonly idempotency: string;
  readonly all: string;
}

/**
 * Those that follow from the log alone. How many answers are kept under idempotency keys is a matter of settings: a snapshot has what its
 * server's left, and so has what begins with it.
 */
export const LOG_DIGESTS = ["kv", "queue", "stream"] as const satisfies readonly (keyof Digests)[];

export class Fold {
  readonly kv: KvState;
  readonly queue: QueueState;
  readonly stream: StreamState;
  readonly idempotency: IdempotencyState;
  readonly points: PointState;
  /** What deciders and readers look at. */
  readonly view: StoreReadView;
  readonly #projectors: Projectors;
  #offset: Offset = BEFORE_FIRST;
  #clock = 0;
  #error: Error | undefined;

  constructor({ rules, hashSeed = new Uint8Array(HASH_SEED_BYTES), touched, committed }: FoldOptions) {
    const end = (): Offset => this.#offset;
    const topics = touched ?? new TouchedTopics(new Wakes());
    const hash = keyHash(hashSeed);
    this.kv = new KvState(rules.kv, hash);
    this.queue = new QueueState(topics, hash);
    this.stream = new StreamState(topics, committed ?? end);
    this.idempotency = new IdempotencyState(rules.idempotency);
    this.points = new PointState();
    const failed = (error: Error): void => {
      this.#error ??= error;
    };
    this.#projectors = new Projectors([
      new Projector(kvProjection, this.kv, failed),
      new Projector(queueProjection, this.queue, failed),
      new Projector(streamProjection, this.stream, failed),
      new Projector(idempotencyProjection, this.idempotency, failed),
      new Projector(pointProjection, this.points, failed),
    ]);
    this.view = {
      kv: this.kv,
      queue: this.queue,
      stream: this.stream,
      idempotency: this.idempotency,
      points: this.points,
      get nextOffset() {
        return offset(end() + 1);
      },
    };
  }

  /** The last offset that the state contains. */
  get offset(): Offset {
    return this.#offset;
  }

  /** Ms since 1970: no decision and no reading is older. */
  get clock(): number {
    return this.#clock;
  }

  /**
   * Feeds one record to every projection that reads its kind. Records come in the order of the log.
   * @throws ProjectionError, or whatever `evolve` failed with; then the state may be half of the truth, and each later call
   * fails likewise.
   */
  take(record: AppendedRecord): void {
    if (this.#error === undefined && !this.#projectors.take(record)) this.#error = unknownKind(record);
    if (this.#error !== undefined) throw this.#error;
    this.#offset = record.offset;
    if (record.timestamp > this.#clock) this.#clock = record.timestamp;
  }

  /** Stands where a snapshot stood, the state having been read from it. */
  standAt(at: Offset, clock: number): void {
    assert(this.#offset === BEFORE_FIRST, "a snapshot is read into a fold that has read nothing");
    this.#offset = at;
    this.#clock = clock;
  }

  /**
   * Frees the memory of up to `budget` keys that expired, messages that were purged, and message keys whose window passed by `now`;
   * returns how many. No answer changes.
   */
  reclaimExpired(now: number, budget: number): number {
    const keys = this.kv.reclaimExpired(now, budget);
    const freed = keys + this.queue.reclaim(now, budget - keys);
    if (freed > 0 && now > this.#clock) this.#clock = now;
    return freed;
  }

  /**
   * Of what is there at `at`, at the earliest the fold's own clock. States are compared at one offset and one `at` that is no
   * earlier than either's clock.
   */
  digests(at = 0, giveWay: GiveWay = goOn): Digests {
    const time = Math.max(at, this.#clock);
    const parts = {
      kv: kvDigest(this.kv, time, giveWay),
      queue: queueDigest(this.queue, time, giveWay),
      stream: streamDigest(this.stream, giveWay),
      idempotency: this.idempotency.digest(time, giveWay),
    };
    const all = createHash("sha256");
    for (const part of Object.values(parts)) all.update(part);
    // Without restore points it is what it was before there were any.
    if (this.points.size > 0) all.update(this.points.digest());
    return { ...parts, all: all.digest("hex") };
  }

  close(): void {
    this.#projectors.close();
  }
}

function unknownKind({ offset, kind }: AppendedRecord): ProjectionError {
  return new ProjectionError(
    "PROJECTION_EVENT_UNKNOWN",
    `record ${offset} has kind ${kind}, which this release does not know`,
    { offset, kind },
  );
}
