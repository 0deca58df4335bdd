/** What named scenarios of a simulated set have in common: worlds that are begun, lived through, brought together, checked and ended. */
import { expect, vi } from "vitest";
import { factor, seed } from "../run-settings.js";
import { Cluster, type ClusterOptions } from "./cluster.js";
import { checkCluster } from "./cluster-checks.js";
import type { AsksFor, ClusterNode } from "./cluster-node.js";

const PATIENCE_MS = 30_000;

/** The log's own timers go by these; whoever uses worlds takes them in `beforeAll`, and gives them back. */
export const fakeTimers = (): void =>
  void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });

export const realTimers = (): void => void vi.useRealTimers();

export function newCluster(world: number, nodes = 3, options: Partial<ClusterOptions> = {}): Cluster {
  return new Cluster({ seed: world, nodes, moved: (by) => void vi.advanceTimersByTime(by), ...options });
}

/** The world is over. */
export function over(cluster: Cluster): void {
  cluster.end();
  vi.clearAllTimers();
}

/** Whatever lives in a new world; a failure brings its trace along, and the world ends with it. */
export async function inWorld(
  world: number,
  live: (cluster: Cluster) => Promise<void>,
  nodes = 3,
  options: Partial<ClusterOptions> = {},
): Promise<void> {
  const cluster = newCluster(world, nodes, options);
  try {
    await live(cluster);
  } catch (error) {
    throw cluster.withTrace(error);
  } finally {
    over(cluster);
  }
}

/** The scenario on so many worlds, each brought together and held to every promise afterwards. */
export async function onWorlds(
  worlds: number,
  scenario: (cluster: Cluster, world: number) => Promise<void>,
  nodes = 3,
  options: Partial<ClusterOptions> = {},
): Promise<void> {
  for (let round = 1; round <= worlds * factor; round += 1)
    await onWorld((seed + round * 7919) % 2 ** 26, scenario, nodes, options);
}

export async function onWorld(
  world: number,
  scenario: (cluster: Cluster, world: number) => Promise<void>,
  nodes = 3,
  options: Partial<ClusterOptions> = {},
): Promise<void> {
  const live = async (cluster: Cluster): Promise<void> => {
    await cluster.begin();
    // Whoever does not know yet whom to ask is refused without force, as it should be.
    await cluster.must("everybody has the list of all", () =>
      cluster.nodes.every((node) => node.replication?.stats().peers.length === nodes),
    );
    await scenario(cluster, world);
    await checkCluster(cluster, await cluster.converge());
  };
  await inWorld(world, live, nodes, options);
}

export const write = (cluster: Cluster, node: ClusterNode, count: number, acks: AsksFor): Promise<string[]> =>
  inTime(
    cluster,
    Promise.all(
      Array.from({ length: count }, (_, n) => node.write(`${node.name} ${n} ${cluster.time.ms}`, acks)),
    ),
  );

export async function answered(
  cluster: Cluster,
  node: ClusterNode,
  count: number,
  acks: AsksFor,
): Promise<void> {
  const outcomes = await write(cluster, node, count, acks);
  expect(outcomes).toEqual(Array.from({ length: count }, () => "answered"));
}

export async function inTime<Value>(cluster: Cluster, work: Promise<Value>): Promise<Value> {
  const done = await cluster.time.settled(work, PATIENCE_MS);
  if (done === undefined) throw new Error("it never ended");
  return done.value;
}

export const promote = (cluster: Cluster, node: ClusterNode, force = false): Promise<string> =>
  inTime(cluster, node.promote(force));

export function three(cluster: Cluster): [ClusterNode, ClusterNode, ClusterNode] {
  return [cluster.node(0), cluster.node(1), cluster.node(2)];
}

export function cutBoth(cluster: Cluster, a: ClusterNode, b: ClusterNode): void {
  cluster.network.cut(a.name, b.name);
  cluster.network.cut(b.name, a.name);
}

export function isolate(cluster: Cluster, node: ClusterNode): void {
  for (const other of cluster.nodes) if (other !== node) cutBoth(cluster, node, other);
}

export function hasEverything(node: ClusterNode, primary: ClusterNode): boolean {
  const follows = node.replication?.following?.host === primary.name;
  return follows && node.log?.durableOffset === primary.log?.endOffset;
}
