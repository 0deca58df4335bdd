/** Looking back without a thread: the real parts of both ends over any log of this process, messages cloned as between threads. */
import type { ApiLimits } from "../../api/index.js";
import { type EventLog, type LogReader, type Offset, offset } from "../../log/index.js";
import { loadConfig } from "../../ops/config/load.js";
import { LiveSettings } from "../../ops/config/rooms.js";
import type { ConfigValues } from "../../ops/config/settings.js";
import type { FoldLimits, FoldSource } from "../../ops/past/past-folds.js";
import { PastService } from "../../ops/past/past-service.js";
import { PastThread, type PastThreadOptions } from "../../ops/past/past-thread.js";
import type { FromWorker, ToWorker } from "../../ops/state/jobs.js";
import type { WorkerThread } from "../../ops/state/state-worker.js";
import { Fold, type StoreRules } from "../../projections/index.js";

export const TEST_FOLD_LIMITS: FoldLimits = {
  foldsMax: 2,
  bytesMax: 1 << 30,
  recordsMax: 1_000_000,
};

/** Folds of a log in this process; tells what was begun, and may be held up before every batch. */
export class TestSource implements FoldSource {
  readonly begun: Offset[] = [];
  readonly views: boolean[] = [];
  /** Awaited before each batch that is read. */
  pause: (at: Offset) => Promise<void> = () => Promise.resolve();
  /** Where states can be had without a replay, beside the beginning; `undefined` there = nothing reaches back. */
  snapshots: Offset[] = [];

  constructor(
    readonly log: LogReader,
    readonly rules: StoreRules,
  ) {}

  reaches(): void {
    // A log of this process needs no new view.
  }

  async view(_last: Offset, fresh: boolean): Promise<LogReader> {
    this.views.push(fresh);
    const { log } = this;
    const slow = async function* (
      pause: TestSource["pause"],
      from: Offset,
      options?: Parameters<LogReader["read"]>[1],
    ) {
      for await (const batch of log.read(from, options)) {
        await pause(batch[0]?.offset ?? offset(0));
        yield batch;
      }
    };
    return {
      firstOffset: log.firstOffset,
      endOffset: log.endOffset,
      epochs: log.epochs,
      read: (from, options) => slow((at) => this.pause(at), from, options),
      offsetAt: (timestamp) => log.offsetAt(timestamp),
      markAt: (at) => log.markAt(at),
      agrees: (mark) => log.agrees(mark),
    };
  }

  async nearest(log: LogReader, last: Offset): Promise<Offset | undefined> {
    const kept = this.snapshots.filter((at) => at <= last && at >= log.firstOffset - 1);
    return kept.at(-1) ?? (log.firstOffset === 1 ? offset(0) : undefined);
  }

  async begin(log: LogReader, at: Offset): Promise<Fold> {
    this.begun.push(at);
    const fold = new Fold({ rules: this.rules });
    if (at === 0) return fold;
    for await (const batch of this.log.read(log.firstOffset, { last: at })) {
      for (const record of batch) fold.take(record);
    }
    return fold;
  }
}

/** A "thread" in this one. */
export class LocalThread implements WorkerThread {
  readonly heard: ToWorker[] = [];
  readonly #service: PastService;
  readonly #listeners = new Map<string, (value: never) => void>();
  readonly #running = new Map<number, AbortController>();
  ended = false;

  constructor(
    source: TestSource,
    settings: ApiLimits | LiveSettings,
    foldLimits: FoldLimits,
    queuesEnabled: boolean,
  ) {
    const isLive = settings instanceof LiveSettings;
    this.#service = new PastService({
      source,
      foldLimits,
      limits: isLive ? settings.limits : settings,
      apply: (values) => isLive && settings.apply(values),
      version: "1.2.3",
      queuesEnabled,
      random: Math.random,
    });
  }

  postMessage(message: ToWorker): void {
    const cloned: ToWorker = structuredClone(message);
    this.heard.push(cloned);
    setImmediate(() => {
      if (this.ended) return;
      if (cloned.type === "cancel") this.#running.get(cloned.id)?.abort();
      else void this.#run(cloned);
    });
  }

  async #run({ id, job }: ToWorker & { type: "run" }): Promise<void> {
    if (job.type !== "past") throw new Error("only the past is asked here");
    const cancel = new AbortController();
    this.#running.set(id, cancel);
    try {
      this.#post({ type: "done", id, result: await this.#service.answer(job, cancel.signal) });
    } catch (error) {
      const { message, stack, code } = error as Error & { code?: string };
      this.#post({ type: "failed", id, message, stack, code });
    }
  }

  #post(message: FromWorker): void {
    const cloned: FromWorker = structuredClone(message);
    setImmediate(() => this.tell("message", cloned));
  }

  on(event: string, listener: (value: never) => void): void {
    this.#listeners.set(event, listener);
  }

  tell(event: "message" | "error" | "exit", value: unknown): void {
    if (!this.ended) this.#listeners.get(event)?.(value as never);
  }

  async terminate(): Promise<void> {
    this.ended = true;
  }
}

export interface LocalPast {
  readonly past: PastThread;
  readonly source: TestSource;
  readonly threads: LocalThread[];
}

export interface LocalPastOptions extends Partial<PastThreadOptions> {
  readonly queuesEnabled?: boolean;
  readonly folds?: Partial<FoldLimits>;
}

export function settingsOf(environment: Record<string, string> = {}): ConfigValues {
  const loaded = loadConfig({ environment, flags: {} });
  if (!loaded.ok) throw new Error(loaded.mistakes[0]?.message);
  return loaded.config.values;
}

const DEFAULTS = settingsOf();

/** Where the limits are live, they follow the settings that come with each ask. */
export function pastInProcess(
  log: EventLog,
  rules: StoreRules,
  limits: ApiLimits | LiveSettings,
  options: LocalPastOptions = {},
): LocalPast {
  const source = new TestSource(log, rules);
  const threads: LocalThread[] = [];
  const past = new PastThread({
    log,
    now: () => Number.MAX_SAFE_INTEGER,
    logger: { error: () => undefined },
    stopwatch: () => performance.now(),
    onAsked: () => undefined,
    waitingMax: 100,
    timeoutMs: () => 60_000,
    values: () => DEFAULTS,
    idleMs: 60_000,
    start: () => {
      const foldLimits = { ...TEST_FOLD_LIMITS, ...options.folds };
      const thread = new LocalThread(source, limits, foldLimits, options.queuesEnabled ?? true);
      threads.push(thread);
      return thread;
    },
    ...options,
  });
  return { past, source, threads };
}
