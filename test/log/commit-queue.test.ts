import { describe, expect, it } from "vitest";
import { type Batch, CommitQueue } from "../../log/commit-queue.js";
import { type Offset, offset } from "../../log/index.js";

interface Written {
  readonly first: number;
  readonly records: number;
  readonly text: string;
  readonly mark: string | undefined;
}

/** A queue whose writes a test finishes or fails one by one; `now` counts up. */
class Bench {
  readonly written: Written[] = [];
  readonly failures: unknown[] = [];
  readonly pending: { resolve: () => void; reject: (error: Error) => void }[] = [];
  readonly queue: CommitQueue<string>;
  end = 0;

  constructor(bytesMax = 1 << 20, atOnce = false) {
    this.queue = new CommitQueue<string>(
      {
        bytesMax,
        now: () => 0,
        write: (batch) => this.#write(batch, atOnce),
        committed: () => undefined,
        failed: (error) => {
          this.failures.push(error);
          this.queue.fail(new Error("the log failed"));
        },
      },
      offset(0),
    );
  }

  add(text: string): Offset {
    const arena = this.queue.room(text.length);
    arena.bytes.set(Buffer.from(text), arena.used);
    this.end += 1;
    this.queue.added(offset(this.end), 1, text.length);
    return offset(this.end);
  }

  #write(batch: Batch<string>, atOnce: boolean): Promise<void> | undefined {
    const text = Buffer.from(batch.bytes.subarray(0, batch.used)).toString();
    this.written.push({ first: batch.first, records: batch.records, text, mark: batch.mark });
    if (atOnce) return undefined;
    return new Promise((resolve, reject) => this.pending.push({ resolve, reject }));
  }

  async finishOne(): Promise<void> {
    this.pending.shift()?.resolve();
    // The next batch leaves at the end of the turn that learnt of this one.
    await turn();
    await turn();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("commit queue", () => {
  it("writes what came in one turn as one batch, in the turn's end", async () => {
    const bench = new Bench();
    for (const text of ["a", "b", "c"]) bench.add(text);
    expect(bench.written).toEqual([]);
    await turn();
    expect(bench.written).toEqual([{ first: 1, records: 3, text: "abc", mark: undefined }]);
  });

  it("gathers while one batch is written, and never writes two at a time", async () => {
    const bench = new Bench();
    bench.add("a");
    await turn();
    bench.add("b");
    await turn();
    bench.add("c");
    await turn();
    expect(bench.written.map(({ text }) => text)).toEqual(["a"]);
    await bench.finishOne();
    expect(bench.written.map(({ text }) => text)).toEqual(["a", "bc"]);
    expect(bench.pending).toHaveLength(1);
  });

  it("gives all who wait for one batch the same promise", async () => {
    const bench = new Bench();
    const first = bench.add("a");
    const second = bench.add("b");
    expect(bench.queue.whenCommitted(first)).toBe(bench.queue.whenCommitted(second));
    await turn();
    const next = bench.add("c");
    expect(bench.queue.whenCommitted(next)).not.toBe(bench.queue.whenCommitted(second));
    await bench.finishOne();
    await bench.queue.whenCommitted(second);
    await bench.finishOne();
    await bench.queue.whenCommitted(next);
  });

  it("resolves nobody before their batch is written", async () => {
    const bench = new Bench();
    const done: string[] = [];
    void bench.queue.whenCommitted(bench.add("a")).then(() => done.push("a"));
    await turn();
    void bench.queue.whenCommitted(bench.add("b")).then(() => done.push("b"));
    await turn();
    expect(done).toEqual([]);
    await bench.finishOne();
    expect(done).toEqual(["a"]);
    await bench.finishOne();
    expect(done).toEqual(["a", "b"]);
  });

  it("keeps its bytes when a batch outgrows its arena", async () => {
    const bench = new Bench(1 << 24);
    const texts = Array.from({ length: 40 }, (_, i) => String.fromCharCode(97 + (i % 26)).repeat(10_000));
    for (const text of texts) bench.add(text);
    await turn();
    expect(bench.written[0]?.text).toBe(texts.join(""));
  });

  it("counts what is in flight against what may wait", async () => {
    const bench = new Bench(10);
    bench.add("123456");
    await turn();
    bench.add("7890");
    expect(() => bench.add("x")).toThrow(expect.objectContaining({ code: "LOG_BUSY" }));
    await bench.finishOne();
    bench.add("x");
    await bench.finishOne();
    expect(bench.written.map(({ text }) => text)).toEqual(["123456", "7890", "x"]);
  });

  it("commits at once what the writer writes at once", async () => {
    const bench = new Bench(1 << 20, true);
    const waiting = bench.queue.whenCommitted(bench.add("a"));
    await waiting;
    expect(bench.queue.idle).toBe(true);
  });

  it("writes a marked batch apart from what gathered before it", async () => {
    const bench = new Bench();
    bench.add("a");
    bench.queue.cut("new epoch");
    const marked = bench.add("b");
    bench.add("c");
    const waiting = bench.queue.whenCommitted(marked);
    await turn();
    await bench.finishOne();
    expect(bench.written).toMatchObject([
      { text: "a", mark: undefined },
      { first: 2, text: "bc", mark: "new epoch" },
    ]);
    await bench.finishOne();
    await waiting;
    bench.add("d");
    await turn();
    expect(bench.written.at(-1)).toMatchObject({ text: "d", mark: undefined });
  });

  it("runs a task only when nothing waits, and nothing while the task runs", async () => {
    const bench = new Bench();
    bench.add("a");
    await turn();
    let finish: () => void = () => undefined;
    let ran = false;
    const task = bench.queue.whenIdle(() => {
      ran = true;
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    bench.add("b");
    await bench.finishOne();
    expect(ran).toBe(false);
    await bench.finishOne();
    expect(ran).toBe(true);
    bench.add("c");
    await turn();
    expect(bench.written.map(({ text }) => text)).toEqual(["a", "b"]);
    finish();
    await task;
    await turn();
    expect(bench.written.map(({ text }) => text)).toEqual(["a", "b", "c"]);
  });

  it("writes nothing that has gathered when something else has failed", async () => {
    const bench = new Bench();
    const waiting = bench.queue.whenCommitted(bench.add("a"));
    bench.queue.fail(new Error("the log failed"));
    await turn();
    expect(bench.written).toEqual([]);
    await expect(waiting).rejects.toThrow("the log failed");
  });

  it("fails everyone who waits when a write fails, and writes nothing more", async () => {
    const bench = new Bench();
    const first = bench.queue.whenCommitted(bench.add("a"));
    await turn();
    const second = bench.queue.whenCommitted(bench.add("b"));
    const task = bench.queue.whenIdle(() => Promise.resolve());
    bench.pending.shift()?.reject(new Error("EIO"));
    await expect(first).rejects.toThrow("the log failed");
    await expect(second).rejects.toThrow("the log failed");
    await expect(task).rejects.toThrow("the log failed");
    expect(bench.failures).toHaveLength(1);
    await turn();
    expect(bench.written).toHaveLength(1);
  });
});
