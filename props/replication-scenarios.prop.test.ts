/**
 * The classics of replicated logs, one by one, each on a few worlds: what the random steps of `replication-faults` rarely hit in the order
 * that hurts. Every world is held to all promises (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { factor, seed } from "./run-settings.js";
import type { Cluster } from "./world/cluster.js";
import { putAside } from "./world/cluster-checks.js";
import type { ClusterHostOptions } from "./world/cluster-host.js";
import {
  answered,
  cutBoth,
  fakeTimers,
  hasEverything,
  inTime,
  isolate,
  newCluster,
  onWorld,
  onWorlds,
  over,
  promote,
  realTimers,
  three,
  write,
} from "./world/cluster-scenario.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";
import { StoreHost } from "./world/store-host.js";

beforeAll(fakeTimers);
afterAll(realTimers);

const WORLDS = 1;
const SHORT_PAUSES = Math.ceil(4 * Math.sqrt(factor));

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

  test("KIP-101, a double fail-over: no record of one leadership stands under another", () =>
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

  test("a zombie, a primary that wakes from a pause, confirms nothing more, nor what had come meanwhile", () =>
    onWorlds(4 * WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      expect(await write(cluster, one, 2, 1)).toEqual(["answered", "answered"]);
      const waiting = one.write("on its way when the pause began", 1);
      // Sent, mostly, and its confirmation is what the pause falls into.
      await cluster.time.until(() => two.log?.endOffset === one.log?.endOffset, 100);
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

  test("a primary that is stopped for less than it takes to miss it confirms nothing more", async () => {
    const seen = { answered: 0, refused: 0, over: 0 };
    for (const replicaTimeoutMs of [1500, 30_000])
      for (let world = 1; world <= SHORT_PAUSES; world += 1)
        await onWorld(
          (seed + 7919 * world) % 2 ** 26,
          async (cluster) => {
            const [one, two] = three(cluster);
            cluster.network.delayMsMax = 10;
            const waiting = [one.write("on its way", 1), one.write("on its way, too", 1)];
            // What a replica confirms then comes to a process that stands still; or everything was over.
            await cluster.time.pass(world % 2 === 0 ? 60 : cluster.random() * 12);
            one.pause();
            await cluster.time.pass(40);
            const since = cluster.time.ms;
            expect(await promote(cluster, two)).toBe("promoted");
            seen.over = Math.max(seen.over, cluster.time.ms - since);
            expect(await write(cluster, two, 1, 0)).toEqual(["answered"]);
            one.resume();
            for (const outcome of await inTime(cluster, Promise.all(waiting)))
              seen[outcome === "answered" ? "answered" : "refused"] += 1;
          },
          3,
          { settings: { replicaTimeoutMs } },
        );
    expect(Math.min(seen.answered, seen.refused)).toBeGreaterThan(0);
    expect(seen.over).toBeLessThanOrEqual(2000);
  });

  test("a confirmation that the network kept until another leads confirms nothing", async () => {
    for (const replicaTimeoutMs of [1500, 30_000])
      for (let world = 1; world <= SHORT_PAUSES; world += 1)
        await onWorld(
          (seed + 6173 * world) % 2 ** 26,
          async (cluster) => {
            const [one, two, three_] = three(cluster);
            const waiting = [one.write("told late", 1), one.write("told late, too", 2)];
            for (const { name } of [two, three_]) cluster.network.cut(name, one.name);
            await cluster.time.pass(60);
            expect(await promote(cluster, two)).toBe("promoted");
            expect(await write(cluster, two, 1, 0)).toEqual(["answered"]);
            cluster.network.healAll();
            expect(await inTime(cluster, Promise.all(waiting))).not.toContain("answered");
          },
          3,
          { settings: { replicaTimeoutMs } },
        );
  });

  test("a primary that its successor cannot reach, but a replica can, confirms nothing more", () =>
    onWorlds(2 * WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      cutBoth(cluster, one, two);
      expect(await promote(cluster, two)).toBe("promoted");
      const late: Promise<string>[] = [];
      for (let round = 0; round < 10; round += 1) {
        late.push(one.write(`after it was replaced ${round}`, 1));
        await cluster.time.pass(3);
      }
      expect(await inTime(cluster, Promise.all(late))).not.toContain("answered");
      await cluster.must("the replica has changed over", () => hasEverything(three_, two));
    }));

  test("a fence that was answered is remembered after a power cut", async () => {
    let lost = 0;
    const stride = factor > 1 ? 1 : 8;
    for (let operation = 1 + (seed % stride); operation <= 8; operation += stride)
      await onWorld((seed + operation) % 2 ** 26, async (cluster) => {
        const [one, two, three_] = three(cluster);
        cutBoth(cluster, one, two);
        const promoting = two.promote(false);
        // As long as it takes to give the first one up: then the third is fenced.
        const isFenced = (): boolean => three_.replication?.heard?.epoch !== one.replication?.own?.epoch;
        await cluster.time.until(() => two.replication?.heard?.epoch !== one.replication?.own?.epoch, 3000);
        three_.endAt(operation, "off");
        await cluster.time.until(() => three_.machine.state === "off" || isFenced(), 3000);
        await cluster.time.until(() => three_.machine.state === "off", 200);
        const wasLost = three_.machine.state === "off";
        if (wasLost) await inTime(cluster, three_.start());
        else three_.disk.disarm();
        lost += wasLost ? 1 : 0;
        // Were it forgotten, the third would confirm these.
        const late = write(cluster, one, 3, 1);
        const outcome = await inTime(cluster, promoting);
        if (outcome === "promoted") expect(await late).not.toContain("answered");
        else await late;
      });
    if (stride === 1) expect(lost).toBeGreaterThan(2);
  });

  test("an old primary whose oldest records are gone gets everything anew, and keeps what only it had", () =>
    onWorlds(
      WORLDS,
      async (cluster) => {
        const [one, two] = three(cluster);
        await write(cluster, one, 3, 2);
        isolate(cluster, one);
        const alone = Array.from({ length: 60 }, (_, n) => one.write(`alone ${n} ${"x".repeat(300)}`, 0));
        await inTime(cluster, Promise.all(alone));
        await inTime(cluster, one.retain());
        expect(one.log?.firstOffset).toBeGreaterThan(10);
        expect(await promote(cluster, two)).toBe("promoted");
        const { installs } = cluster.hostCounts;
        cluster.network.healAll();
        await cluster.must("a full sync is in place", () => cluster.hostCounts.installs > installs);
        const files = one.serving?.files;
        expect((files && (await inTime(cluster, putAside(files))))?.length).toBeGreaterThan(0);
      },
      3,
      { host: (options) => new StoreHost(options) },
    ));

  for (const [state, host] of [
    ["the smallest state", undefined],
    ["a server's state", (options: ClusterHostOptions) => new StoreHost(options)],
  ] as const)
    test(`a replica whose end was passed over by force, and whose common records are gone, keeps its old log (${state})`, () =>
      onWorlds(
        WORLDS,
        async (cluster) => {
          const [one, two, three_] = three(cluster);
          await write(cluster, one, 3, 2);
          isolate(cluster, three_);
          const before = cluster.history.answered.length;
          expect(await write(cluster, one, 5, 1)).toContain("answered");
          const passedOver = cluster.history.answered.slice(before);
          expect(passedOver.every(({ holders }) => holders.includes(two.name))).toBe(true);
          // What is on its way there is lost.
          cluster.network.drop(one.name, three_.name);
          for (const node of [one, two]) node.end("off");
          await cluster.time.pass(100);
          cluster.network.healAll();
          expect(three_.log?.endOffset).toBeLessThan(passedOver[0]?.offset ?? 0);
          expect(await promote(cluster, three_, true)).toBe("promoted");
          const later = Array.from({ length: 60 }, (_, n) => three_.write(`${n} ${"x".repeat(300)}`, 0));
          await inTime(cluster, Promise.all(later));
          await inTime(cluster, three_.retain());
          expect(three_.log?.firstOffset).toBeGreaterThan(two.lastSeen?.end ?? 0);
          const { installs } = cluster.hostCounts;
          await inTime(cluster, two.start());
          await cluster.must("a full sync is in place", () => cluster.hostCounts.installs > installs);
          const files = two.serving?.files;
          const kept = files && (await inTime(cluster, putAside(files)));
          expect(kept).toEqual(expect.arrayContaining(passedOver.map(({ body }) => body)));
          await inTime(cluster, one.start());
        },
        3,
        host && { host },
      ));

  test("a longer old log: its primary follows, and keeps what only it had", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two] = await replacedAfter(cluster, 40);
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

  test("a longer old log confirms nothing by its length", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = await replacedAfter(cluster, 40);
      isolate(cluster, three_);
      // Nobody else can confirm it, and the old primary has as many records, others.
      const waiting = two.write("of the new leadership", 1);
      cluster.network.heal(one.name, two.name);
      cluster.network.heal(two.name, one.name);
      await cluster.must("the old primary follows", () => one.replication?.following?.host === two.name);
      expect(await inTime(cluster, waiting)).toMatch(/^answered$|^REPLICATION_NOT_CONFIRMED$/);
      await cluster.must("it has everything", () => hasEverything(one, two));
      await answered(cluster, two, 1, 1);
    }));

  test("what only a replaced primary had answered is called lost by every node, while other records come into its places and after", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = await replacedAfter(cluster, 12);
      const lost = cluster.history.answered.slice(-12);
      const readAll = (node: typeof one) =>
        inTime(cluster, Promise.all(lost.map((token) => node.read(token))));
      await answered(cluster, two, 6, 1);
      // The third one has heard of the later leadership, and records of it stand in half of the places.
      for (const node of [two, three_]) expect(await readAll(node)).not.toContain("read");
      cluster.network.healAll();
      await cluster.must("the old primary follows", () => one.replication?.following?.host === two.name);
      await cluster.must("it has been cut", () => hasEverything(one, two));
      await answered(cluster, two, 12, 2);
      for (const node of [one, two, three_])
        expect(await readAll(node)).toEqual(Array.from(lost, () => "lost"));
    }));

  test("a join during writes, while the oldest records go", () =>
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

  test("a node that ends in its first full sync and begins again is one node", () =>
    onWorlds(
      WORLDS,
      async (cluster) => {
        const [one] = three(cluster);
        const large = Array.from({ length: 70 }, (_, n) => one.write(`${n} ${"x".repeat(2000)}`, 0));
        await inTime(cluster, Promise.all(large));
        cluster.network.delayMsMax = 250;
        const joining = cluster.add();
        await inTime(cluster, joining.start());
        const isInstalling = (): boolean => joining.replication?.stats().upstream?.phase === "installing";
        await cluster.must("its full sync is under way", isInstalling);
        // Long enough to hear who is on the list, and to come onto it.
        await cluster.time.pass(1000);
        expect(isInstalling()).toBe(true);
        joining.end("stopped");
        cluster.network.delayMsMax = 10;
        await inTime(cluster, joining.start());
        await cluster.must("it has everything", () => hasEverything(joining, one));
      },
      3,
      { host: (options) => new StoreHost(options) },
    ));

  test("a primary that leads again counts nothing that was confirmed when it led before", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two] = three(cluster);
      cutBoth(cluster, one, two);
      await answered(cluster, one, 20, 1);
      // Most of what the third has confirmed is cut: the second never had it.
      expect(await promote(cluster, two, true)).toBe("promoted");
      cluster.network.healAll();
      // The third may have stayed behind the first.
      await cluster.must("all have what the second has", () => cluster.areOne());
      expect(await promote(cluster, one)).toBe("promoted");
      expect(one.log?.endOffset).toBeLessThan(20);
      const late = Array.from({ length: 5 }, (_, n) => one.write(`again ${n}`, 1));
      expect(await inTime(cluster, Promise.all(late))).toContain("answered");
    }));

  test("two promotions at once: one leadership is left, and everybody knows which", () =>
    onWorlds(WORLDS, async (cluster) => {
      const [one, two, three_] = three(cluster);
      await write(cluster, one, 3, 2);
      one.end("off");
      const both = await inTime(cluster, Promise.all([two.promote(false), three_.promote(false)]));
      expect(both.filter((outcome) => outcome === "promoted").length).toBeLessThanOrEqual(1);
      const forced = await inTime(cluster, Promise.all([two.promote(true), three_.promote(true)]));
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

/** The first node is cut off and answers so many writes that nobody else has; the second one leads instead of it. */
async function replacedAfter(cluster: Cluster, count: number): Promise<ReturnType<typeof three>> {
  const [one, two, three_] = three(cluster);
  await write(cluster, one, 3, 2);
  isolate(cluster, one);
  await answered(cluster, one, count, 0);
  expect(await promote(cluster, two)).toBe("promoted");
  return [one, two, three_];
}
