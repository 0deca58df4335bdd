/**
 * Damage in a simulated set: what a node has on its disk changes, and how the set gets over it. A node that follows mends itself; of one that
 * leads nobody but an operator can say what is to become of it: another one takes its place, and it follows.
 */
import {
  LOG_DIRECTORY,
  LogError,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  segmentName,
} from "../../log/index.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import type { ClusterNode } from "./cluster-node.js";
import type { ClusterView } from "./cluster-view.js";
import { DATA_DIRECTORY } from "./log-settings.js";
import type { SimulatedFile } from "./simulated-file.js";

export type DamageHow = "bit" | "header" | "sector";

const SECTOR_BYTES = 512;
const READS_MS = 15_000;
/** Longer than a look, and a mending from a node that is there. */
const MENDS_MS = 3000;
const SWITCHES_MS = 30_000;
/** Where one thing is damaged at a time more looks find nothing more. */
const LOOKS = 12;

export interface Spot {
  readonly path: string;
  readonly isSealed: boolean;
  readonly first: number;
  /** Of the segment, as it is now. */
  readonly last: number;
  /** Of its file; zeros that were written ahead do not count. */
  readonly bytes: number;
}

/**
 * The segments of a node in which everything is durable, oldest first, whether it runs or not. Of one that leads the sealed ones: what its newest
 * segment alone holds nobody could have again.
 */
export function spotsOf(node: ClusterNode): Spot[] {
  const { disk, lastSeen } = node;
  const directory = `${DATA_DIRECTORY}/${LOG_DIRECTORY}`;
  const entry = disk.directories.find(directory);
  if (lastSeen === undefined || entry?.type !== "directory") return [];
  const { durable, end, following } = lastSeen;
  const bases = [...entry.entries.keys()]
    .flatMap((name) => parseSegmentName(name) ?? [])
    .sort((a, b) => a - b);
  return bases.flatMap((first, i) => {
    const isSealed = i < bases.length - 1;
    const last = (bases[i + 1] ?? end + 1) - 1;
    const path = `${directory}/${segmentName(first)}`;
    const bytes = written(disk.directories.file(path, "damage"));
    const isHeld = last >= first && last <= durable && bytes > SEGMENT_HEADER_BYTES;
    return isHeld && (isSealed || following) ? [{ path, isSealed, first, last, bytes }] : [];
  });
}

function written(file: SimulatedFile): number {
  const bytes = bytesAt(file, 0, file.size);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

/**
 * Undefined when there is nothing that could be damaged. What is damaged on one disk stays sound on the others, and one node with a log is never
 * damaged at all: else nobody could have it again, or all would wait for each other with their logs closed.
 */
export function damage(cluster: ClusterView, node: ClusterNode, how: DamageHow): Spot | undefined {
  const { random, history } = cluster;
  const isSpared = (other: ClusterNode): boolean =>
    other !== node && !other.isGone && (other.lastSeen?.end ?? 0) > 0 && !history.isDamaged(other.name);
  if (!cluster.nodes.some(isSpared)) return undefined;
  const isSoundElsewhere = ({ first, last }: Spot): boolean =>
    history.damages.every((one) => one.node === node.name || one.last < first || last < one.first);
  const spots = spotsOf(node).filter(isSoundElsewhere);
  const spot = spots[Math.floor(random() * spots.length)];
  if (spot === undefined) return undefined;
  const { path, isSealed, first, last, bytes } = spot;
  const position = Math.floor(random() * (how === "header" ? SEGMENT_HEADER_BYTES : bytes));
  const file = node.disk.directories.file(path, "damage");
  const sound = bytesAt(file, position, how === "sector" ? SECTOR_BYTES : 1);
  if (how === "sector") node.disk.wipe(path, position, Math.min(SECTOR_BYTES, bytes - position));
  else node.disk.flip(path, position, 1 << Math.floor(random() * 8));
  const changed = bytesAt(file, position, sound.length);
  const isThere = (): boolean => {
    const now = bytesAt(file, position, sound.length);
    return (
      node.disk.directories.find(path) === file &&
      now.some((byte, i) => byte !== sound[i] && byte === changed[i])
    );
  };
  const role = node.lastSeen?.following === true ? "replica" : "primary";
  cluster.note(`${node.name}: a ${how} of ${path} at ${position} changes`);
  cluster.tally(`damage ${role} ${isSealed ? "sealed" : "newest"}`);
  history.damage({ node: node.name, first, last, isSealed, isThere });
  return spot;
}

function bytesAt(file: SimulatedFile, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, file.read(bytes, position));
}

/** It knows of no damage. */
export function isMended(node: ClusterNode): boolean {
  const found = node.serving?.replication.stats().damage;
  return found !== undefined && found.known.length === 0 && found.opening === undefined;
}

/** It has everything that it confirmed. */
export function owesNothing({ log, replication }: ClusterNode): boolean {
  return log !== undefined && replication?.stats().damage.owesSince === undefined;
}

/** Reads all that a node has of which something was damaged. The segment in which something still is; "closed" while its log is being opened. */
async function damageOf(cluster: ClusterView, node: ClusterNode): Promise<Look> {
  if (!cluster.history.isDamaged(node.name)) return "sound";
  const segments = node.serving?.host.logSegments();
  if (segments === undefined) return "closed";
  try {
    const looked = await cluster.time.settled(
      segments.checkNewest(() => false),
      READS_MS,
    );
    if (looked === undefined) return "closed";
    if (looked.value.type === "sound") return "sound";
    // As if a read had met it.
    const { first } = looked.value;
    segments.noticed.next(first);
    return { first };
  } catch (error) {
    if (error instanceof LogError && error.code === "LOG_CLOSED") return "closed";
    throw error;
  }
}

type Look = "sound" | "closed" | { readonly first: number };

/** Every node that follows looks at what is damaged, until nothing is. What nobody keeps any more an operator has fetched anew. */
export async function heal(cluster: ClusterView, winner: ClusterNode): Promise<void> {
  for (const node of cluster.nodes) if (node !== winner) await healOne(cluster, node);
}

async function healOne(cluster: ClusterView, node: ClusterNode): Promise<void> {
  const { time } = cluster;
  const isWell = (): boolean => isMended(node) && owesNothing(node) && cluster.hasAll(node);
  for (let left = LOOKS; left > 0; left -= 1) {
    const look = await damageOf(cluster, node);
    if (look === "sound" && isWell()) return;
    await time.pass(50);
    if (await time.until(isWell, MENDS_MS)) continue;
    cluster.tally("operator resynced a damaged replica");
    cluster.note(`operator resyncs ${node.name}: ${(await time.settled(node.resync(), MENDS_MS))?.value}`);
    await time.until(isWell, MENDS_MS);
  }
  throw new PromiseBroken("healing", `${node.name} does not heal: ${cluster.describe()}`);
}

/** It does not start, because of damage. */
export function isRefusedByDamage({ serving, startError }: ClusterNode): boolean {
  return serving === undefined && startError instanceof LogError && startError.code === "LOG_CORRUPT";
}

/** A primary that does not start, because of damage, is started as a replica: then it mends itself. */
export function turnDamaged(cluster: ClusterView): void {
  const { nodes, leader } = cluster;
  for (const node of nodes) {
    // What it was told while it ran holds until its settings change.
    const isNews = (one: ClusterNode): boolean => one !== node && one.name !== node.configuredMaster;
    const other = leader !== undefined && isNews(leader) ? leader : nodes.find(isNews);
    if (!isRefusedByDamage(node) || other === undefined) continue;
    cluster.tally("operator turned a damaged primary");
    cluster.note(`operator turns ${node.name} to ${other.name}`);
    node.turn(other.address);
  }
}

/** Whoever leads with damage says so, and gives way to one that has none. @returns whom all are to follow */
export async function replaceDamaged(cluster: ClusterView, winner: ClusterNode): Promise<ClusterNode> {
  const look = await damageOf(cluster, winner);
  if (look === "sound") return winner;
  const isTold = (): boolean =>
    look === "closed" ||
    winner.replication?.stats().damage.known.some(({ first }) => first === look.first) === true;
  await cluster.must(`${winner.name} says that its disk is damaged`, isTold);
  const { time, nodes } = cluster;
  const others = nodes
    .filter((node) => node !== winner)
    .sort((a, b) => (b.log?.durableOffset ?? 0) - (a.log?.durableOffset ?? 0));
  for (const force of [false, false, true])
    for (const other of others) {
      if ((await damageOf(cluster, other)) !== "sound") await time.pass(MENDS_MS);
      const outcome = await time.settled(force ? other.promote(true) : winner.switchOver(other), SWITCHES_MS);
      cluster.note(`operator replaces ${winner.name} by ${other.name}: ${outcome?.value}`);
      cluster.tally(`operator replaced a damaged primary: ${outcome?.value}`);
      if (outcome?.value === "switched" || outcome?.value === "promoted") return other;
    }
  throw new PromiseBroken("healing", `nobody is sound: ${cluster.describe()}`);
}
