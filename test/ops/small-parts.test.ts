import { describe, expect, it } from "vitest";
import { LogError, offset, type RepairPlan } from "../../log/index.js";
import { CliFailure, exitCodes, verdictOf } from "../../ops/cli/failure.js";
import { leaveLine, Progress } from "../../ops/cli/progress.js";
import { describePlan } from "../../ops/cli/repair.js";
import { editDistance, nearest } from "../../ops/config/nearest.js";
import { createLogger } from "../../ops/logging.js";
import { MonotonicClock } from "../../ops/monotonic-clock.js";
import { shortStretches } from "../../ops/niceness.js";
import { SnapshotError } from "../../projections/index.js";

describe("clock", () => {
  /** Walls and ticks to be read one after the other. */
  const clockOf = (walls: number[], ticks: number[] = []) =>
    new MonotonicClock(
      () => walls.shift() ?? 0,
      () => ticks.shift() ?? 0,
    );

  it("never runs backward, also when the wall clock is set back", () => {
    const clock = clockOf([100, 105, 90, 104, 106]);
    expect([clock.now(), clock.now(), clock.now(), clock.now(), clock.now()]).toEqual([
      100, 105, 105, 105, 106,
    ]);
  });

  it("goes on at half speed while the wall is behind, so that deadlines pass, until the wall has caught up", () => {
    const clock = clockOf([5000, 1000, 1100, 3000, 6001, 6002], [10, 110, 2010]);
    expect(Array.from({ length: 6 }, () => clock.now())).toEqual([5000, 5000, 5050, 6000, 6001, 6002]);
  });

  it("starts after the last record, whatever the wall clock says, and goes on from there", () => {
    const clock = clockOf([1000, 1010], [0, 10]);
    clock.raise(5000);
    clock.raise(3000);
    expect([clock.now(), clock.now()]).toEqual([5000, 5005]);
  });
});

describe("work in short stretches", () => {
  it("pauses whenever it has gone on for a quarter of a millisecond, and a pause is no work", () => {
    let now = 0;
    const pauses: number[] = [];
    const giveWay = shortStretches(
      () => now,
      (ms) => {
        pauses.push(now);
        now += ms + 1;
      },
    );
    const stepsOf = (steps: number, stepMs: number): void => {
      for (let step = 0; step < steps; step += 1) {
        now += stepMs;
        giveWay();
      }
    };
    stepsOf(32, 0.001);
    expect(pauses).toEqual([]);
    // 32 of these are a quarter.
    now = 0;
    stepsOf(64, 1 / 128);
    expect(pauses).toEqual([0.25, 0.25 + 1.02 + 0.25]);
  });
});

describe("verdicts", () => {
  it.each([
    ["LOG_CORRUPT", exitCodes.damaged],
    ["LOG_VERSION_UNKNOWN", exitCodes.damaged],
    ["LOG_LOCKED", exitCodes.locked],
    ["LOG_FAILED", exitCodes.storageFailed],
    ["LOG_DIRECTORY_UNUSABLE", exitCodes.usage],
    ["LOG_DISK_FULL", exitCodes.failed],
  ] as const)(
    "give %s the exit code %i and name what, where and what to do in one line",
    (code, exitCode) => {
      const error = new LogError(code, "something\nhappened", {
        segment: "x.log",
        position: 96,
        found: undefined,
      });
      const verdict = verdictOf(error);
      expect(verdict.exitCode).toBe(exitCode);
      expect(verdict.line).toMatch(
        new RegExp(`^${code}: something happened \\(segment x.log, position 96\\); .{10,}$`),
      );
    },
  );

  it.each(["SNAPSHOT_MISSING", "SNAPSHOT_DAMAGED", "SNAPSHOT_VERSION_UNKNOWN", "SNAPSHOT_FOREIGN"] as const)(
    "give %s the exit code of damage, and say what to do",
    (code) => {
      const verdict = verdictOf(new SnapshotError(code, "no snapshot reaches up to it", { first: 80 }));
      expect(verdict.exitCode).toBe(exitCodes.damaged);
      expect(verdict.line).toMatch(
        new RegExp(`^${code}: no snapshot reaches up to it \\(first 80\\); .{10,}$`),
      );
    },
  );

  it("keep a command's own failure, and call everything else failed", () => {
    expect(verdictOf(new CliFailure(exitCodes.usage, "no such thing"))).toEqual({
      exitCode: 2,
      line: "no such thing",
    });
    expect(verdictOf("a string").exitCode).toBe(1);
    const inUse = Object.assign(new Error("listen EADDRINUSE: 127.0.0.1:1"), { code: "EADDRINUSE" });
    expect(verdictOf(inUse)).toEqual({
      exitCode: 1,
      line: "listen EADDRINUSE: 127.0.0.1:1; another process has this port: stop it, or choose another --port",
    });
  });
});

describe("nearest name", () => {
  it.each([
    ["", "", 0],
    ["port", "port", 0],
    ["prot", "port", 1],
    ["hst", "host", 1],
    ["kitten", "sitting", 3],
    ["", "abc", 3],
  ])("%s and %s are %i edits apart", (left, right, distance) => {
    expect(editDistance(left, right)).toBe(distance);
    expect(editDistance(right, left)).toBe(distance);
  });

  it("says nothing rather than something far-fetched", () => {
    expect(nearest("colour", ["port", "host"])).toBeUndefined();
    expect(nearest("hots", ["port", "host"])).toBe("host");
  });
});

describe("progress", () => {
  function watch(isTTY: boolean, always = false) {
    const written: string[] = [];
    const time = { ms: 0 };
    const stream = { isTTY, write: (text: string) => written.push(text) };
    const progress = new Progress({ what: "verify", unit: "B", stream, stopwatch: () => time.ms, always });
    return { written, time, progress };
  }

  it("is silent where nobody watches", () => {
    const { written, time, progress } = watch(false);
    time.ms = 60_000;
    progress.update(1, 2);
    progress.finish(2, 2);
    expect(written).toEqual([]);
  });

  it("shows rate and time left in place on a terminal, not more often than is readable", () => {
    const { written, time, progress } = watch(true);
    for (time.ms = 0; time.ms <= 1000; time.ms += 10) progress.update(time.ms * 1024, 4_096_000);
    expect(written).toHaveLength(5);
    expect(written.at(-1)).toBe("\rverify: 1000.0 KiB  of 3.9 MiB (25 %)  1000.0 KiB/s  3 s left\u001b[K");
    progress.finish(4_096_000, 4_096_000);
    expect(written.at(-1)).toBe("\n");
  });

  it("leaves its line once to whoever tells something else", () => {
    const { written, time, progress } = watch(true);
    time.ms = 1000;
    progress.update(1024, 2048);
    leaveLine();
    leaveLine();
    expect(written).toEqual([expect.stringMatching(/^\rverify: /), "\n"]);
  });

  it("writes plain lines when asked to", () => {
    const { written, time, progress } = watch(false, true);
    time.ms = 5000;
    progress.update(10_240, undefined);
    expect(written).toEqual(["verify: 10.0 KiB  2.0 KiB/s\n"]);
  });
});

describe("process log", () => {
  function capture(format: "json" | "pretty") {
    const lines: string[] = [];
    const sink = { write: (line: string) => void lines.push(line) };
    return { lines, logger: createLogger({ level: "info", format }, sink) };
  }

  it("is one JSON object a line, with the level as a word and the time as ISO", () => {
    const { lines, logger } = capture("json");
    logger.debug("not shown");
    logger.info({ key: "a\nb" }, "hello");
    expect(lines).toHaveLength(1);
    const entry = JSON.parse(lines[0]!);
    expect(entry).toMatchObject({ level: "info", msg: "hello", key: "a\nb", pid: process.pid });
    expect(new Date(entry.time).toISOString()).toBe(entry.time);
  });

  it("is one readable line when asked for, whatever a value holds", () => {
    const { lines, logger } = capture("pretty");
    logger.warn({ port: 80, text: "two\nlines" }, "hello");
    expect(lines[0]).toMatch(/^\d{4}-.*Z WARN {2}hello port=80 text="two\\nlines"\n$/);
    logger.error({ err: new Error("broken") }, "failed");
    expect(lines[1]).toMatch(/ERROR failed\n {4}Error: broken\n/);
  });
});

describe("repair", () => {
  const finding = { code: "header", file: "log/1", expected: "a", found: "b", advice: "c" } as const;
  const plan = (lastKnown: number, bytes: number): RepairPlan => ({
    problems: [finding],
    lastKept: offset(1),
    lastKnown: offset(lastKnown),
    cut: { file: "log/1", position: 9, bytes },
    dropped: [{ file: "log/2", bytes }],
    snapshots: ["snapshots/1"],
    recoveryPoint: { durable: offset(1), crc: 0, tail: offset(1), clean: false },
  });

  it("speaks of one and of many, before and after", () => {
    expect(describePlan(plan(2, 1), "before").slice(1)).toEqual([
      "log/1 would be cut at position 9: 1 byte dropped",
      "log/2 would be dropped: 1 byte",
      "snapshots/1 would be put aside: it is of later records",
      "every record up to offset 1 would be kept",
      "at least 1 later record would be lost",
    ]);
    expect(describePlan(plan(2, 1), "after").at(-1)).toBe("at least 1 later record was lost");
    expect(describePlan(plan(3, 2), "after").slice(1)).toEqual([
      "log/1 was cut at position 9: 2 bytes dropped",
      "log/2 was dropped: 2 bytes",
      "snapshots/1 was put aside: it is of later records",
      "every record up to offset 1 was kept",
      "at least 2 later records were lost",
    ]);
    expect(describePlan(plan(3, 2), "before").at(-1)).toBe("at least 2 later records would be lost");
    expect(describePlan(plan(1, 2), "before").at(-1)).toBe(
      "how many later records would be lost is not known",
    );
  });
});
