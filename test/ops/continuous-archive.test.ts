// When a server archives, what it holds meanwhile, and what it tells; the archiver is a stand-in, the clock is turned by hand.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ContinuousArchive } from "../../ops/backup/archive.js";
import { ArchiveFailure, type FromArchiver } from "../../ops/backup/archive-job.js";
import { AskedLocks, type TakeLock } from "../../ops/backup/archive-lock.js";
import { ArchiveThread, type Thread } from "../../ops/backup/archive-thread.js";
import type { ArchiveReport } from "../../ops/backup/archive-writer.js";
import { BoundedBreaks } from "../../ops/backup/breaks.js";
import { BackupError } from "../../ops/backup/errors.js";
import { at } from "../support/test-log.js";

const report = (lastOffset: number): ArchiveReport => ({
  firstOffset: 1,
  lastOffset,
  lastTimestamp: 1,
  snapshotOffset: null,
  files: 1,
  bytes: 10,
});

class World {
  nowMs = 0;
  /** By how much the wall clock was set. */
  setMs = 0;
  durable = 10;
  segments = 1;
  bytes = 1000;
  asked: number[] = [];
  rests: number[] = [];
  hurried = 0;
  closed = 0;
  sweeps = 0;
  fails: { code: string | undefined; message: string } | undefined;
  hold: Promise<void> | undefined;
  readonly logged: string[] = [];
  readonly archive = new ContinuousArchive({
    url: "s3://bucket/x",
    log: Object.defineProperties({} as never, {
      firstOffset: { get: () => at(4) },
      durableOffset: { get: () => at(this.durable) },
    }),
    usage: () => ({ segments: this.segments, bytes: this.bytes }),
    intervalMs: 10_000,
    start: () => ({
      bringUpTo: async (last, restMsMax) => {
        this.asked.push(last);
        this.rests.push(restMsMax);
        await this.hold;
        if (this.fails !== undefined) throw new ArchiveFailure({ ...this.fails, stack: undefined });
        return report(last);
      },
      hurry: () => {
        this.hurried += 1;
      },
      close: async () => {
        this.closed += 1;
      },
    }),
    sweep: async () => ++this.sweeps,
    now: () => this.nowMs + this.setMs,
    stopwatch: () => this.nowMs,
    logger: {
      info: (_: unknown, text: string) => this.logged.push(text),
      warn: (_: unknown, text: string) => this.logged.push(text),
      error: (_: unknown, text: string) => this.logged.push(text),
    } as never,
  });

  async at(nowMs: number): Promise<void> {
    this.nowMs = nowMs;
    this.archive.tick();
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

describe("continuous archive", () => {
  let world: World;
  beforeEach(async () => {
    world = new World();
    await world.at(0);
  });
  afterEach(() => world.archive.close(0));

  it("archives at the start, once an interval, and at once when a segment was sealed", async () => {
    expect(world.asked).toEqual([10]);
    world.durable = 20;
    await world.at(9_999);
    expect(world.asked).toEqual([10]);
    await world.at(10_000);
    expect(world.asked).toEqual([10, 20]);
    [world.durable, world.segments] = [30, 2];
    await world.at(10_250);
    expect(world.asked).toEqual([10, 20, 30]);
  });

  it("holds the whole log until it is known what the archive has, then what it does not have", async () => {
    const fresh = new World();
    fresh.hold = new Promise(() => undefined);
    expect(fresh.archive.holders()).toEqual([{ name: "archive", offset: 4 }]);
    expect(world.archive.holders()).toEqual([{ name: "archive", offset: 11 }]);
    world.durable = 50;
    world.fails = { code: "BACKUP_STORE_FAILED", message: "no answer" };
    await world.at(10_000);
    expect(world.archive.holders()).toEqual([{ name: "archive", offset: 11 }]);
    await fresh.archive.close(0);
  });

  it("tells how far it is behind, in records, bytes and time", async () => {
    expect(world.archive.figures).toMatchObject({ lagRecords: 0, lagBytes: 0, lagMs: 0, errors: 0 });
    await world.at(5_000);
    world.durable = 13;
    world.bytes = 1300;
    await world.at(8_000);
    expect(world.archive.figures).toMatchObject({ lagRecords: 3, lagBytes: 300, lagMs: 3_000, ageMs: 8_000 });
    expect(world.archive.detail).toBe("up to offset 10, 3 records and 3 s behind");
    expect(world.archive.isFailing).toBe(false);
    for (const setMs of [-3_600_000, 3_600_000]) {
      world.setMs = setMs;
      expect(world.archive.figures).toMatchObject({ ageMs: 8_000 });
    }
  });

  it("tries again after a failure, later each time, and says so once", async () => {
    world.fails = { code: "BACKUP_STORE_FAILED", message: "no answer" };
    world.durable = 11;
    await world.at(10_000);
    for (const nowMs of [10_999, 11_000, 12_000, 12_999, 13_000, 14_000]) await world.at(nowMs);
    expect(world.asked).toEqual([10, 11, 11, 11]);
    expect(world.archive.figures.errors).toBe(3);
    expect(world.archive.detail).toContain("failing: no answer");
    expect(world.archive.isFailing).toBe(true);
    world.fails = undefined;
    await world.at(17_000);
    expect(world.archive.figures).toMatchObject({ lagRecords: 0 });
    expect(world.logged).toEqual(["archiving failed, it is tried again: no answer", "archiving works again"]);
  });

  it("asks no more of an archive that is not its own, and holds everything that is not archived", async () => {
    world.fails = { code: "BACKUP_ARCHIVE_TAKEN", message: "another server" };
    world.durable = 11;
    for (const nowMs of [10_000, 20_000, 100_000]) await world.at(nowMs);
    expect(world.asked).toEqual([10, 11]);
    expect(world.archive.figures.refused).toBe(true);
    expect(world.archive.detail).toBe("refused: another server");
    expect(world.archive.holders()).toEqual([{ name: "archive", offset: 11 }]);
  });

  it("rests at most half of an interval on the way, and not at all when it is behind, fails, or ends", async () => {
    expect(world.rests).toEqual([5_000]);
    world.durable = 20;
    await world.at(10_100);
    expect(world.rests).toEqual([5_000, 5_000]);
    // It took longer than the interval.
    let go: () => void = () => undefined;
    world.hold = new Promise((resolve) => {
      go = resolve;
    });
    world.durable = 30;
    await world.at(20_100);
    world.durable = 40;
    await world.at(31_000);
    go();
    world.hold = undefined;
    await world.at(31_000);
    await world.at(31_000);
    expect(world.asked).toEqual([10, 20, 30, 40]);
    expect(world.rests).toEqual([5_000, 5_000, 5_000, 0]);
    world.fails = { code: undefined, message: "away" };
    world.durable = 50;
    await world.at(41_000);
    await world.at(42_000);
    expect(world.rests.slice(4)).toEqual([5_000, 0]);
    world.durable = 60;
    await world.archive.close(1000);
    expect(world.hurried).toBe(1);
    expect(world.rests.at(-1)).toBe(0);
  });

  it("runs one after the other", async () => {
    let go = (): void => undefined;
    world.hold = new Promise((resolve) => {
      go = resolve;
    });
    world.durable = 11;
    for (const nowMs of [10_000, 20_000, 30_000]) await world.at(nowMs);
    expect(world.asked).toEqual([10, 11]);
    go();
    await world.at(30_001);
    await world.at(30_002);
    expect(world.asked).toEqual([10, 11, 11]);
  });

  it("sweeps once an hour", async () => {
    for (let minute = 0; minute <= 121; minute++) await world.at(minute * 60_000);
    expect(world.sweeps).toBe(2);
  });

  it("archives the rest when it is closed, and does not wait longer than it may", async () => {
    world.durable = 15;
    await world.archive.close(1000);
    expect(world.asked).toEqual([10, 15]);
    const stuck = new World();
    await stuck.at(0);
    stuck.hold = new Promise(() => undefined);
    stuck.durable = 15;
    await stuck.archive.close(5);
    expect(stuck.closed).toBe(1);
  });
});

describe("breaks of the archive", () => {
  it("are as long as the work, no longer in all than they may be, and over at once in a hurry", async () => {
    let nowMs = 0;
    const rests: number[] = [];
    const sleep = async (ms: number): Promise<void> => {
      rests.push(ms);
      // Timers are late.
      nowMs += ms + 1;
    };
    const bounded = new BoundedBreaks(100, () => nowMs, sleep);
    for (const workedMs of [30, 50, 500, 500]) await bounded.take(workedMs);
    expect(rests).toEqual([30, 50, 18]);
    // Each of them would last longer than a test may.
    const breaks = new BoundedBreaks(1e9, () => performance.now());
    const resting = breaks.take(1e8);
    breaks.hurry();
    await resting;
    await breaks.take(1e8);
  });
});

describe("the thread that archives", () => {
  it("fails what it was asked when it ends, and the next request starts another", async () => {
    const listeners = new Map<string, (value: never) => void>();
    const threads: Thread[] = [];
    const start = (): Thread => {
      const thread = {
        postMessage: vi.fn(),
        on: (event: string, listener: (value: never) => void) => listeners.set(event, listener),
        terminate: async () => undefined,
      } as Thread;
      threads.push(thread);
      return thread;
    };
    const events = { onUpload: () => undefined, onWarning: () => undefined };
    const archiver = new ArchiveThread(start, events, () => Promise.reject(new Error("not asked for")));
    const asked = archiver.bringUpTo(5, 0);
    listeners.get("error")?.(new Error("out of memory") as never);
    await expect(asked).rejects.toThrow("out of memory");
    const again = archiver.bringUpTo(6, 0);
    expect(threads).toHaveLength(2);
    listeners.get("message")?.({ type: "done", id: 2, report: report(6) } as never);
    expect(await again).toEqual(report(6));
    const closing = archiver.bringUpTo(7, 0);
    await archiver.close();
    await expect(closing).rejects.toThrow("shutting down");
    await expect(archiver.bringUpTo(8, 0)).rejects.toThrow("shutting down");
    expect(threads).toHaveLength(2);
  });

  it("is lent the lock of the repository by the main thread, which has it back when it ends", async () => {
    const held = new Set<string>();
    const take: TakeLock = async (holder, owner) => {
      if (held.size > 0) throw new BackupError("BACKUP_LOCKED", "in use");
      held.add(`${holder} ${owner}`);
      return {
        release: async () => {
          held.clear();
        },
      };
    };
    let hear: (message: FromArchiver) => void = () => undefined;
    let end: (code: number) => void = () => undefined;
    const asked = new AskedLocks((message) => hear(message));
    const thread: Thread = {
      postMessage: (message) => message.type === "lockDone" && asked.hear(message),
      on: (event: string, listener: never) => {
        if (event === "message") hear = listener;
        if (event === "exit") end = listener;
      },
      terminate: async () => undefined,
    };
    const events = { onUpload: () => undefined, onWarning: () => undefined };
    const archiver = new ArchiveThread(() => thread, events, take);
    const working = archiver.bringUpTo(5, 0);
    const lock = await asked.lock("me", "node");
    expect([...held]).toEqual(["me node"]);
    await expect(asked.lock("me", "node")).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    await lock.release();
    expect(held.size).toBe(0);
    await asked.lock("me", "node");
    end(1);
    await expect(working).rejects.toThrow("ended");
    expect(held.size).toBe(0);
  });
});
