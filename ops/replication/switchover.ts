/**
 * A planned change of the primary, led by the one that is: it holds its writes until the other has everything, lets that one be promoted,
 * and points the rest there. Nothing that was answered is lost; writes are refused (503, try again) meanwhile. Whatever goes wrong before
 * the other leads leaves everything as it was.
 */
import { errorTable, type Refusal, refusal, type SwitchoverReport } from "../../api/index.js";
import {
  type Address,
  type Clock,
  type PeerStats,
  ReplicationError,
  type ReplicationNode,
  systemClock,
} from "../../replication/index.js";
import { parseAddress } from "./address.js";

/** Writes are held no longer than this. */
const HELD_MS = 3000;
const ANSWER_MS = 2500;
/** The others are told when the new primary leads already: nobody waits for them but whoever asked for all this. */
const REPOINT_MS = 10_000;
const AGAIN_MS = 20;

export interface NodeAnswer {
  readonly ok: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Through which the other nodes are told. */
export interface SwitchoverDoor {
  readonly clock: Pick<Clock, "stopwatch" | "after">;
  /** Asks a node's API for a command. Never rejects: no answer in `msMax` is one that is not ok. */
  tell(http: string, command: string, body: object, msMax: number): Promise<NodeAnswer>;
}

const OVER_HTTP: SwitchoverDoor = { clock: systemClock, tell };

/** @throws ReplicationError as `drain` and `follow`. */
export async function switchOver(
  node: ReplicationNode,
  to: string,
  door: SwitchoverDoor = OVER_HTTP,
): Promise<SwitchoverReport | Refusal> {
  const { clock } = door;
  const { peers } = node.stats();
  const target = nodeCalled(peers, to);
  if ("type" in target) return target;
  const { http, address } = target;
  const parsed = address === undefined ? undefined : parseAddress(address);
  if (http === undefined || address === undefined || parsed === undefined) {
    return refusal("REPLICATION_NOT_READY", `where ${target.name} is reached is not known`);
  }
  const since = clock.stopwatch();
  await node.drain(target.nodeId, HELD_MS);
  const promoted = await door.tell(http, "promote", {}, ANSWER_MS);
  if (!promoted.ok) {
    node.endDrain();
    return refusedThere(target, promoted);
  }
  const heldMs = Math.round(clock.stopwatch() - since);
  const follows = await followSoon(() => followHere(node, parsed), ANSWER_MS, clock);
  const others = peers.filter((peer) => !peer.isSelf && peer !== target && !isFedByOther(peer, peers));
  const told = await Promise.all(
    others.map(async (peer) => {
      const { http, name } = peer;
      const ask = (msMax: number) => followThere(http, address, msMax, door);
      return { name, ok: await followSoon(ask, REPOINT_MS, clock) };
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

type Followed = boolean | "changing";

/** It has heard of the promotion, and follows by itself as soon as it may; or it is told to. Not before it has done what it is at. */
async function followSoon(
  ask: (msMax: number) => Promise<Followed>,
  msMax: number,
  clock: SwitchoverDoor["clock"],
): Promise<boolean> {
  const until = clock.stopwatch() + msMax;
  for (;;) {
    const leftMs = until - clock.stopwatch();
    const follows = await ask(Math.max(1, Math.ceil(leftMs)));
    if (follows !== "changing") return follows;
    if (leftMs <= 0) return false;
    await new Promise<void>((resolve) => void clock.after(AGAIN_MS, resolve));
  }
}

async function followHere(node: ReplicationNode, address: Address): Promise<Followed> {
  if (node.role === "replica") return true;
  try {
    await node.follow(address);
    return true;
  } catch (error) {
    if (error instanceof ReplicationError && error.code === "REPLICATION_CHANGING") return "changing";
    throw error;
  }
}

async function followThere(
  http: string | undefined,
  address: string,
  msMax: number,
  { tell }: SwitchoverDoor,
): Promise<Followed> {
  if (http === undefined) return false;
  const { ok, body } = await tell(http, "follow", { address }, msMax);
  return !ok && body["error_code"] === "REPLICATION_CHANGING" ? "changing" : ok;
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

async function tell(http: string, command: string, body: object, msMax: number): Promise<NodeAnswer> {
  try {
    const answer = await fetch(new URL(`/api/replication/${command}`, http), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(msMax),
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
