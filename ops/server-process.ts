/**
 * The life of a server: open the log, listen, replay, serve, and end in one of these ways: stopped (finish what is in
 * flight, commit, mark the clean stop), failed storage (drain reads, leave the files alone), or a start that did not work.
 *
 * It decides order and deadlines. It does not know signals, exit codes or flags: `ops/cli/serve.ts` does.
 */
import { randomBytes } from "node:crypto";
import { resolve as absolute } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import type { ApiOptions } from "../api/index.js";
import {
  type FileSystem,
  LogError,
  type OpenedLog,
  type OpenLogOptions,
  SNAPSHOT_DIRECTORY,
} from "../log/index.js";
import type { OpenedStore, OpenStoreOptions } from "../projections/index.js";
import type { ContinuousArchive } from "./backup/archive.js";
import { startArchive } from "./backup/server-archive.js";
import type { Config } from "./config/load.js";
import { changesBetween, LiveSettings, logSettings } from "./config/rooms.js";
import type { ConfigValues } from "./config/settings.js";
import { type DueTimer, startDueTimer, startStreamSweep } from "./due-timer.js";
import { Health } from "./health.js";
import { infoSections } from "./info.js";
import { LateStore } from "./late-store.js";
import type { Logger } from "./logging.js";
import { FreeDisk } from "./metrics/free-disk.js";
import { Metrics } from "./metrics/metrics.js";
import type { StreamSource } from "./metrics/stream-series.js";
import { olderBeginnings, olderFiles, partText } from "./migration/older-parts.js";
import { MonotonicClock } from "./monotonic-clock.js";
import { PastThread } from "./past/past-thread.js";
import { requestIds } from "./request-ids.js";
import { House } from "./state/house.js";
import { startPastThread, startSnapshotThread } from "./state/start-worker.js";
import { Timers } from "./timers.js";
import { version } from "./version.js";

/** The rooms, as `ops/main.ts` puts them together. */
export interface Rooms {
  readonly files: FileSystem;
  readonly openLog: (options: OpenLogOptions) => Promise<OpenedLog>;
  readonly openStore: (options: OpenStoreOptions) => Promise<OpenedStore>;
  readonly buildServer: (options: ApiOptions) => FastifyInstance;
}

export type Ending =
  /** Asked to stop, and everything that was in flight is done and committed. */
  | { readonly type: "stopped" }
  /** Asked to stop, but not done within the time. */
  | { readonly type: "late"; readonly timeoutMs: number }
  /** The log or a projection failed while running. */
  | { readonly type: "storage-failed"; readonly error: Error }
  /** The start did not work. */
  | { readonly type: "not-started"; readonly error: unknown };

export interface Listening {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

const PROGRESS_LOG_MS = 5000;
const IDLE_CHECK_MS = 25;
/** Of the shutdown time, what is kept for committing and closing the log after the last request was cut off. */
const CLOSE_SHARE = 0.25;
/** Of that, what archiving the last records may take. */
const ARCHIVE_SHARE = 0.5;

export class ServerProcess {
  readonly #rooms: Rooms;
  readonly #logger: Logger;
  readonly #health: Health;
  readonly #metrics: Metrics;
  readonly #disk: FreeDisk;
  readonly #live: LiveSettings;
  readonly #clock = new MonotonicClock(Date.now, () => performance.now());
  readonly #late = new LateStore();
  readonly #dataDirectory: string;
  #values: ConfigValues;
  #opened: OpenedLog | undefined;
  #store: OpenedStore | undefined;
  #app: FastifyInstance | undefined;
  #timers: Timers | undefined;
  #past: PastThread | undefined;
  #house: House | undefined;
  #archive: ContinuousArchive | undefined;
  #dueTimer: DueTimer | undefined;
  #streamSweep: DueTimer | undefined;
  #starting: Promise<void> = Promise.resolve();
  #stopping = false;
  #logClosed = false;
  #storageFailure: Error | undefined;
  #replaySeconds = 0;
  #connections = 0;
  #end: (ending: Ending) => void = () => undefined;

  constructor(rooms: Rooms, config: Config, logger: Logger) {
    const values = config.values;
    this.#rooms = rooms;
    this.#logger = logger;
    this.#values = values;
    this.#dataDirectory = absolute(values.data_dir);
    this.#live = new LiveSettings(values);
    this.#disk = new FreeDisk(rooms.files, this.#dataDirectory);
    this.#health = new Health({
      stopwatch: () => performance.now(),
      stalledWriteMs: values["health.stalled_write_secs"] * 1000,
      diskIsFull: () => this.#metrics.log.diskIsFull,
      diskFreeBytes: () => this.#disk.bytes,
      archive: () => this.#archive?.detail,
    });
    this.#metrics = new Metrics({
      prefix: values["metrics.prefix"],
      labelsMax: values["metrics.labels_max"],
      version,
      syncOnEveryBatch: values["persistence.wal.fsync_mode"] === "always",
      disk: this.#disk,
      start: () => ({
        ready: this.#health.phase === "ready",
        replayedOffset: this.#health.replayedOffset,
        replaySeconds: this.#replaySeconds,
      }),
      kvStats: () => this.#store?.kvStats(this.#clock.now()),
      queueStats: () => this.#store?.queueStats() ?? [],
      archive: () => this.#archive?.figures,
      streams: () => this.#streams(),
      past: () => this.#past,
      house: () => this.#house?.figures,
    });
  }

  /** Runs until the end, whichever it is. Never rejects. */
  run(onListening: (listening: Listening) => void): Promise<Ending> {
    const ended = new Promise<Ending>((resolve) => {
      this.#end = resolve;
    });
    this.#starting = this.#start(onListening).catch((error: unknown) => this.#abandonStart(error));
    return ended;
  }

  /** Ends in order: readiness false, drain delay, no new connections, in-flight requests, commit, clean mark. */
  async stop(why: string): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#health.leave();
    const timeoutMs = this.#values["shutdown.timeout_ms"];
    this.#logger.info({ why, timeoutMs }, "shutting down");
    const late = setTimeout(() => this.#finish({ type: "late", timeoutMs }), timeoutMs).unref();
    if (this.#store !== undefined) await sleep(this.#values["shutdown.drain_delay_ms"]);
    this.#health.drain();
    await this.#closeDoors(timeoutMs * (1 - CLOSE_SHARE) - this.#values["shutdown.drain_delay_ms"]);
    // Before the log closes; half of the time that is left at least is the log's.
    await this.#archive?.close(timeoutMs * CLOSE_SHARE * ARCHIVE_SHARE);
    await this.#closeStorage();
    // A start that was still going on ends now, because its log is closed; one that had none yet has opened it meanwhile.
    await this.#starting;
    await this.#closeStorage();
    clearTimeout(late);
    this.#finish({ type: "stopped" });
  }

  /** Applies what can be applied to a running process and says what needs a restart. */
  reload(next: ConfigValues): void {
    const changes = changesBetween(this.#values, next);
    const live = changes.filter((change) => change.live);
    const later = changes.filter((change) => !change.live);
    this.#live.apply(next);
    this.#logger.level = next["logging.level"];
    // What needs a restart keeps its running value here, so that the next reload still reports it.
    this.#values = { ...this.#values, ...Object.fromEntries(live.map(({ path, to }) => [path, to])) };
    this.#logger.info({ applied: live.map(named) }, "configuration read again");
    if (later.length > 0) this.#logger.warn({ settings: later.map(named) }, "these changes need a restart");
  }

  async #start(onListening: (listening: Listening) => void): Promise<void> {
    const opened = await this.#openLog();
    if (this.#stopping) return;
    const app = this.#buildServer(opened);
    await app.listen({ host: this.#values["server.host"], port: this.#values["server.port"] });
    const store = await this.#replay(opened);
    if (this.#stopping) return;
    this.#timers = this.#startTimers(store);
    this.#dueTimer = startDueTimer(store, this.#clock.now);
    this.#streamSweep = startStreamSweep(store, this.#clock.now);
    await this.#house?.begin(store);
    this.#health.ready();
    this.#reportStart(opened, store);
    const listening = addressOf(app);
    this.#logger.info({ ...listening }, "listening");
    onListening(listening);
    await this.#tellOlder(opened).catch((error: unknown) =>
      this.#logger.warn({ err: error }, "parts of older formats could not be looked for"),
    );
  }

  async #openLog(): Promise<OpenedLog> {
    const opened = await this.#rooms.openLog({
      ...logSettings(this.#values),
      dataDirectory: this.#dataDirectory,
      files: this.#rooms.files,
      now: this.#clock.now,
      stopwatch: () => performance.now(),
      randomBytes,
      holder: `annals serve, pid ${process.pid}`,
      observer: this.#metrics.log,
    });
    this.#opened = opened;
    opened.log.failed.subscribe((error) => {
      this.#metrics.log.failed();
      void this.#storageFailed(error, this.#values["shutdown.failed_drain_ms"]);
    });
    this.#metrics.log.tell(opened);
    this.#health.watch(opened.log);
    this.#clock.raise(await lastTimestamp(opened));
    this.#archive = startArchive({
      values: this.#values,
      dataDirectory: this.#dataDirectory,
      opened,
      now: Date.now,
      stopwatch: () => performance.now(),
      logger: this.#logger,
    });
    return opened;
  }

  #buildServer(opened: OpenedLog): FastifyInstance {
    const app = this.#rooms.buildServer({
      version,
      store: this.#late,
      log: opened.log,
      past: this.#lookBack(opened),
      snapshots: this.#keepHouse(opened),
      role: () => "standalone",
      now: this.#clock.now,
      stopwatch: () => performance.now(),
      random: Math.random,
      newRequestId: requestIds(randomBytes(6).toString("hex")),
      limits: this.#live.limits,
      queuesEnabled: this.#values["queue.enabled"],
      health: this.#health,
      observer: this.#metrics.api,
      metrics: () => this.#metrics.page(),
      info: () => this.#info(),
      logger: this.#logger,
      corsOrigins: this.#values["server.cors_origins"],
    });
    this.#app = app;
    app.server.on("connection", (socket) => {
      this.#connections++;
      socket.once("close", () => this.#connections--);
    });
    this.#metrics.api.countConnections(() => this.#connections);
    // A client that is asked to come back on a new connection finds the next node before this one closes its port.
    app.server.prependListener("request", (_request, response) => {
      if (this.#health.phase === "leaving") response.setHeader("Connection", "close");
    });
    return app;
  }

  /** Undefined when looking back is switched off. */
  #lookBack({ log }: OpenedLog): PastThread | undefined {
    const values = this.#values;
    if (values["past.folds_max"] === 0) return undefined;
    this.#past = new PastThread({
      log,
      now: this.#clock.now,
      logger: this.#logger,
      stopwatch: () => performance.now(),
      onAsked: (durationMs) => this.#metrics.past.asked(durationMs),
      waitingMax: values["past.waiting_max"],
      timeoutMs: () => this.#values["past.timeout_ms"],
      idleMs: values["past.idle_secs"] * 1000,
      start: () => startPastThread({ version, dataDirectory: this.#dataDirectory, values: this.#values }),
    });
    return this.#past;
  }

  /** Snapshots can be switched off; those that are there are used and kept in order all the same. */
  #keepHouse(opened: OpenedLog): House | undefined {
    this.#house = new House({
      files: this.#rooms.files,
      dataDirectory: this.#dataDirectory,
      opened,
      values: () => this.#values,
      now: this.#clock.now,
      stopwatch: () => performance.now(),
      logger: this.#logger,
      startThread: () => startSnapshotThread(this.#values["persistence.snapshot.niceness"]),
    });
    // What is not archived yet stays.
    this.#house.register(() => this.#archive?.holders() ?? []);
    return this.#values["persistence.snapshot.enabled"] ? this.#house : undefined;
  }

  async #replay(opened: OpenedLog): Promise<OpenedStore> {
    const begun = performance.now();
    let reported = begun;
    this.#health.replaying(0, opened.log.endOffset);
    const store = await this.#rooms.openStore({
      log: opened.log,
      rules: this.#live.rules,
      hashSeed: randomBytes(8),
      snapshots: { files: this.#rooms.files, directory: `${this.#dataDirectory}/${SNAPSHOT_DIRECTORY}` },
      lostRecords: this.#values["persistence.wal.fsync_mode"] === "never" ? "warn" : "refuse",
      onProgress: ({ step, done, total }) => {
        if (step === "log") this.#health.replaying(done, total);
        else this.#health.reading(done, total);
        if (performance.now() - reported < PROGRESS_LOG_MS) return;
        reported = performance.now();
        this.#logger.info({ step, done, total, seconds: (reported - begun) / 1000 }, "replaying");
      },
      onWarning: ({ code, message, context }) =>
        this.#logger.warn({ code, ...context }, `a snapshot was passed over: ${message}`),
      // Its state cannot be trusted any more, so no read is answered from it either: no drain.
      onDead: (error) => void this.#storageFailed(error, 0),
    });
    this.#replaySeconds = (performance.now() - begun) / 1000;
    this.#health.replaying(opened.log.endOffset, opened.log.endOffset);
    this.#store = store;
    this.#late.open(store);
    return store;
  }

  #startTimers(store: OpenedStore): Timers {
    return new Timers({
      reclaimIntervalMs: this.#values["kv_store.ttl_cleanup_interval_ms"],
      reclaim: (budget) => store.reclaimExpired(this.#clock.now(), budget),
      sample: () => {
        this.#health.sample();
        this.#metrics.process.sample();
      },
      sampleDisk: () => this.#disk.sample(),
    });
  }

  #reportStart(
    { log, recovery, identity, formatVersion: directoryFormat }: OpenedLog,
    { from }: OpenedStore,
  ): void {
    this.#logger.info(
      {
        version,
        node: process.version,
        dataDirectory: this.#dataDirectory,
        fsyncMode: this.#values["persistence.wal.fsync_mode"],
        created: recovery.created,
        lastStopClean: recovery.clean,
        tornBytes: recovery.tornBytes,
        tornFile: recovery.tornFile,
        firstOffset: log.firstOffset,
        endOffset: log.endOffset,
        recoveryMs: Math.round(recovery.durationMs),
        snapshot: from?.name,
        snapshotFormat: from?.formatVersion,
        directoryFormat,
        replayedRecords: log.endOffset - (from?.offset ?? 0),
        replaySeconds: Number(this.#replaySeconds.toFixed(3)),
        ...identity,
      },
      "started",
    );
    if (recovery.tornBytes > 0)
      this.#logger.warn(
        { bytes: recovery.tornBytes, keptIn: recovery.tornFile },
        "an unfinished end was cut from the log and kept aside",
      );
  }

  /** Older formats are served as they are; whoever runs this knows then which they are, and how to have them written anew. */
  async #tellOlder({ log, formatVersion }: OpenedLog): Promise<void> {
    const files = await olderFiles(this.#rooms.files, this.#dataDirectory, formatVersion);
    const older = [...files, ...(await olderBeginnings(log))].map(partText);
    if (older.length > 0)
      this.#logger.info(
        { older },
        "parts of the data directory are of older formats, and are read as they are; `annals migrate` writes them anew elsewhere",
      );
  }

  #streams(): StreamSource | undefined {
    const store = this.#store;
    if (store === undefined) return undefined;
    return {
      streamTotals: () => store.streamTotals(),
      streamSums: (prefix) => store.streamSums(prefix),
      oldestStreams: (prefix, limit) => store.oldestStreams(prefix, this.#clock.now(), limit),
    };
  }

  #info() {
    return infoSections({
      version,
      values: () => this.#values,
      opened: () => this.#opened,
      store: () => this.#store,
      house: () => this.#house?.figures,
      kvStats: () => this.#store?.kvStats(this.#clock.now()),
      queueStats: () => this.#store?.queueStats() ?? [],
      disk: this.#disk,
      uptimeSeconds: () => this.#metrics.process.uptimeSeconds,
      openConnections: () => this.#connections,
    });
  }

  /** Closes what the start had opened, so that the directory is free; files in doubt are left as they are. */
  async #abandonStart(error: unknown): Promise<void> {
    if (this.#stopping || this.#storageFailure !== undefined) return;
    this.#health.fail("the start did not work");
    await this.#closeDoors(0);
    if (!isStorageError(error)) await this.#closeStorage();
    this.#finish({ type: "not-started", error });
  }

  async #storageFailed(error: Error, drainMs: number): Promise<void> {
    if (this.#storageFailure !== undefined) return;
    this.#storageFailure = error;
    this.#health.fail(error.message);
    this.#logger.fatal({ err: error, drainMs }, "storage failed; reads drain, then the process exits");
    await sleep(drainMs);
    await this.#closeDoors(0);
    this.#finish({ type: "storage-failed", error });
  }

  /** Stops accepting and waits for what is in flight; cuts off what still runs after `patienceMs`. */
  async #closeDoors(patienceMs: number): Promise<void> {
    const app = this.#app;
    if (app === undefined) return;
    const impatient = setTimeout(() => app.server.closeAllConnections(), Math.max(0, patienceMs));
    // `close` lets go the connections that are idle now; one that falls idle when its request is done would be waited for.
    const idle = setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS);
    await app.close();
    clearInterval(idle);
    clearTimeout(impatient);
  }

  async #closeStorage(): Promise<void> {
    this.#timers?.close();
    this.#dueTimer?.close();
    this.#streamSweep?.close();
    this.#metrics.process.close();
    await this.#past?.close();
    await this.#house?.close();
    await this.#archive?.close(0);
    await this.#store?.close();
    if (this.#opened === undefined || this.#logClosed) return;
    this.#logClosed = true;
    await this.#opened.log.close();
  }

  /** A storage failure decides the ending, also one that happens on the way down. */
  #finish(ending: Ending): void {
    const failure = this.#storageFailure;
    this.#end(failure === undefined ? ending : { type: "storage-failed", error: failure });
  }
}

const named = ({ path, from, to }: { path: string; from: unknown; to: unknown }): string =>
  `${path}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`;

function isStorageError(error: unknown): boolean {
  return error instanceof LogError && (error.code === "LOG_CORRUPT" || error.code === "LOG_FAILED");
}

/** The clock starts after the last record, whatever the wall clock says now. */
async function lastTimestamp({ log }: OpenedLog): Promise<number> {
  if (log.endOffset < log.firstOffset) return 0;
  for await (const batch of log.read(log.endOffset)) return batch.at(-1)?.timestamp ?? 0;
  return 0;
}

function addressOf(app: FastifyInstance): Listening {
  const address = app.server.address();
  if (address === null || typeof address === "string") return { host: "", port: 0, url: "" };
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return { host: address.address, port: address.port, url: `http://${host}:${address.port}` };
}
