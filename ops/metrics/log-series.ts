/** What the log reports: batches and syncs as they happen, offsets and files when asked, and whether it is well. */
import type { EventLog, LogObserver, OpenedLog } from "../../log/index.js";
import { Buckets, Tally } from "./accumulators.js";
import type { FreeDisk } from "./free-disk.js";
import type { Series } from "./series.js";

/** From a fast NVMe to a disk that is in trouble. */
const DISK_SECONDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10,
];
const BATCH_RECORDS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384];
const BATCH_BYTES = [256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

export class LogSeries implements LogObserver {
  readonly #syncOnEveryBatch: boolean;
  readonly #appendSeconds = new Buckets(DISK_SECONDS);
  readonly #writeSeconds = new Buckets(DISK_SECONDS);
  readonly #syncSeconds = new Buckets(DISK_SECONDS);
  readonly #batchRecords = new Buckets(BATCH_RECORDS);
  readonly #batchBytes = new Buckets(BATCH_BYTES);
  readonly #rolls = new Tally();
  readonly #records = new Tally();
  readonly #bytes = new Tally();
  readonly #failures = new Tally();
  #full = false;
  #told: OpenedLog | undefined;

  constructor(series: Series, disk: FreeDisk, syncOnEveryBatch: boolean) {
    this.#syncOnEveryBatch = syncOnEveryBatch;
    this.#durations(series);
    this.#marks(series);
    this.#disk(series, disk);
    this.#health(series);
  }

  /** Called once the log is open; until then offsets are not shown. */
  tell(told: OpenedLog): void {
    this.#told = told;
  }

  batchWritten(records: number, bytes: number, durationMs: number): void {
    this.#records.value += records;
    this.#bytes.value += bytes;
    this.#batchRecords.observe(records);
    this.#batchBytes.observe(bytes);
    this.#writeSeconds.observe(durationMs / 1000);
    // In `always` the write of a batch is its sync.
    if (this.#syncOnEveryBatch) this.#syncSeconds.observe(durationMs / 1000);
  }

  synced(durationMs: number): void {
    this.#syncSeconds.observe(durationMs / 1000);
  }

  appendCommitted(durationMs: number): void {
    this.#appendSeconds.observe(durationMs / 1000);
  }

  rolled(): void {
    this.#rolls.value++;
  }

  diskFull(full: boolean): void {
    this.#full = full;
  }

  failed(): void {
    this.#failures.value++;
  }

  get diskIsFull(): boolean {
    return this.#full;
  }

  #durations(series: Series): void {
    series.histogram(
      "log_append_duration_seconds",
      "From the append of a batch's oldest record until the batch was committed",
      this.#appendSeconds,
    );
    series.histogram(
      "log_write_duration_seconds",
      "Writing one batch (in fsync_mode always: until it was durable)",
      this.#writeSeconds,
    );
    series.histogram("log_sync_duration_seconds", "One sync of the log", this.#syncSeconds);
    series.histogram("log_batch_records", "Records in one batch", this.#batchRecords);
    series.histogram("log_batch_bytes", "Bytes in one batch", this.#batchBytes);
    series.counter("log_records_total", "Records written since the start", () => this.#records.value);
    series.counter("log_written_bytes_total", "Bytes written since the start", () => this.#bytes.value);
    series.counter("log_rolls_total", "Segments sealed since the start", () => this.#rolls.value);
  }

  #marks(series: Series): void {
    const log = (): EventLog | undefined => this.#told?.log;
    series.gauge("log_first_offset", "First offset that can be read", () => log()?.firstOffset);
    series.gauge("log_end_offset", "Last offset appended", () => log()?.endOffset);
    series.gauge(
      "log_committed_offset",
      "Last offset that answers may tell of",
      () => log()?.committedOffset,
    );
    series.gauge(
      "log_durable_offset",
      "Last offset that a power cut cannot take",
      () => log()?.durableOffset,
    );
    series.gauge("log_epoch", "Current epoch", () => log()?.epochs.at(-1)?.epoch);
  }

  #disk(series: Series, disk: FreeDisk): void {
    series.gauge("log_segments", "Segment files", () => this.#told?.usage().segments);
    series.gauge(
      "log_bytes",
      "Bytes of all segments up to their last record",
      () => this.#told?.usage().bytes,
    );
    series.gauge("disk_free_bytes", "Bytes that may still be written to the log's disk", () => disk.bytes);
    series.gauge("log_disk_full", "1 while writes are refused because the reserve is reached", () =>
      this.#full ? 1 : 0,
    );
    series.gauges("put_aside_bytes", "Bytes that were put aside for somebody to look at", ["place"], () =>
      Object.entries(disk.putAside ?? {}).map(([place, bytes]) => [{ place }, bytes]),
    );
  }

  #health(series: Series): void {
    series.counter(
      "log_write_errors_total",
      "Writes and syncs of the log that failed; the first one ends the process",
      () => this.#failures.value,
    );
    series.counter(
      "recovery_torn_bytes_total",
      "Bytes of an unfinished end that this start cut and kept aside",
      () => this.#told?.recovery.tornBytes ?? 0,
    );
    series.gauge("recovery_clean", "1 if the last stop had left a clean-shutdown mark", () =>
      this.#told === undefined ? undefined : Number(this.#told.recovery.clean),
    );
    series.gauge("recovery_duration_seconds", "Time to check the log at this start", () =>
      this.#told === undefined ? undefined : this.#told.recovery.durationMs / 1000,
    );
  }
}
