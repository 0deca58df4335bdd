/**
 * Damage in a simulated set: bits that change in what a node has on its disk, and how the set gets over it. A node that follows mends itself; of
 * one that leads nobody but an operator can say what is to become of it: another one takes its place, and it follows.
 */
import { segmentName } from "../../log/index.js";
import type { ClusterNode } from "./cluster-node.js";
import type { ClusterView } from "./cluster-view.js";
import { DATA_DIRECTORY } from "./log-settings.js";

const MENDS_MS = 15_000;

export interface Flipped {
  readonly isSealed: boolean;
}

/**
 * Changes a bit of one of its segments. Of a node that leads a sealed one: what its newest segment alone holds nobody could have again.
 * Undefined when there is nothing to damage.
 */
export function flipSomewhere(cluster: ClusterView, node: ClusterNode): Flipped | undefined {
  const { random, history } = cluster;
  const segments = node.serving?.host.logSegments();
  const log = node.log;
  if (segments === undefined || log === undefined) return undefined;
  const sealed = segments.list().filter(({ last }) => last <= log.durableOffset);
  const which = Math.floor(random() * (sealed.length + (log.following ? 1 : 0)));
  const extent = sealed[which];
  if (extent === undefined && (!log.following || segments.tail > log.durableOffset)) return undefined;
  const all = segments.list().reduce((sum, { bytes }) => sum + bytes, 0);
  const bytes = extent?.bytes ?? segments.usage().bytes - all;
  const file = segmentName(extent?.first ?? segments.tail);
  const position = Math.floor(random() * bytes);
  cluster.note(`${node.name}: a bit of ${file} at ${position} changes`);
  cluster.tally(
    `damage ${log.following ? "replica" : "primary"} ${extent === undefined ? "newest" : "sealed"}`,
  );
  node.disk.flip(`${DATA_DIRECTORY}/log/${file}`, position, 1 << Math.floor(random() * 8));
  history.damages.push({ node: node.name, file, position });
  return { isSealed: extent !== undefined };
}

/** As far as it knows, and everything that it confirmed it has. */
export function isSound(node: ClusterNode): boolean {
  const damage = node.serving?.replication.stats().damage;
  return (
    damage !== undefined &&
    damage.known.length === 0 &&
    damage.opening === undefined &&
    damage.owesSince === undefined &&
    node.log !== undefined
  );
}

const checksOf = (node: ClusterNode): number => node.replication?.stats().counters.checks ?? 0;
const roundOf = (node: ClusterNode): number => (node.host?.logSegments()?.list().length ?? 0) + 1;

/** Every node that follows has looked at all that it has, twice, so that nothing stays unseen wherever the first round had begun. */
export async function allLooked(cluster: ClusterView, winner: ClusterNode): Promise<void> {
  const looked = new Map(cluster.nodes.map((node) => [node, checksOf(node) + 2 * roundOf(node)]));
  const hasLooked = (node: ClusterNode): boolean =>
    node === winner || (checksOf(node) >= (looked.get(node) ?? 0) && isSound(node));
  await cluster.must("everything was looked at", () => cluster.nodes.every(hasLooked));
}

/** A primary that does not start, because of damage, is started as a replica: then it mends itself. */
export function turnDamaged(cluster: ClusterView): void {
  const { nodes, history, leader } = cluster;
  for (const node of nodes) {
    const other = leader ?? nodes.find((one) => one !== node);
    if (node.serving !== undefined || !history.isDamaged(node.name) || other === undefined) continue;
    cluster.tally("operator turned a damaged primary");
    node.turn(other.address);
  }
}

/** Reads all that the node has. */
export async function isDamaged(cluster: ClusterView, node: ClusterNode): Promise<boolean> {
  const segments = node.serving?.host.logSegments();
  if (segments === undefined || !cluster.history.isDamaged(node.name)) return segments === undefined;
  const found = await cluster.time.settled(
    segments.checkNewest(() => false),
    MENDS_MS,
  );
  return found?.value.type !== "sound";
}

/** Whoever leads with damage gives way to one that has none. @returns whom all are to follow */
export async function replaceDamaged(cluster: ClusterView, winner: ClusterNode): Promise<ClusterNode> {
  if (!(await isDamaged(cluster, winner))) return winner;
  const { time, nodes } = cluster;
  const others = nodes
    .filter((node) => node !== winner)
    .sort((a, b) => (b.log?.durableOffset ?? 0) - (a.log?.durableOffset ?? 0));
  for (const force of [false, true])
    for (const other of others) {
      if (await isDamaged(cluster, other)) continue;
      const outcome = force
        ? await time.settled(other.promote(true), MENDS_MS)
        : await time.settled(winner.switchOver(other), MENDS_MS);
      cluster.note(`operator replaces ${winner.name} by ${other.name}: ${outcome?.value}`);
      cluster.tally(`operator replaced a damaged primary: ${outcome?.value}`);
      if (outcome?.value === "switched" || outcome?.value === "promoted") return other;
    }
  throw new Error(`nobody is sound: ${cluster.describe()}`);
}
