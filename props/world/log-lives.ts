/**
 * Several lives of one log on one simulated disk: open, do things, end by a close, a kill or a power cut; then the next.
 * It drives and remembers what was appended and told; the checkers judge.
 */
import { setImmediate } from "node:timers";
import {
  offset as asOffset,
  type EventLog,
  type FsyncMode,
  LOG_DIRECTORY,
  LogError,
  type LogRecord,
  type Offset,
  openLog,
  type RecoveryReport,
  type VerifyReport,
  verifyDirectory,
} from "../../log/index.js";
import { checkDurable } from "../checkers/durable.js";
import { checkPrefix, type ExpectedRecord } from "../checkers/prefix.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import { DATA_DIRECTORY, worldLogOptions } from "./log-settings.js";
import { CHANGES, type Ending } from "./operations.js";
import { seededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";

export type Step =
  /** `count` records of `size` bytes, appended in one turn; waits for the last one if `awaited`. */
  | {
      readonly type: "append";
      readonly count: number;
      readonly size: number;
      readonly awaited: boolean;
    }
  | { readonly type: "idle"; readonly turns: number }
  /** Long enough for timers of some milliseconds. */
  | { readonly type: "rest" }
  | { readonly type: "read" }
  | { readonly type: "truncate"; readonly back: number }
  | { readonly type: "retain"; readonly back: number }
  | { readonly type: "startEpoch" };

export interface Life {
  readonly steps: readonly Step[];
  /** How it ends, if no fault ends it before. */
  readonly ending: Ending | "close";
  /** The operation in which it ends early, counting all or only those that change the disk; beyond the last one: not at all. */
  readonly endAt?: {
    readonly operation: number;
    readonly ending: Ending;
    readonly counting?: "all" | "changes";
  };
}

/** What happened over all lives, for "was it interesting?". */
export interface Chronicle {
  opened: number;
  openInterrupted: number;
  tornEnds: number;
  appended: number;
  answered: number;
  refused: number;
  rolls: number;
  truncated: number;
  retired: number;
  epochs: number;
}

export const emptyChronicle = (): Chronicle => ({
  opened: 0,
  openInterrupted: 0,
  tornEnds: 0,
  appended: 0,
  answered: 0,
  refused: 0,
  rolls: 0,
  truncated: 0,
  retired: 0,
  epochs: 0,
});

export class LogLives {
  readonly disk: SimulatedDisk;
  readonly chronicle: Chronicle;
  readonly #fsyncMode: FsyncMode;
  readonly #clock;
  #appended = new Map<number, ExpectedRecord>();
  #answered = 0;
  #durable = 0;
  #firstMax = 1;
  /** A truncation was under way when the process ended: the log may end anywhere from here. */
  #truncating: number | undefined;
  /** Since the log was open last. */
  #powerWasLost = false;
  #body = 0;
  /** True from the first failed append or commit: from then on nothing may be acknowledged. */
  #failed = false;

  constructor(disk: SimulatedDisk, fsyncMode: FsyncMode, chronicle: Chronicle) {
    this.disk = disk;
    this.chronicle = chronicle;
    this.#fsyncMode = fsyncMode;
    this.#clock = seededClock(disk.random);
  }

  /** Greatest offset whose commit was answered in this life or shown by the log when it was opened. */
  get answeredOffset(): number {
    return this.#answered;
  }

  /** For whoever drives a life by `open` and `step`: how it ended. */
  ended(ending: Ending): void {
    this.#powerWasLost ||= ending === "power";
  }

  /** One life, from open to end. What an open log promises is checked at once. */
  async live(life: Life): Promise<void> {
    const { disk } = this;
    const files = disk.mount();
    const verified = await this.#verify(files);
    if (life.endAt !== undefined) {
      const { operation, ending, counting } = life.endAt;
      const kinds = counting === "changes" ? { kinds: CHANGES } : {};
      disk.arm({ type: "end", at: operation, ending, ...kinds });
    }
    const ended = disk.ended().then(() => undefined);
    const log = await Promise.race([this.open(files, verified), ended]);
    if (log === undefined) this.chronicle.openInterrupted += 1;
    else await Promise.race([this.#run(log, files, life), ended]);
    disk.disarm();
    const ending = files.alive ? life.ending : (life.endAt?.ending ?? "power");
    if (files.alive && ending === "power") disk.losePower();
    if (files.alive) disk.kill();
    this.ended(ending === "power" ? "power" : "kill");
  }

  /** A crash is no damage: whatever it left, `annals verify` finds nothing wrong and sees the end that recovery will find. */
  async #verify(files: SimulatedMount): Promise<VerifyReport | undefined> {
    if (!(await files.exists(`${DATA_DIRECTORY}/${LOG_DIRECTORY}`))) return undefined;
    const report = await verifyDirectory(files, DATA_DIRECTORY);
    if (report.problems.length > 0)
      throw new PromiseBroken("verified", `a crash looks like damage: ${JSON.stringify(report.problems)}`);
    return report;
  }

  async #run(log: EventLog, files: SimulatedMount, life: Life): Promise<void> {
    for (const step of life.steps) await this.step(log, files, step);
    if (life.ending === "close" && files.alive) {
      const end = log.endOffset;
      await log.close();
      if (!files.alive) return;
      this.#durable = Math.max(this.#durable, end);
      this.#answered = Math.max(this.#answered, end);
    }
  }

  /** Opens the log and holds it to its promises: nothing told is gone, and what is there was appended. */
  async open(files: SimulatedMount, verified?: VerifyReport): Promise<EventLog> {
    const { log, recovery } = await openLog({
      ...worldLogOptions(this.disk, files, this.#clock, this.#fsyncMode),
      observer: {
        rolled: () => {
          this.chronicle.rolls += 1;
        },
      },
    });
    const found = await readAll(log);
    if (!files.alive) return log;
    this.chronicle.opened += 1;
    if (recovery.tornBytes > 0) this.chronicle.tornEnds += 1;
    if (verified !== undefined) checkAgreement(verified, recovery);
    const told = { answered: this.#answered, durable: this.#durable };
    if (this.#truncating !== undefined) {
      told.answered = Math.min(told.answered, this.#truncating);
      told.durable = Math.min(told.durable, this.#truncating);
    }
    checkDurable(told, this.#powerWasLost, this.#fsyncMode === "always", log.endOffset);
    if (log.firstOffset > this.#firstMax)
      throw new PromiseBroken("retention", `first offset ${log.firstOffset}, allowed was ${this.#firstMax}`);
    checkPrefix(this.#appended, found, log.firstOffset, log.endOffset);
    this.#startFrom(log);
    return log;
  }

  async step(log: EventLog, files: SimulatedMount, step: Step): Promise<void> {
    switch (step.type) {
      case "append":
        await this.#append(log, files, step.count, step.size, step.awaited);
        break;
      case "idle":
        for (let turn = 0; turn < step.turns; turn += 1) await nextTurn();
        break;
      case "rest":
        await new Promise((resolve) => setTimeout(resolve, 2));
        break;
      case "read":
        await this.#read(log);
        break;
      case "truncate":
        await this.#truncate(log, files, step.back);
        break;
      case "retain":
        await this.#retain(log, step.back);
        break;
      case "startEpoch":
        await log.startEpoch();
        this.chronicle.epochs += 1;
        break;
    }
    if (files.alive) this.#durable = Math.max(this.#durable, log.durableOffset);
  }

  async #read(log: EventLog): Promise<void> {
    const first = log.firstOffset;
    const last = log.committedOffset;
    checkPrefix(this.#appended, await readAll(log, last), first, last);
  }

  /** What the open log shows is what counts from now on: readers are told of it. */
  #startFrom(log: EventLog): void {
    for (const offset of [...this.#appended.keys()])
      if (offset > log.endOffset || offset < log.firstOffset) this.#appended.delete(offset);
    this.#truncating = undefined;
    this.#answered = log.committedOffset;
    this.#durable = log.durableOffset;
    this.#firstMax = log.firstOffset;
    this.#powerWasLost = false;
    this.#failed = false;
  }

  async #append(
    log: EventLog,
    files: SimulatedMount,
    count: number,
    size: number,
    awaited: boolean,
  ): Promise<void> {
    let last: Promise<void> | undefined;
    for (let index = 0; index < count; index += 1) {
      const record = this.#newRecord(size);
      let offset: Offset;
      try {
        offset = log.append(record);
      } catch (error) {
        this.#refused(error);
        continue;
      }
      if (!files.alive) return;
      if (this.#appended.has(offset)) throw new PromiseBroken("dense", `offset ${offset} was given twice`);
      this.#appended.set(offset, record);
      this.chronicle.appended += 1;
      last = log.whenCommitted(offset).then(
        () => this.#committed(log, files, offset),
        (error: unknown) => this.#refused(error),
      );
    }
    if (awaited) await last;
  }

  #committed(log: EventLog, files: SimulatedMount, offset: Offset): void {
    if (!files.alive) return;
    if (this.#failed)
      throw new PromiseBroken("failed for good", `offset ${offset} was acknowledged after a failure`);
    this.chronicle.answered += 1;
    this.#answered = Math.max(this.#answered, offset);
    this.#durable = Math.max(this.#durable, log.durableOffset);
  }

  /** A coded refusal; LOG_FAILED is final. Anything else is a bug. */
  #refused(error: unknown): void {
    if (!(error instanceof LogError)) throw error;
    this.chronicle.refused += 1;
    if (error.code === "LOG_FAILED") this.#failed = true;
  }

  #newRecord(size: number): ExpectedRecord {
    this.#body += 1;
    const body = Buffer.alloc(size, this.#body & 0xff);
    if (size >= 4) body.writeUInt32LE(this.#body, 0);
    return { kind: 2 + (this.#body % 3), version: this.#body % 2, timestamp: this.#clock.now(), body };
  }

  async #truncate(log: EventLog, files: SimulatedMount, back: number): Promise<void> {
    if (log.endOffset > 0 && !this.#failed) await log.whenCommitted(log.endOffset);
    const last = Math.max(log.firstOffset, log.endOffset - back);
    this.#truncating = last;
    await log.truncate(asOffset(last));
    if (!files.alive) return;
    this.#truncating = undefined;
    this.chronicle.truncated += 1;
    for (const offset of [...this.#appended.keys()]) if (offset > last) this.#appended.delete(offset);
    this.#answered = Math.min(this.#answered, last);
    this.#durable = Math.min(this.#durable, last);
  }

  async #retain(log: EventLog, back: number): Promise<void> {
    const firstNeeded = Math.max(1, log.durableOffset - back);
    this.#firstMax = Math.max(this.#firstMax, firstNeeded);
    const before = log.firstOffset;
    if ((await log.retain(asOffset(firstNeeded))) > before) this.chronicle.retired += 1;
  }
}

function checkAgreement(verified: VerifyReport, recovery: RecoveryReport): void {
  if (recovery.created) return;
  const { endOffset, torn } = verified;
  if (endOffset !== recovery.endOffset || (torn?.bytes ?? 0) !== recovery.tornBytes)
    throw new PromiseBroken(
      "verified",
      `verify saw the end ${endOffset} and ${torn?.bytes ?? 0} torn bytes, recovery ${recovery.endOffset} and ${recovery.tornBytes}`,
    );
}

export async function readAll(log: EventLog, last: Offset = log.committedOffset): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  if (last < log.firstOffset) return records;
  for await (const batch of log.read(log.firstOffset, { last }))
    for (const record of batch) records.push({ ...record, body: Uint8Array.from(record.body) });
  return records;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
