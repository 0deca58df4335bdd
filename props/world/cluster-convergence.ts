/** Brings a simulated set together when its faults are over, as an operator would, and asks it for one more write. */
import { isHigher } from "../../replication/leadership-order.js";
import { heal, isRefusedByDamage, replaceDamaged, turnDamaged } from "./cluster-damage.js";
import type { ClusterNode } from "./cluster-node.js";
import type { ClusterSteps } from "./cluster-steps.js";
import type { ClusterView } from "./cluster-view.js";

/** How long a set has to come together by itself before somebody looks after it. */
const BY_ITSELF_MS = 20_000;
/** Where nobody leads by then, nobody will without being told. */
const LEADS_BY_MS = 4000;
/** Some heartbeats: everybody has heard what the primary says of the time. */
const HEARTBEATS_MS = 600;
const TRIES = 8;

/** Everything runs and reaches everything. @returns whom all follow in the end */
export async function bringTogether(cluster: ClusterView, steps: ClusterSteps): Promise<ClusterNode> {
  const { network, nodes, time } = cluster;
  network.healAll();
  for (const node of nodes) {
    node.disk.disarm();
    node.resume();
  }
  await cluster.must("everything begun has ended", () => steps.pending === 0);
  for (const node of nodes) restart(node, steps);
  await cluster.must("everybody runs, or cannot", () =>
    nodes.every((node) => node.serving !== undefined || isRefusedByDamage(node)),
  );
  turnDamaged(cluster);
  await cluster.must("everybody runs", () => nodes.every((node) => node.serving !== undefined));
  const ledBy = time.ms + LEADS_BY_MS;
  const isInVain = (): boolean => time.ms >= ledBy && cluster.leader === undefined;
  await time.until(() => cluster.areOne() || isInVain(), BY_ITSELF_MS);
  if (cluster.areOne()) cluster.tally("came together by itself");
  const first = await winnerOf(cluster);
  const winner = await replaceDamaged(cluster, first);
  for (const node of nodes) if (node !== winner) await bring(cluster, node, winner);
  await cluster.must("all logs are equal", () => cluster.areOne());
  await writeOnce(cluster, winner);
  for (const node of nodes) node.host?.rest();
  await cluster.must("all logs are equal again", () => cluster.areOne());
  await heal(cluster, winner);
  await time.pass(HEARTBEATS_MS);
  return winner;
}

/** Who was struck off comes back after all; and who never syncs does from now on, or nobody could say when it has everything. */
function restart(node: ClusterNode, steps: ClusterSteps): void {
  const isDown = node.machine.state === "stopped" || node.machine.state === "off";
  const neverSyncs = node.fsyncMode === "never";
  node.fsyncMode = neverSyncs ? "periodic" : node.fsyncMode;
  if (neverSyncs && !isDown) node.end("stopped");
  if (node.isGone || (neverSyncs && !isDown)) void steps.started(node);
  node.isGone = false;
}

async function writeOnce(cluster: ClusterView, winner: ClusterNode): Promise<void> {
  const acks = cluster.nodes.length - 1;
  let outcome: { readonly value: string } | undefined;
  // Its state may have something against one command, not against every kind.
  for (let left = TRIES; left > 0 && (outcome === undefined || outcome.value === "rejected"); left -= 1)
    outcome = await cluster.time.settled(winner.write("the last one", acks), 30_000);
  if (outcome?.value !== "answered")
    throw new Error(`a healed set does not confirm a write: ${outcome?.value} ${cluster.describe()}`);
}

async function winnerOf(cluster: ClusterView): Promise<ClusterNode> {
  const { leader, nodes } = cluster;
  if (leader !== undefined) return leader;
  // Nobody leads: who has most is made to.
  const bestFirst = [...nodes].sort((a, b) => {
    const [own, other] = [a.replication?.own, b.replication?.own];
    if (isHigher(own, other)) return -1;
    if (isHigher(other, own)) return 1;
    return (b.log?.endOffset ?? 0) - (a.log?.endOffset ?? 0);
  });
  cluster.tally("operator promoted");
  // The best one is not to be had when its disk is damaged.
  const candidates = cluster.history.damages.length > 0 ? bestFirst : bestFirst.slice(0, 1);
  for (const force of [false, false, true])
    for (const node of candidates) {
      const outcome = await cluster.time.settled(node.promote(force), 30_000);
      cluster.note(`operator promotes ${node.name}: ${outcome?.value}`);
      if (outcome?.value === "promoted") return node;
    }
  throw new Error(`nobody can be promoted: ${cluster.describe()}`);
}

async function bring(cluster: ClusterView, node: ClusterNode, winner: ClusterNode): Promise<void> {
  const { time } = cluster;
  node.replication?.resetBreaker();
  // Also one behind another: what it confirms the primary hears of.
  const isNear = (): boolean => cluster.hasAll(node);
  if (await time.until(isNear, 5000)) return;
  cluster.tally("operator pointed");
  const outcome = await time.settled(node.follow(winner.address), 30_000);
  cluster.note(`operator points ${node.name} to ${winner.name}: ${outcome?.value}`);
  if (await time.until(isNear, 10_000)) return;
  cluster.tally("operator resynced");
  await time.settled(node.resync(), 10_000);
}
