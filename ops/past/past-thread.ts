/**
 * Looking back as the API asks for it: finds the offset of a moment in the live log, and has a thread of its own answer. The
 * thread is started when it is needed first and let go when nobody asked for a while, and its states with it. However it
 * ends, the process goes on: whoever waited is told, and the next ask starts another.
 */
import {
  type Answered,
  type ApiLogger,
  answeredAt,
  type Moment,
  type Past,
  type PastDigest,
  type PastValue,
  type Refusal,
  refusal,
} from "../../api/index.js";
import { assert, type EventLog, unreachable } from "../../log/index.js";
import type { ConfigValues } from "../config/settings.js";
import { JobError, StateWorker, type WorkerThread } from "../state/state-worker.js";
import { type Point, pointOf } from "./moment.js";
import type { Found } from "./past-folds.js";
import type { Outcome, PastFigures, Question } from "./question.js";

export interface PastThreadOptions {
  readonly log: Pick<EventLog, "firstOffset" | "committedOffset" | "offsetAt">;
  readonly now: () => number;
  readonly logger: Pick<ApiLogger, "error">;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Told of every ask that went to the thread, however it ended. */
  readonly onAsked: (durationMs: number) => void;
  readonly waitingMax: number;
  /** Asked for each look, as `values` are: they may change while the process runs. */
  readonly timeoutMs: () => number;
  readonly values: () => ConfigValues;
  readonly idleMs: number;
  readonly start: () => WorkerThread;
}

/** A failure in the thread, with the code that it had there. */
class PastFailure extends Error {
  readonly code: string | undefined;

  constructor({ message, causeCode, cause }: JobError) {
    super(message, { cause });
    this.name = "PastFailure";
    this.code = causeCode;
  }
}

type Result = Found | "refused" | "failed";

export class PastThread implements Past {
  /** Asks since the process began, by how their state was found. */
  readonly asks: Record<Result, number> = { kept: 0, moved: 0, begun: 0, refused: 0, failed: 0 };
  readonly #options: PastThreadOptions;
  readonly #worker: StateWorker;
  #figures: PastFigures = NONE;
  /** By threads that are gone. */
  #replayedBefore = 0;

  constructor(options: PastThreadOptions) {
    this.#options = options;
    const { start, waitingMax, idleMs, logger } = options;
    this.#worker = new StateWorker({
      start,
      jobsMax: waitingMax,
      idleMs,
      onEnded: (why) => {
        if (why !== undefined) logger.error({ err: why }, "the thread that looks back failed");
        this.#replayedBefore += this.#figures.replayedRecords;
        this.#figures = NONE;
      },
    });
  }

  /** What is kept now, and how many records were replayed since the process began. */
  get figures(): PastFigures {
    const { folds, bytes, replayedRecords } = this.#figures;
    return { folds, bytes, replayedRecords: this.#replayedBefore + replayedRecords };
  }

  async read(
    operation: string,
    input: unknown,
    moment: Moment,
    signal: AbortSignal,
  ): Promise<Answered | Refusal> {
    const point = await this.#point(moment);
    if (point.type === "refused") return point;
    const outcome = await this.#ask({ type: "read", operation, input }, point, signal);
    if (outcome.type === "refused") return outcome;
    assert(outcome.type === "reply", "a read is answered by a reply");
    return answeredAt(outcome, point.at);
  }

  async value(key: string, moment: Moment, signal: AbortSignal): Promise<PastValue | Refusal> {
    const point = await this.#point(moment);
    if (point.type === "refused") return point;
    const outcome = await this.#ask({ type: "value", key }, point, signal);
    assert(outcome.type === "refused" || outcome.type === "value", "a value is asked for");
    return outcome;
  }

  async digest(moment: Moment, signal: AbortSignal): Promise<PastDigest | Refusal> {
    const point = await this.#point(moment);
    if (point.type === "refused") return point;
    const outcome = await this.#ask({ type: "digest" }, point, signal);
    assert(outcome.type === "refused" || outcome.type === "digest", "a digest is asked for");
    return outcome;
  }

  /** Whoever waits is told; nothing is asked any more. */
  close(): Promise<void> {
    return this.#worker.close();
  }

  #point(moment: Moment): Promise<Point | Refusal> {
    const { log, now } = this.#options;
    return pointOf(moment, {
      log,
      get end() {
        return log.committedOffset;
      },
      now: now(),
    });
  }

  async #ask(question: Question, { at, time }: Point, signal: AbortSignal): Promise<Outcome> {
    const { log, stopwatch, onAsked, values } = this.#options;
    const timeoutMs = this.#options.timeoutMs();
    if (signal.aborted) return gone();
    const since = stopwatch();
    const patience = new AbortController();
    const late = setTimeout(() => patience.abort(), timeoutMs);
    try {
      const { outcome, found, figures } = await this.#worker.run(
        { type: "past", ask: { question, at, time }, end: log.committedOffset, values: values() },
        { signal: AbortSignal.any([signal, patience.signal]) },
      );
      this.#figures = figures;
      this.asks[found ?? "refused"] += 1;
      return outcome;
    } catch (error) {
      if (signal.aborted) return gone();
      if (!patience.signal.aborted) return this.#failed(error);
      return this.#count("refused", refusal("API_PAST_TIMEOUT", `not there within ${timeoutMs} ms`));
    } finally {
      clearTimeout(late);
      onAsked(stopwatch() - since);
    }
  }

  #failed(error: unknown): Refusal {
    if (!(error instanceof JobError)) throw error;
    const { waitingMax } = this.#options;
    switch (error.code) {
      case "JOB_REFUSED":
        return this.#count("refused", refusal("API_PAST_BUSY", `${waitingMax} requests look back already`));
      case "JOB_CLOSED":
        return this.#count("refused", failed("the server is shutting down"));
      case "JOB_LOST":
        return this.#count("failed", failed("the thread that looks back ended"));
      case "JOB_FAILED":
        this.asks.failed += 1;
        throw new PastFailure(error);
      default:
        return unreachable(error.code);
    }
  }

  #count(result: Result, refused: Refusal): Refusal {
    this.asks[result] += 1;
    return refused;
  }
}

const NONE: PastFigures = { folds: 0, bytes: 0, replayedRecords: 0 };
const gone = (): Refusal => refusal("API_CLIENT_GONE", "the client went away while it waited");
const failed = (why: string): Refusal => refusal("API_PAST_FAILED", why);
