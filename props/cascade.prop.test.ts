/**
 * Promise: replicas of replicas are members of the set. However the nodes are put behind each other, whatever happens to them –
 *
 *   1. a primary believes of no replica, fed by it or behind others, that it holds what it does not hold
 *   2. what `acks` replicas confirmed, wherever they stand, is lost to no promotion that is not forced
 *   3. and everything else that `replication-faults` lists
 *
 * The world is `props/world/cluster.ts`; there the nodes mostly follow the primary itself, here they follow each other.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { offset as asOffset } from "../log/index.js";
import { isHigher } from "../replication/leadership-order.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { factor, runs, seed } from "./run-settings.js";
import type { Cluster } from "./world/cluster.js";
import { checkCluster } from "./world/cluster-checks.js";
import { fakeTimers, inWorld, realTimers } from "./world/cluster-scenario.js";
import type { ClusterStep } from "./world/cluster-step.js";

beforeAll(fakeTimers);
afterAll(realTimers);

const NODES = 4;
const node = fc.integer({ min: 0, max: NODES - 1 });
const replica = fc.integer({ min: 1, max: NODES - 1 });
const ms = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 4000 }));

const step: fc.Arbitrary<ClusterStep> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("write" as const),
      node,
      acks: fc.constantFrom(1, 2, 2, 3),
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("follow" as const), node: replica, to: node }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("promote" as const), node, force: fc.constant(false) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("end" as const),
      node,
      how: fc.constantFrom("stopped" as const, "off" as const),
      operation: fc.constant(0),
      downMs: ms,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("cut" as const), from: node, to: node, both: fc.boolean(), ms }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("pause" as const), node, ms }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("isolate" as const), node, ms }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant("rest" as const), ms }) },
);

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 26 }));

const allCount = ({ leader, nodes }: Cluster): boolean => {
  const peers = leader?.replication?.stats().peers ?? [];
  return peers.length === nodes.length && peers.every(({ counts }) => counts);
};

/** Under the highest leadership, what the primary counts is there: of nodes that are down nobody can say anything. */
async function checkBelieved(cluster: Cluster): Promise<number> {
  const { leader } = cluster;
  const log = leader?.log;
  const life = leader?.serving;
  if (leader === undefined || log === undefined || life === undefined) return 0;
  const others = cluster.nodes.filter((other) => other !== leader);
  if (others.some(({ replication }) => isHigher(replication?.heard, leader.replication?.own))) return 0;
  let counted = 0;
  for (const back of [0, 1, 3]) {
    const offset = asOffset(Math.max(1, log.endOffset - back));
    const { confirmed } = await life.replication.confirmed(offset, NODES, 0);
    const holders = others.filter(
      ({ serving, log: held }) => serving === undefined || (held?.durableOffset ?? 0) >= offset,
    );
    if (confirmed > holders.length)
      throw new PromiseBroken(
        "believed",
        `${leader.name} counts ${confirmed} replicas for offset ${offset}, held by ${holders.map(({ name }) => name).join(" ")}`,
      );
    counted += confirmed;
  }
  return counted;
}

/** From every node one comes to the one that leads. */
const followsUp = ({ nodes, leader }: Cluster): boolean =>
  nodes.every((node) => {
    let at: (typeof nodes)[number] | undefined = node;
    for (let step = 0; at !== undefined && at !== leader && step < nodes.length; step += 1) {
      const host: string | undefined = at.replication?.following?.host;
      at = nodes.find(({ name }) => name === host);
    }
    return at === leader;
  });

describe("replicas of replicas", () => {
  test("the last of a chain leads without force when the first is gone, and a newcomer with it", async () => {
    for (let round = 1; round <= factor; round += 1) {
      const live = async (cluster: Cluster): Promise<void> => {
        await cluster.begin();
        await cluster.do({ type: "follow", node: 2, to: 1 });
        await cluster.time.pass(round % 2 === 0 ? 0 : 1000);
        // It counts when the last of the chain is known, through the one in between, to have it on its list.
        await cluster.do({ type: "join", to: 0 });
        await cluster.must("all count", () => allCount(cluster));
        await cluster.do({ type: "write", node: 0, acks: 3, count: 4 });
        cluster.take({ type: "write", node: 0, acks: 2, count: 4 });
        await cluster.time.pass(cluster.random() * 40);
        cluster.node(0).end("off");
        await cluster.do({ type: "promote", node: 2, force: false });
        const isBetter = cluster.leader === undefined;
        if (isBetter) await cluster.do({ type: "promote", node: 1, force: false });
        if (cluster.leader === undefined) await cluster.do({ type: "promote", node: 3, force: false });
        expect(cluster.leader, cluster.describe()).toBeDefined();
        await cluster.do({ type: "write", node: 0, acks: 2, count: 4 });
        await cluster.time.settled(cluster.node(0).start(), 10_000);
        await checkCluster(cluster, await cluster.converge());
        expect(cluster.outcomes.get("write: answered")).toBeGreaterThanOrEqual(8);
      };
      await inWorld((seed + round * 7919) % 2 ** 26, live, 3);
    }
  });

  test("are not followed by whom they follow, directly or through others, and nothing changes", async () => {
    const live = async (cluster: Cluster): Promise<void> => {
      await cluster.begin();
      for (const index of [2, 3]) await cluster.do({ type: "follow", node: index, to: index - 1 });
      await cluster.must("the chain is there", () => cluster.areOne());
      await cluster.time.pass(1000);
      for (const [from, to] of [
        [0, 1],
        [0, 3],
        [1, 2],
        [1, 3],
        [2, 3],
        [0, 0],
        [2, 2],
      ] as const) {
        const refused = cluster.node(from).follow(cluster.node(to).address);
        expect((await cluster.time.settled(refused, 10_000))?.value).toBe("REPLICATION_CIRCLE");
      }
      const follows = cluster.nodes.map(({ replication }) => replication?.following?.host);
      expect(follows).toEqual([undefined, "n1", "n2", "n3"]);
      expect(cluster.areOne()).toBe(true);
      // One that was below leads now, and the old primary has not heard of it: it may be followed all the same.
      const [old, next] = [cluster.node(0), cluster.node(1)];
      expect((await cluster.time.settled(next.promote(false), 10_000))?.value).toBe("promoted");
      // It may be turning there by itself already.
      const outcome = (await cluster.time.settled(old.follow(next.address), 10_000))?.value;
      expect(outcome).not.toBe("REPLICATION_CIRCLE");
      await cluster.must("all are one", () => cluster.areOne());
    };
    await inWorld(seed % 2 ** 26, live, 4);
  });

  test("that are told to follow each other turn to the primary", async () => {
    const met = { noticed: 0, refused: 0 };
    for (let round = 0; round < 3; round += 1) {
      const live = async (cluster: Cluster): Promise<void> => {
        await cluster.begin();
        // At once: neither is below the other when it asks, unless the network brings the one before the other has asked.
        cluster.take({ type: "follow", node: 2, to: 1 });
        await cluster.do({ type: "follow", node: 1, to: 2 });
        if (cluster.outcomes.has("follow: REPLICATION_CIRCLE")) met.refused += 1;
        else {
          await cluster.must("the circle is noticed", () =>
            cluster.nodes.some(
              (node) => node.replication?.stats().upstream?.error?.code === "REPLICATION_CIRCLE",
            ),
          );
          met.noticed += 1;
        }
        await cluster.must("nobody follows in a circle", () => cluster.areOne() && followsUp(cluster));
        await cluster.do({ type: "write", node: 0, acks: 2, count: 1 });
        expect(cluster.outcomes.get("write: answered"), cluster.describe()).toBeGreaterThan(0);
      };
      await inWorld((seed + round * 7919) % 2 ** 26, live, 3);
    }
    expect(met.noticed, JSON.stringify(met)).toBeGreaterThan(0);
  });

  test("count for what they hold, and nothing that they confirmed is lost", async () => {
    const seen = new Map<string, number>();
    const add = (what: string, count: number): void => void seen.set(what, (seen.get(what) ?? 0) + count);
    await fc.assert(
      fc.asyncProperty(
        world,
        fc.array(step, { minLength: 8, maxLength: 40, size: "max" }),
        async (number, steps) => {
          const live = async (cluster: Cluster): Promise<void> => {
            await cluster.begin();
            for (const index of [2, 3]) await cluster.do({ type: "follow", node: index, to: index - 1 });
            for (const each of steps) {
              await cluster.run([each]);
              add("believed", await checkBelieved(cluster));
              const followed = cluster.nodes.map(({ replication }) => replication?.following?.host);
              if (followed.some((host) => host !== undefined && host !== cluster.leader?.name))
                add("behind others", 1);
            }
            const checked = await checkCluster(cluster, await cluster.converge());
            for (const [what, count] of cluster.outcomes) add(what, count);
            for (const [what, count] of Object.entries(checked)) add(what, count);
          };
          await inWorld(number, live, NODES);
        },
      ),
      { ...runs(3), interruptAfterTimeLimit: Math.min(120_000 * factor, 1_500_000) },
    );
    if (process.env["ANNALS_PROPS_TALLY"] !== undefined) console.log([...seen].sort());
    const rare = factor >= 10 ? ["promote: promoted", "write: REPLICATION_NOT_CONFIRMED"] : [];
    for (const what of ["write: answered", "acknowledged", "believed", "behind others", ...rare])
      expect(seen.get(what) ?? 0, what).toBeGreaterThan(0);
  });
});
