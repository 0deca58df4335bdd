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
import { type Finding, findingOf, LogError, type OpenedLog } from "../log/index.js";
import type { OpenedStore } from "../projections/index.js";
import { LINK_SOCKETS_MAX, mayStandAlone } from "../replication/index.js";
import type { Config } from "./config/load.js";
import { changesBetween, isReplicated, LiveSettings } from "./config/rooms.js";
import type { ConfigValues } from "./config/settings.js";
import { Health } from "./health.js";
import { type HoldingRooms, Holdings } from "./holdings.js";
import { infoSections } from "./info.js";
import type { Logger } from "./logging.js";
import { FreeDisk } from "./metrics/free-disk.js";
import { Metrics } from "./metrics/metrics.js";
import type { StreamSource } from "./metrics/stream-series.js";
import { olderBeginnings, olderFiles, partText } from "./migration/older-parts.js";
import { MonotonicClock } from "./monotonic-clock.js";
import { nothingYet } from "./not-yet.js";
import { connectionsThatFit, openFilesMax } from "./open-files.js";
import { SetMember } from "./replication/member.js";
import { requestIds } from "./request-ids.js";
import { Timers } from "./timers.js";
import { version } from "./version.js";

/** The rooms, as `ops/main.ts` puts them together. */
export interface Rooms extends HoldingRooms {
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
  readonly #holdings: Holdings;
  /** Undefined of a node that stands alone. */
  readonly #member: SetMember | undefined;
  readonly #dataDirectory: string;
  #values: ConfigValues;
  #app: FastifyInstance | undefined;
  #timers: Timers | undefined;
  #starting: Promise<void> = Promise.resolve();
  #stopping = false;
  #storageFailure: Error | undefined;
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
      archive: () => this.#holdings.archive,
      replication: () => this.#member?.readiness(),
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
        replaySeconds: this.#holdings.replaySeconds,
      }),
      kvStats: () => this.#holdings.openedStore?.kvStats(this.#clock.now()),
      queueStats: () => this.#holdings.openedStore?.queueStats() ?? [],
      archive: () => this.#holdings.archive?.figures,
      streams: () => this.#streams(),
      past: () => this.#holdings.past,
      house: () => this.#holdings.house?.figures,
      replication: () => this.#member?.stats,
      certificateExpiresAt: () => this.#member?.certificateExpiresAt,
    });
    this.#holdings = new Holdings({
      rooms,
      dataDirectory: this.#dataDirectory,
      values: () => this.#values,
      live: this.#live,
      clock: this.#clock,
      logger,
      health: this.#health,
      metrics: () => this.#metrics,
      followedTime: () => this.#member?.primaryTime,
      replicasNeed: () => this.#member?.holders ?? [],
      onFailed: (error, drainMs) => void this.#storageFailed(error, drainMs),
    });
    this.#member = SetMember.of(values, {
      holdings: this.#holdings,
      files: rooms.files,
      dataDirectory: this.#dataDirectory,
      logger,
      httpAddress: () => (this.#app === undefined ? undefined : addressOf(this.#app).url),
      onReplaced: () => this.#health.ready(),
      onLost: (error) => void this.#storageFailed(error, 0),
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
    try {
      await this.#closeAll(timeoutMs);
    } catch (error) {
      // The log has told of it, too; what else goes wrong is a bug.
      if (this.#storageFailure === undefined) throw error;
    }
    clearTimeout(late);
    this.#finish({ type: "stopped" });
  }

  async #closeAll(timeoutMs: number): Promise<void> {
    const drainMs = this.#values["shutdown.drain_delay_ms"];
    if (this.#holdings.openedStore !== undefined) await sleep(drainMs);
    this.#health.drain();
    await this.#closeDoors(timeoutMs * (1 - CLOSE_SHARE) - drainMs);
    // Before the log closes; half of the time that is left at least is the log's.
    await this.#holdings.archive?.close(timeoutMs * CLOSE_SHARE * ARCHIVE_SHARE);
    await this.#closeStorage();
    // A start that was still going on ends now, because its log is closed; one that had none yet has opened it meanwhile.
    await this.#starting;
    await this.#closeStorage();
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
    this.#member?.reload(next);
    if (later.length > 0) this.#logger.warn({ settings: later.map(named) }, "these changes need a restart");
  }

  async #start(onListening: (listening: Listening) => void): Promise<void> {
    const startsAs = (await this.#member?.startsAs()) ?? "leader";
    // One that has nothing yet gets everything from its primary.
    const isFresh = startsAs === "fresh follower";
    const follows = startsAs === "follower";
    const isOthers = follows || startsAs === "candidate";
    let damage: Finding | undefined;
    const found = (error: unknown): void => {
      // A follower has it mended, once it can ask the others.
      damage = follows ? findingOf(error) : undefined;
      if (damage === undefined) throw error;
    };
    if (!isFresh) await this.#openLog(isOthers).catch(found);
    if (this.#stopping) return;
    const app = this.#buildServer();
    await app.listen({ host: this.#values["server.host"], port: this.#values["server.port"] });
    const store =
      this.#holdings.opened === undefined ? undefined : await this.#holdings.openState().catch(found);
    if (this.#stopping) return;
    this.#timers = this.#startTimers();
    if (this.#member === undefined) await this.#holdings.lead();
    else await this.#member.start(damage);
    if (this.#stopping) return;
    this.#health.ready();
    const { opened } = this.#holdings;
    if (opened !== undefined && store !== undefined) this.#reportStart(opened, store);
    const listening = addressOf(app);
    this.#logger.info({ ...listening }, "listening");
    onListening(listening);
    if (opened === undefined) return;
    await this.#tellOlder(opened).catch((error: unknown) =>
      this.#logger.warn({ err: error }, "parts of older formats could not be looked for"),
    );
  }

  async #openLog(following: boolean): Promise<void> {
    const { log } = await this.#holdings.openLog({
      following,
      // A member asks the others, and fences itself.
      mayLead: async (newest) => {
        if (this.#member === undefined) await mayStandAlone(this.#rooms.files, this.#dataDirectory, newest);
      },
    });
    await this.#member?.prepare(log);
  }

  #buildServer(): FastifyInstance {
    const holdings = this.#holdings;
    const values = this.#values;
    const app = this.#rooms.buildServer({
      version,
      store: holdings.store,
      log: holdings.log,
      replication: this.#member,
      // They come with the log, and another one brings others.
      get past() {
        if (values["past.folds_max"] === 0) return undefined;
        return holdings.past ?? nothingYet;
      },
      // Snapshots can be switched off; those that are there are used and kept in order all the same.
      get snapshots() {
        if (!values["persistence.snapshot.enabled"]) return undefined;
        return holdings.house ?? nothingYet;
      },
      role: () => this.#member?.role ?? "standalone",
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
    this.#leaveRoomForFiles(app);
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

  #leaveRoomForFiles({ server }: FastifyInstance): void {
    const most = openFilesMax();
    const connectionsMax = connectionsThatFit(most, isReplicated(this.#values) ? LINK_SOCKETS_MAX : 0);
    if (connectionsMax >= this.#values["limits.connections_max"]) return;
    server.maxConnections = connectionsMax;
    this.#logger.warn(
      { openFilesMax: most, connectionsMax },
      "fewer connections than limits.connections_max: this process may not open more files; raise `ulimit -n`",
    );
  }

  #startTimers(): Timers {
    return new Timers({
      reclaimIntervalMs: this.#values["kv_store.ttl_cleanup_interval_ms"],
      reclaim: (budget) => this.#holdings.openedStore?.reclaimExpired(this.#clock.now(), budget) ?? 0,
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
        replaySeconds: Number(this.#holdings.replaySeconds.toFixed(3)),
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
    const store = this.#holdings.openedStore;
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
      opened: () => this.#holdings.opened,
      store: () => this.#holdings.openedStore,
      house: () => this.#holdings.house?.figures,
      kvStats: () => this.#holdings.openedStore?.kvStats(this.#clock.now()),
      queueStats: () => this.#holdings.openedStore?.queueStats() ?? [],
      replication: () => this.#member?.stats,
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
    this.#metrics.process.close();
    await this.#member?.stop();
    await this.#holdings.close();
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

function addressOf(app: FastifyInstance): Listening {
  const address = app.server.address();
  if (address === null || typeof address === "string") return { host: "", port: 0, url: "" };
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return { host: address.address, port: address.port, url: `http://${host}:${address.port}` };
}
