/**
 * Replicas of replicas. A node that follows and is followed tells the one that it follows of every node below it: where it is, which list
 * of nodes it keeps, and how far it is. So the primary lists, counts and asks them as those that it feeds itself.
 *
 * What is claimed for a node to hold counts only while the link that it came by streams, and is dropped with that link: a log that is
 * about to be cut is no beginning of the primary's, whoever has the same records.
 */
import type { Offset } from "../log/index.js";
import { BEFORE_FIRST } from "../log/index.js";
import { isSameLeadership, type Leadership } from "./leadership-order.js";
import type { ReplicaProgress } from "./link-ports.js";
import { type Below, type FollowerNote, type Held, PEERS_MAX } from "./messages.js";
import type { NodePlace } from "./peers.js";
import { hostOf, isLoopback, placedAt } from "./reachable.js";

/** The list of nodes that a node states to keep durably. */
export interface KeptList {
  readonly under: Leadership | undefined;
  readonly version: number;
}

/** A node below this one, fed by it or by another. */
export interface NodeBelow {
  readonly place: NodePlace;
  /** Node id of the one that feeds it. */
  readonly follows: string;
  readonly incarnation: string | undefined;
  readonly list: KeptList;
  readonly durable: Offset;
  /** By the own stopwatch. */
  readonly lastHeardAt: number;
}

/** What one replica has told of the nodes below it. */
export class Relayed {
  #nodes = new Map<string, NodeBelow>();

  get size(): number {
    return this.#nodes.size;
  }

  get nodes(): Iterable<NodeBelow> {
    return this.#nodes.values();
  }

  of(nodeId: string): NodeBelow | undefined {
    return this.#nodes.get(nodeId);
  }

  /** Takes the place of what was told before. `from`: where the teller is reached; `counts`: whether its log is a beginning of this one. */
  state({ under, nodes }: Below, from: string, at: number, counts: boolean): void {
    const told = nodes.map(
      ({ nodeId, name, listen, http, version, durable, silentMs, ...told }): [string, NodeBelow] => {
        // What the teller reaches on its own machine is where the teller is.
        const place = placedAt({ nodeId, name, listen, http }, hostOf(from));
        const { follows, incarnation } = told;
        const log = { list: { under, version }, durable: counts ? durable : BEFORE_FIRST };
        return [nodeId, { place, follows, incarnation, ...log, lastHeardAt: at - silentMs }];
      },
    );
    this.#nodes = new Map(told);
  }

  hold({ nodes }: Held, at: number): void {
    for (const { nodeId, durable } of nodes) {
      const node = this.#nodes.get(nodeId);
      if (node !== undefined) this.#nodes.set(nodeId, { ...node, durable, lastHeardAt: at });
    }
  }
}

/** Both are defined, and not the same. */
export const areTwo = (one: string | undefined, other: string | undefined): boolean =>
  one !== undefined && other !== undefined && one !== other;

/**
 * Which of two words on one node counts: of one process the latest, for it may have gone from one feeder to the other. Two processes are a
 * node and its copy, or one that has ended and its next life: always the same one then, so that its place is not another one with each word.
 */
export function countsBefore(one: NodeBelow, other: NodeBelow): boolean {
  if (!areTwo(one.incarnation, other.incarnation)) return one.lastHeardAt > other.lastHeardAt;
  return (one.incarnation ?? "") < (other.incarnation ?? "");
}

/** A link to a node that follows this one. */
export interface Feeding {
  readonly progress: ReplicaProgress;
  readonly incarnation: string | undefined;
  readonly list: KeptList;
  readonly relayed: Relayed;
}

/** Every node below this one, once: as it tells itself, if it is connected here. */
export function nodesBelow(senders: readonly Feeding[], selfId: string): Map<string, NodeBelow> {
  const below = new Map<string, NodeBelow>();
  for (const sender of senders) {
    const { node, phase, remote, durable, lastHeardAt } = sender.progress;
    const host = hostOf(remote);
    const { nodeId, name, listen, http } = isLoopback(host) ? node : placedAt(node, host);
    below.set(nodeId, {
      place: { nodeId, name, http, listen },
      follows: selfId,
      incarnation: sender.incarnation,
      list: sender.list,
      durable: phase === "streaming" ? durable : BEFORE_FIRST,
      lastHeardAt,
    });
  }
  for (const { relayed } of senders)
    for (const node of relayed.nodes) {
      const { nodeId } = node.place;
      const known = below.get(nodeId);
      const counts = known === undefined || (known.follows !== selfId && countsBefore(node, known));
      if (nodeId !== selfId && counts) below.set(nodeId, node);
    }
  return below;
}

/** As it is told to the node that is followed; `under`: the highest leadership that was heard of here. */
export function belowOf(
  nodes: Iterable<NodeBelow>,
  under: Leadership | undefined,
  now: number,
): Omit<Below, "type"> {
  const notes = [...nodes].slice(0, PEERS_MAX).map(
    ({ place, follows, incarnation, list, durable, lastHeardAt }): FollowerNote => ({
      ...place,
      follows,
      incarnation,
      durable,
      version: under !== undefined && isSameLeadership(list.under, under) ? list.version : 0,
      silentMs: Math.max(0, Math.round(now - lastHeardAt)),
    }),
  );
  return { under, nodes: notes };
}
