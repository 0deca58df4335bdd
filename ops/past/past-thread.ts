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
import { type Point, pointOf } from "./moment.js";
import type { Found } from "./past-folds.js";
import type { FromThread, Outcome, PastFigures, Question, ToThread } from "./question.js";

/** The part of a `Worker` that is used. */
export interface Thread {
  postMessage(message: ToThread): void;
  on(event: "message", listener: (message: FromThread) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

export interface PastThreadOptions {
  readonly log: Pick<EventLog, "firstOffset" | "committedOffset" | "offsetAt">;
  readonly now: () => number;
  readonly logger: Pick<ApiLogger, "error">;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Told of every ask that went to the thread, however it ended. */
  readonly onAsked: (durationMs: number) => void;
  readonly waitingMax: number;
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly start: () => Thread;
}

/** A failure in the thread, with the code that it had there. */
class PastFailure extends Error {
  readonly code: string | undefined;

  constructor({ message, code, stack }: FromThread & { type: "failed" }) {
    super(message);
    this.name = "PastFailure";
    this.code = code;
    if (stack !== undefined) this.stack = stack;
  }
}

type Result = Found | "refused" | "failed";

export class PastThread implements Past {
  /** Asks since the process began, by how their state was found. */
  readonly asks: Record<Result, number> = { kept: 0, moved: 0, begun: 0, refused: 0, failed: 0 };
  readonly #options: PastThreadOptions;
  readonly #waiting = new Map<number, (outcome: Outcome | Error) => void>();
  #thread: Thread | undefined;
  #figures: PastFigures = { folds: 0, bytes: 0, replayedRecords: 0 };
  /** By threads that are gone. */
  #replayedBefore = 0;
  #ids = 0;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PastThreadOptions) {
    this.#options = options;
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
  async close(): Promise<void> {
    this.#closed = true;
    await this.#letGo();
  }

  #point(moment: Moment): Promise<Point | Refusal> {
    const { log, now } = this.#options;
    return pointOf(moment, { log, end: log.committedOffset, now: now() });
  }

  async #ask(question: Question, { at, time }: Point, signal: AbortSignal): Promise<Outcome> {
    const { waitingMax, timeoutMs, log } = this.#options;
    if (this.#closed) return this.#count("refused", failed("the server is shutting down"));
    if (signal.aborted) return gone();
    if (this.#waiting.size >= waitingMax) {
      const busy = refusal("API_PAST_BUSY", `${waitingMax} requests look back already`);
      return this.#count("refused", busy);
    }
    clearTimeout(this.#idle);
    const thread = this.#thread ?? this.#begin();
    const id = ++this.#ids;
    const since = this.#options.stopwatch();
    const outcome = await new Promise<Outcome | Error>((resolve) => {
      const giveUp = (refused: Refusal): void => {
        if (this.#waiting.has(id)) thread.postMessage({ type: "cancel", id });
        settle(refused);
      };
      const leave = (): void => giveUp(gone());
      const late = setTimeout(
        () => giveUp(refusal("API_PAST_TIMEOUT", `not there within ${timeoutMs} ms`)),
        timeoutMs,
      );
      const settle = (settled: Outcome | Error): void => {
        this.#waiting.delete(id);
        clearTimeout(late);
        signal.removeEventListener("abort", leave);
        resolve(settled);
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.set(id, settle);
      thread.postMessage({ type: "ask", id, ask: { question, at, time }, end: log.committedOffset });
    });
    this.#options.onAsked(this.#options.stopwatch() - since);
    this.#rest();
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  #count(result: Result, refused: Refusal): Refusal {
    this.asks[result] += 1;
    return refused;
  }

  #begin(): Thread {
    const thread = this.#options.start();
    this.#thread = thread;
    thread.on("message", (message) => this.#hear(thread, message));
    thread.on("error", (error) => {
      this.#options.logger.error({ err: error }, "the thread that looks back failed");
      this.#lose(thread);
    });
    thread.on("exit", () => this.#lose(thread));
    return thread;
  }

  #hear(thread: Thread, message: FromThread): void {
    if (thread === this.#thread) this.#figures = message.figures;
    const settle = this.#waiting.get(message.id);
    switch (message.type) {
      case "answered":
        this.asks[message.found ?? "refused"] += 1;
        settle?.(message.outcome);
        return;
      case "failed":
        this.asks.failed += 1;
        settle?.(new PastFailure(message));
        return;
      default:
        unreachable(message);
    }
  }

  /** The thread is gone, and with it what it was asked. */
  #lose(thread: Thread): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    this.#replayedBefore += this.#figures.replayedRecords;
    this.#figures = { folds: 0, bytes: 0, replayedRecords: 0 };
    for (const settle of [...this.#waiting.values()]) {
      settle(this.#count("failed", failed("the thread that looks back ended")));
    }
  }

  #rest(): void {
    clearTimeout(this.#idle);
    if (this.#waiting.size > 0 || this.#thread === undefined) return;
    this.#idle = setTimeout(() => void this.#letGo(), this.#options.idleMs).unref();
  }

  async #letGo(): Promise<void> {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#lose(thread);
    await thread.terminate();
  }
}

const gone = (): Refusal => refusal("API_CLIENT_GONE", "the client went away while it waited");
const failed = (why: string): Refusal => refusal("API_PAST_FAILED", why);
