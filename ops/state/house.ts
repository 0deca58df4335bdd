/**
 * The upkeep of a server's data directory, put together: the worker that makes snapshots, when they are made, which stay, and
 * how much of the log does. The serving thread is asked for nothing but the oldest record that its streams show.
 */
import type { NewSnapshot, Refusal, Snapshots } from "../../api/index.js";
import { refusal } from "../../api/index.js";
import { type FileSystem, LogError, type OffsetHolder, type OpenedLog } from "../../log/index.js";
import type { ListedSnapshot, OpenedStore, SnapshotFacts } from "../../projections/index.js";
import type { ConfigValues } from "../config/settings.js";
import type { Logger } from "../logging.js";
import { notYet } from "../not-yet.js";
import { Retention, type RetentionReport } from "../retention.js";
import { SnapshotShelf } from "./shelf.js";
import { type SnapshotFigures, Snapshotter } from "./snapshotter.js";
import { JobError, StateWorker, type WorkerThread } from "./state-worker.js";

export interface HouseOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly opened: OpenedLog;
  /** As the server runs with them now. */
  readonly values: () => ConfigValues;
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly logger: Pick<Logger, "info" | "warn" | "error">;
  readonly startThread: () => WorkerThread;
}

export interface HouseFigures extends SnapshotFigures {
  /** Snapshot files. */
  readonly snapshots: number;
  /** Who needs the log from where on, when something was old enough to go. */
  readonly holders: readonly OffsetHolder[];
  readonly retiredRecords: number;
  readonly retentionFailures: number;
}

/** How often is looked for something that may go; after each snapshot as well. */
const ROUND_MS = 30_000;
/** A snapshot is made, and another is read back. */
const JOBS_MAX = 4;
const WORKER_IDLE_MS = 10_000;

export class House implements Snapshots {
  readonly #options: HouseOptions;
  readonly #worker: StateWorker;
  readonly #shelf: SnapshotShelf;
  readonly #closing = new AbortController();
  #snapshotter: Snapshotter | undefined;
  #retention: Retention | undefined;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #isChanged = false;
  readonly #waitingHolders: (() => readonly OffsetHolder[])[] = [];
  #holders: readonly OffsetHolder[] = [];
  #snapshots = 0;
  #retiredRecords = 0;
  #retentionFailures = 0;

  constructor(options: HouseOptions) {
    this.#options = options;
    const { files, dataDirectory, opened, logger } = options;
    this.#worker = new StateWorker({
      start: options.startThread,
      jobsMax: JOBS_MAX,
      idleMs: WORKER_IDLE_MS,
      onEnded: (why) => {
        if (why !== undefined)
          logger.error({ err: why }, "the state worker ended; the next job starts another");
      },
    });
    this.#shelf = new SnapshotShelf({
      files,
      dataDirectory,
      log: opened.log,
      check: (name) =>
        this.#worker.run(
          { type: "check", dataDirectory, name, values: options.values() },
          { signal: this.#closing.signal },
        ),
      onProblem: (name, problem) =>
        logger.error({ name, ...problem }, "a snapshot does not hold; nothing relies on it any more"),
    });
  }

  get figures(): HouseFigures {
    const none = { made: 0, failed: 0, last: undefined, lastMs: undefined, progress: undefined };
    return {
      ...(this.#snapshotter?.figures ?? none),
      snapshots: this.#snapshots,
      holders: this.#holders,
      retiredRecords: this.#retiredRecords,
      retentionFailures: this.#retentionFailures,
    };
  }

  /** Asks `holders` before anything of the log goes, from now on. */
  register(holders: () => readonly OffsetHolder[]): void {
    if (this.#retention === undefined) this.#waitingHolders.push(holders);
    else this.#retention.register(holders);
  }

  /** The state is there: from now on snapshots are made and old parts go. */
  async begin(store: Pick<OpenedStore, "oldestShown">): Promise<void> {
    const { opened, values, now, stopwatch, logger, dataDirectory } = this.#options;
    const settings = values();
    const listed = await this.#shelf.list();
    this.#snapshots = listed.length;
    if (this.#closing.signal.aborted) return;
    this.#retention = new Retention({
      log: opened.log,
      firstWithin: opened.firstWithin,
      shelf: this.#shelf,
      oldestShown: (at) => store.oldestShown(at),
      now,
      rules: () => ({
        bytes: values()["log.retention_bytes"],
        windowMs: values()["log.retention_secs"] * 1000,
        snapshotsMax: values()["persistence.snapshot.max_snapshots"],
      }),
    });
    for (const holders of this.#waitingHolders) this.#retention.register(holders);
    this.#snapshotter = new Snapshotter({
      log: opened.log,
      fsyncMode: settings["persistence.wal.fsync_mode"],
      make: (last, onProgress, signal) =>
        this.#worker.run({ type: "snapshot", dataDirectory, last, values: values() }, { onProgress, signal }),
      schedule: {
        automatic: settings["persistence.snapshot.enabled"],
        get intervalMs() {
          return values()["persistence.snapshot.interval_secs"] * 1000;
        },
        get records() {
          return values()["persistence.snapshot.operation_threshold"];
        },
      },
      newest: listed.findLast(({ info }) => info !== undefined)?.info,
      stopwatch,
      now,
      logger,
      onMade: () => void this.tidy(),
    });
    this.#timer = setInterval(() => void this.tidy(), ROUND_MS).unref();
    void this.tidy();
  }

  async make(): Promise<NewSnapshot | Refusal> {
    if (this.#snapshotter === undefined) throw notYet();
    try {
      const { facts, foldMs, writeMs } = await this.#snapshotter.make("asked");
      return { type: "snapshot", facts, durationMs: foldMs + writeMs };
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** The newest that a start could begin with, to be sent to a replica. */
  async newest(): Promise<SnapshotFacts | undefined> {
    for (const facts of await this.#shelf.usable()) {
      if (
        facts.offset <= this.#options.opened.log.durableOffset &&
        (await this.#shelf.trust(facts)) !== undefined
      )
        return facts;
    }
    return undefined;
  }

  list(): Promise<readonly ListedSnapshot[]> {
    return this.#shelf.list();
  }

  /** One round: what nobody needs goes. It never rejects. While one runs, another follows it: what there is has changed. */
  tidy(): Promise<void> {
    this.#isChanged = true;
    this.#round ??= this.#tidyAll().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort(new JobError("JOB_CLOSED", "the server is shutting down"));
    await this.#snapshotter?.close();
    await this.#worker.close();
    await this.#round;
  }

  async #tidyAll(): Promise<void> {
    while (this.#isChanged) {
      this.#isChanged = false;
      await this.#tidy();
    }
  }

  async #tidy(): Promise<void> {
    const { logger } = this.#options;
    if (this.#retention === undefined || this.#closing.signal.aborted) return;
    try {
      this.#report(await this.#retention.run());
      this.#snapshots = (await this.#shelf.list()).length;
    } catch (error) {
      // The log has failed or is closed, or the server is: its owner knows.
      if (this.#closing.signal.aborted || isOver(error)) return;
      this.#retentionFailures += 1;
      logger.error({ err: error }, "retention did not get on; nothing that is needed went");
    }
  }

  #report({ snapshotsRemoved, firstBefore, first, holders, heldBy }: RetentionReport): void {
    this.#holders = holders;
    this.#retiredRecords += first - firstBefore;
    if (snapshotsRemoved.length === 0 && first === firstBefore) return;
    this.#options.logger.info(
      { snapshotsRemoved, firstBefore, first, heldBy },
      "retention removed what nobody needs",
    );
  }
}

function isOver(error: unknown): boolean {
  return error instanceof LogError && (error.code === "LOG_FAILED" || error.code === "LOG_CLOSED");
}

const FULL: ReadonlySet<string | undefined> = new Set(["LOG_DISK_FULL", "ENOSPC", "EDQUOT"]);

/** The server's log tells more than the client is told. */
function refusalOf(error: unknown): Refusal {
  if (!(error instanceof JobError)) throw error;
  if (error.code === "JOB_CLOSED") return refusal("API_DRAINING", "the server is shutting down");
  if (FULL.has(error.causeCode)) {
    return refusal("LOG_DISK_FULL", "there is no room on the disk for a snapshot; nothing was changed");
  }
  const why = error.code === "JOB_LOST" ? "the thread that makes it ended" : (error.causeCode ?? "it failed");
  return refusal("API_SNAPSHOT_FAILED", `${why}; the server's log says more`);
}
