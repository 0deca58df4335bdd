/**
 * A planned change of the primary, led by the one that is: it holds its writes until the other has everything, has that one promoted,
 * and points the rest there. Nothing that was answered is lost; writes are refused (503, try again) meanwhile. What goes wrong before
 * this node gave its lead up leaves everything as it was. Whether it did it knows itself, whatever became of the other's answer
 * (`replication/handover.ts`).
 */
import { errorTable, type Refusal, refusal, type SwitchoverReport } from "../../api/index.js";
import { errorMessage, unreachable } from "../../log/index.js";
import {
  type Address,
  type Clock,
  type HandoverOutcome,
  type PeerStats,
  ReplicationError,
  type ReplicationNode,
  sleep,
  systemClock,
} from "../../replication/index.js";
import { parseAddress } from "./address.js";

/** Writes are held no longer than this for the other to ask for the lead: so late, it still takes writes within three seconds. */
const HELD_MS = 2500;
const ANSWER_MS = 2500;
/** For what is heard of the other when it has the lead and did not answer; a promotion is over within two seconds. */
const OPEN_MS = 3000;
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
  const { peers, nodeId } = node.stats();
  const target = nodeCalled(peers, to);
  if ("type" in target) return target;
  const { http, address } = target;
  const parsed = address === undefined ? undefined : parseAddress(address);
  if (http === undefined || address === undefined || parsed === undefined) {
    return refusal("REPLICATION_NOT_READY", `where ${target.name} is reached is not known`);
  }
  const since = clock.stopwatch();
  const end = await node.drain(target.nodeId, HELD_MS);
  const promoted = await door.tell(http, "promote", { from: nodeId }, ANSWER_MS);
  if (!promoted.ok) {
    const outcome = await outcomeOf(node, clock);
    if (outcome !== "led") return notLed(target, promoted, outcome, node);
  }
  // Without its answer the same is known here.
  const { epoch = node.heard?.epoch, offset = end + 1 } = promoted.ok ? promoted.body : {};
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
    epoch: Number(epoch),
    offset: Number(offset),
    heldMs,
    repointed: told.filter(({ ok }) => ok).map(({ name }) => name),
    notRepointed: [...told.filter(({ ok }) => !ok), ...(follows ? [] : [node.stats()])].map(
      ({ name }) => name,
    ),
  };
}

/** The other was not heard to lead: writes go on, unless the lead was given up; then whoever knows is asked for a while. */
async function outcomeOf(node: ReplicationNode, clock: SwitchoverDoor["clock"]): Promise<HandoverOutcome> {
  const until = clock.stopwatch() + OPEN_MS;
  let outcome = node.endDrain();
  // Also what else is being done to its role decides, once it is over.
  while ((outcome === "open" || node.stats().changing) && clock.stopwatch() < until) {
    await sleep(clock, AGAIN_MS);
    outcome = node.endDrain();
  }
  return outcome;
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
    await sleep(clock, AGAIN_MS);
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
    return { ok: false, body: { error: errorMessage(cause) } };
  }
}

function notLed(
  { name }: PeerStats,
  { body }: NodeAnswer,
  outcome: Exclude<HandoverOutcome, "led">,
  node: ReplicationNode,
): Refusal {
  const code = String(body["error_code"]);
  const known = isCode(code) ? code : "REPLICATION_NOT_ALL_REACHED";
  const why = String(body["error"]);
  const { heard } = node;
  switch (outcome) {
    case "kept":
      return refusal(
        known,
        `${name} was not promoted, and cannot be by this switchover any more; this node goes on: ${why}`,
      );
    case "back":
      return refusal(
        known,
        `${name} does not lead; this node leads again, under epoch ${heard?.epoch}: ${why}`,
      );
    case "open":
      return refusal(
        "REPLICATION_HANDOVER_UNKNOWN",
        `this node gave its lead up to ${name}, and whether ${name} leads under epoch ${heard?.epoch} is not known: ${why}. It takes no writes; once it reaches ${name} it follows it, or leads again. If ${name} is lost for good, promote a node with force`,
      );
    case "passed":
      return refusal(
        "REPLICATION_FENCED",
        `another leadership was heard of meanwhile, epoch ${heard?.epoch}: ${why}`,
      );
    case "told":
      return refusal(
        "REPLICATION_ROLE_WRONG",
        `this node was told to follow another one meanwhile and leads no more, and ${name} was not heard to lead: ${why}. If nobody leads, promote a node`,
      );
    default:
      return unreachable(outcome);
  }
}

const isCode = (code: string): code is keyof typeof errorTable => Object.hasOwn(errorTable, code);
