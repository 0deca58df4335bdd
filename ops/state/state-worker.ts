/**
 * A thread beside the one that serves, for work on whole states: what it costs, memory and time, the serving thread does not
 * feel. It is started when a job comes and let go when none came for a while. However it ends, the process goes on: its jobs
 * fail with a code, and the next job starts another.
 *
 * Jobs run side by side in it, as they come; how many may be there at once is bounded.
 */
import { assert, unreachable } from "../../log/index.js";
import type { FromWorker, Job, JobProgress, JobResult, ResultOf, ToWorker } from "./jobs.js";

/** The part of a `Worker` that is used. */
export interface WorkerThread {
  postMessage(message: ToWorker): void;
  on(event: "message", listener: (message: FromWorker) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

export interface StateWorkerOptions {
  readonly start: () => WorkerThread;
  /** Jobs at once; one more is refused. */
  readonly jobsMax: number;
  /** A thread without a job is let go after this. */
  readonly idleMs: number;
  /** Told when a thread is gone, let go or not. */
  readonly onEnded?: (why: Error | undefined) => void;
}

export interface RunOptions {
  /** Aborted: the job is given up, and the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: JobProgress) => void;
}

export type JobErrorCode =
  /** There are as many jobs as may be. */
  | "JOB_REFUSED"
  /** The job failed; `causeCode` says with what, if that had a code. */
  | "JOB_FAILED"
  /** The thread ended under the job. */
  | "JOB_LOST"
  | "JOB_CLOSED";

export class JobError extends Error {
  readonly code: JobErrorCode;
  readonly causeCode: string | undefined;

  constructor(code: JobErrorCode, message: string, causeCode?: string, cause?: unknown) {
    super(message, { cause });
    this.name = "JobError";
    this.code = code;
    this.causeCode = causeCode;
  }
}

interface Running {
  readonly job: Job;
  readonly settle: (outcome: JobResult | Error) => void;
  readonly onProgress: RunOptions["onProgress"];
}

export class StateWorker {
  readonly #options: StateWorkerOptions;
  readonly #running = new Map<number, Running>();
  #thread: WorkerThread | undefined;
  #ids = 0;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: StateWorkerOptions) {
    this.#options = options;
  }

  /** @throws JobError; `signal.reason`. */
  async run<Asked extends Job>(
    job: Asked,
    { signal, onProgress }: RunOptions = {},
  ): Promise<ResultOf<Asked>> {
    if (this.#closed) throw new JobError("JOB_CLOSED", "the server is shutting down");
    signal?.throwIfAborted();
    const { jobsMax } = this.#options;
    if (this.#running.size >= jobsMax) throw new JobError("JOB_REFUSED", `${jobsMax} jobs run already`);
    clearTimeout(this.#idle);
    const thread = this.#thread ?? this.#begin();
    const id = ++this.#ids;
    const outcome = await new Promise<JobResult | Error>((resolve, reject) => {
      const leave = (): void => {
        thread.postMessage({ type: "cancel", id });
        this.#running.delete(id);
        reject(signal?.reason);
      };
      const settle = (settled: JobResult | Error): void => {
        this.#running.delete(id);
        signal?.removeEventListener("abort", leave);
        resolve(settled);
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#running.set(id, { job, settle, onProgress });
      thread.postMessage({ type: "run", id, job });
    }).finally(() => this.#rest());
    if (outcome instanceof Error) throw outcome;
    assert(isResultOf(job, outcome), "a job is answered with its own kind of result");
    return outcome;
  }

  /** Whoever waits is told; nothing is run any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#letGo();
  }

  #begin(): WorkerThread {
    const thread = this.#options.start();
    this.#thread = thread;
    thread.on("message", (message) => this.#hear(message));
    thread.on("error", (error) => this.#lose(thread, error));
    thread.on("exit", (code) => this.#lose(thread, new Error(`exit code ${code}`)));
    return thread;
  }

  #hear(message: FromWorker): void {
    // Of a job that was given up nobody wants to know.
    const running = this.#running.get(message.id);
    switch (message.type) {
      case "progress":
        running?.onProgress?.(message.progress);
        return;
      case "done":
        running?.settle(message.result);
        return;
      case "failed": {
        const cause = new Error(message.message);
        if (message.stack !== undefined) cause.stack = message.stack;
        running?.settle(new JobError("JOB_FAILED", message.message, message.code, cause));
        return;
      }
      default:
        unreachable(message);
    }
  }

  /** The thread is gone, and with it what it was doing. */
  #lose(thread: WorkerThread, why: Error | undefined): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    const message =
      why === undefined ? "the worker was stopped" : `the worker ended (${why.message}); the job is lost`;
    for (const { settle } of [...this.#running.values()]) {
      settle(new JobError(this.#closed ? "JOB_CLOSED" : "JOB_LOST", message, undefined, why));
    }
    this.#options.onEnded?.(why);
  }

  #rest(): void {
    clearTimeout(this.#idle);
    if (this.#running.size > 0 || this.#thread === undefined) return;
    this.#idle = setTimeout(() => void this.#letGo(), this.#options.idleMs).unref();
  }

  async #letGo(): Promise<void> {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#lose(thread, undefined);
    await thread.terminate();
  }
}

function isResultOf<Asked extends Job>(job: Asked, result: JobResult): result is ResultOf<Asked> {
  return result.type === job.type;
}
