/**
 * Promise: what a network delivers more than once is applied once, confirms nothing, and costs at most a connection:
 *
 *   1. the beginning of an older connection, played again to either side, is refused, with and without a secret
 *   2. a connection that comes late does not take the place of a newer one of the same node
 *   3. a frame that comes a second time in its stream changes nothing
 *
 * `replication-faults` draws all of these at random; here each is met in the world where it would do most. Every world is held to all
 * promises (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "./world/cluster.js";
import type { ClusterNode } from "./world/cluster-node.js";
import {
  answered,
  cutBoth,
  fakeTimers,
  hasEverything,
  inTime,
  onWorlds,
  promote,
  realTimers,
  three,
} from "./world/cluster-scenario.js";

beforeAll(fakeTimers);
afterAll(realTimers);

const HOUR_MS = 3_600_000;

const replay = async (cluster: Cluster, from: ClusterNode, to: ClusterNode, times: number): Promise<void> => {
  for (let time = 0; time < times; time += 1) {
    cluster.network.replay(from.name, to.name);
    await cluster.time.pass(60);
  }
};

describe("replication: what comes more than once", () => {
  for (const secret of [Buffer.from("of the set"), undefined])
    test(`an older connection that is played again confirms nothing, ${secret === undefined ? "without" : "with"} a secret`, () =>
      onWorlds(
        1,
        async (cluster) => {
          const [one, two, three_] = three(cluster);
          cutBoth(cluster, one, two);
          // Of a connection that goes on where the log ends, the confirmations are all that comes.
          cluster.network.drop(one.name, three_.name);
          await cluster.must("the third follows again", () => cluster.hasAll(three_));
          await answered(cluster, one, 20, 1);
          // Most of what the third has confirmed is cut, and the first one leads again: other records stand at those offsets then.
          expect(await promote(cluster, two, true)).toBe("promoted");
          cluster.network.healAll();
          await cluster.must("all have what the second has", () => cluster.areOne());
          expect(await promote(cluster, one)).toBe("promoted");
          await cluster.must("all have what the first has", () => cluster.areOne());
          for (const other of [two, three_]) cutBoth(cluster, one, other);
          const late = Array.from({ length: 24 }, (_, n) => one.write(`again ${n}`, 1));
          for (const other of [two, three_]) {
            // The ways of the ghosts, whoever they are of, are not cut.
            cluster.network.heal(other.name, one.name);
            await replay(cluster, other, one, 12);
          }
          expect(await inTime(cluster, Promise.all(late))).not.toContain("answered");
          expect(cluster.network.duplicates.counts.replayed).toBeGreaterThan(8);
        },
        3,
        { settings: { secrets: () => (secret === undefined ? [] : [secret]) } },
      ));

  test("whoever dials is not answered by an older connection", () =>
    onWorlds(
      1,
      async (cluster) => {
        const [one, two] = three(cluster);
        await answered(cluster, one, 3, 2);
        // What an older connection says of the time is an hour old.
        one.machine.setClock(HOUR_MS);
        await cluster.time.pass(500);
        for (let round = 0; round < 6; round += 1) {
          cluster.network.answer(two.name, one.name);
          cluster.network.drop(one.name, two.name);
          for (let left = 20; left > 0; left -= 1) {
            await cluster.time.pass(20);
            expect(Math.abs((two.replication?.primaryTime ?? 0) - one.now)).toBeLessThan(2000);
          }
          await cluster.must("it follows again", () => cluster.hasAll(two));
        }
        expect(cluster.network.duplicates.counts.answered).toBeGreaterThan(3);
      },
      3,
      { settings: { secrets: () => [] } },
    ));

  test("a connection that is held up on its way does not take the place of a newer one", () =>
    onWorlds(1, async (cluster) => {
      const [one, two] = three(cluster);
      const { network, time } = cluster;
      await answered(cluster, one, 3, 2);
      const { connections } = network.counts;
      const turning = two.follow(one.address);
      await cluster.must("it has dialled", () => network.counts.connections > connections);
      network.straggle(two.name, one.name, 700);
      await inTime(cluster, turning);
      await time.pass(60);
      expect(await inTime(cluster, two.follow(one.address))).toBe("follows");
      await cluster.must("it follows over another one", () => cluster.hasAll(two));
      const since = two.replication?.stats().upstream?.connectedAt;
      await time.pass(1200);
      expect(network.duplicates.counts.straggled).toBeGreaterThan(0);
      await answered(cluster, one, 3, 2);
      expect(two.replication?.stats().upstream?.connectedAt).toBe(since);
    }));

  test("a frame that comes a second time, either way, is applied once", () =>
    onWorlds(1, async (cluster) => {
      const [one, two, three_] = three(cluster);
      const { duplicates } = cluster.network;
      for (const node of [two, three_])
        for (const [from, to] of [
          [one, node],
          [node, one],
        ] as const)
          duplicates.repeat(from.name, to.name, 0.1);
      for (let round = 0; round < 30; round += 1) {
        cluster.take({ type: "write", node: 0, acks: round % 3, count: 3 });
        if (round === 10) cluster.take({ type: "resync", node: 1 });
        if (round % 10 === 5) cluster.take({ type: "retain", node: 0 });
        for (const node of [two, three_]) node.replication?.resetBreaker();
        await cluster.time.pass(100);
      }
      cluster.network.healAll();
      for (const node of [two, three_]) node.replication?.resetBreaker();
      expect(duplicates.counts.repeated).toBeGreaterThan(10);
      const isWhole = (): boolean => hasEverything(two, one) && hasEverything(three_, one);
      expect(await cluster.time.until(isWhole, 20_000), cluster.describe()).toBe(true);
    }));
});
