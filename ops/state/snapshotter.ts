/**
 * Makes the snapshots of a server: when somebody asks, after a time, after so many records. One at a time: who asks while one is
 * made gets that one. The work is done by the state worker; this decides when, and tells how it went.
 */
import type { EventLog, FsyncMode, Offset } from "../../log/index.js";
import type { SnapshotFacts } from "../../projections/index.js";
import type { Logger } from "../logging.js";
import type { JobProgress, SnapshotMade } from "./jobs.js";
import { JobError } from "./state-worker.js";

export interface SnapshotSchedule {
  /** False: only when asked. */
  readonly automatic: boolean;
  /** After so long, if there is a new record; 0: never. */
  readonly intervalMs: number;
  /** After so many records; 0: never. */
  readonly records: number;
}

export interface SnapshotterOptions {
  readonly log: Pick<EventLog, "committedOffset" | "durableOffset">;
  readonly fsyncMode: FsyncMode;
  readonly make: (
    last: Offset,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ) => Promise<SnapshotMade>;
  readonly schedule: SnapshotSchedule;
  /** The newest that there is at the start. */
  readonly newest: SnapshotFacts | undefined;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Ms since 1970. Asked once, for the age of `newest`. */
  readonly now: () => number;
  readonly logger: Pick<Logger, "info" | "warn" | "error">;
  /** Told after each. */
  readonly onMade: () => void;
}

export interface SnapshotFigures {
  readonly made: number;
  readonly failed: number;
  readonly last: SnapshotFacts | undefined;
  /** How long the last one took; undefined: none was made since the start. */
  readonly lastMs: number | undefined;
  readonly progress: JobProgress | undefined;
}

const LOOK_MS = 1000;
/** Snapshots made by themselves take at most a tenth of the worker's time, however many records come. */
const REST_PER_WORK = 9;
const REST_AFTER_FAILURE_MS = 60_000;

export class Snapshotter {
  readonly #options: SnapshotterOptions;
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  /** By the steady clock: when the newest one was made; without any, when this began. */
  #newestAt: number;
  #running: Promise<SnapshotMade> | undefined;
  #progress: JobProgress | undefined;
  #last: SnapshotFacts | undefined;
  #lastMs: number | undefined;
  #restUntil = 0;
  #made = 0;
  #failed = 0;

  constructor(options: SnapshotterOptions) {
    this.#options = options;
    this.#last = options.newest;
    const { now, stopwatch, newest } = options;
    // A clock that was set back has made none in the future.
    this.#newestAt = stopwatch() - Math.max(0, now() - (newest?.createdAt ?? now()));
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  get figures(): SnapshotFigures {
    return {
      made: this.#made,
      failed: this.#failed,
      last: this.#last,
      lastMs: this.#lastMs,
      progress: this.#progress,
    };
  }

  /** A new one, or the one that is being made. It is durable when this resolves. @throws JobError. */
  make(why: string): Promise<SnapshotMade> {
    this.#running ??= this.#make(why).finally(() => {
      this.#running = undefined;
      this.#progress = undefined;
    });
    return this.#running;
  }

  /** No more are made; one that is being made is given up. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new JobError("JOB_CLOSED", "the server is shutting down"));
    await this.#running?.catch(() => undefined);
  }

  async #make(why: string): Promise<SnapshotMade> {
    const { make, logger, stopwatch, onMade } = this.#options;
    const begun = stopwatch();
    try {
      this.#stop.signal.throwIfAborted();
      const made = await make(
        this.#end(),
        (progress) => {
          this.#progress = progress;
        },
        this.#stop.signal,
      );
      this.#lastMs = stopwatch() - begun;
      this.#restUntil = stopwatch() + this.#lastMs * REST_PER_WORK;
      this.#last = made.facts;
      this.#newestAt = stopwatch();
      this.#made += 1;
      for (const { code, message } of made.warnings) logger.warn({ code }, message);
      const { name, offset, bytes, counts } = made.facts;
      const { from, replayedRecords, foldMs, writeMs } = made;
      logger.info(
        { why, name, offset, bytes, ...counts, from, replayedRecords, foldMs, writeMs },
        "snapshot made",
      );
      onMade();
      return made;
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        this.#failed += 1;
        this.#restUntil = stopwatch() + REST_AFTER_FAILURE_MS;
        logger.error({ err: error, why }, "no snapshot was made; the log has everything");
      }
      throw error;
    }
  }

  /** What a power cut cannot take; in `never` nothing tells, and a snapshot beyond what is left is passed over at the start. */
  #end(): Offset {
    const { log, fsyncMode } = this.#options;
    return fsyncMode === "never" ? log.committedOffset : log.durableOffset;
  }

  #look(): void {
    const { schedule, stopwatch } = this.#options;
    if (!schedule.automatic || this.#running !== undefined || stopwatch() < this.#restUntil) return;
    const why = this.#due();
    // A failure was told where it happened.
    if (why !== undefined) this.make(why).catch(() => undefined);
  }

  #due(): string | undefined {
    const { schedule, stopwatch } = this.#options;
    const records = this.#end() - (this.#last?.offset ?? 0);
    if (records <= 0) return undefined;
    if (schedule.records > 0 && records >= schedule.records) return "records";
    const isOld = schedule.intervalMs > 0 && stopwatch() - this.#newestAt >= schedule.intervalMs;
    return isOld ? "interval" : undefined;
  }
}
