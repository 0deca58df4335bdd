/**
 * The classics of replicated logs, one by one, each on a few worlds: what the random steps of `replication-faults` rarely hit in the order
 * that hurts. Every world is held to all promises (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { factor, seed } from "./run-settings.js";
import { Cluster } from "./world/cluster.js";
import { checkCluster, putAside } from "./world/cluster-checks.js";
import type { ClusterNode } from "./world/cluster-node.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});
afterAll(() => {
  vi.useRealTimers();
});

const WORLDS = 1;

function newCluster(world: number, nodes = 3): Cluster {
  return new Cluster({ seed: world, nodes, moved: (by) => void vi.advanceTimersByTime(by) });
}

function over(cluster: Cluster): void {
  cluster.end();
  vi.clearAllTimers();
}

async function onWorlds(
  worlds: number,
  scenario: (cluster: Cluster, world: number) => Promise<void>,
  nodes = 3,
): Promise<void> {
  for (let round = 1; round <= worlds * factor; round += 1) {
    const world = (seed + round * 7919) % 2 ** 26;
    const cluster = newCluster(world, nodes);
    try {
      await cluster.begin();
      await scenario(cluster, world);
      await checkCluster(cluster, await cluster.converge());
    } catch (error) {
      throw cluster.withTrace(error);
    } finally {
      over(cluster);
    }
  }
}

const write = (cluster: Cluster, node: ClusterNode, count: number, acks: number): Promise<string[]> =>
  inTime(
    cluster,
    Promise.all(
      Array.from({ length: count }, (_, n) => node.write(`${node.name} ${n} ${cluster.time.ms}`, acks)),
    ),
  );

async function inTime<Value>(cluster: Cluster, work: Promise<Value>): Promise<Value> {
  const done = await cluster.time.settled(work, 30_000);
  if (done === undefined) throw new Error("it never ended");
  return done.value;
}

const names = (cluster: Cluster): Map<string, string> =>
  new Map(cluster.nodes.map(({ nodeId, name }) => [nodeId, name]));

const promote = (cluster: Cluster, node: ClusterNode, force = false): Promise<string> =>
  inTime(cluster, node.promote(force, names(cluster)));

function three(cluster: Cluster): [ClusterNode, ClusterNode, ClusterNode] {
  return [cluster.node(0), cluster.node(1), cluster.node(2)];
}

function isolate(cluster: Cluster, node: ClusterNode): void {
  for (const other of cluster.nodes) {
    if (other === node) continue;
    cluster.network.cut(node.name, other.name);
    cluster.network.cut(other.name, node.name);
  }
}

function hasEverything(node: ClusterNode, primary: ClusterNode): boolean {
  const follows = node.replication?.following?.host === primary.name;
  return follows && node.log?.durableOffset === primary.log?.endOffset;
}

describe("replication: the classics", () => {
  test("a world happens again from its seed", async () => {
    const traces: string[][] = [];
    for (let round = 0; round < 2; round += 1) {
      const cluster = newCluster(4711);
      await cluster.begin();
      await cluster.run([
        { type: "write", node: 0, acks: 1, count: 5 },
        { type: "end", node: 1, how: "off", operation: 9, downMs: 200 },
        { type: "write", node: 0, acks: 0, count: 3 },
        { type: "isolate", node: 0, ms: 900 },
        { type: "write", node: 0, acks: 1, count: 3 },
        { type: "promote", node: 2, force: true },
        { type: "rest", ms: 2000 },
      ]);
      await cluster.converge();
      traces.push([...cluster.trace]);
      over(cluster);
    }
    expect(traces[1]).toEqual(traces[0]);
  });

  test("two fail-overs, one after the other: no record of one leadership stands under another", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      expect(await write(cluster, one, 3, 2)).toEqual(["answered", "answered", "answered"]);
      isolate(cluster, one);
      expect(await write(cluster, one, 4, 0)).toContain("answered");
      // What is on its way is lost for both: neither is the better one.
      for (const { name } of [two, three_]) cluster.network.drop(one.name, name);
      one.end("off");
      await cluster.time.pass(100);
      cluster.network.healAll();
      expect(await promote(cluster, two)).toBe("promoted");
      isolate(cluster, two);
      expect(await write(cluster, two, 2, 0)).toContain("answered");
      two.end("off");
      cluster.network.healAll();
      // Nothing of the second one's leadership ever came to the third, which cannot know that nothing was confirmed there.
      expect(await promote(cluster, three_)).toBe("REPLICATION_NOT_ALL_REACHED");
      await inTime(cluster, one.start());
      expect(await promote(cluster, three_, true)).toBe("promoted");
      await cluster.must("the first one follows", () => hasEverything(one, three_));
      expect(await write(cluster, three_, 3, 1)).toEqual(["answered", "answered", "answered"]);
      await inTime(cluster, two.start());
      await cluster.must("all follow the third", () => cluster.leader === three_);
    }));

  test("a primary that wakes from a pause confirms nothing more", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      expect(await write(cluster, one, 2, 1)).toEqual(["answered", "answered"]);
      const waiting = one.write("on its way when the pause began", 1);
      one.pause();
      await cluster.time.pass(2500);
      const since = cluster.time.ms;
      expect(await promote(cluster, two)).toBe("promoted");
      expect(cluster.time.ms - since).toBeLessThan(2500);
      await cluster.must("the third one follows", () => hasEverything(three_, two));
      expect(await write(cluster, two, 5, 1)).toContain("answered");
      one.resume();
      const late = await write(cluster, one, 5, 1);
      expect(late).not.toContain("answered");
      await inTime(cluster, waiting);
      await cluster.must("the old primary follows", () => one.replication?.role === "replica");
    }));

  test("a primary that its successor cannot reach, but a replica can, confirms nothing more", () =>
    onWorlds(2 * WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      cluster.network.cut(one.name, two.name);
      cluster.network.cut(two.name, one.name);
      expect(await promote(cluster, two)).toBe("promoted");
      const late: Promise<string>[] = [];
      for (let round = 0; round < 10; round += 1) {
        late.push(one.write(`after it was replaced ${round}`, 1));
        await cluster.time.pass(3);
      }
      expect(await inTime(cluster, Promise.all(late))).not.toContain("answered");
      await cluster.must("the replica has changed over", () => hasEverything(three_, two));
    }));

  test("an old primary with a longer log follows, and keeps what only it had", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two] = three(cluster);
      await write(cluster, one, 3, 2);
      isolate(cluster, one);
      const alone = await write(cluster, one, 40, 0);
      expect(alone.every((outcome) => outcome === "answered")).toBe(true);
      expect(await promote(cluster, two)).toBe("promoted");
      await write(cluster, two, 3, 1);
      cluster.network.healAll();
      await cluster.must("the old primary follows", () => one.replication?.following?.host === two.name);
      await cluster.must("it has been cut", () => cluster.hostCounts.diverged > 0);
      await cluster.converge();
      const files = one.serving?.files;
      const kept = files && (await inTime(cluster, putAside(files)));
      expect(kept).toEqual(
        [...(cluster.history.appended.values().next().value?.values() ?? [])]
          .map(({ body }) => body)
          .slice(-40),
      );
    }));

  test("a node joins while the primary writes and lets its oldest records go", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one] = three(cluster);
      const joining = cluster.add();
      const start = joining.start();
      for (let round = 0; round < 12; round += 1) {
        cluster.take({ type: "write", node: 0, acks: 1, count: 6 });
        if (round % 4 === 1) cluster.take({ type: "retain", node: 0 });
        await cluster.time.pass(60);
      }
      await inTime(cluster, start);
      await cluster.converge();
      expect(one.log?.firstOffset).toBeGreaterThan(1);
    }));

  test("two promotions at once: one leadership is left, and everybody knows which", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      await write(cluster, one, 3, 2);
      one.end("off");
      const both = await inTime(
        cluster,
        Promise.all([two.promote(false, names(cluster)), three_.promote(false, names(cluster))]),
      );
      expect(both.filter((outcome) => outcome === "promoted").length).toBeLessThanOrEqual(1);
      const forced = await inTime(
        cluster,
        Promise.all([two.promote(true, names(cluster)), three_.promote(true, names(cluster))]),
      );
      cluster.note(`${both} ${forced}`);
      await inTime(cluster, one.start());
      await cluster.time.pass(5000);
      const leading = cluster.nodes.filter(
        ({ replication }) => replication?.role === "master" && replication.fence === undefined,
      );
      expect(leading.length).toBeLessThanOrEqual(1);
    }));

  test("damage on a primary never reaches its replicas", () =>
    onWorlds(1, async (cluster) => {
      const [one, two, three_] = three(cluster);
      await write(cluster, one, 40, 2);
      two.end("stopped");
      await write(cluster, one, 20, 1);
      const segment = `${DATA_DIRECTORY}/log/${String(1).padStart(20, "0")}.log`;
      one.disk.flip(segment, 600, 1);
      // What it lacks lies behind the damage; a fresh one asks for the damaged segment itself.
      const fresh = cluster.add();
      await inTime(cluster, fresh.start());
      await inTime(cluster, two.start());
      await cluster.time.pass(8000);
      expect(fresh.log).toBeUndefined();
      one.disk.flip(segment, 600, 1);
      for (const node of [fresh, two]) node.replication?.resetBreaker();
      await cluster.must(
        "the fresh one has everything",
        () => fresh.log?.endOffset === three_.log?.endOffset,
      );
    }));
});

describe("replication: a full sync that is interrupted", () => {
  for (const how of ["off", "stopped"] as const)
    test(`${how === "off" ? "by a power cut" : "by a kill"} in any operation of the disk begins again or goes on`, async () => {
      let ended = 0;
      const stride = factor > 1 ? 1 : 23;
      for (let operation = 1 + (seed % stride); operation < 2000; operation += stride) {
        const cluster = newCluster((seed + operation) % 2 ** 26, 1);
        try {
          await cluster.begin();
          await write(cluster, cluster.node(0), 30, 0);
          cluster.take({ type: "retain", node: 0 });
          await write(cluster, cluster.node(0), 10, 0);
          const joining = cluster.add();
          await inTime(cluster, joining.start());
          cluster.take({ type: "end", node: 1, how, operation, downMs: 50 });
          await cluster.time.until(() => joining.machine.state !== "running", 3000);
          const wasMet = joining.machine.state !== "running";
          await checkCluster(cluster, await cluster.converge());
          if (!wasMet) break;
          ended += 1;
        } catch (error) {
          throw cluster.withTrace(error);
        } finally {
          over(cluster);
        }
      }
      expect(ended).toBeGreaterThan(1);
    });
});
