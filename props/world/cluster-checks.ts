/** Holds a set that has come together again to everything that replication promises. */

import { EPOCH_STARTED, type FileSystem, findingOf, listDiverged, openLogView } from "../../log/index.js";
import { checkAcknowledged } from "../checkers/acknowledged.js";
import { checkByteEqual, segmentFiles } from "../checkers/byte-equal.js";
import { checkConvergence } from "../checkers/convergence.js";
import { checkEvidence } from "../checkers/evidence.js";
import { checkFencedWrites } from "../checkers/fenced-writes.js";
import { checkHandedOver } from "../checkers/handed-over.js";
import { checkHeld } from "../checkers/held.js";
import { checkListed } from "../checkers/listed.js";
import { checkMismatch } from "../checkers/mismatch.js";
import { checkOneWriter } from "../checkers/one-writer.js";
import { checkPrimaryClock } from "../checkers/primary-clock.js";
import { checkReplicaPrefix } from "../checkers/replica-prefix.js";
import { checkRefusedTokens, checkTokens } from "../checkers/tokens.js";
import { checkTooFew } from "../checkers/too-few.js";
import { checkUnfenced } from "../checkers/unfenced.js";
import type { Cluster } from "./cluster.js";
import { type AnsweredWrite, bodyText, leadershipKey, leadershipOf } from "./cluster-history.js";
import type { ClusterNode } from "./cluster-node.js";
import { readAll } from "./log-lives.js";
import { DATA_DIRECTORY } from "./log-settings.js";

/** Time goes on while disks are read: this is not how long it takes. */
const READ_MS = 600_000;

export interface Checked {
  /** Confirmed writes that were found again. */
  readonly acknowledged: number;
  /** Pairs of segment files. */
  readonly segments: number;
  /** Answered records that were found under `diverged/`, on any node. */
  readonly aside: number;
  /** Writes that were taken under `min_replicas_for_write`. */
  readonly guarded: number;
  readonly handovers: number;
}

export async function checkCluster(cluster: Cluster, winner: ClusterNode): Promise<Checked> {
  const look = async <Value>(work: Promise<Value>): Promise<Value> => {
    const done = await cluster.time.settled(work, READ_MS);
    if (done === undefined) throw new Error("a log could not be read");
    return done.value;
  };
  const { history } = cluster;
  const seen = await look(
    Promise.all(cluster.nodes.map((node) => seeNode(node, history.isDamaged(node.name)))),
  );
  checkReplicaPrefix(
    seen.map(({ node, epochs, records }) => ({ node, epochs, records })),
    (entry, offset) => history.appended.get(leadershipKey(entry))?.get(offset)?.body,
  );
  const ids = new Map(cluster.nodes.map(({ nodeId, name }) => [nodeId, name]));
  checkOneWriter([
    ...[...history.appended.values()].flatMap((under) => [...under.values()]),
    ...seen.flatMap(({ epochs }) =>
      epochs.map(({ epoch, lineageId, nodeId }) => ({ epoch, lineageId, node: ids.get(nodeId) ?? nodeId })),
    ),
  ]);
  const last = seen.find(({ node }) => node === winner.name);
  const first = last?.records[0]?.offset ?? 1;
  const at = (offset: number): string | undefined => {
    const body = last?.records[offset - first]?.body;
    return body && bodyText(body);
  };
  const found = (offset: number): string | undefined | null => (offset < first ? null : at(offset));
  const { answered, promotions, forgotten } = history;
  const isStillThere = (write: AnsweredWrite): boolean => !history.wasCutByDamage(write);
  const acknowledged = checkAcknowledged(answered.filter(isStillThere), promotions, found, forgotten);
  checkWhileItRan(cluster);
  // Whoever was passed over by force takes the word of the older primary.
  if (!promotions.some(({ forced }) => forced)) checkRefusedTokens(history.refusedReads, at);
  checkConvergence(seen.map(({ node, state }) => ({ node, ...state })));
  checkConvergence(seen.map(({ node, folded }) => ({ node, ...folded })));
  checkPrimaryClock(
    winner.now,
    cluster.nodes
      .filter((node) => node !== winner)
      .map(({ name, replication }) => ({ node: name, shown: replication?.primaryTime })),
  );
  checkListed(
    winner.name,
    winner.replication?.stats().peers.map(({ nodeId }) => nodeId) ?? [],
    cluster.nodes.map(({ nodeId }) => nodeId),
  );
  // What retention took from the last log as well was of its history, or it is not in the set any more.
  const isCovered = (write: AnsweredWrite): boolean =>
    last !== undefined && write.offset < first && history.includes(leadershipOf(last), write);
  const isKept = (write: AnsweredWrite): boolean =>
    !isCovered(write) &&
    !history.wasDamaged(write) &&
    !history.wentWithPower(write) &&
    !history.wasLetGo(write);
  const beside = new Map(seen.map(({ node, putAside }) => [node, putAside]));
  const held = history.answered.flatMap((write) =>
    [write.node, ...write.holders].map((node) => ({ ...write, node })),
  );
  const aside = checkEvidence(held.filter(isKept), at, beside);
  checkMismatch(
    cluster.nodes.map(({ name, replication }) => ({ node: name, ...replication?.stats().damage })),
  );
  let segments = 0;
  for (const other of seen) if (last !== undefined && other !== last) segments += checkByteEqual(last, other);
  const { guarded, handedOver } = history;
  return { acknowledged, segments, aside, guarded: guarded.length, handovers: handedOver.length };
}

/** What shows in the moment, whatever becomes of the set. */
export function checkWhileItRan({ history, begunWith }: Pick<Cluster, "history" | "begunWith">): void {
  const { answered, promotions, forgotten } = history;
  checkHeld(answered, promotions.some(({ forced }) => forced) ? 0 : begunWith - forgotten.size);
  checkUnfenced(answered, promotions, history.fencedAnswers);
  checkFencedWrites(history.fencedWrites, history.fencedWaits);
  checkTooFew(history.guarded);
  checkHandedOver(history.handedOver, answered);
  checkTokens(history.reads.filter(({ token }) => !history.wentWithPower({ at: 0, ...token })));
}

async function seeNode(node: ClusterNode, isDamaged: boolean) {
  const { log, host } = node;
  const files = node.serving?.files;
  if (log === undefined || host === undefined || files === undefined)
    throw new Error(`${node.name} does not run`);
  return {
    node: node.name,
    epochs: log.epochs,
    records: await readAll(log),
    state: host.state ?? { offset: 0, digest: "there is no state" },
    folded: await host.folded(),
    segments: await segmentFiles(files, DATA_DIRECTORY),
    putAside: await evidenceOf(files, isDamaged),
  };
}

/** The bodies of what a node has put aside, oldest first. */
export async function putAside(files: FileSystem): Promise<string[]> {
  const bodies: string[] = [];
  for (const directory of await divergedOf(files)) bodies.push(...(await bodiesIn(files, directory)));
  return bodies;
}

/** What was damaged when it was put aside is read as bytes: whoever looks for something there will find it. */
async function evidenceOf(files: FileSystem, isDamaged: boolean): Promise<Pick<Set<string>, "has">> {
  const bodies = new Set<string>();
  const pieces: string[] = [];
  for (const directory of await divergedOf(files))
    try {
      for (const body of await bodiesIn(files, directory)) bodies.add(body);
    } catch (error) {
      if (!isDamaged || findingOf(error) === undefined) throw error;
      for (const bytes of (await segmentFiles(files, directory)).values()) pieces.push(bodyText(bytes));
    }
  return { has: (body) => bodies.has(body) || pieces.some((piece) => piece.includes(body)) };
}

async function divergedOf(files: FileSystem): Promise<string[]> {
  const found = await listDiverged(files, DATA_DIRECTORY);
  return found.map(({ directory }) => `${DATA_DIRECTORY}/${directory}`);
}

async function bodiesIn(files: FileSystem, directory: string): Promise<string[]> {
  const view = await openLogView(files, directory);
  const bodies: string[] = [];
  if (view.endOffset < view.firstOffset) return bodies;
  for await (const batch of view.read(view.firstOffset))
    for (const { kind, body } of batch) if (kind !== EPOCH_STARTED) bodies.push(bodyText(body));
  return bodies;
}
