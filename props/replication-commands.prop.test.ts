/**
 * What operators command and settings ask for, each in the world that makes it hard: `replication-faults` draws them at random. Every world
 * is held to all promises (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "./world/cluster.js";
import { checkWhileItRan } from "./world/cluster-checks.js";
import type { ClusterNode } from "./world/cluster-node.js";
import {
  answered,
  cutBoth,
  fakeTimers,
  hasEverything,
  inTime,
  isolate,
  onWorlds,
  promote,
  realTimers,
  three,
  write,
} from "./world/cluster-scenario.js";

beforeAll(fakeTimers);
afterAll(realTimers);

describe("replication: what is commanded", () => {
  test("a switchover under writes loses nothing that was answered, with acks 0 either", () =>
    onWorlds(1, async (cluster) => {
      const [one, two, three_] = three(cluster);
      const { history } = cluster;
      const hasLedOver = (): boolean => history.answered.some(({ node }) => node === two.name);
      for (let round = 0; round < 200 && !hasLedOver(); round += 1) {
        cluster.take({ type: "write", node: 0, acks: 0, count: 2 });
        await cluster.time.pass(10);
        if (round === 5) cluster.take({ type: "switchover", to: 1 });
      }
      await cluster.must("the first one says so", () => history.handedOver.length === 1);
      await cluster.must("all follow", () => hasEverything(one, two) && hasEverything(three_, two));
      expect(cluster.outcomes.get("write: REPLICATION_CHANGING") ?? 0).toBeGreaterThan(0);
      expect(history.answered.filter(({ node }) => node === one.name).length).toBeGreaterThan(5);
      expect(cluster.hostCounts.diverged).toBe(0);
    }));

  test("a switchover that its successor does not live to see changes nothing", () =>
    onWorlds(1, async (cluster) => {
      const [one, two] = three(cluster);
      await answered(cluster, one, 3, 1);
      const switching = one.switchOver(two);
      await cluster.time.until(() => one.replication?.stats().changing === true, 1000);
      two.end("off");
      expect(await inTime(cluster, switching)).not.toBe("switched");
      await answered(cluster, one, 3, 1);
      await inTime(cluster, two.start());
    }));

  test("a quorum is more than half, and is not had without", () =>
    onWorlds(
      1,
      async (cluster) => {
        const [one, two, three_] = three(cluster);
        await answered(cluster, one, 3, "quorum");
        expect(cluster.history.answered.every(({ holders }) => holders.length >= 2)).toBe(true);
        two.end("stopped");
        three_.end("off");
        // One replica of four nodes is left.
        expect(await write(cluster, one, 2, "quorum")).toEqual([
          "REPLICATION_NOT_CONFIRMED",
          "REPLICATION_NOT_CONFIRMED",
        ]);
        await answered(cluster, one, 2, 1);
        for (const node of [two, three_]) await inTime(cluster, node.start());
      },
      4,
    ));

  test("min_replicas_for_write: a primary that is cut off stops by itself, and goes on when they are back", () =>
    onWorlds(
      1,
      async (cluster) => {
        const [one] = three(cluster);
        await answered(cluster, one, 3, 0);
        isolate(cluster, one);
        await cluster.time.pass(3000);
        expect(await write(cluster, one, 1, 0)).toEqual(["REPLICATION_TOO_FEW_REPLICAS"]);
        cluster.network.healAll();
        await cluster.must("it takes writes", () => one.replication?.writeRefusal() === undefined);
        await answered(cluster, one, 3, 0);
        expect(cluster.history.guarded.length).toBeGreaterThan(5);
      },
      3,
      { settings: { minReplicasForWrite: 1 } },
    ));

  test("a node that is forgotten is asked no more, and newcomers count without it", () =>
    onWorlds(1, async (cluster) => {
      const [one, two, three_] = three(cluster);
      await answered(cluster, one, 3, 2);
      await cluster.do({ type: "end", node: 2, how: "off", operation: 0, downMs: 60_000 });
      expect(await promote(cluster, two)).toBe("REPLICATION_NOT_ALL_REACHED");
      const joining = cluster.add();
      await inTime(cluster, joining.start());
      await cluster.must("it has everything", () => hasEverything(joining, one));
      await cluster.time.pass(1000);
      expect(await write(cluster, one, 1, 2)).toEqual(["REPLICATION_NOT_CONFIRMED"]);
      expect(await inTime(cluster, one.forget(three_))).toBe("forgotten");
      await answered(cluster, one, 1, 2);
      expect(await promote(cluster, two)).toBe("promoted");
      await inTime(cluster, three_.start());
    }));

  test("a resync replaces a whole log, and nothing is lost by it", () =>
    onWorlds(1, async (cluster) => {
      const [one, two] = three(cluster);
      await answered(cluster, one, 10, 2);
      await inTime(cluster, one.retain());
      const { installs } = cluster.hostCounts;
      expect(await inTime(cluster, two.resync())).toBe("resyncs");
      cluster.take({ type: "write", node: 0, acks: 1, count: 5 });
      await cluster.must("it is replaced", () => cluster.hostCounts.installs > installs);
      await cluster.must("it has everything", () => hasEverything(two, one));
    }));

  test("a link that garbles what it carries is given up, stays so until it is reset, and all is well then", () =>
    onWorlds(1, async (cluster) => {
      const [one, two] = three(cluster);
      await answered(cluster, one, 3, 2);
      cluster.network.garbling.begin(one.name, two.name, 1);
      const isOpen = (): boolean => two.replication?.stats().breakers.some(({ open }) => open) === true;
      await cluster.must("the link is given up", isOpen);
      await answered(cluster, one, 5, 1);
      cluster.network.healAll();
      await cluster.time.pass(5000);
      expect([isOpen(), two.replication?.stats().upstream?.connected]).toEqual([true, false]);
      expect(two.replication?.resetBreaker()).toBe(1);
      await cluster.must("it has everything", () => hasEverything(two, one));
      expect(cluster.network.garbling.pieces).toBeGreaterThan(4);
    }));

  test("what is garbled now and then, either way, is fetched again without anybody's help", () =>
    onWorlds(1, async (cluster) => {
      const [one, two, three_] = three(cluster);
      for (const node of [two, three_]) {
        cluster.network.garbling.begin(one.name, node.name, 0.05);
        cluster.network.garbling.begin(node.name, one.name, 0.05);
      }
      for (let round = 0; round < 30; round += 1) {
        cluster.take({ type: "write", node: 0, acks: 0, count: 3 });
        await cluster.time.pass(100);
      }
      cluster.network.healAll();
      for (const node of [two, three_]) node.replication?.resetBreaker();
      expect(cluster.network.garbling.pieces).toBeGreaterThan(3);
      const isWhole = (): boolean => hasEverything(two, one) && hasEverything(three_, one);
      expect(await cluster.time.until(isWhole, 20_000), cluster.describe()).toBe(true);
    }));
});

/** What there is to see in the moment in which the two that change the lead lose each other. */
type Moment = (one: ClusterNode, two: ClusterNode) => boolean;

const asksForTheLead: Moment = (_, two) => two.replication?.stats().changing === true;
const gaveItUp: Moment = (one) => one.replication?.fence !== undefined;
const leads: Moment = (_, two) => two.replication?.role === "master";

/** The first node hands over to the second one; in that moment this happens, while somebody goes on writing to the first, with acks 0. */
async function handsOver(cluster: Cluster, moment: Moment, happens: (two: ClusterNode) => void) {
  const [one, two] = three(cluster);
  await answered(cluster, one, 3, 1);
  const switching = one.switchOver(two);
  expect(await cluster.time.until(() => moment(one, two), 3000)).toBe(true);
  happens(two);
  for (let round = 0; round < 12; round += 1) {
    cluster.take({ type: "write", node: 0, acks: 0, count: 1 });
    await cluster.time.pass(300);
  }
  checkWhileItRan(cluster);
  return { one, two, outcome: await inTime(cluster, switching) };
}

const losesIts = (cluster: Cluster) => (two: ClusterNode) => cutBoth(cluster, cluster.node(0), two);

const isMuted = (_: Cluster) => (two: ClusterNode) => {
  two.isMute = true;
};

describe("replication: a switchover whose outcome is not told", () => {
  test("before the lead was given up: writes go on, and the other cannot lead any more", () =>
    onWorlds(1, async (cluster) => {
      const { one, two, outcome } = await handsOver(cluster, asksForTheLead, losesIts(cluster));
      expect(outcome).toBe("REPLICATION_NOT_ALL_REACHED");
      expect(one.replication?.writeRefusal()).toBeUndefined();
      cluster.network.healAll();
      await cluster.must("two follows again", () => hasEverything(two, one));
      expect(one.replication?.own?.epoch).toBe(1);
    }));

  test("after that, and the other never hears of it: nobody writes until they reach each other, then the old one leads again", () =>
    onWorlds(1, async (cluster) => {
      const { one, two, outcome } = await handsOver(cluster, gaveItUp, losesIts(cluster));
      expect(outcome).toBe("REPLICATION_HANDOVER_UNKNOWN");
      expect(one.replication?.writeRefusal()?.code).toBe("REPLICATION_FENCED");
      cluster.network.healAll();
      await cluster.must("one leads again", () => cluster.leader === one);
      await cluster.must("two follows again", () => hasEverything(two, one));
      expect(one.replication?.own?.epoch).toBe(3);
    }));

  test("after that, and the other dies: it comes back, and the old one leads again", () =>
    onWorlds(1, async (cluster) => {
      const { one, two, outcome } = await handsOver(cluster, gaveItUp, (node) => node.end("off"));
      expect(outcome).toBe("REPLICATION_HANDOVER_UNKNOWN");
      await inTime(cluster, two.start());
      await cluster.must("one leads again", () => cluster.leader === one);
      await cluster.must("two follows again", () => hasEverything(two, one));
    }));

  test("the other leads, and nobody can be asked: the old one writes no more, and follows once it hears of it", () =>
    onWorlds(1, async (cluster) => {
      const { one, two, outcome } = await handsOver(cluster, leads, () => isolate(cluster, cluster.node(0)));
      expect(outcome).toBe("REPLICATION_HANDOVER_UNKNOWN");
      await answered(cluster, two, 3, 0);
      cluster.network.healAll();
      await cluster.must("one follows", () => hasEverything(one, two));
      expect(cluster.hostCounts.diverged).toBe(0);
    }));

  test("while the other is still at it: nothing is taken back from it", () =>
    onWorlds(1, async (cluster) => {
      const { network, time } = cluster;
      const { two, outcome } = await handsOver(cluster, gaveItUp, () => {
        network.cut("n2", "n3");
        time.after(800, () => network.heal("n2", "n3"));
      });
      expect([outcome, two.replication?.own?.epoch]).toEqual(["switched", 2]);
    }));

  const heardOtherwise: readonly (readonly [string, Moment, typeof losesIts])[] = [
    ["only its answer is lost", asksForTheLead, isMuted],
    ["only a third one can be asked", leads, losesIts],
  ];
  for (const [how, moment, happens] of heardOtherwise)
    test(`the other leads, and ${how}: what happened is said`, () =>
      onWorlds(1, async (cluster) => {
        const { one, two, outcome } = await handsOver(cluster, moment, happens(cluster));
        expect(outcome).toBe("switched");
        cluster.network.healAll();
        await cluster.must("one follows", () => hasEverything(one, two));
        expect(cluster.hostCounts.diverged).toBe(0);
      }));
});

describe("replication: modes of syncing", () => {
  for (const mode of ["periodic", "never"] as const)
    test(`what a replica confirms in ${mode} survives its power`, () =>
      onWorlds(
        1,
        async (cluster) => {
          const [one, two, three_] = three(cluster);
          // Long enough that segments roll: that is when a node syncs that never does by itself.
          const writes = Array.from({ length: 60 }, (_, n) => one.write(`${n} ${"x".repeat(200)}`, 1));
          await cluster.time.until(() => cluster.history.answered.length > 5, 4000);
          const confirmed = cluster.history.answered.length;
          expect(confirmed).toBeGreaterThan(5);
          for (const node of [one, two, three_]) node.end("off");
          for (const node of [two, three_]) await inTime(cluster, node.start());
          const [most, other] =
            (two.log?.endOffset ?? 0) >= (three_.log?.endOffset ?? 0) ? [two, three_] : [three_, two];
          expect(await promote(cluster, most)).toBe("promoted");
          await cluster.must("the other follows", () => hasEverything(other, most));
          await inTime(cluster, one.start());
          expect(writes.length).toBe(60);
        },
        3,
        { fsyncModes: ["always", mode] },
      ));

  test("a primary whose clock jumps gives its replicas its time all the same", () =>
    onWorlds(1, async (cluster) => {
      const [one, two] = three(cluster);
      await answered(cluster, one, 2, 1);
      for (const jump of [36_000_000, -72_000_000]) {
        one.machine.setClock(jump);
        await answered(cluster, one, 2, 1);
        await cluster.time.pass(500);
        expect(Math.abs((two.replication?.primaryTime ?? 0) - one.now)).toBeLessThan(1000);
      }
    }));
});
