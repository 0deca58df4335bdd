/** The process itself: memory, CPU, event loop, release, and how far its start has come. */
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { errnoOf } from "../../log/index.js";
import type { Reading, Series } from "./series.js";

const RESOLUTION_MS = 10;

export interface StartProgress {
  readonly ready: boolean;
  readonly replayedOffset: number;
  readonly replaySeconds: number;
}

export class ProcessSeries {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #startedAt = performance.now();
  #cpu = process.cpuUsage();
  #cpuAt = performance.now();
  #cpuPercent = 0;
  #lagSeconds = { p99: 0, max: 0 };

  constructor(series: Series, version: string, start: () => StartProgress) {
    this.#delay.enable();
    series.gauges("build_info", "Always 1; the labels say what runs", ["version", "node"], () => [
      [{ version, node: process.version }, 1],
    ]);
    series.gauges("process_memory_bytes", "Memory of this process", ["type"], memory);
    series.gauges("process_cpu_usage_percent", "CPU time of this process, 100 = one core", ["core"], () => [
      [{ core: "all" }, this.#cpuPercent],
    ]);
    series.counter("process_cpu_seconds_total", "CPU time of this process", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    series.gauge("process_uptime_seconds", "Since the process started", () => this.uptimeSeconds);
    series.gauge(
      "event_loop_lag_seconds",
      "99th percentile of the last sample period",
      () => this.#lagSeconds.p99,
    );
    series.gauge(
      "event_loop_lag_max_seconds",
      "Longest of the last sample period",
      () => this.#lagSeconds.max,
    );
    series.gauge("ready", "1 when requests are served, 0 while starting, draining or failed", () =>
      start().ready ? 1 : 0,
    );
    series.gauge(
      "replay_duration_seconds",
      "Time to fold the state from the log at this start",
      () => start().replaySeconds,
    );
    series.gauge(
      "replay_offset",
      "Last offset folded by the replay of this start",
      () => start().replayedOffset,
    );
  }

  get uptimeSeconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /** Called by a timer: percentages and percentiles are of the time since the last call. */
  sample(): void {
    const now = performance.now();
    const used = process.cpuUsage(this.#cpu);
    const wallMs = now - this.#cpuAt;
    if (wallMs > 0) this.#cpuPercent = ((used.user + used.system) / 1000 / wallMs) * 100;
    this.#cpu = process.cpuUsage();
    this.#cpuAt = now;
    // The monitor counts the whole time between two of its ticks; the lag is what goes beyond its own period.
    const lag = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000);
    this.#lagSeconds = { p99: lag(this.#delay.percentile(99)), max: lag(this.#delay.max) };
    this.#delay.reset();
  }

  close(): void {
    this.#delay.disable();
  }
}

function memory(): Reading[] {
  const use = process.memoryUsage();
  const readings: Reading[] = [
    [{ type: "rss" }, use.rss],
    [{ type: "heap_used" }, use.heapUsed],
    [{ type: "heap_total" }, use.heapTotal],
    [{ type: "external" }, use.external],
  ];
  const virtual = virtualBytes();
  return virtual === undefined ? readings : [...readings, [{ type: "virtual" }, virtual]];
}

/** Only Linux tells; elsewhere the series is left out. */
function virtualBytes(): number | undefined {
  try {
    const found = /^VmSize:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
    return found === null ? undefined : Number(found[1]) * 1024;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
