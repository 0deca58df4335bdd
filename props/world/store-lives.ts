/**
 * Several lives of one store on one simulated disk: open, work (`store-workload.ts`), end by a fault, a kill or a power cut; then
 * the next. It remembers what was told, to whom the mode of syncing promises it, and holds each reopened store to it.
 */
import { type EventLog, type FsyncMode, LogError } from "../../log/index.js";
import {
  foldTo,
  listSnapshots,
  type OpenedStore,
  ProjectionError,
  verifySnapshot,
  writeSnapshot,
} from "../../projections/index.js";
import { checkDurable } from "../checkers/durable.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import type { Fault, OperationKind } from "./operations.js";
import { type SeededClock, seededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";
import { unlessStalled } from "./stalled.js";
import { type StoreStep, StoreWorkload } from "./store-workload.js";
import { openWorldStore, SNAPSHOTS, WORLD_RULES, type WorldStore } from "./store-world.js";
import { SystemError } from "./system-error.js";

export type LifeStep =
  | StoreStep
  /** Until everything asked for so far is answered. */
  | { readonly type: "wait" }
  /** Long enough for timers of some milliseconds. */
  | { readonly type: "rest" }
  /** Of what is durable, made of the log's files as a worker makes it. */
  | { readonly type: "snapshot" };

export interface StoreLife {
  readonly steps: readonly LifeStep[];
  /** Of the disk, counted from the beginning of the life. */
  readonly fault?: Fault;
  /** How the process ends when the fault did not end it. */
  readonly ending: "power" | "kill";
}

/** Records go to the disk by these, and by the syncs of segments: when one fails, the log has failed for good. */
const DATA_OPERATIONS: ReadonlySet<OperationKind> = new Set(["syncedWrite", "writeNow"]);
const SEGMENT = /\/log\/\d+\.log/;

export class StoreLives {
  readonly happened = {
    ends: 0,
    failures: 0,
    recovered: 0,
    lost: 0,
    answered: 0,
    severalEvents: 0,
    batches: 0,
    redelivered: 0,
    refusedDamage: 0,
  };
  /** Those that were said to be made, those that were cut short, and starts that began with one. */
  readonly snapshots = { made: 0, cut: 0, begunWith: 0 };
  readonly #disk: SimulatedDisk;
  readonly #fsyncMode: FsyncMode;
  readonly #clock: SeededClock;
  readonly #workload: StoreWorkload;
  #log: EventLog | undefined;
  /** Greatest offset that an answer told of, and that the log called durable. */
  #answered = 0;
  #durable = 0;
  /** Offset of the newest snapshot that was said to be made. */
  #snapshot = 0;
  /** Since the store was open last. */
  #powerWasLost = false;
  /** Where the log ended when a write or sync of records failed: nothing behind it may be answered. */
  #failedAfter: number | undefined;

  constructor(disk: SimulatedDisk, fsyncMode: FsyncMode) {
    this.#disk = disk;
    this.#fsyncMode = fsyncMode;
    this.#clock = seededClock(disk.random);
    this.#workload = new StoreWorkload({
      now: this.#clock.now,
      answered: (offset) => this.#heard(offset),
    });
  }

  async live({ steps, fault, ending }: StoreLife): Promise<void> {
    const disk = this.#disk;
    if (fault !== undefined) disk.arm(fault);
    const files = this.#mount();
    const ended = disk.ended().then(() => undefined);
    const failuresBefore = disk.counts.failures;
    disk.operations.onFailure = (kind, path) => this.#noteFailure(kind, path);
    await Promise.race([this.#run(files, steps).catch(assertCoded), ended]);
    disk.operations.onFailure = undefined;
    disk.disarm();
    const failures = disk.counts.failures - failuresBefore;
    this.happened.failures += failures;
    const how = files.alive ? ending : fault?.type === "end" ? fault.ending : ending;
    if (!files.alive) this.happened.ends += 1;
    else if (ending === "power") disk.losePower();
    else disk.kill();
    // What was not synced when the disk failed is the disk's to lose, whoever ends the process.
    this.#powerWasLost ||= how === "power" || (failures > 0 && this.#fsyncMode !== "always");
  }

  /** A life without faults, to see what is there. */
  async look(): Promise<void> {
    await this.#open(this.#mount(), true);
    this.#disk.losePower();
    this.#powerWasLost = true;
  }

  /** One byte of the log at rest changes: reported, or without effect on what is shown. */
  async damage(path: string, position: number, mask: number): Promise<void> {
    this.#disk.flip(path, position, mask);
    try {
      await this.#open(this.#mount(), false);
    } catch (error) {
      if (!(error instanceof LogError)) throw error;
      this.happened.refusedDamage += 1;
    }
    this.#disk.losePower();
    this.#powerWasLost = true;
  }

  #mount(): SimulatedMount {
    const files = this.#disk.mount();
    this.#log = undefined;
    this.#failedAfter = undefined;
    return files;
  }

  async #run(files: SimulatedMount, steps: readonly LifeStep[]): Promise<void> {
    const disk = this.#disk;
    const opened = await unlessStalled(disk, this.#open(files, true));
    if (opened === "stalled") return;
    const { store, log } = opened;
    await unlessStalled(disk, this.#workload.create(store, files));
    for (const step of steps) {
      if (!files.alive) return;
      await this.#step(store, files, step).catch(assertCoded);
      if (files.alive) this.#durable = Math.max(this.#durable, log.durableOffset);
    }
    await unlessStalled(disk, this.#workload.answered());
  }

  async #step(store: OpenedStore, files: SimulatedMount, step: LifeStep): Promise<void> {
    if (step.type === "snapshot") await unlessStalled(this.#disk, this.#makeSnapshot(files));
    else if (step.type === "rest") await new Promise((resolve) => setTimeout(resolve, 2));
    else if (step.type === "wait") await unlessStalled(this.#disk, this.#workload.answered());
    else this.#workload.step(store, step);
  }

  async #open(files: SimulatedMount, isWhole: boolean): Promise<WorldStore> {
    const opened = await openWorldStore(this.#disk, files, this.#clock, undefined, this.#fsyncMode);
    const { store, log } = opened;
    if (!files.alive) return opened;
    if (isWhole) await this.#checkSnapshots(files, opened);
    if (!files.alive) return opened;
    const told = { answered: this.#answered, durable: this.#durable };
    const survivesPower = this.#fsyncMode === "always";
    if (isWhole) checkDurable(told, this.#powerWasLost, survivesPower, store.offset);
    const rewound = await this.#workload.rewind(store, files);
    if (rewound === undefined) return opened;
    const { moment, found, lost } = rewound;
    // What the open store shows is what counts from now on.
    this.#answered = store.offset;
    this.#durable = log.durableOffset;
    this.#powerWasLost = false;
    this.#log = log;
    this.happened.lost += lost;
    this.happened.recovered += 1;
    if (found.waiting.some(([, retries]) => retries > 0)) this.happened.redelivered += 1;
    if ((moment?.events ?? 0) > 1) this.happened.severalEvents += 1;
    if (moment?.step === "batch") this.happened.batches += 1;
    return opened;
  }

  /** Every file that looks like a snapshot is one, the promised one among them, and the start has used one if there is any. */
  async #checkSnapshots(files: SimulatedMount, { begunWith, passedOver = [] }: WorldStore): Promise<void> {
    const whole = passedOver.find((problem) => !isOfDisk(problem));
    if (whole !== undefined)
      throw new PromiseBroken("detected", `a snapshot was passed over: ${whole.message}`);
    if (passedOver.length > 0) return;
    const listed = await listSnapshots(files, SNAPSHOTS);
    for (const { name } of listed) {
      const { problem } = await verifySnapshot(files, `${SNAPSHOTS}/${name}`);
      if (problem !== undefined && isOfDisk(problem)) return;
      if (files.alive && problem !== undefined) throw new PromiseBroken("detected", problem.message);
    }
    if (!files.alive) return;
    const newest = listed.at(-1)?.offset ?? 0;
    if (newest < this.#snapshot)
      throw new PromiseBroken(
        "durable",
        `the snapshot of ${this.#snapshot} is gone; the newest is ${newest}`,
      );
    if ((begunWith === "snapshot") !== newest > 0)
      throw new PromiseBroken("equivalent", `the start began with ${begunWith}, the newest is ${newest}`);
    if (begunWith === "snapshot") this.snapshots.begunWith += 1;
  }

  async #makeSnapshot(files: SimulatedMount): Promise<void> {
    await this.#workload.answered();
    const log = this.#log;
    if (!files.alive || log === undefined) return;
    const last = log.durableOffset;
    const digest = this.#workload.moments.get(last)?.digest;
    this.snapshots.cut += 1;
    const { fold } = await foldTo(log, { files, directory: SNAPSHOTS }, { rules: WORLD_RULES, last });
    const mark = await log.markAt(last);
    const made = await writeSnapshot(files, SNAPSHOTS, fold, mark, { now: this.#clock.now });
    if (!files.alive) return;
    this.snapshots.cut -= 1;
    this.snapshots.made += 1;
    this.#snapshot = made.offset;
    if (digest !== undefined && made.digests.all !== digest)
      throw new PromiseBroken("equivalent", `the snapshot of ${last} is not the live state`);
  }

  #heard(offset: number): void {
    this.happened.answered += 1;
    if (this.#failedAfter !== undefined && offset > this.#failedAfter)
      throw new PromiseBroken(
        "failed for good",
        `the change at ${offset} was answered after a write or sync had failed at end ${this.#failedAfter}`,
      );
    this.#answered = Math.max(this.#answered, offset);
    if (this.#log !== undefined) this.#durable = Math.max(this.#durable, this.#log.durableOffset);
  }

  #noteFailure(kind: OperationKind, path: string): void {
    if (!DATA_OPERATIONS.has(kind) && !(kind === "sync" && SEGMENT.test(path))) return;
    this.#failedAfter ??= this.#log?.endOffset;
  }
}

/** The disk failed while it was read: that says nothing of what is in it. */
const isOfDisk = ({ cause }: Error): boolean => cause instanceof SystemError;

/** Failures of the log and the system have codes. Anything else is a bug. */
function assertCoded(error: unknown): void {
  const isCoded = [LogError, SystemError, ProjectionError].some((known) => error instanceof known);
  if (!isCoded) throw error;
}
