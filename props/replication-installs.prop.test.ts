/**
 * A full sync that is interrupted at any step, on either side: it begins again, or goes on, and leaves nothing half done. Every world is held to
 * all promises (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FileSystem, LOG_DIRECTORY, SNAPSHOT_DIRECTORY } from "../log/index.js";
import { factor, seed } from "./run-settings.js";
import type { Cluster } from "./world/cluster.js";
import { checkCluster } from "./world/cluster-checks.js";
import type { ClusterNode } from "./world/cluster-node.js";
import { fakeTimers, inTime, newCluster, over, realTimers, write } from "./world/cluster-scenario.js";
import type { ClusterStep } from "./world/cluster-step.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";

beforeAll(fakeTimers);
afterAll(realTimers);

/** Where what is brought lies until it is whole. */
const INCOMING = `${DATA_DIRECTORY}/incoming`;

interface Strike {
  readonly hook: "frameWritten" | "frameArrived";
  readonly steps: readonly ClusterStep[];
}

const endOfSender = (how: "stopped" | "off"): Strike => ({
  hook: "frameWritten",
  steps: [{ type: "end", node: 0, how, operation: 0, downMs: 50 }],
});

/** What comes between the two: then what was written still arrives, or as much of it as left in time, or nothing more. */
const STRIKES: Readonly<Record<string, Strike>> = {
  "a kill of its sender": endOfSender("stopped"),
  "a power cut of its sender": endOfSender("off"),
  "a lost connection": {
    hook: "frameArrived",
    steps: [
      { type: "cut", from: 0, to: 1, both: true, ms: 100 },
      { type: "drop", from: 0, to: 1 },
    ],
  },
};

describe("replication: a snapshot install that is interrupted", () => {
  for (const how of ["off", "stopped"] as const)
    test(`${how === "off" ? "by a power cut" : "by a kill"} in any operation of the disk begins again or goes on`, async () => {
      let ended = 0;
      const stride = factor > 1 ? 1 : 23;
      for (let operation = 1 + (seed % stride); operation < 2000; operation += stride) {
        const cluster = newCluster((seed + operation) % 2 ** 26, 1);
        try {
          const joining = await aboutToJoin(cluster);
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

  for (const [what, strike] of Object.entries(STRIKES))
    test(`by ${what} at any message begins again, and leaves nothing half done`, async () => {
      let [struck, halfway] = [0, 0];
      const stride = factor > 1 ? 1 : 5;
      for (let message = 1 + (seed % stride); ; message += stride) {
        const cluster = newCluster((seed + message) % 2 ** 26, 1);
        try {
          const joining = await aboutToJoin(cluster);
          const { wasMet, isHalf } = await joinsUntil(cluster, joining, message, strike);
          await checkCluster(cluster, await cluster.converge());
          expect(cluster.hostCounts.installs).toBe(1);
          const files = joining.serving?.files;
          expect(files && (await inTime(cluster, filesIn(files, INCOMING)))).toEqual([]);
          if (!wasMet) break;
          struck += 1;
          halfway += isHalf ? 1 : 0;
        } catch (error) {
          throw cluster.withTrace(error);
        } finally {
          over(cluster);
        }
      }
      expect(struck).toBeGreaterThan(1);
      expect(halfway).toBeGreaterThan(0);
    });
});

/** Begins the node that is to join, until it has everything, or something came between: that happens at this message. */
async function joinsUntil(
  cluster: Cluster,
  joining: ClusterNode,
  message: number,
  { hook, steps }: Strike,
): Promise<{ wasMet: boolean; isHalf: boolean }> {
  const { network, hostCounts } = cluster;
  const [from, to] = [cluster.node(0).name, joining.name];
  let said = 0;
  network[hook] = (...way) => {
    said += way[0] === from && way[1] === to ? 1 : 0;
    if (said !== message) return;
    network[hook] = () => undefined;
    for (const step of steps) cluster.take(step);
  };
  const start = joining.start();
  const upstream = () => joining.replication?.stats().upstream;
  let hadBegun = false;
  await cluster.time.until(() => {
    hadBegun ||= upstream()?.phase === "installing";
    return upstream()?.error !== undefined || hostCounts.installs > 0;
  }, 5000);
  network[hook] = () => undefined;
  const wasMet = upstream()?.error !== undefined;
  const isHalf = wasMet && hadBegun && hostCounts.installs === 0;
  await inTime(cluster, start);
  return { wasMet, isHalf };
}

async function filesIn(files: FileSystem, directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const below of [LOG_DIRECTORY, SNAPSHOT_DIRECTORY])
    if (await files.exists(`${directory}/${below}`))
      found.push(...(await files.list(`${directory}/${below}`)));
  return found;
}

/** The first node's log has lost its beginning, so that no log can be sent whole: the second one gets the snapshot when it joins. */
async function aboutToJoin(cluster: Cluster): Promise<ClusterNode> {
  await cluster.begin();
  const one = cluster.node(0);
  const large = Array.from({ length: 30 }, (_, n) => one.write(`${n} ${"x".repeat(300)}`, 0));
  await inTime(cluster, Promise.all(large));
  await inTime(cluster, one.retain());
  await write(cluster, one, 10, 0);
  expect(one.log?.firstOffset).toBeGreaterThan(1);
  return cluster.add();
}
