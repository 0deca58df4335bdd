/** Holds a set that has come together again to everything that replication promises. */

import { EPOCH_STARTED, type FileSystem, listDiverged, openLogView } from "../../log/index.js";
import { checkAcknowledged } from "../checkers/acknowledged.js";
import { checkByteEqual, segmentFiles } from "../checkers/byte-equal.js";
import { checkConvergence } from "../checkers/convergence.js";
import { checkEvidence } from "../checkers/evidence.js";
import { checkOneWriter } from "../checkers/one-writer.js";
import { checkReplicaPrefix } from "../checkers/replica-prefix.js";
import { checkTokens } from "../checkers/tokens.js";
import { checkUnfenced } from "../checkers/unfenced.js";
import type { Cluster } from "./cluster.js";
import { leadershipKey } from "./cluster-history.js";
import type { ClusterNode } from "./cluster-node.js";
import { foldFiles } from "./cluster-state.js";
import { readAll } from "./log-lives.js";
import { DATA_DIRECTORY } from "./log-settings.js";

export interface Checked {
  /** Confirmed writes that were found again. */
  readonly acknowledged: number;
  /** Pairs of segment files. */
  readonly segments: number;
  /** Answered records that were found under `diverged/`. */
  readonly aside: number;
}

export async function checkCluster(cluster: Cluster, winner: ClusterNode): Promise<Checked> {
  const look = async <Value>(work: Promise<Value>): Promise<Value> => {
    const done = await cluster.time.settled(work, 60_000);
    if (done === undefined) throw new Error("a log could not be read in a minute");
    return done.value;
  };
  const { history } = cluster;
  const seen = await look(Promise.all(cluster.nodes.map(seeNode)));
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
    return body && Buffer.from(body).toString();
  };
  const acknowledged = checkAcknowledged(history.answered, history.promotions, (offset) =>
    offset < first ? null : at(offset),
  );
  checkUnfenced(history.answered, history.promotions, history.fencedAnswers);
  checkTokens(history.reads);
  checkConvergence(seen.map(({ node, state }) => ({ node, ...state })));
  checkConvergence(seen.map(({ node, folded }) => ({ node, ...folded })));
  // What retention took is not looked for.
  const aside = cluster.outcomes.has("retain: retained")
    ? 0
    : checkEvidence(history.answered, at, new Map(seen.map(({ node, putAside }) => [node, putAside])));
  let segments = 0;
  for (const other of seen) if (last !== undefined && other !== last) segments += checkByteEqual(last, other);
  return { acknowledged, segments, aside };
}

async function seeNode(node: ClusterNode) {
  const { log, host } = node;
  const files = node.serving?.files;
  if (log === undefined || host === undefined || files === undefined)
    throw new Error(`${node.name} does not run`);
  return {
    node: node.name,
    epochs: log.epochs,
    records: await readAll(log),
    state: host.state,
    folded: await foldFiles(files, DATA_DIRECTORY, log),
    segments: await segmentFiles(files, DATA_DIRECTORY),
    putAside: new Set(await putAside(files)),
  };
}

/** The bodies of what a node has put aside, oldest first. */
export async function putAside(files: FileSystem): Promise<string[]> {
  const bodies: string[] = [];
  for (const { directory } of await listDiverged(files, DATA_DIRECTORY)) {
    const view = await openLogView(files, `${DATA_DIRECTORY}/${directory}`);
    if (view.endOffset < view.firstOffset) continue;
    for await (const batch of view.read(view.firstOffset))
      for (const { kind, body } of batch)
        if (kind !== EPOCH_STARTED) bodies.push(Buffer.from(body).toString());
  }
  return bodies;
}
