/**
 * What the probes are told. Liveness asks whether a restart would help; readiness asks whether requests belong here.
 *
 * A full disk does not turn readiness false: reads still work, and taking the only node out of the balancer would turn
 * refused writes into refused everything. `/health` says it, the detail of the check does, and a metric does.
 */
import type { HealthSource, ReadinessCheck } from "../api/index.js";
import type { EventLog } from "../log/index.js";

export type Phase =
  | "starting"
  | "replaying"
  | "ready"
  /** Told to stop, and still serving: balancers are to see readiness turn false first. */
  | "leaving"
  /** New requests are refused; those in flight finish. */
  | "draining"
  | "failed";

export interface HealthParts {
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  readonly stalledWriteMs: number;
  readonly diskIsFull: () => boolean;
  readonly diskFreeBytes: () => number | undefined;
  /** `detail` in one line; undefined without an archive. */
  readonly archive?: () => { readonly detail: string; readonly isFailing: boolean } | undefined;
  /** Whether the node does what its role is for; undefined of one that stands alone. */
  readonly replication?: () => ReadinessCheck | undefined;
}

export class Health implements HealthSource {
  #phase: Phase = "starting";
  #failure = "";
  #log: Pick<EventLog, "endOffset" | "committedOffset"> | undefined;
  #replayed = 0;
  #replayEnd = 0;
  #snapshotRead = 0;
  #snapshotBytes = 0;
  #committed = 0;
  #committedAt: number;
  readonly #parts: HealthParts;

  constructor(parts: HealthParts) {
    this.#parts = parts;
    this.#committedAt = parts.stopwatch();
  }

  get phase(): Phase {
    return this.#phase;
  }

  get replayedOffset(): number {
    return this.#replayed;
  }

  watch(log: Pick<EventLog, "endOffset" | "committedOffset">): void {
    this.#log = log;
  }

  /** Bytes of the snapshot that the start begins with. */
  reading(done: number, total: number): void {
    if (this.#phase === "starting") this.#phase = "replaying";
    this.#snapshotRead = done;
    this.#snapshotBytes = total;
  }

  replaying(offset: number, end: number): void {
    if (this.#phase === "starting") this.#phase = "replaying";
    this.#replayed = offset;
    this.#snapshotBytes = 0;
    this.#replayEnd = end;
  }

  /** The state is folded anew, from another log perhaps. */
  refold(): void {
    if (this.#phase === "ready") this.#phase = "starting";
    this.#replayEnd = 0;
  }

  ready(): void {
    if (this.#phase === "starting" || this.#phase === "replaying") this.#phase = "ready";
  }

  leave(): void {
    if (this.#phase !== "failed") this.#phase = "leaving";
  }

  drain(): void {
    if (this.#phase !== "failed") this.#phase = "draining";
  }

  fail(why: string): void {
    this.#phase = "failed";
    this.#failure = why;
  }

  /** Called by a timer: notices when the log stops to commit while something waits. */
  sample(): void {
    const log = this.#log;
    if (log === undefined) return;
    const moved = log.committedOffset !== this.#committed;
    if (!moved && log.endOffset !== log.committedOffset) return;
    this.#committed = log.committedOffset;
    this.#committedAt = this.#parts.stopwatch();
  }

  live(): boolean {
    return this.#stalledMs() < this.#parts.stalledWriteMs;
  }

  draining(): boolean {
    return this.#phase === "draining";
  }

  readiness(): readonly ReadinessCheck[] {
    const phase = this.#phase;
    const replayed = phase !== "starting" && phase !== "replaying";
    const accepting = phase !== "leaving" && phase !== "draining";
    const replication = this.#parts.replication?.();
    return [
      { name: "replay", ok: replayed, detail: replayed ? "done" : this.#replayText() },
      this.#writable(),
      { name: "accepting", ok: accepting, detail: accepting ? "yes" : "shutting down" },
      this.#disk(),
      ...(replication === undefined ? [] : [replication]),
      ...this.#archive(),
    ];
  }

  /** Where a write waits for the disk, all others would, and in `always` the reads. */
  #writable(): ReadinessCheck {
    if (this.#phase === "failed") return { name: "log", ok: false, detail: this.#failure };
    if (this.live()) return { name: "log", ok: true, detail: "writable" };
    const seconds = Math.floor(this.#stalledMs() / 1000);
    return { name: "log", ok: false, detail: `a write has waited for the disk for ${seconds} s` };
  }

  #disk(): ReadinessCheck {
    const impaired = this.#parts.diskIsFull();
    const detail = impaired ? "reserve reached: writes are refused, reads go on" : this.#freeText();
    return { name: "disk", ok: true, impaired, detail };
  }

  /** Never a reason to send requests elsewhere: what is served is not in danger before the disk is. */
  #archive(): ReadinessCheck[] {
    const archive = this.#parts.archive?.();
    if (archive === undefined) return [];
    return [{ name: "archive", ok: true, impaired: archive.isFailing, detail: archive.detail }];
  }

  #stalledMs(): number {
    const log = this.#log;
    const waiting =
      log !== undefined && log.endOffset !== log.committedOffset && log.committedOffset === this.#committed;
    return waiting ? this.#parts.stopwatch() - this.#committedAt : 0;
  }

  #replayText(): string {
    if (this.#snapshotBytes > 0) {
      const percent = Math.floor((this.#snapshotRead / this.#snapshotBytes) * 100);
      return `snapshot: ${this.#snapshotRead} of ${this.#snapshotBytes} bytes (${percent} %)`;
    }
    if (this.#replayEnd === 0) return "checking the log";
    const percent = Math.floor((this.#replayed / this.#replayEnd) * 100);
    return `offset ${this.#replayed} of ${this.#replayEnd} (${percent} %)`;
  }

  #freeText(): string {
    const free = this.#parts.diskFreeBytes();
    return free === undefined ? "not sampled yet" : `${free} bytes free`;
  }
}
