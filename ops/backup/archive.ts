/**
 * Keeps a server's archive up to date: at least once an interval, and sooner when a segment was sealed. It decides when;
 * the archiver does it. What it is not done with holds the log: a segment leaves the disk only when the archive has it.
 *
 * Trouble with the archive never stops the server. It shows in metrics, readiness' detail and the log, and what waits is
 * archived when the trouble is over. An archive that is not this log's to continue is refused until the next start.
 */
import {
  offset as asOffset,
  type EventLog,
  errorMessage,
  type LogUsage,
  type OffsetHolder,
} from "../../log/index.js";
import type { Logger } from "../logging.js";
import { codeOf } from "./archive-job.js";
import { REFUSALS } from "./archive-ownership.js";
import type { Archiver, ArchiverEvents } from "./archive-thread.js";
import type { ArchiveReport, UploadKind } from "./archive-writer.js";

export interface ContinuousArchiveOptions {
  /** As an operator would write it. */
  readonly url: string;
  readonly log: Pick<EventLog, "firstOffset" | "durableOffset">;
  readonly usage: () => LogUsage;
  readonly intervalMs: number;
  readonly start: (events: ArchiverEvents) => Archiver;
  /** Removes what no manifest names any more; says how many objects. */
  readonly sweep: () => Promise<number>;
  /** Ms since 1970. */
  readonly now: () => number;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  readonly logger: Pick<Logger, "info" | "warn" | "error">;
}

export interface ArchiveFigures {
  readonly lastOffset: number | undefined;
  readonly lagRecords: number | undefined;
  readonly lagBytes: number;
  /** For how long the oldest record that is durable and not archived has been so; what a loss of the disk would cost. */
  readonly lagMs: number;
  /** Ms since 1970. */
  readonly lastSuccessAt: number | undefined;
  readonly ageMs: number | undefined;
  readonly errors: number;
  readonly refused: boolean;
  readonly uploads: Readonly<Record<UploadKind, number>>;
  readonly uploadedBytes: number;
  readonly sweptObjects: number;
  readonly archive: ArchiveReport | undefined;
}

const TICK_MS = 250;
const RETRY_MS_FIRST = 1000;
const RETRY_MS_MAX = 60_000;
const SWEEP_MS = 60 * 60 * 1000;

export class ContinuousArchive {
  readonly #options: ContinuousArchiveOptions;
  readonly #archiver: Archiver;
  readonly #uploads: Record<UploadKind, number> = { segment: 0, snapshot: 0, manifest: 0 };
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #closed = false;
  #refusal: string | undefined;
  #failure: string | undefined;
  #failures = 0;
  #errors = 0;
  #uploadedBytes = 0;
  #sweptObjects = 0;
  #report: ArchiveReport | undefined;
  #lastSuccessAt: number | undefined;
  /** The same moment by the steady clock. */
  #succeededAt = 0;
  #nextAt: number;
  #nextSweepAt: number;
  /** By the steady clock: when everything durable was archived last. */
  #caughtUpAt: number;
  /** Of the log's files, when it was archived last. */
  #usage: LogUsage = { segments: 0, bytes: 0 };

  constructor(options: ContinuousArchiveOptions) {
    this.#options = options;
    this.#archiver = options.start({
      onUpload: (kind, bytes) => {
        this.#uploads[kind] += 1;
        this.#uploadedBytes += bytes;
      },
      onWarning: (warning) => options.logger.warn({ url: options.url }, `archive: ${warning}`),
    });
    this.#nextAt = options.stopwatch();
    this.#caughtUpAt = this.#nextAt;
    this.#nextSweepAt = this.#nextAt + SWEEP_MS;
    this.#timer = setInterval(() => this.tick(), TICK_MS).unref();
    this.tick();
  }

  /** Until it is known what the archive has, all of the log is needed. */
  holders(): readonly OffsetHolder[] {
    const { log } = this.#options;
    return [{ name: "archive", offset: asOffset((this.#report?.lastOffset ?? log.firstOffset - 1) + 1) }];
  }

  get figures(): ArchiveFigures {
    const { log, usage, stopwatch } = this.#options;
    const lastOffset = this.#report?.lastOffset;
    const isCurrent = lastOffset !== undefined && lastOffset >= log.durableOffset;
    return {
      lastOffset,
      lagRecords: lastOffset === undefined ? undefined : Math.max(0, log.durableOffset - lastOffset),
      lagBytes: isCurrent ? 0 : Math.max(0, usage().bytes - this.#usage.bytes),
      lagMs: isCurrent || log.durableOffset === 0 ? 0 : stopwatch() - this.#caughtUpAt,
      lastSuccessAt: this.#lastSuccessAt,
      ageMs: this.#lastSuccessAt === undefined ? undefined : stopwatch() - this.#succeededAt,
      errors: this.#errors,
      refused: this.#refusal !== undefined,
      uploads: this.#uploads,
      uploadedBytes: this.#uploadedBytes,
      sweptObjects: this.#sweptObjects,
      archive: this.#report,
    };
  }

  /** One line for operators. */
  get detail(): string {
    const { lastOffset, lagRecords, lagMs } = this.figures;
    if (this.#refusal !== undefined) return `refused: ${this.#refusal}`;
    const trouble = this.#failure === undefined ? "" : `; failing: ${this.#failure}`;
    if (lastOffset === undefined) return `nothing archived yet${trouble}`;
    return `up to offset ${lastOffset}, ${lagRecords} records and ${Math.round(lagMs / 1000)} s behind${trouble}`;
  }

  /** The last attempt failed, or the archive is refused for good. */
  get isFailing(): boolean {
    return this.#failure !== undefined;
  }

  /** Called by a timer. */
  tick(): void {
    const { stopwatch, log, usage } = this.#options;
    const isCurrent = this.#report !== undefined && this.#report.lastOffset >= log.durableOffset;
    if (isCurrent) this.#caughtUpAt = stopwatch();
    if (this.#closed || this.#running !== undefined || this.#refusal !== undefined) return;
    const isDue = stopwatch() >= this.#nextAt;
    const hasSealed = this.#failures === 0 && !isCurrent && usage().segments > this.#usage.segments;
    // First, or it never came when archiving takes longer than the interval.
    if (stopwatch() >= this.#nextSweepAt) void this.#run(() => this.#sweep());
    else if (isDue || hasSealed) void this.#run();
  }

  /**
   * Everything durable is archived, if that takes no longer than `patienceMs`; then nothing is archived any more. A server that is
   * stopped in order leaves nothing behind.
   */
  async close(patienceMs: number): Promise<void> {
    if (this.#closed) return this.#archiver.close();
    this.#closed = true;
    clearInterval(this.#timer);
    this.#archiver.hurry();
    const late = new Promise<void>((resolve) => setTimeout(resolve, patienceMs).unref());
    await Promise.race([this.#last(), late]);
    await this.#archiver.close();
  }

  async #last(): Promise<void> {
    await this.#running;
    const isBehind = (this.#report?.lastOffset ?? 0) < this.#options.log.durableOffset;
    if (isBehind && this.#refusal === undefined) await this.#run();
  }

  #run(work = () => this.#archive()): Promise<void> {
    this.#running = work().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #archive(): Promise<void> {
    const { log, usage, now, stopwatch, intervalMs } = this.#options;
    const begun = stopwatch();
    const [durable, files] = [log.durableOffset, usage()];
    try {
      if (durable > 0) this.#report = await this.#archiver.bringUpTo(durable, this.#restMsMax(begun));
      if (this.#report !== undefined && this.#report.lastOffset >= durable) {
        this.#usage = files;
        this.#caughtUpAt = begun;
      }
      this.#lastSuccessAt = now();
      this.#succeededAt = stopwatch();
      if (this.#failures > 0) this.#options.logger.info({ url: this.#options.url }, "archiving works again");
      [this.#failures, this.#failure] = [0, undefined];
      this.#nextAt = begun + intervalMs;
    } catch (error) {
      if (!this.#closed) this.#fail(error);
    }
  }

  /** As long as it keeps to the interval, the archive lets others go first; what is behind, or the last, goes at once. */
  #restMsMax(begun: number): number {
    const { intervalMs } = this.#options;
    const isBehind = begun - this.#caughtUpAt > intervalMs + 2 * TICK_MS;
    return isBehind || this.#closed || this.#failures > 0 ? 0 : intervalMs / 2;
  }

  #fail(error: unknown): void {
    const { stopwatch, logger, url } = this.#options;
    const [code, message] = [codeOf(error), errorMessage(error)];
    this.#errors += 1;
    this.#failures += 1;
    this.#failure = message;
    this.#nextAt = stopwatch() + Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** (this.#failures - 1));
    if (code !== undefined && REFUSALS.has(code)) {
      this.#refusal = message;
      logger.error({ code, url }, `nothing is archived: ${message}`);
    } else if (this.#failures === 1)
      logger.warn({ code, url }, `archiving failed, it is tried again: ${message}`);
  }

  async #sweep(): Promise<void> {
    const { sweep, stopwatch, logger, url } = this.#options;
    this.#nextSweepAt = stopwatch() + SWEEP_MS;
    try {
      this.#sweptObjects += await sweep();
    } catch (error) {
      const code = codeOf(error);
      // Somebody makes a backup: next time.
      if (code === "BACKUP_LOCKED") return;
      this.#errors += 1;
      logger.warn({ code, url }, `old objects of the archive stay: ${String(error)}`);
    }
  }
}
