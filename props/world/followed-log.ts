/**
 * One log that is appended to and one that follows it, each on its own simulated disk, with nothing between them but runs. It drives
 * both through their lives and holds the follower to its promises at every step; the property says which steps come.
 */
import {
  offset as asOffset,
  EPOCH_STARTED,
  type EventLog,
  type FsyncMode,
  holdsLog,
  Installation,
  LogError,
  type LogMark,
  openLog,
  openLogView,
  type RecordRun,
  segmentBytes,
  verifyDirectory,
} from "../../log/index.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import { seededRandom } from "../run-settings.js";
import { DATA_DIRECTORY, worldLogOptions } from "./log-settings.js";
import type { Ending } from "./operations.js";
import { seededClock } from "./seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "./simulated-file-system.js";

export type FollowedStep =
  | { readonly type: "append"; readonly sizes: readonly number[]; readonly awaited: boolean }
  | { readonly type: "epoch" }
  /** The primary ends and is opened again; what was not durable may be gone. */
  | { readonly type: "restart"; readonly how: Ending | "close" }
  | { readonly type: "retain"; readonly share: number }
  /** The follower takes so many runs, all on their way at once or one after the other. */
  | {
      readonly type: "follow";
      readonly runs: number;
      readonly awaited: boolean;
      readonly endAt?: FollowerEnd;
    }
  /** The follower is offered something that it must not take. */
  | { readonly type: "refuse"; readonly how: BadRun }
  | { readonly type: "reopen"; readonly how: Ending | "close" }
  | { readonly type: "retainFollower"; readonly share: number };

export interface FollowerEnd {
  readonly operation: number;
  readonly ending: Ending;
}

export type BadRun =
  | "flipped"
  | "cut"
  | "skipped"
  | "repeated"
  | "reordered"
  | "lineage"
  | "cluster"
  | "segment";

export interface FollowedChronicle {
  rolls: number;
  received: number;
  refused: number;
  installed: number;
  followerEnds: number;
  powerCuts: number;
  tornEnds: number;
  primaryRestarts: number;
  lostOnPrimary: number;
  epochs: number;
  largeRecords: number;
  compared: number;
}

export const emptyFollowedChronicle = (): FollowedChronicle => ({
  rolls: 0,
  received: 0,
  refused: 0,
  installed: 0,
  followerEnds: 0,
  powerCuts: 0,
  tornEnds: 0,
  primaryRestarts: 0,
  lostOnPrimary: 0,
  epochs: 0,
  largeRecords: 0,
  compared: 0,
});

interface Follower {
  readonly log: EventLog;
  readonly files: SimulatedMount;
}

export class FollowedLog {
  readonly followerDisk: SimulatedDisk;
  readonly #primaryDisk: SimulatedDisk;
  readonly #modes: { readonly primary: FsyncMode; readonly follower: FsyncMode };
  readonly #chronicle: FollowedChronicle;
  readonly #random;
  readonly #clock;
  /** What the primary has at each offset, as text. */
  readonly #truth = new Map<number, string>();
  #primary: EventLog | undefined;
  #follower: Follower | undefined;
  /** Greatest offset that the follower called committed, and durable. */
  #committed = 0;
  #durable = 0;
  #body = 0;
  /** How often it was noticed that a fault ended the follower. */
  #seenEnds = 0;

  constructor(
    worldSeed: number,
    modes: { readonly primary: FsyncMode; readonly follower: FsyncMode },
    chronicle: FollowedChronicle,
  ) {
    this.#primaryDisk = new SimulatedDisk(worldSeed);
    this.followerDisk = new SimulatedDisk(worldSeed + 1, { syncTurnsMax: 3 });
    this.#modes = modes;
    this.#chronicle = chronicle;
    this.#random = seededRandom(worldSeed + 2);
    this.#clock = seededClock(this.#random);
  }

  async run(steps: readonly FollowedStep[]): Promise<void> {
    await this.#openPrimary();
    for (const step of steps) await this.#step(step);
    await this.#compareInTheEnd();
  }

  async #step(step: FollowedStep): Promise<void> {
    const { primary } = this;
    switch (step.type) {
      case "append":
        for (const size of step.sizes) primary.append(this.#newRecord(size));
        if (step.awaited) await primary.whenCommitted(primary.endOffset);
        return;
      case "epoch":
        await primary.startEpoch();
        this.#chronicle.epochs += 1;
        return;
      case "restart":
        return this.#restartPrimary(step.how);
      case "retain":
        await primary.retain(asOffset(Math.ceil(primary.durableOffset * step.share)));
        return;
      case "follow":
        return this.#untilEnd(step.endAt, () => this.#follow(step.runs, step.awaited));
      case "refuse":
        return this.#untilEnd(undefined, () => this.#refuse(step.how));
      case "reopen":
        return this.#endFollower(step.how);
      case "retainFollower":
        return this.#untilEnd(undefined, async () => {
          const { log } = await this.#following();
          await log.retain(asOffset(Math.ceil(log.durableOffset * step.share)));
        });
    }
  }

  get primary(): EventLog {
    if (this.#primary === undefined) throw new Error("the primary is open");
    return this.#primary;
  }

  // ---- the primary ----

  async #openPrimary(): Promise<void> {
    const files = this.#primaryDisk.mount();
    const { log } = await openLog({
      ...worldLogOptions(this.#primaryDisk, files, this.#clock, this.#modes.primary),
      // Larger than the follower's own, mostly: where a segment ends is the primary's decision.
      segmentBytes: 4096 * (1 + Math.floor(this.#random() * 4)),
    });
    for (const at of [...this.#truth.keys()])
      if (at > log.endOffset) {
        this.#truth.delete(at);
        this.#chronicle.lostOnPrimary += 1;
      }
    for await (const records of log.read(log.firstOffset))
      for (const record of records) this.#truth.set(record.offset, textOf(record));
    log.appended.subscribe((record) => this.#truth.set(record.offset, textOf(record)));
    this.#primary = log;
  }

  async #restartPrimary(how: Ending | "close"): Promise<void> {
    if (how === "close") await this.primary.close();
    else if (how === "kill") this.#primaryDisk.kill();
    else this.#primaryDisk.losePower();
    if (how === "close") this.#primaryDisk.kill();
    this.#chronicle.primaryRestarts += 1;
    await this.#openPrimary();
  }

  #newRecord(size: number) {
    this.#body += 1;
    if (size > 4096) this.#chronicle.largeRecords += 1;
    const body = Buffer.alloc(size, this.#body & 0xff);
    if (size >= 4) body.writeUInt32LE(this.#body, 0);
    return { kind: 2 + (this.#body % 3), version: this.#body % 2, timestamp: this.#clock.now(), body };
  }

  // ---- the follower ----

  /** Ends the follower in this operation of its disk, if it comes so far. */
  async #untilEnd(endAt: FollowerEnd | undefined, doing: () => Promise<void>): Promise<void> {
    const disk = this.followerDisk;
    this.#noticeEnd();
    if (endAt !== undefined) disk.arm({ type: "end", at: endAt.operation, ending: endAt.ending });
    await Promise.race([doing(), disk.ended()]);
    disk.disarm();
    this.#noticeEnd();
  }

  /** An operation can end the process some turns after it was begun. */
  #noticeEnd(): void {
    const { ends, lastEnding } = this.followerDisk.counts;
    if (ends > this.#seenEnds && lastEnding !== undefined) this.#afterEnd(lastEnding);
    this.#seenEnds = ends;
  }

  async #closeFollower(): Promise<void> {
    const { log } = await this.#following();
    const end = log.endOffset;
    await log.close();
    this.#committed = this.#durable = end;
    this.#follower = undefined;
  }

  async #endFollower(how: Ending | "close"): Promise<void> {
    if (how === "close") return this.#untilEnd(undefined, () => this.#closeFollower());
    if (how === "kill") this.followerDisk.kill();
    else this.followerDisk.losePower();
    this.#afterEnd(how);
  }

  #afterEnd(ending: Ending): void {
    this.#follower = undefined;
    this.#chronicle.followerEnds += 1;
    if (ending === "power") this.#chronicle.powerCuts += 1;
    if (ending === "power") this.#committed = Math.min(this.#committed, this.#durable);
  }

  async #following(): Promise<Follower> {
    this.#follower ??= await this.#openFollower();
    return this.#follower;
  }

  async #openFollower(): Promise<Follower> {
    const files = this.followerDisk.mount();
    if (!(await holdsLog(files, DATA_DIRECTORY))) await this.#install(files);
    const verified = await verifyDirectory(files, DATA_DIRECTORY).catch((error: unknown) => {
      if (error instanceof LogError && error.code === "LOG_INSTALL_UNFINISHED") return undefined;
      throw error;
    });
    if ((verified?.problems.length ?? 0) > 0)
      throw new PromiseBroken("verified", `a crash looks like damage: ${JSON.stringify(verified?.problems)}`);
    const { log, recovery } = await openLog({
      ...worldLogOptions(this.followerDisk, files, this.#clock, this.#modes.follower),
      following: true,
      observer: { rolled: () => (this.#chronicle.rolls += 1) },
    });
    if (!files.alive) return { log, files };
    if (recovery.tornBytes > 0) this.#chronicle.tornEnds += 1;
    if (log.endOffset < this.#committed)
      throw new PromiseBroken("durable", `${this.#committed} was told, the log ends at ${log.endOffset}`);
    if (this.#isThere(log.endOffset) && !(await this.primary.agrees(await endOf(log))))
      throw new PromiseBroken("prefix", `the follower's end ${log.endOffset} is not the primary's`);
    this.#watch({ log, files });
    return { log, files };
  }

  /** The primary still knows of this record. */
  #isThere(at: number): boolean {
    return at + 1 >= this.primary.firstOffset && at <= this.primary.endOffset;
  }

  /** Each record is shown exactly once in a life, in order, as the primary has it. */
  #watch({ log, files }: Follower): void {
    let next = log.endOffset + 1;
    log.appended.subscribe((record) => {
      if (!files.alive) return;
      if (record.offset !== next) throw new PromiseBroken("once", `${record.offset} was shown, not ${next}`);
      if (textOf(record) !== this.#truth.get(record.offset))
        throw new PromiseBroken("same", `another record was shown at ${record.offset}`);
      next += 1;
    });
    log.moved.subscribe(() => {
      if (!files.alive) return;
      this.#durable = Math.max(this.#durable, log.durableOffset);
      if (this.#modes.follower === "always" && log.committedOffset > log.durableOffset)
        throw new PromiseBroken(
          "always",
          `${log.committedOffset} is committed, ${log.durableOffset} durable`,
        );
    });
  }

  async #install(files: SimulatedMount): Promise<void> {
    const { primary } = this;
    const options = worldLogOptions(this.followerDisk, files, this.#clock, this.#modes.follower);
    const clusterId = (await primary.markAt(primary.committedOffset)).clusterId;
    const installation = await Installation.begin({ ...options, clusterId, isHeld: false });
    // A log that begins later needs a snapshot; what is in it is not the log's.
    const first = primary.firstOffset;
    if (first > 1)
      await installation.placeSnapshot(`snapshot_1_${first}.snap`, once(Buffer.from("a snapshot")));
    const last = first + Math.floor(this.#random() * (primary.durableOffset - first + 1));
    for await (const run of primary.ship(first)) {
      await installation.receive(run);
      if (run.last >= last) break;
    }
    await installation.commit({ oldEnd: undefined });
    this.#chronicle.installed += 1;
    this.#committed = this.#durable = installation.end.offset;
  }

  async #follow(runs: number, awaited: boolean): Promise<void> {
    const { log, files } = await this.#following();
    const taken: Promise<void>[] = [];
    for (const run of await this.#runsFrom(log.endOffset + 1, runs)) {
      const receiving = log.receive(run).then(() => this.#received(log, files, run));
      receiving.catch(() => undefined);
      taken.push(receiving);
      if (awaited) await receiving;
    }
    await Promise.all(taken);
  }

  #received(log: EventLog, files: SimulatedMount, run: RecordRun): void {
    if (!files.alive) return;
    if (log.committedOffset < run.last)
      throw new PromiseBroken("committed", `${run.last} was told, ${log.committedOffset} is committed`);
    this.#chronicle.received += 1;
    this.#committed = Math.max(this.#committed, run.last);
  }

  /** At most so many runs of what is durable on the primary; small, as of a live log. */
  async #runsFrom(from: number, count: number): Promise<RecordRun[]> {
    const runs: RecordRun[] = [];
    const { primary } = this;
    if (from < primary.firstOffset || from > primary.durableOffset) return runs;
    for await (const run of primary.ship(asOffset(from))) {
      if (run.last > primary.durableOffset)
        throw new PromiseBroken(
          "only durable",
          `${run.last} was shipped, ${primary.durableOffset} is durable`,
        );
      runs.push(run);
      if (runs.length >= count || run.last >= primary.durableOffset) break;
    }
    return runs;
  }

  async #refuse(how: BadRun): Promise<void> {
    const { log } = await this.#following();
    await log.whenCommitted(log.endOffset);
    const from = log.endOffset + 1;
    const bad = this.#badRun(how, await this.#runsFrom(from, 3));
    if (bad === undefined) return;
    const before = [log.endOffset, log.epochs.length, log.committedOffset];
    try {
      await log.receive(bad);
    } catch (error) {
      if (!(error instanceof LogError)) throw error;
      const isNamed = error.code === "LOG_NOT_CONTINUED" || error.code === "LOG_RECORD_BAD";
      if (!isNamed) throw new PromiseBroken("named", `${how} was refused by ${error.code}`);
      if ([log.endOffset, log.epochs.length, log.committedOffset].join() !== before.join())
        throw new PromiseBroken("nothing changed", `${how} changed the log`);
      this.#chronicle.refused += 1;
      return;
    }
    throw new PromiseBroken("verified", `a run that was ${how} was taken`);
  }

  #badRun(how: BadRun, [run, second]: readonly RecordRun[]): RecordRun | undefined {
    if (run === undefined) return undefined;
    const { header } = run;
    switch (how) {
      case "flipped": {
        const bytes = Uint8Array.from(run.bytes);
        const at = Math.floor(this.#random() * bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(this.#random() * 8));
        return { ...run, bytes };
      }
      case "cut":
        return {
          ...run,
          bytes: run.bytes.subarray(0, run.bytes.length - 1 - Math.floor(this.#random() * 30)),
        };
      case "skipped":
        return second;
      case "reordered":
        return second === undefined ? undefined : { ...run, bytes: Buffer.concat([second.bytes, run.bytes]) };
      case "repeated":
        return { ...run, bytes: Buffer.concat([run.bytes, run.bytes]) };
      case "lineage":
        return { ...run, header: { ...header, lineageId: "f".repeat(32) } };
      case "cluster":
        return { ...run, startsSegment: true, header: { ...header, clusterId: "f".repeat(32) } };
      case "segment":
        return { ...run, header: { ...header, createdAt: header.createdAt + 1 }, startsSegment: false };
    }
  }

  // ---- the end ----

  /** Everything durable on both: the same files, byte for byte, up to the common durable offset. */
  async #compareInTheEnd(): Promise<void> {
    const { primary } = this;
    await primary.startEpoch();
    // Twice: what is left of an end may come in the first.
    for (const _ of [1, 2]) await this.#untilEnd(undefined, () => this.#catchUp());
    // Retention was quicker: only another installation would help.
    if (this.#follower !== undefined) return;
    await primary.close();
    const ours = await segmentsOf(this.#primaryDisk);
    const theirs = await segmentsOf(this.followerDisk);
    let common = 0;
    for (const [base, bytes] of theirs) {
      const own = ours.get(base);
      if (own === undefined) continue;
      common += 1;
      if (Buffer.compare(own, bytes) !== 0)
        throw new PromiseBroken(
          "byte-equal",
          `the segment ${base} differs: ${own.length} and ${bytes.length} bytes`,
        );
    }
    if (common === 0) throw new PromiseBroken("byte-equal", "no segment is on both");
    this.#chronicle.compared += common;
  }

  /** To the primary's end, which is durable, then a clean stop; unless retention on the primary was quicker. */
  async #catchUp(): Promise<void> {
    const { log } = await this.#following();
    if (log.endOffset + 1 < this.primary.firstOffset) return;
    while (log.endOffset < this.primary.endOffset) await this.#follow(1_000, false);
    const [ours, theirs] = [this.primary.epochs.at(-1), log.epochs.at(-1)];
    if (JSON.stringify(ours) !== JSON.stringify(theirs))
      throw new PromiseBroken("epochs", `the follower knows of ${JSON.stringify(theirs)}`);
    await this.#closeFollower();
  }
}

async function endOf(log: EventLog): Promise<LogMark> {
  return log.markAt(log.endOffset);
}

async function segmentsOf(disk: SimulatedDisk, files = disk.mount()): Promise<Map<number, Uint8Array>> {
  const view = await openLogView(files, DATA_DIRECTORY);
  const segments = new Map<number, Uint8Array>();
  for (const extent of view.extents) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of segmentBytes(files, DATA_DIRECTORY, extent)) chunks.push(chunk);
    segments.set(extent.firstOffset, Buffer.concat(chunks));
  }
  return segments;
}

function textOf(record: {
  kind: number;
  version: number;
  timestamp: number;
  epoch: number;
  body: Uint8Array;
}): string {
  const { kind, version, timestamp, epoch, body } = record;
  const what = kind === EPOCH_STARTED ? "epoch" : kind;
  return `${what} ${version} ${timestamp} ${epoch} ${Buffer.from(body).toString("base64")}`;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
