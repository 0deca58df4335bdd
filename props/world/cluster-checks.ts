/** Holds a set that has come together again to everything that replication promises. */
import { checkAcknowledged } from "../checkers/acknowledged.js";
import { checkByteEqual, segmentFiles } from "../checkers/byte-equal.js";
import { checkConvergence } from "../checkers/convergence.js";
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
  const acknowledged = checkAcknowledged(history.answered, history.promotions, (offset) => {
    if (offset < first) return null;
    const body = last?.records[offset - first]?.body;
    return body && Buffer.from(body).toString();
  });
  checkUnfenced(history.answered, history.promotions, history.fencedAnswers);
  checkTokens(history.reads);
  checkConvergence(seen.map(({ node, state }) => ({ node, ...state })));
  checkConvergence(seen.map(({ node, folded }) => ({ node, ...folded })));
  let segments = 0;
  for (const other of seen) if (last !== undefined && other !== last) segments += checkByteEqual(last, other);
  return { acknowledged, segments };
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
  };
}
