/**
 * What a server holds, built on each other: the log of its data directory, the state folded from it, and their upkeep (snapshots,
 * retention, looking back, archive, timers). It is opened, closed in the other order, and of a replica opened again when its log was
 * cut or replaced. When that happens is decided elsewhere, and so is how a failure ends the process.
 */
import { randomBytes } from "node:crypto";
import {
  type FileSystem,
  type OffsetHolder,
  type OpenedLog,
  type OpenLogOptions,
  SNAPSHOT_DIRECTORY,
} from "../log/index.js";
import type { OpenedStore, OpenStoreOptions } from "../projections/index.js";
import type { ContinuousArchive } from "./backup/archive.js";
import { startArchive } from "./backup/server-archive.js";
import { type LiveSettings, logSettings } from "./config/rooms.js";
import type { ConfigValues } from "./config/settings.js";
import { type DueTimer, startDueTimer, startStreamSweep } from "./due-timer.js";
import type { Health } from "./health.js";
import { LateLog } from "./late-log.js";
import { LateStore } from "./late-store.js";
import type { Logger } from "./logging.js";
import type { Metrics } from "./metrics/metrics.js";
import type { MonotonicClock } from "./monotonic-clock.js";
import { PastThread } from "./past/past-thread.js";
import { House } from "./state/house.js";
import { startPastThread, startSnapshotThread } from "./state/start-worker.js";
import { version } from "./version.js";

export interface HoldingRooms {
  readonly files: FileSystem;
  readonly openLog: (options: OpenLogOptions) => Promise<OpenedLog>;
  readonly openStore: (options: OpenStoreOptions) => Promise<OpenedStore>;
}

export interface HoldingsParts {
  readonly rooms: HoldingRooms;
  readonly dataDirectory: string;
  /** As the server runs with them now. */
  readonly values: () => ConfigValues;
  readonly live: LiveSettings;
  readonly clock: MonotonicClock;
  readonly logger: Logger;
  readonly health: Health;
  readonly metrics: () => Metrics;
  /** The primary's clock, of a node that follows one. */
  readonly followedTime: () => number | undefined;
  /** What of the log the replicas of this node need. */
  readonly replicasNeed: () => readonly OffsetHolder[];
  /** The log has failed, or the state is lost; `drainMs` is for reads that may go on meanwhile. */
  readonly onFailed: (error: Error, drainMs: number) => void;
}

export interface HowToOpen extends Pick<OpenLogOptions, "mayLead"> {
  readonly following: boolean;
}

const PROGRESS_LOG_MS = 5000;

export class Holdings {
  /** As the doors see them. */
  readonly store = new LateStore();
  readonly log = new LateLog();
  readonly #parts: HoldingsParts;
  #opened: OpenedLog | undefined;
  #openedStore: OpenedStore | undefined;
  #past: PastThread | undefined;
  #house: House | undefined;
  #archive: ContinuousArchive | undefined;
  #writers: readonly DueTimer[] = [];
  #replaySeconds = 0;

  constructor(parts: HoldingsParts) {
    this.#parts = parts;
  }

  get opened(): OpenedLog | undefined {
    return this.#opened;
  }

  get openedStore(): OpenedStore | undefined {
    return this.#openedStore;
  }

  /** Undefined when looking back is switched off, or there is nothing yet. */
  get past(): PastThread | undefined {
    return this.#past;
  }

  get house(): House | undefined {
    return this.#house;
  }

  get archive(): ContinuousArchive | undefined {
    return this.#archive;
  }

  get replaySeconds(): number {
    return this.#replaySeconds;
  }

  /** `following`: another node writes it. */
  async openLog({ following, mayLead }: HowToOpen): Promise<OpenedLog> {
    const { rooms, dataDirectory, values, clock, metrics, health } = this.#parts;
    const opened = await rooms.openLog({
      ...logSettings(values()),
      dataDirectory,
      files: rooms.files,
      now: clock.now,
      stopwatch: () => performance.now(),
      randomBytes,
      holder: `annals serve, pid ${process.pid}`,
      observer: metrics().log,
      following,
      ...(mayLead && { mayLead }),
    });
    this.#opened = opened;
    opened.log.failed.subscribe((error) => {
      metrics().log.failed();
      this.#parts.onFailed(error, values()["shutdown.failed_drain_ms"]);
    });
    this.log.open(opened.log);
    metrics().log.tell(opened);
    health.watch(opened.log);
    await this.#raiseClock(opened);
    this.#prepareUpkeep(opened);
    return opened;
  }

  /** Folds the log up to its end and begins its upkeep. The log is open. */
  async openState(): Promise<OpenedStore> {
    const opened = this.#opened;
    if (opened === undefined) throw new Error("there is no log to fold");
    const store = await this.#fold(opened);
    this.#openedStore = store;
    this.store.open(store);
    await this.#house?.begin(store);
    return store;
  }

  /** This node writes: what it does by itself, because time passes, begins. */
  async lead(): Promise<void> {
    const { clock } = this.#parts;
    if (this.#opened === undefined || this.#openedStore === undefined || this.#writers.length > 0) return;
    await this.#raiseClock(this.#opened);
    this.#startArchive(this.#opened);
    this.#writers = [
      startDueTimer(this.#openedStore, clock.now),
      startStreamSweep(this.#openedStore, clock.now),
    ];
  }

  /** Nothing is written by itself any more. */
  async endLeading(): Promise<void> {
    for (const timer of this.#writers) timer.close();
    this.#writers = [];
    const archive = this.#archive;
    this.#archive = undefined;
    await archive?.close(0);
  }

  /** From now on there is no state: requests are told to come again. The log stays as it is. */
  async closeState(): Promise<void> {
    const [past, house, store] = [this.#past, this.#house, this.#openedStore];
    this.#parts.health.refold();
    this.store.shut();
    this.#openedStore = undefined;
    await past?.close();
    await house?.close();
    await store?.close();
    if (this.#opened !== undefined) this.#prepareUpkeep(this.#opened);
  }

  /** What was archived last is told by `archive`, which is closed before. */
  async closeLog(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await this.#past?.close();
    await this.#house?.close();
    await opened?.log.close();
  }

  /** For good, in order. */
  async close(): Promise<void> {
    for (const timer of this.#writers) timer.close();
    await this.#past?.close();
    await this.#house?.close();
    await this.#archive?.close(0);
    await this.#openedStore?.close();
    await this.closeLog();
  }

  /** Not after the last record, whatever the wall clock says now. */
  async #raiseClock({ log }: OpenedLog): Promise<void> {
    if (log.endOffset < log.firstOffset) return;
    await log.whenCommitted(log.endOffset);
    for await (const batch of log.read(log.endOffset)) this.#parts.clock.raise(batch.at(-1)?.timestamp ?? 0);
  }

  #startArchive(opened: OpenedLog): void {
    const { values, dataDirectory, logger } = this.#parts;
    this.#archive ??= startArchive({
      values: values(),
      dataDirectory,
      opened,
      now: Date.now,
      stopwatch: () => performance.now(),
      logger,
    });
  }

  /**
   * Only a node that leads archives: what another one wrote meanwhile may take the place of what is here. Until it is known which it is
   * nothing goes; of a replica its primary archives it.
   */
  #unarchived({ log }: OpenedLog): readonly OffsetHolder[] {
    const isArchived = this.#parts.values()["archive.url"] !== "";
    return isArchived && !log.following ? [{ name: "archive", offset: log.firstOffset }] : [];
  }

  #prepareUpkeep(opened: OpenedLog): void {
    this.#past = this.#lookBack(opened);
    this.#house = this.#keepHouse(opened);
  }

  #lookBack({ log }: OpenedLog): PastThread | undefined {
    const { dataDirectory, clock, logger, metrics } = this.#parts;
    const values = this.#parts.values();
    if (values["past.folds_max"] === 0) return undefined;
    return new PastThread({
      log,
      now: clock.now,
      logger,
      stopwatch: () => performance.now(),
      onAsked: (durationMs) => metrics().past.asked(durationMs),
      waitingMax: values["past.waiting_max"],
      timeoutMs: () => this.#parts.values()["past.timeout_ms"],
      values: () => this.#parts.values(),
      idleMs: values["past.idle_secs"] * 1000,
      start: () => startPastThread({ version, dataDirectory, values: this.#parts.values() }),
    });
  }

  #keepHouse(opened: OpenedLog): House {
    const { rooms, dataDirectory, values, clock, logger } = this.#parts;
    const house = new House({
      files: rooms.files,
      dataDirectory,
      opened,
      values,
      now: clock.now,
      stopwatch: () => performance.now(),
      logger,
      startThread: () => startSnapshotThread(values()["persistence.snapshot.niceness"]),
    });
    house.register(() => this.#archive?.holders() ?? this.#unarchived(opened));
    house.register(this.#parts.replicasNeed);
    return house;
  }

  async #fold({ log }: OpenedLog): Promise<OpenedStore> {
    const { rooms, live, dataDirectory, health, logger, followedTime, onFailed } = this.#parts;
    const begun = performance.now();
    let reported = begun;
    health.replaying(0, log.endOffset);
    const store = await rooms.openStore({
      log,
      rules: live.rules,
      hashSeed: randomBytes(8),
      snapshots: { files: rooms.files, directory: `${dataDirectory}/${SNAPSHOT_DIRECTORY}` },
      lostRecords: this.#parts.values()["persistence.wal.fsync_mode"] === "never" ? "warn" : "refuse",
      wakes: this.store.wakes,
      followedTime,
      onProgress: ({ step, done, total }) => {
        if (step === "log") health.replaying(done, total);
        else health.reading(done, total);
        if (performance.now() - reported < PROGRESS_LOG_MS) return;
        reported = performance.now();
        logger.info({ step, done, total, seconds: (reported - begun) / 1000 }, "replaying");
      },
      onWarning: ({ code, message, context }) =>
        logger.warn({ code, ...context }, `a snapshot was passed over: ${message}`),
      // Its state cannot be trusted any more, so no read is answered from it either: no drain.
      onDead: (error) => onFailed(error, 0),
    });
    this.#replaySeconds = (performance.now() - begun) / 1000;
    health.replaying(log.endOffset, log.endOffset);
    return store;
  }
}
