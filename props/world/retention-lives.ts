/**
 * Several lives of one store on one simulated disk that makes snapshots and lets go of what nobody needs: open, work, end by a
 * fault, a kill or a power cut; then the next. What the state was after each record is remembered, and all that should still be
 * had of it is asked for from the disk again and again.
 */
import {
  offset as asOffset,
  LogError,
  type LogReader,
  type Offset,
  type OpenedLog,
  openLog,
  openLogView,
} from "../../log/index.js";
import { Retention, type RetentionReport, type RetentionRules } from "../../ops/retention.js";
import { checkSnapshot, makeSnapshot } from "../../ops/state/perform.js";
import { SnapshotShelf } from "../../ops/state/shelf.js";
import {
  asIs,
  type Context,
  type Decider,
  foldTo,
  kv,
  listSnapshots,
  type OpenedStore,
  openStore,
  ProjectionError,
  SnapshotError,
  stream,
  TEXT_TYPE,
} from "../../projections/index.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import { DATA_DIRECTORY, worldLogOptions } from "./log-settings.js";
import type { Fault } from "./operations.js";
import { type SeededClock, seededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";
import { SNAPSHOTS, WORLD_RULES } from "./store-world.js";
import { SystemError } from "./system-error.js";

export type RetentionStep =
  | { readonly type: "set" | "append" | "appendShort"; readonly count: number }
  | { readonly type: "forget" | "snapshot" | "tidy" }
  | { readonly type: "rest"; readonly ms: number }
  /** Somebody (a replica, an archive) needs the log from so far back, as a share of what there is; 0: nobody. */
  | { readonly type: "hold"; readonly back: number }
  /** A byte of the snapshot so many before the newest changes, if the newest two hold. */
  | { readonly type: "decay"; readonly back: number; readonly at: number };

export interface RetentionLife {
  readonly steps: readonly RetentionStep[];
  readonly fault: Fault;
  readonly ending: "power" | "kill";
}

/** What was so after a record. */
interface Moment {
  readonly digest: string;
  readonly timestamp: number;
}

interface Open {
  readonly files: SimulatedMount;
  readonly opened: OpenedLog;
  readonly store: OpenedStore;
  readonly retention: Retention;
}

const ALL = "room/all";
const SHORT = "room/short";

export class RetentionLives {
  readonly happened: Record<string, number> = {};
  readonly #disk: SimulatedDisk;
  readonly #rules: RetentionRules;
  readonly #clock: SeededClock;
  readonly #moments = new Map<number, Moment>();
  #answered = 0;
  #held: Offset | undefined;
  #number = 0;
  readonly #seen = new Set<string>();
  #decayed = false;
  #unseenDecayed = false;

  constructor(disk: SimulatedDisk, rules: RetentionRules) {
    this.#disk = disk;
    this.#rules = rules;
    this.#clock = seededClock(disk.random);
  }

  async live({ steps, fault, ending }: RetentionLife): Promise<void> {
    const disk = this.#disk;
    disk.arm(fault);
    const files = disk.mount();
    const ended = disk.ended().then(() => undefined);
    await Promise.race([this.#run(files, steps).catch(assertCoded), ended]);
    disk.disarm();
    if (!files.alive) this.#count("ends");
    else if (ending === "power") disk.losePower();
    else disk.kill();
  }

  /** A life without faults, to see what is there. */
  async look(): Promise<void> {
    const files = this.#disk.mount();
    await this.#checkAll(await this.#open(files));
    this.#disk.losePower();
  }

  async #run(files: SimulatedMount, steps: readonly RetentionStep[]): Promise<void> {
    const open = await this.#open(files);
    for (const step of steps) {
      if (!files.alive) return;
      await this.#step(open, step);
    }
  }

  async #open(files: SimulatedMount): Promise<Open> {
    const opened = await openLog(worldLogOptions(this.#disk, files, this.#clock, "always"));
    const { log } = opened;
    const store = await openStore({
      log,
      rules: WORLD_RULES,
      snapshots: { files, directory: SNAPSHOTS },
      onDead: (error) => {
        throw error;
      },
    });
    if (files.alive && store.offset < this.#answered)
      throw new PromiseBroken("durable", `${this.#answered} was answered, the log ends at ${store.offset}`);
    for (const at of [...this.#moments.keys()]) if (at > store.offset) this.#moments.delete(at);
    this.#expectDigest(files, store.offset, store.digest(), "the start");
    if (store.from !== undefined) this.#count("begunWithSnapshot");
    if (log.firstOffset > 1) this.#count("begunWithoutBeginning");
    const shelf = new SnapshotShelf({
      files,
      dataDirectory: DATA_DIRECTORY,
      log,
      check: (name) =>
        checkSnapshot({ dataDirectory: DATA_DIRECTORY, name }, WORLD_RULES, this.#place(files)),
      onProblem: () => this.#count("distrusted"),
    });
    const retention = new Retention({
      log,
      firstWithin: opened.firstWithin,
      shelf,
      oldestShown: (now) => store.oldestShown(now),
      now: this.#clock.now,
      rules: () => this.#rules,
    });
    retention.register(() => (this.#held === undefined ? [] : [{ name: "somebody", offset: this.#held }]));
    const open = { files, opened, store, retention };
    if (store.offset < 2) {
      await this.#ask(open, stream.getOrCreate, { name: ALL, contentType: TEXT_TYPE });
      const retained = { name: SHORT, contentType: TEXT_TYPE, retention: { count: 3 } };
      await this.#ask(open, stream.getOrCreate, retained);
    }
    return open;
  }

  async #step(open: Open, step: RetentionStep): Promise<void> {
    const { files, opened, store } = open;
    switch (step.type) {
      case "set":
        for (let n = 0; n < step.count; n += 1) {
          const pair = { key: `k${n}`, value: this.#fresh(), contentType: TEXT_TYPE };
          await this.#ask(open, kv.setMany, { pairs: [pair] });
        }
        return;
      case "append":
      case "appendShort": {
        const name = step.type === "append" ? ALL : SHORT;
        for (let n = 0; n < step.count; n += 1)
          await this.#ask(open, stream.append, { name, messages: [{ bytes: this.#fresh() }] });
        return;
      }
      case "forget":
        // Messages of the long stream hold the log; whoever trims it lets it go.
        await this.#ask(open, stream.trim, { name: ALL, before: Number.MAX_SAFE_INTEGER });
        return;
      case "rest":
        this.#clock.advance(step.ms);
        return;
      case "hold": {
        const { firstOffset } = opened.log;
        const from = store.offset - Math.floor((store.offset - firstOffset) * step.back);
        this.#held = step.back === 0 ? undefined : asOffset(Math.max(firstOffset, from));
        return;
      }
      case "snapshot": {
        const made = await makeSnapshot(
          { dataDirectory: DATA_DIRECTORY, last: opened.log.durableOffset },
          WORLD_RULES,
          this.#place(files),
        );
        this.#expectDigest(files, made.facts.offset, made.facts.digests.all, "a snapshot");
        this.#count("snapshots");
        return;
      }
      case "decay":
        await this.#decay(open, step.back, step.at);
        return;
      case "tidy":
        await this.#tidy(open);
    }
  }

  /**
   * One of the two newest, at rest: that is what there are two of them for, so of those that retention has relied upon only one.
   * Of those that it has not seen yet any number: it reads them back before.
   */
  async #decay({ files }: Open, back: number, at: number): Promise<void> {
    const names = (await listSnapshots(files, SNAPSHOTS)).map(({ name, bytes }) => ({ name, bytes }));
    const chosen = names.at(-1 - back);
    if (chosen === undefined || names.length < 3 || !files.alive) return;
    if (this.#seen.has(chosen.name)) {
      if (this.#decayed) return;
      this.#decayed = true;
    } else this.#unseenDecayed = true;
    this.#disk.flip(`${SNAPSHOTS}/${chosen.name}`, Math.floor(at * chosen.bytes), 1 << (chosen.bytes % 8));
    this.#count("decayed");
  }

  async #tidy(open: Open): Promise<void> {
    const { files, opened, retention } = open;
    const before = opened.log.firstOffset;
    const now = this.#clock.now();
    for (const { name } of await listSnapshots(files, SNAPSHOTS)) this.#seen.add(name);
    const report = await retention.run();
    if (!files.alive) return;
    this.#note(report, before);
    const { firstOffset } = opened.log;
    if (this.#held !== undefined && before <= this.#held && firstOffset > this.#held)
      throw new PromiseBroken("kept", `somebody needs ${this.#held}, the log begins at ${firstOffset}`);
    const isChanged = report.first > before || report.snapshotsRemoved.length > 0;
    if (isChanged || this.#disk.random() < 0.2) await this.#checkAll(open, now);
  }

  #note({ first, heldBy, snapshotsRemoved }: RetentionReport, before: Offset): void {
    if (first > before) this.#count("retired");
    if (snapshotsRemoved.length > 0) this.#count("pruned");
    if (heldBy !== undefined) this.#count(`heldBy ${heldBy}`);
  }

  /** Whatever a start, a reader of a stream, or somebody who goes back within the window would need. */
  async #checkAll(open: Open, now = this.#clock.now()): Promise<void> {
    const { files, store } = open;
    await this.#checkStreams(open);
    const view = await openLogView(files, DATA_DIRECTORY);
    const newest = (await listSnapshots(files, SNAPSHOTS)).at(-1)?.name;
    await this.#checkState(files, view, store.offset, "a start");
    // Whichever of the two turns out damaged when it is needed, the other one carries.
    if (view.firstOffset > 1 && !this.#decayed && !this.#unseenDecayed)
      await this.#checkState(
        hiding(files, newest),
        view,
        store.offset,
        "a start without the newest snapshot",
      );
    if (this.#rules.windowMs === 0) return;
    for (const share of [0, this.#disk.random()]) {
      const time = now - this.#rules.windowMs * (1 - share);
      const last = asOffset((await view.offsetAt(Math.ceil(time) + 1)) - 1);
      if (last < 1) continue;
      // Two snapshots are kept for starts; of those before the window there may be one only.
      if (this.#decayed) continue;
      const fold = await this.#checkState(files, view, last, `going back to offset ${last}`);
      if (fold !== undefined && fold < view.firstOffset)
        throw new PromiseBroken("kept", `streams of offset ${last} show ${fold}, the log begins later`);
      this.#count("wentBack");
    }
  }

  /** Undefined when no stream shows anything there. */
  async #checkState(
    files: SimulatedMount,
    view: LogReader,
    last: Offset,
    what: string,
  ): Promise<Offset | undefined> {
    const failuresBefore = this.#disk.counts.failures;
    try {
      const { fold } = await foldTo(view, { files, directory: SNAPSHOTS }, { rules: WORLD_RULES, last });
      this.#expectDigest(files, last, fold.digests().all, what);
      return fold.stream.oldestShown(fold.clock);
    } catch (error) {
      if (!(error instanceof SnapshotError) || !files.alive) throw error;
      // A disk that does not give a snapshot back is no promise broken.
      if (this.#disk.counts.failures > failuresBefore) throw error;
      throw new PromiseBroken("kept", `${what} is not possible any more: ${error.message}`);
    }
  }

  async #checkStreams({ files, store }: Open): Promise<void> {
    const limits = { messagesMax: 10_000, bytesMax: 1 << 24 };
    for (const name of [ALL, SHORT]) {
      const outcome = await store.query(
        stream.read,
        { name, from: "earliest", limits },
        this.#context(),
        asIs,
      );
      if (outcome.type !== "done") continue;
      try {
        await store.bodies(outcome.answer.plan);
      } catch (error) {
        if (!(error instanceof LogError) || error.code !== "LOG_OFFSET_RETIRED") throw error;
        if (files.alive)
          throw new PromiseBroken("kept", `stream ${name} shows what is gone: ${error.message}`);
      }
    }
  }

  #expectDigest(files: SimulatedMount, at: Offset, digest: string, what: string): void {
    const known = this.#moments.get(at);
    if (files.alive && known !== undefined && known.digest !== digest)
      throw new PromiseBroken("equivalent", `${what}: the state at ${at} is not what it was`);
  }

  async #ask<Command, Answer>(open: Open, decide: Decider<Command, Answer>, command: Command): Promise<void> {
    const { store, files } = open;
    const before = store.offset;
    const context = this.#context();
    const answer = (async () => store.execute(decide, command, context, asIs))();
    answer.catch(() => undefined);
    if (store.offset > before)
      this.#moments.set(store.offset, { digest: store.digest(), timestamp: context.now });
    const outcome = await answer;
    if (!files.alive) return;
    if (outcome.type === "done") this.#answered = Math.max(this.#answered, outcome.offset);
  }

  #place(files: SimulatedMount) {
    return { files, now: this.#clock.now, stopwatch: () => 0 };
  }

  #context(): Context {
    return { now: this.#clock.now(), random: 0.5, cause: { command: "test" } };
  }

  #fresh(): string {
    this.#number += 1;
    return `${this.#number} ${"x".repeat(300 + (this.#number % 200))}`;
  }

  #count(what: string): void {
    this.happened[what] = (this.happened[what] ?? 0) + 1;
  }
}

/** The same directory without one of its files. */
function hiding(files: SimulatedMount, name: string | undefined): SimulatedMount {
  return new Proxy(files, {
    get: (target, property) => {
      if (property === "list")
        return async (path: string) => (await target.list(path)).filter((found) => found !== name);
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Failures have codes. Anything else is a bug. */
function assertCoded(error: unknown): void {
  const isCoded = [LogError, SystemError, ProjectionError, SnapshotError].some(
    (known) => error instanceof known,
  );
  if (!isCoded) throw error;
}
