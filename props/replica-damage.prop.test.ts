/**
 * Promise: bytes that change on the disk of a replica cost nothing but the time to fetch them again, whatever else happens meanwhile:
 *
 *   1. damage anywhere in the log of a node that follows, running or stopped, heals by itself; the logs are equal again, byte for byte
 *   2. what was damaged is never sent on, never folded, and never read as data
 *   3. nothing that was confirmed is lost without force, though the one that confirmed it has lost it on its own disk
 *   4. two sound logs never compare as different
 *
 * Every world is held to all promises of replication (`props/world/cluster-checks.ts`) when it has come together again.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LogError, listQuarantined } from "../log/index.js";
import { factor, seed } from "./run-settings.js";
import type { Cluster } from "./world/cluster.js";
import { checkCluster } from "./world/cluster-checks.js";
import { isMended, owesNothing, spotsOf } from "./world/cluster-damage.js";
import type { ClusterNode } from "./world/cluster-node.js";
import { fakeTimers, inWorld, realTimers } from "./world/cluster-scenario.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";

beforeAll(fakeTimers);
afterAll(realTimers);

const WORLDS = 2;
/** A set has so long to mend itself before somebody looks after it. */
const BY_ITSELF_MS = 30_000;

interface Met {
  sealed: number;
  newest: number;
  running: number;
  stopped: number;
  healed: number;
  acknowledged: number;
  owed: number;
  readonly broken: unknown[];
}

function damage(cluster: Cluster, met: Met): void {
  const replicas = cluster.nodes.filter((node) => node !== cluster.leader && node.serving !== undefined);
  const node = replicas[Math.floor(cluster.random() * replicas.length)];
  const spots = node === undefined ? [] : spotsOf(node);
  const spot = spots[Math.floor(cluster.random() * spots.length)];
  if (node === undefined || spot === undefined) return;
  met[spot.isSealed ? "sealed" : "newest"] += 1;
  const isRunning = cluster.random() < 0.5;
  met[isRunning ? "running" : "stopped"] += 1;
  const position = Math.floor(cluster.random() * spot.bytes);
  cluster.note(`${node.name}: a bit of ${spot.path} at ${position} flips`);
  if (!isRunning)
    cluster.take({ type: "end", node: indexOf(cluster, node), how: "stopped", operation: 0, downMs: 300 });
  node.disk.flip(spot.path, position, 1 << Math.floor(cluster.random() * 8));
}

const indexOf = (cluster: Cluster, node: ClusterNode): number => cluster.nodes.indexOf(node);

/** Something else that happens, or nothing. */
function disturb(cluster: Cluster): void {
  const at = Math.floor(cluster.random() * 3);
  const drawn = cluster.random();
  const { leader } = cluster;
  if (drawn < 0.2) cluster.take({ type: "isolate", node: at, ms: 1_500 });
  else if (drawn < 0.35 && leader !== undefined)
    cluster.take({ type: "end", node: indexOf(cluster, leader), how: "off", operation: 0, downMs: 2_500 });
  else if (drawn < 0.5) cluster.take({ type: "promote", node: at, force: false });
  else if (drawn < 0.6) cluster.take({ type: "end", node: at, how: "off", operation: 5, downMs: 400 });
}

/** As a client reads what it was answered: it gets that, or is told of damage. */
function read(cluster: Cluster, node: ClusterNode, met: Met): void {
  const { answered } = cluster.history;
  const token = answered[Math.floor(cluster.random() * answered.length)];
  if (token === undefined) return;
  node.read(token).catch((error: unknown) => {
    if (!(error instanceof LogError && error.code === "LOG_CORRUPT")) met.broken.push(error);
  });
}

const checksOf = (node: ClusterNode): number => node.replication?.stats().counters.checks ?? 0;
const roundOf = (node: ClusterNode): number => (node.host?.logSegments()?.list().length ?? 0) + 1;

/** Who is fenced lends nothing. Where a promotion fenced the only sound node and came to nothing, somebody has to say who leads. */
async function leadAgain(cluster: Cluster): Promise<void> {
  const sound = cluster.nodes.find(({ log }) => log !== undefined);
  if (cluster.leader !== undefined || sound === undefined) return;
  await cluster.time.settled(sound.promote(true), BY_ITSELF_MS);
}

async function live(cluster: Cluster, met: Met): Promise<void> {
  await cluster.begin();
  await cluster.do({ type: "write", node: 0, acks: 1, count: 60 });
  for (let round = 0; round < 6; round += 1) {
    damage(cluster, met);
    disturb(cluster);
    read(cluster, cluster.node(round), met);
    await cluster.run([
      { type: "write", node: round, acks: 1, count: 4 },
      { type: "rest", ms: 600 },
    ]);
    met.owed += cluster.nodes.filter(
      ({ replication }) => replication?.stats().damage.owesSince !== undefined,
    ).length;
  }
  cluster.network.healAll();
  await cluster.time.pass(5_000);
  const areSound = (): boolean => cluster.nodes.every(isMended);
  if (!(await cluster.time.until(areSound, BY_ITSELF_MS))) await leadAgain(cluster);
  await cluster.must("everybody is sound, as far as is known", areSound);
  const winner = await cluster.converge();
  // Two rounds of looking, so that nothing stays unseen wherever the first one had begun.
  const looked = new Map(cluster.nodes.map((node) => [node, checksOf(node) + 2 * roundOf(node)]));
  const hasLooked = (node: ClusterNode): boolean =>
    node === winner || (checksOf(node) >= (looked.get(node) ?? 0) && isMended(node));
  await cluster.must("everything was looked at", () => cluster.nodes.every(hasLooked));
  await cluster.must("everybody has everything", () => cluster.nodes.every(owesNothing));
  const checked = await checkCluster(cluster, winner);
  if (met.broken.length > 0) throw met.broken[0];
  met.acknowledged += checked.acknowledged;
  for (const node of cluster.nodes) {
    const { counters, damage: last } = node.replication!.stats();
    expect(counters.mismatches, "mismatches").toBe(0);
    expect([last.known, last.owesSince, last.mismatch]).toEqual([[], undefined, undefined]);
    met.healed += (await cluster.time.settled(
      listQuarantined(node.serving!.files, DATA_DIRECTORY),
      5_000,
    ))!.value.length;
  }
}

describe("damage on replicas", () => {
  test("heals by itself, and loses nothing that was confirmed", async () => {
    const met: Met = {
      sealed: 0,
      newest: 0,
      running: 0,
      stopped: 0,
      healed: 0,
      acknowledged: 0,
      owed: 0,
      broken: [],
    };
    for (let round = 1; round <= WORLDS * factor; round += 1) {
      const world = (seed + round * 104_729) % 2 ** 26;
      await inWorld(world, (cluster) => live(cluster, met));
    }
    for (const what of ["sealed", "running", "stopped", "healed", "acknowledged"] as const)
      expect(met[what], what).toBeGreaterThan(0);
    if (factor > 1)
      for (const what of ["newest", "owed"] as const) expect(met[what], what).toBeGreaterThan(0);
  }, 900_000);
});
