/** The registry and everything that feeds it, put together. One instance per process, made before the log is opened. */
import { Registry } from "prom-client";
import type { MetricsPage } from "../../api/index.js";
import type { KvStats, QueueStats } from "../../projections/index.js";
import type { ReplicationStats } from "../../replication/index.js";
import type { ArchiveFigures } from "../backup/archive.js";
import type { HouseFigures } from "../state/house.js";
import { ApiSeries } from "./api-series.js";
import { addArchiveSeries } from "./archive-series.js";
import type { FreeDisk } from "./free-disk.js";
import { LogSeries } from "./log-series.js";
import { PastSeries, type PastSource } from "./past-series.js";
import { ProcessSeries, type StartProgress } from "./process-series.js";
import { addQueueSeries } from "./queue-series.js";
import { addReplicationSeries } from "./replication-series.js";
import { Series } from "./series.js";
import { addSnapshotSeries } from "./snapshot-series.js";
import { addStoreSeries } from "./store-series.js";
import { addStreamSeries, roomNames, type StreamSource } from "./stream-series.js";

export interface MetricsParts {
  readonly prefix: string;
  /** Most queues, and most rooms, with series of their own. */
  readonly labelsMax: number;
  readonly version: string;
  readonly syncOnEveryBatch: boolean;
  readonly disk: FreeDisk;
  readonly start: () => StartProgress;
  readonly kvStats: () => KvStats | undefined;
  readonly queueStats: () => readonly QueueStats[];
  readonly streams: () => StreamSource | undefined;
  readonly past: () => PastSource | undefined;
  readonly house: () => HouseFigures | undefined;
  readonly archive: () => ArchiveFigures | undefined;
  /** Undefined of a node that stands alone. */
  readonly replication: () => ReplicationStats | undefined;
  /** When the certificate for links between nodes ends, ms since 1970; undefined without one. */
  readonly certificateExpiresAt: () => number | undefined;
}

export class Metrics {
  readonly api: ApiSeries;
  readonly log: LogSeries;
  readonly process: ProcessSeries;
  readonly past: PastSeries;
  readonly #registry = new Registry();
  readonly #series: Series;

  constructor(parts: MetricsParts) {
    const series = new Series(this.#registry, parts.prefix);
    this.#series = series;
    const { queueStats, streams } = parts;
    this.api = new ApiSeries(series, {
      queues: () => streams() && new Set(queueStats().map(({ name }) => name)),
      rooms: () => roomNames(streams()),
    });
    this.log = new LogSeries(series, parts.disk, parts.syncOnEveryBatch);
    this.process = new ProcessSeries(series, parts.version, parts.start);
    addStoreSeries(series, parts.kvStats);
    addQueueSeries(series, parts.queueStats, parts.labelsMax);
    addStreamSeries(series, parts.streams, parts.labelsMax);
    this.past = new PastSeries(series, parts.past);
    addSnapshotSeries(series, parts.house);
    addArchiveSeries(series, parts.archive);
    addReplicationSeries(series, parts.replication, parts.certificateExpiresAt);
  }

  async page(): Promise<MetricsPage> {
    this.#series.beginPage();
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}
