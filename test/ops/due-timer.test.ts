import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LogError } from "../../log/index.js";
import { DueTimer, startDueTimer } from "../../ops/due-timer.js";
import { asIs, queue } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryLog } from "../support/memory-log.js";

let timer: DueTimer | undefined;
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  timer?.close();
  vi.useRealTimers();
});

/** A timer on times that a test sets; a round takes the first of what is due. */
function timerOn(due: number[], run?: () => Promise<number>) {
  const at = { now: 1000 };
  const rounds: number[] = [];
  timer = new DueTimer({
    now: () => at.now,
    nextDue: () => due[0],
    run:
      run ??
      (async () => {
        rounds.push(at.now);
        return due.shift() === undefined ? 0 : 1;
      }),
  });
  /** Both clocks go on together, as they do. */
  const pass = async (ms: number) => {
    for (let step = 0; step < ms; step += 10) {
      at.now += 10;
      await vi.advanceTimersByTimeAsync(10);
    }
  };
  return { at, rounds, pass };
}

describe("the timer of what is due", () => {
  it("runs when the next thing is due, not before, and one that is nearer is seen in time", async () => {
    const due = [1500];
    const { rounds, pass } = timerOn(due);
    await pass(300);
    expect(rounds).toEqual([]);
    due.unshift(1350);
    await pass(100);
    expect(rounds).toEqual([1350]);
    await pass(300);
    expect(rounds).toEqual([1350, 1500]);
  });

  it("survives a wall clock that is set forward, and one that stands still", async () => {
    const due = [100_000];
    const { at, rounds, pass } = timerOn(due);
    await pass(100);
    at.now = 3_600_000;
    await pass(60);
    expect(rounds).toHaveLength(1);
    due.push(3_600_500);
    at.now = 3_600_200;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(rounds).toHaveLength(1);
    at.now = 3_600_500;
    await vi.advanceTimersByTimeAsync(50);
    expect(rounds).toHaveLength(2);
  });

  it("goes on until nothing is due, one round a turn, never two at once", async () => {
    let open = 0;
    let left = 5;
    const { pass } = timerOn([0], async () => {
      open += 1;
      expect(open).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      open -= 1;
      return left-- > 0 ? 1 : 0;
    });
    await pass(200);
    expect(left).toBeLessThan(0);
  });

  it("tries again when the disk was full, and stops when the log has failed", async () => {
    const failures = [new LogError("LOG_DISK_FULL", ""), new LogError("LOG_FAILED", "")];
    let rounds = 0;
    const { pass } = timerOn([0], async () => {
      rounds += 1;
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return 1;
    });
    await pass(500);
    expect(rounds).toBe(1);
    await pass(1000);
    expect(rounds).toBe(2);
    await pass(5000);
    expect(rounds).toBe(2);
  });
});

describe("the timer of a primary", () => {
  it("brings messages back whose deadline passed, however many there are, while nobody calls", async () => {
    const test = await TestStore.open({ log: new MemoryLog() });
    await test.ok(queue.create, { queue: "q", config: { ackDeadlineMs: 1000 } });
    const messages = Array.from({ length: 900 }, () => ({ payload: new Uint8Array(1) }));
    for (let round = 0; round < 3; round++) {
      await test.ok(queue.publishMany, { queue: "q", messages });
      await test.ok(queue.consume, { queue: "q", consumer: "c", count: 900 });
    }
    const records = test.log.records.length;
    timer = startDueTimer(test.store, () => test.now);
    await vi.advanceTimersByTimeAsync(500);
    expect(test.log.records).toHaveLength(records);
    test.now += 1000;
    await vi.advanceTimersByTimeAsync(500);
    const context = { now: test.now, random: 0, cause: { command: "test" } };
    const stats = await test.store.query(queue.stats, { queue: "q" }, context, asIs);
    expect(stats).toMatchObject({ answer: { waiting: 2700, inFlight: 0, timedOut: 2700 } });
    // Rounds of a thousand.
    expect(test.log.records).toHaveLength(records + 3);
    await test.store.close();
  });
});
