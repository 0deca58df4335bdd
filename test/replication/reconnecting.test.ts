/** What the settings of reconnecting say is what happens. */
import { describe, expect, it, vi } from "vitest";
import { LogError } from "../../log/index.js";
import { backoffMs } from "../../replication/backoff.js";
import { eachSet } from "../support/each-set.js";
import { addressOf, has, type SetNode } from "../support/set-node.js";

const sets = eachSet();
const { until } = sets;

const pass = (ms: number): Promise<void> => {
  const end = sets.world.clock.now() + ms;
  return until(() => sets.world.clock.now() >= end, "time has passed");
};

const reconnectsOf = (node: SetNode): number => node.node.stats().counters.reconnects;
const phaseOf = (node: SetNode): string | undefined => node.node.stats().upstream?.phase;

async function pair(autoReconnect: boolean): Promise<[SetNode, SetNode]> {
  const [a, b] = [sets.world.add("a"), sets.world.add("b", { autoReconnect })];
  await a.start();
  await b.start({ role: "replica", masterAddress: addressOf("a") });
  await until(() => phaseOf(b) === "streaming", "b follows");
  return [a, b];
}

describe("auto_reconnect", () => {
  it("true: a replica connects again when its primary is back", async () => {
    const [a, b] = await pair(true);
    await a.crash();
    await until(() => phaseOf(b) === "waiting", "b waits");
    expect(reconnectsOf(b)).toBe(0);
    await until(() => reconnectsOf(b) === 1 && phaseOf(b) === "waiting", "it has tried once");
    await a.start();
    await until(() => phaseOf(b) === "streaming", "b follows again");
    expect(reconnectsOf(b)).toBe(2);
  });

  it("false: it does not by itself, but when it is told to follow, or to fetch everything anew", async () => {
    const [a, b] = await pair(false);
    for (const again of [() => b.node.follow(addressOf("a")), () => b.node.resync()]) {
      await a.crash();
      await until(() => phaseOf(b) === "idle", "b is alone");
      await a.start();
      await pass(120_000);
      expect([phaseOf(b), reconnectsOf(b)]).toEqual(["idle", 0]);
      await sets.world.clock.settled<unknown>(again(), "it was told");
      await until(() => phaseOf(b) === "streaming", "b follows again");
    }
    expect([b.installs, reconnectsOf(b)]).toEqual([2, 1]);
  });
});

describe("the pause before another attempt", () => {
  it("grows also while the other side is there and this one's disk is full, and is short again once records were taken", async () => {
    const [a, b] = await pair(true);
    const full = vi
      .spyOn(b.required, "receive")
      .mockRejectedValue(new LogError("LOG_DISK_FULL", "it is full"));
    a.write("one");
    await pass(60_000);
    expect(reconnectsOf(b)).toBeGreaterThan(3);
    expect(reconnectsOf(b)).toBeLessThan(8);
    full.mockRestore();
    await until(() => has(b, a), "b has it");
    const before = reconnectsOf(b);
    await a.crash();
    await pass(4_000);
    expect(reconnectsOf(b)).toBeGreaterThan(before);
  });

  it("begins with the one that is set, doubles, ends at a minute, and varies by a quarter", () => {
    expect([1, 2, 3, 4, 5].map((failures) => backoffMs(5000, failures, 1))).toEqual([
      ...[5000, 10_000, 20_000, 40_000, 60_000],
    ]);
    expect(backoffMs(5000, 1, 0)).toBe(3750);
    expect(backoffMs(5000, 1_000_000, 0.5)).toBe(52_500);
    // A longer one than a minute is what it is.
    expect(backoffMs(600_000, 9, 1)).toBe(600_000);
  });
});
