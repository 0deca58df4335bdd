/** The registry and everything that feeds it, put together. One instance per process, made before the log is opened. */
import { Registry } from "prom-client";
import type { MetricsPage } from "../../api/index.js";
import type { KvStats, QueueStats, StreamTotals } from "../../projections/index.js";
import type { HouseFigures } from "../state/house.js";
import { ApiSeries } from "./api-series.js";
import type { FreeDisk } from "./free-disk.js";
import { LogSeries } from "./log-series.js";
import { addPastSeries, type PastSource } from "./past-series.js";
import { ProcessSeries, type StartProgress } from "./process-series.js";
import { addQueueSeries } from "./queue-series.js";
import { Series } from "./series.js";
import { addSnapshotSeries } from "./snapshot-series.js";
import { addStoreSeries } from "./store-series.js";
import { addStreamSeries, type EachStream } from "./stream-series.js";

export interface MetricsParts {
  readonly prefix: string;
  readonly version: string;
  readonly syncOnEveryBatch: boolean;
  readonly disk: FreeDisk;
  readonly start: () => StartProgress;
  readonly kvStats: () => KvStats | undefined;
  readonly queueStats: () => readonly QueueStats[];
  readonly streamTotals: () => StreamTotals | undefined;
  readonly eachStream: EachStream;
  readonly past: () => PastSource | undefined;
  readonly house: () => HouseFigures | undefined;
}

export class Metrics {
  readonly api: ApiSeries;
  readonly log: LogSeries;
  readonly process: ProcessSeries;
  readonly #registry = new Registry();

  constructor(parts: MetricsParts) {
    const series = new Series(this.#registry, parts.prefix);
    this.api = new ApiSeries(series);
    this.log = new LogSeries(series, parts.disk, parts.syncOnEveryBatch);
    this.process = new ProcessSeries(series, parts.version, parts.start);
    addStoreSeries(series, parts.kvStats);
    addQueueSeries(series, parts.queueStats);
    addStreamSeries(series, parts.streamTotals, parts.eachStream);
    addPastSeries(series, parts.past);
    addSnapshotSeries(series, parts.house);
  }

  async page(): Promise<MetricsPage> {
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}
