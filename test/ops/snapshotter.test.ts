// When a server makes snapshots by itself; making one is a stand-in, and both clocks are turned by hand.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Snapshotter } from "../../ops/state/snapshotter.js";
import type { SnapshotFacts } from "../../projections/index.js";
import { at } from "../support/test-log.js";

const HOUR = 3_600_000;
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

class World {
  wallMs = 100 * HOUR;
  steadyMs = 7;
  end = 10;
  made = 0;
  readonly snapshotter: Snapshotter;

  constructor(newest?: { createdAt: number; offset: number }) {
    this.snapshotter = new Snapshotter({
      log: Object.defineProperty({} as never, "durableOffset", { get: () => at(this.end) }),
      fsyncMode: "always",
      make: async (last) => {
        this.made += 1;
        const facts = { createdAt: this.wallMs, offset: last } as SnapshotFacts;
        return {
          type: "snapshot",
          facts,
          warnings: [],
          from: undefined,
          replayedRecords: 0,
          foldMs: 0,
          writeMs: 0,
        };
      },
      schedule: { automatic: true, intervalMs: HOUR, records: 0 },
      newest: newest as SnapshotFacts | undefined,
      stopwatch: () => this.steadyMs,
      now: () => this.wallMs,
      logger,
      onMade: () => undefined,
    });
  }

  async pass(ms: number): Promise<void> {
    this.wallMs += ms;
    this.steadyMs += ms;
    await vi.advanceTimersByTimeAsync(1_000);
    this.end += 1;
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("snapshots by interval", () => {
  it("come an interval after the newest there was at the start, and after each", async () => {
    const world = new World({ createdAt: 99.5 * HOUR, offset: 5 });
    await world.pass(0.4 * HOUR);
    expect(world.made).toBe(0);
    await world.pass(0.2 * HOUR);
    expect(world.made).toBe(1);
    await world.pass(0.9 * HOUR);
    expect(world.made).toBe(1);
    await world.pass(0.2 * HOUR);
    expect(world.made).toBe(2);
    await world.snapshotter.close();
  });

  it("do not wait for a clock that was set back, nor come early where it was set forward", async () => {
    for (const jump of [-1_000 * HOUR, 1_000 * HOUR]) {
      const world = new World();
      await world.pass(1.1 * HOUR);
      expect(world.made).toBe(1);
      world.wallMs += jump;
      await world.pass(0.5 * HOUR);
      expect(world.made).toBe(1);
      await world.pass(0.6 * HOUR);
      expect(world.made).toBe(2);
      await world.snapshotter.close();
    }
    // The newest was made by a clock that was ahead.
    const world = new World({ createdAt: 2_000 * HOUR, offset: 5 });
    await world.pass(1.1 * HOUR);
    expect(world.made).toBe(1);
    await world.snapshotter.close();
  });
});
