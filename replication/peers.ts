/**
 * The nodes of the set, as the primary lists them, and what was last heard of each. The list is what a candidate goes by: it has to reach
 * every node on it. So the primary counts a replica's acknowledgements only when every other node on the list is known to have that replica
 * on its own copy, durably; otherwise somebody could be promoted without asking the one that confirmed a write.
 *
 * The list has a version that grows with every change. `since` of a node is the version that brought it on, `confirmed` the newest version
 * that the node is known to keep. A new primary goes on from the list that it was told last, so a node that is gone need not come back
 * before the others count.
 */
import type { Offset } from "../log/index.js";
import { isSameNote, isSamePlace } from "./leadership.js";
import type { LeadershipFile, NodeListContent } from "./leadership-file.js";
import { isSameLeadership, type Leadership } from "./leadership-order.js";
import { PEERS_MAX, type PeerNote } from "./messages.js";

/** What a node says of where it is. */
export type NodePlace = Pick<PeerNote, "nodeId" | "name" | "listen" | "http">;

export interface LastHeard {
  readonly durable: Offset;
  /** Wall clock, ms. */
  readonly at: number;
}

export class NodeList {
  readonly #file: LeadershipFile;
  readonly #ownId: () => string;
  readonly #changed: () => void;
  readonly #heard = new Map<string, LastHeard>();

  /** `changed`: who counts, or what heartbeats say, is not what it was. */
  constructor(file: LeadershipFile, ownId: () => string, changed: () => void) {
    this.#file = file;
    this.#ownId = ownId;
    this.#changed = changed;
  }

  /** Only what is durable is told to others and counted on. */
  get nodes(): readonly PeerNote[] {
    return this.#file.durable.list.nodes;
  }

  get version(): number {
    return this.#file.durable.list.version;
  }

  get others(): readonly PeerNote[] {
    const ownId = this.#ownId();
    return this.nodes.filter(({ nodeId }) => nodeId !== ownId);
  }

  of(nodeId: string): PeerNote | undefined {
    return this.nodes.find((node) => node.nodeId === nodeId);
  }

  /** The version that this node keeps of the list under that leadership; 0 when its list is of another. */
  versionUnder(leadership: Leadership | undefined): number {
    const { under, version } = this.#file.durable.list;
    return leadership !== undefined && isSameLeadership(under, leadership) ? version : 0;
  }

  lastHeard(nodeId: string): LastHeard | undefined {
    return this.#heard.get(nodeId);
  }

  /** Kept of nodes on the list only, so it is bounded as the list is. */
  heardOf(nodeId: string, durable: Offset, at: number): void {
    if (this.of(nodeId) !== undefined) this.#heard.set(nodeId, { durable, at });
  }

  /** Whether every other node on the list, but this one, is known to have `nodeId` on its copy. */
  counts(nodeId: string): boolean {
    const node = this.of(nodeId);
    if (node === undefined) return false;
    const ownId = this.#ownId();
    return this.nodes.every(
      (other) => other.nodeId === nodeId || other.nodeId === ownId || other.confirmed >= node.since,
    );
  }

  // ---- as the primary ----

  /** Goes on from the list that is there, as its author. Before anything is written under the leadership. */
  lead(under: Leadership, self: NodePlace): Promise<void> {
    const { version: before, nodes } = this.#file.content.list;
    const version = before + 1;
    const own = nodes.find(({ nodeId }) => nodeId === self.nodeId);
    const rest = nodes.filter((node) => node !== own).slice(0, PEERS_MAX - 1);
    const first = { ...placeOf(self), since: own?.since ?? version, confirmed: version };
    return this.#change({ under, version, nodes: [first, ...rest] });
  }

  /** After a restart under the same leadership: the list is there, perhaps with an old place of this node. */
  async goOn(under: Leadership, self: NodePlace): Promise<void> {
    const isOwn =
      isSameLeadership(this.#file.content.list.under, under) && this.of(self.nodeId) !== undefined;
    if (isOwn) await this.admit(self);
    else await this.lead(under, self);
  }

  /** Whether the node is listed with this place. */
  isAt(place: NodePlace): boolean {
    const node = this.of(place.nodeId);
    return node !== undefined && isSamePlace(place, node);
  }

  /** A replica keeps the list as it is told now: it comes on it. False: there is no room. */
  async admit(place: NodePlace): Promise<boolean> {
    const { list } = this.#file.content;
    const known = list.nodes.find(({ nodeId }) => nodeId === place.nodeId);
    if (known === undefined && list.nodes.length >= PEERS_MAX) return false;
    const version = list.version + 1;
    const node = {
      ...placeOf(place),
      since: known?.since ?? version,
      confirmed: known?.confirmed ?? list.version,
    };
    if (known !== undefined && isSameNote(known, node)) return true;
    await this.#author(version, [...without(list.nodes, place.nodeId), node]);
    return true;
  }

  /** A node states the version that it keeps durably. More than there is cannot be true. */
  confirm(nodeId: string, version: number): Promise<void> | undefined {
    const { list } = this.#file.content;
    const node = list.nodes.find((each) => each.nodeId === nodeId);
    if (node === undefined || version <= node.confirmed || version > list.version) return undefined;
    const nodes = list.nodes.map((each) => (each === node ? { ...node, confirmed: version } : each));
    return this.#change({ ...list, nodes });
  }

  /** The node never comes back. False: it is not on the list. */
  async forget(nodeId: string): Promise<boolean> {
    const { list } = this.#file.content;
    if (list.nodes.every((node) => node.nodeId !== nodeId)) return false;
    this.#heard.delete(nodeId);
    await this.#author(list.version + 1, without(list.nodes, nodeId));
    return true;
  }

  // ---- as a replica ----

  /** Takes the primary's list over. Undefined: it is known. */
  adopt(under: Leadership, version: number, nodes: readonly PeerNote[]): Promise<void> | undefined {
    const { list } = this.#file.content;
    const isKnown =
      isSameLeadership(list.under, under) &&
      list.version === version &&
      list.nodes.length === nodes.length &&
      nodes.every((node, index) => isSameNote(node, list.nodes[index]));
    return isKnown ? undefined : this.#change({ under, version, nodes: nodes.slice(0, PEERS_MAX) });
  }

  /** The author has whatever it wrote. */
  #author(version: number, nodes: readonly PeerNote[]): Promise<void> {
    const ownId = this.#ownId();
    const { under } = this.#file.content.list;
    const noted = nodes.map((node) => (node.nodeId === ownId ? { ...node, confirmed: version } : node));
    return this.#change({ under, version, nodes: noted });
  }

  async #change(list: NodeListContent): Promise<void> {
    await this.#file.change({ list });
    this.#changed();
  }
}

const without = (nodes: readonly PeerNote[], nodeId: string): readonly PeerNote[] =>
  nodes.filter((node) => node.nodeId !== nodeId);

const placeOf = ({ nodeId, name, listen, http }: NodePlace): NodePlace => ({ nodeId, name, listen, http });
