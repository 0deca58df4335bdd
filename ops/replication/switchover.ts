/**
 * A planned change of the primary, led by the one that is: it holds its writes until the other has everything, lets that one be promoted,
 * and points the rest there. Nothing that was answered is lost; writes are refused (503, try again) meanwhile. Whatever goes wrong before
 * the other leads leaves everything as it was.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { errorTable, type Refusal, refusal, type SwitchoverReport } from "../../api/index.js";
import {
  type Address,
  type PeerStats,
  ReplicationError,
  type ReplicationNode,
} from "../../replication/index.js";
import { parseAddress } from "./address.js";

/** Writes are held no longer than this. */
const HELD_MS = 3000;
const ANSWER_MS = 2500;
const AGAIN_MS = 20;

interface NodeAnswer {
  readonly ok: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

/** @throws ReplicationError as `drain` and `follow`. */
export async function switchOver(node: ReplicationNode, to: string): Promise<SwitchoverReport | Refusal> {
  const { peers } = node.stats();
  const target = nodeCalled(peers, to);
  if ("type" in target) return target;
  const { http, address } = target;
  const parsed = address === undefined ? undefined : parseAddress(address);
  if (http === undefined || address === undefined || parsed === undefined) {
    return refusal("REPLICATION_NOT_READY", `where ${target.name} is reached is not known`);
  }
  const since = performance.now();
  await node.drain(target.nodeId, HELD_MS);
  const promoted = await tell(http, "promote", {});
  if (!promoted.ok) {
    node.endDrain();
    return refusedThere(target, promoted);
  }
  const heldMs = Math.round(performance.now() - since);
  const follows = await followSoon(node, parsed);
  const others = peers.filter((peer) => !peer.isSelf && peer !== target && !isFedByOther(peer, peers));
  const told = await Promise.all(
    others.map(async (peer) => {
      const answer = peer.http === undefined ? undefined : await tell(peer.http, "follow", { address });
      return { name: peer.name, ok: answer?.ok === true };
    }),
  );
  return {
    type: "switched",
    to: target.name,
    epoch: Number(promoted.body["epoch"]),
    offset: Number(promoted.body["offset"]),
    heldMs,
    repointed: told.filter(({ ok }) => ok).map(({ name }) => name),
    notRepointed: [...told.filter(({ ok }) => !ok), ...(follows ? [] : [node.stats()])].map(
      ({ name }) => name,
    ),
  };
}

/** Replicas of replicas stay where they are: whoever feeds them follows the new primary, and they with it. */
function isFedByOther({ follows }: PeerStats, peers: readonly PeerStats[]): boolean {
  const feeder = peers.find(({ nodeId }) => nodeId === follows);
  return feeder !== undefined && !feeder.isSelf;
}

/** It has heard of the promotion, and follows by itself as soon as it may; or it is told to. */
async function followSoon(node: ReplicationNode, address: Address): Promise<boolean> {
  const until = performance.now() + ANSWER_MS;
  while (performance.now() < until) {
    if (node.role === "replica") return true;
    try {
      await node.follow(address);
      return true;
    } catch (error) {
      if (!(error instanceof ReplicationError) || error.code !== "REPLICATION_CHANGING") throw error;
      await sleep(AGAIN_MS);
    }
  }
  return node.role === "replica";
}

/** The other node that is named so. */
export function nodeCalled(peers: readonly PeerStats[], called: string): PeerStats | Refusal {
  const others = peers.filter(({ isSelf }) => !isSelf);
  const [found, ...more] = others.filter((peer) => isCalled(peer, called));
  if (found !== undefined && more.length === 0) return found;
  const names = others.map(({ name }) => name).join(", ") || "none";
  const many = more.length > 0 ? "more than one node is" : "no node is";
  return refusal("API_NODE_UNKNOWN", `${many} called ${called}; those known are ${names}`);
}

function isCalled({ nodeId, name, address, http }: PeerStats, to: string): boolean {
  const isId = to.length >= 4 && nodeId.startsWith(to);
  return isId || name === to || address === to || (http !== undefined && http === to.replace(/\/$/, ""));
}

async function tell(http: string, command: string, body: object): Promise<NodeAnswer> {
  try {
    const answer = await fetch(new URL(`/api/replication/${command}`, http), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const json: unknown = await answer.json();
    return { ok: answer.ok, body: typeof json === "object" && json !== null ? { ...json } : {} };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { ok: false, body: { error: cause instanceof Error ? cause.message : String(cause) } };
  }
}

function refusedThere({ name }: PeerStats, { body }: NodeAnswer): Refusal {
  const code = String(body["error_code"]);
  const known = isCode(code) ? code : "REPLICATION_NOT_READY";
  return refusal(known, `${name} was not promoted, and this node goes on: ${String(body["error"])}`);
}

const isCode = (code: string): code is keyof typeof errorTable => Object.hasOwn(errorTable, code);
