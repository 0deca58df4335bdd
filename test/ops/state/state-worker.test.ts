// The state worker's side in the main thread: who is told what, however the thread behaves.
import { afterEach, describe, expect, it } from "vitest";
import { loadConfig } from "../../../ops/config/load.js";
import type { CheckJob, FromWorker, ToWorker } from "../../../ops/state/jobs.js";
import {
  JobError,
  StateWorker,
  type StateWorkerOptions,
  type WorkerThread,
} from "../../../ops/state/state-worker.js";

/** A thread that does what the test says. */
class ThreadDouble implements WorkerThread {
  readonly heard: ToWorker[] = [];
  terminated = false;
  readonly #listeners = new Map<string, ((argument: never) => void)[]>();

  postMessage(message: ToWorker): void {
    this.heard.push(message);
  }

  on(event: string, listener: (argument: never) => void): void {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }

  async terminate(): Promise<void> {
    this.terminated = true;
  }

  emit(event: "message" | "error" | "exit", argument: FromWorker | Error | number): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(argument as never);
  }

  done(id: number): void {
    this.emit("message", {
      type: "done",
      id,
      result: { type: "check", problem: undefined, streamsFrom: undefined },
    });
  }
}

const loaded = loadConfig({ environment: {}, flags: {} });
if (!loaded.ok) throw new Error("the defaults are sound");
const { values } = loaded.config;
const job = (name: string): CheckJob => ({ type: "check", dataDirectory: "/d", name, values });

let worker: StateWorker;
let threads: ThreadDouble[];
let ended: (Error | undefined)[];
afterEach(() => worker.close());

function begin(options: Partial<StateWorkerOptions> = {}): void {
  threads = [];
  ended = [];
  worker = new StateWorker({
    start: () => {
      const thread = new ThreadDouble();
      threads.push(thread);
      return thread;
    },
    jobsMax: 2,
    idleMs: 60_000,
    onEnded: (why) => ended.push(why),
    ...options,
  });
}

const codeOf = (run: Promise<unknown>): Promise<string | undefined> =>
  run.then(
    () => undefined,
    (error: unknown) => (error instanceof JobError ? error.code : String(error)),
  );

describe("a state worker", () => {
  it("starts its thread with the first job, and answers each job with its own result", async () => {
    begin();
    expect(threads).toEqual([]);
    const first = worker.run(job("a"));
    const second = worker.run(job("b"));
    expect(threads[0]?.heard).toMatchObject([
      { type: "run", id: 1, job: { name: "a" } },
      { type: "run", id: 2, job: { name: "b" } },
    ]);
    threads[0]?.done(2);
    expect((await second).type).toBe("check");
    threads[0]?.done(1);
    await first;
    expect(threads).toHaveLength(1);
  });

  it("refuses one job more than it may have, and takes the next when one is done", async () => {
    begin();
    const first = worker.run(job("a"));
    void worker.run(job("b")).catch(() => undefined);
    expect(await codeOf(worker.run(job("c")))).toBe("JOB_REFUSED");
    threads[0]?.done(1);
    await first;
    void worker.run(job("d")).catch(() => undefined);
    expect(threads[0]?.heard).toHaveLength(3);
  });

  it("a thread that crashes fails its jobs and no others: the next job starts another", async () => {
    begin();
    const lost = [codeOf(worker.run(job("a"))), codeOf(worker.run(job("b")))];
    threads[0]?.emit("error", new Error("out of memory"));
    threads[0]?.emit("exit", 1);
    expect(await Promise.all(lost)).toEqual(["JOB_LOST", "JOB_LOST"]);
    expect(ended.map((why) => why?.message)).toEqual(["out of memory"]);
    const next = worker.run(job("c"));
    expect(threads).toHaveLength(2);
    threads[1]?.done(3);
    expect((await next).type).toBe("check");
  });

  it("a thread that leaves without a word fails its jobs as well", async () => {
    begin();
    const lost = codeOf(worker.run(job("a")));
    threads[0]?.emit("exit", 134);
    expect(await lost).toBe("JOB_LOST");
  });

  it("passes on what a job failed with, its code apart", async () => {
    begin();
    const failing = worker.run(job("a"));
    threads[0]?.emit("message", { type: "failed", id: 1, message: "full", code: "ENOSPC", stack: "at x" });
    await expect(failing).rejects.toMatchObject({ code: "JOB_FAILED", causeCode: "ENOSPC", message: "full" });
  });

  it("a job that is given up is cancelled, and its late result is nobody's", async () => {
    begin();
    const stop = new AbortController();
    const given = codeOf(worker.run(job("a"), { signal: stop.signal }));
    stop.abort(new JobError("JOB_CLOSED", "enough"));
    expect(await given).toBe("JOB_CLOSED");
    expect(threads[0]?.heard.at(-1)).toEqual({ type: "cancel", id: 1 });
    threads[0]?.done(1);
    void worker.run(job("b")).catch(() => undefined);
    void worker.run(job("c")).catch(() => undefined);
    expect(await codeOf(worker.run(job("d")))).toBe("JOB_REFUSED");
  });

  it("tells of progress", async () => {
    begin();
    const seen: number[] = [];
    const run = worker.run(job("a"), { onProgress: ({ done }) => seen.push(done) });
    threads[0]?.emit("message", { type: "progress", id: 1, progress: { step: "log", done: 5, total: 9 } });
    threads[0]?.done(1);
    await run;
    expect(seen).toEqual([5]);
  });

  it("lets its thread go when nothing was asked for a while, and starts another later", async () => {
    begin({ idleMs: 1 });
    const first = worker.run(job("a"));
    threads[0]?.done(1);
    await first;
    await expect.poll(() => threads[0]?.terminated).toBe(true);
    expect(ended).toEqual([undefined]);
    const second = worker.run(job("b"));
    threads[1]?.done(2);
    await second;
  });

  it("closing tells whoever waits, and nothing runs afterwards", async () => {
    begin();
    const waiting = codeOf(worker.run(job("a")));
    await worker.close();
    expect([await waiting, threads[0]?.terminated]).toEqual(["JOB_CLOSED", true]);
    expect(await codeOf(worker.run(job("b")))).toBe("JOB_CLOSED");
  });
});
