/**
 * What this node says of itself on every link, and what it takes from what others say: leaderships, the list of nodes, the primary and its
 * clock. Roles change elsewhere; here it is only known which one there is.
 */
import { offset as asOffset, BEFORE_FIRST, DIRECTORY_FORMAT_VERSION, type EventLog } from "../log/index.js";
import type { ReplicationHost } from "./host.js";
import { HeardLeadership, isFenced } from "./leadership.js";
import type { LeadershipFile } from "./leadership-file.js";
import { isHigher, isSameLeadership, type Leadership } from "./leadership-order.js";
import { LEASE_OVER_MS } from "./lease.js";
import { damagedLog, linkErrorOf } from "./link-error.js";
import type { LinkNode } from "./link-ports.js";
import type { Below, Heartbeat, HeartbeatWords, NodeStatement, PeerNote } from "./messages.js";
import { NodeList, type NodePlace } from "./peers.js";
import { type Address, type Clock, describeAddress, type ReplicationLogger } from "./ports.js";
import { placedAt } from "./reachable.js";
import { belowOf, nodesBelow } from "./relay.js";
import type { Sender } from "./sender.js";
import type { ReplicationSettings, Role } from "./settings.js";

export interface LocalNodeOptions {
  readonly settings: ReplicationSettings;
  readonly clock: Clock;
  readonly logger: ReplicationLogger;
  readonly host: ReplicationHost;
  readonly file: LeadershipFile;
  readonly events: LocalNodeEvents;
}

/** What the composition does when something was heard. Called in the turn in which it was. */
export interface LocalNodeEvents {
  /** Gives way to a candidate, or @throws ReplicationError REPLICATION_NOT_YIELDED. */
  yields(leadership: Leadership, to: NodeStatement): void;
  /** A higher leadership than ever. */
  heard(leadership: Leadership, from: NodeStatement): void;
  /** It may be known now who leads. */
  primaryKnown(): void;
  /** Who counts, or what heartbeats say, is not what it was. */
  listChanged(): void;
  /** Of another node, whichever link it came by. */
  heartbeat(heartbeat: Heartbeat, from: NodeStatement): void;
}

export class LocalNode implements LinkNode {
  readonly leadership: HeardLeadership;
  readonly list: NodeList;
  role: Role = "master";
  /** Where it listens, once it does. */
  listening: Address | undefined;
  /** The node that is followed, once it has greeted, and the host it was reached at: its word on time and list is taken. */
  upstream: () => { readonly nodeId: string; readonly host: string } | undefined = () => undefined;
  /** The links of those that follow this node. */
  senders: () => readonly Sender[] = () => [];
  /** Whether anybody ever followed: then it is told, too, that nobody does any more. */
  #hasFed = false;
  /** By the stopwatch: the process before this one may have acknowledged something until it began. */
  #leaseBegan: number;
  /** By which the primary's clock is ahead of the own stopwatch. */
  #primaryAhead: number | undefined;
  readonly #options: LocalNodeOptions;

  constructor(options: LocalNodeOptions) {
    const { file, clock, host, events } = options;
    this.#options = options;
    this.#leaseBegan = clock.stopwatch();
    this.leadership = new HeardLeadership(file, () => clock.now());
    this.list = new NodeList(
      file,
      () => host.identity().nodeId,
      () => events.listChanged(),
    );
  }

  get log(): EventLog | undefined {
    return this.#options.host.log();
  }

  get own(): Leadership | undefined {
    const epochs = this.log?.epochs;
    return epochs?.[epochs.length - 1];
  }

  get heard(): Leadership | undefined {
    const { highest } = this.leadership;
    const { own } = this;
    return isHigher(own, highest) ? own : highest;
  }

  /** It writes, or would if it weren't fenced. */
  get leads(): boolean {
    return this.role !== "replica";
  }

  get isFenced(): boolean {
    return this.leads && isFenced(this.own, this.leadership.highest);
  }

  get nodeId(): string {
    return this.#options.host.identity().nodeId;
  }

  get place(): NodePlace {
    const { settings } = this.#options;
    const { nodeId } = this;
    // Who listens everywhere was found somewhere, perhaps.
    const found = this.list.of(nodeId)?.listen;
    const said = { listen: settings.advertiseAddress ?? this.listening, http: settings.httpAddress() };
    const there = found?.port === this.listening?.port ? found?.host : undefined;
    const { listen = said.listen, http = said.http } = placedAt(said, there);
    return { nodeId, name: settings.name, listen, http };
  }

  /** Who leads under the highest leadership that was heard of, when that is known. */
  get primary(): PeerNote | undefined {
    if (!this.leads || this.isFenced) return this.leadership.primary;
    return this.list.of(this.nodeId) ?? { ...this.place, since: 0, confirmed: 0 };
  }

  /** Whole ms since 1970, as every time that is told or kept; stopwatches count parts of them. */
  get primaryTime(): number | undefined {
    const { clock } = this.#options;
    if (this.leads) return Math.floor(clock.now());
    return this.#primaryAhead === undefined ? undefined : Math.floor(clock.stopwatch() + this.#primaryAhead);
  }

  introduction(): NodeStatement {
    const { place, log } = this;
    const { clusterId } = this.#options.host.identity();
    const said = {
      ...place,
      clusterId,
      format: DIRECTORY_FORMAT_VERSION,
      own: this.own,
      heard: this.heard,
      primary: this.primary,
      leads: this.leads,
    };
    const owes = this.leadership.owesSince === undefined ? {} : { owes: true };
    return { ...said, ...owes, end: undefined, firstOffset: log?.firstOffset ?? asOffset(1) };
  }

  async statement(): Promise<NodeStatement> {
    const { log } = this;
    if (log === undefined) {
      // Nobody must take it for a node that has nothing: what it confirmed may be on its disk alone.
      const { damage } = this.#options.host;
      if (damage !== undefined) throw damagedLog(damage);
      return this.introduction();
    }
    try {
      const { isFenced: fenced } = this;
      // What was appended before the fence is this node's last word.
      if (fenced) await log.whenCommitted(log.endOffset);
      const end = await log.positionAt(fenced ? log.committedOffset : log.durableOffset);
      return { ...this.introduction(), end };
    } catch (error) {
      throw linkErrorOf(error);
    }
  }

  leaseBegins(): void {
    this.#leaseBegan = this.#options.clock.stopwatch();
  }

  get leaseMs(): number {
    return Math.max(0, Math.ceil(this.#leaseBegan + LEASE_OVER_MS - this.#options.clock.stopwatch()));
  }

  heartbeat(): HeartbeatWords {
    const { log, leads, own, heard, primaryTime: time } = this;
    const listed = this.list.versionUnder(heard);
    const isAuthor = leads && !this.isFenced;
    const under = isAuthor ? own : listed > 0 ? heard : undefined;
    return {
      own: own && { epoch: own.epoch, lineageId: own.lineageId },
      time: time === undefined ? undefined : Math.max(0, time),
      end: log?.endOffset ?? BEFORE_FIRST,
      durable: log?.durableOffset ?? BEFORE_FIRST,
      firstOffset: log?.firstOffset ?? asOffset(1),
      primary: this.primary,
      peers: isAuthor || listed > 0 ? this.list.nodes : [],
      peersVersion: isAuthor ? this.list.version : listed,
      peersUnder: under && { epoch: under.epoch, lineageId: under.lineageId },
    };
  }

  get below(): Omit<Below, "type"> | undefined {
    const nodes = nodesBelow(this.senders(), this.nodeId);
    if (nodes.size > 0) this.#hasFed = true;
    const { heard } = this;
    const under = heard && { epoch: heard.epoch, lineageId: heard.lineageId };
    return this.#hasFed ? belowOf(nodes.values(), under, this.#options.clock.stopwatch()) : undefined;
  }

  /** Before anybody is greeted: who restarts before its first sync is whom the others know. */
  async keepNodeId(): Promise<void> {
    const { file } = this.#options;
    const nodeId = this.log === undefined ? this.nodeId : undefined;
    if (file.content.nodeId !== nodeId) await file.change({ nodeId });
  }

  onHeard(leadership: Leadership, from: NodeStatement): Promise<void> | undefined {
    const { own, heard } = this;
    const isNew = isHigher(leadership, heard);
    if (isNew) this.leadership.mustBePlausible(leadership, heard, describe(from));
    // What the own log says needs no other word.
    const written = isHigher(own, leadership) ? undefined : this.leadership.raise(leadership, describe(from));
    this.learnPrimary(from, undefined);
    if (isNew) this.#options.events.heard(leadership, from);
    return written;
  }

  yieldTo(leadership: Leadership, from: NodeStatement): Promise<void> | undefined {
    this.#options.events.yields(leadership, from);
    return this.onHeard(leadership, from);
  }

  onHeartbeat(heartbeat: Heartbeat, from: NodeStatement): void {
    const { clock, events } = this.#options;
    this.list.heardOf(from.nodeId, heartbeat.durable, clock.now());
    const upstream = this.upstream();
    if (!this.leads && upstream?.nodeId === from.nodeId) this.#followWord(heartbeat, upstream);
    events.heartbeat(heartbeat, from);
  }

  /** Of the node that is followed: its clock, the primary, and the list, if it is of the highest leadership. */
  #followWord(
    { time, own, primary, peers, peersVersion, peersUnder }: Heartbeat,
    at: { readonly nodeId: string; readonly host: string },
  ): void {
    if (time !== undefined) this.#primaryAhead = time - this.#options.clock.stopwatch();
    const { heard } = this;
    if (heard === undefined) return;
    const seen = (node: PeerNote): PeerNote => (node.nodeId === at.nodeId ? placedAt(node, at.host) : node);
    if (primary !== undefined && isSameLeadership(own, heard))
      this.soon(this.leadership.led(heard, seen(primary)));
    // Whoever is in the middle may keep a list of a newer leadership than that of its log.
    if (peersVersion > 0 && isSameLeadership(peersUnder, heard))
      this.soon(this.list.adopt(heard, peersVersion, peers.map(seen)));
  }

  /** Who leads, from what a node stated that was reached at `host`. */
  learnPrimary({ heard, primary, nodeId }: NodeStatement, host: string | undefined): void {
    if (heard === undefined || primary === undefined || primary.nodeId === this.nodeId) return;
    if (this.leadership.primary !== undefined || !isSameLeadership(heard, this.leadership.highest)) return;
    const seen = placedAt(primary, primary.nodeId === nodeId ? host : undefined);
    if (seen.listen === undefined) return;
    this.soon(this.leadership.led(heard, seen));
    this.#options.events.primaryKnown();
  }

  /** What may be forgotten by a crash is written without waiting for it. */
  soon(written: Promise<void> | undefined): void {
    written?.catch((error: unknown) =>
      this.#options.logger.warn({ err: error }, "what is known of the set could not be written"),
    );
  }
}

/** Whom records of the own log may be had from: the node that is followed, who leads, the others of the set. */
export function lendersOf({ list, leadership }: LocalNode, follows: Address | undefined): Address[] {
  const known = [leadership.primary, ...list.others].map((node) => node?.listen);
  return [follows, ...known].filter((address) => address !== undefined);
}

export const describe = ({ name, nodeId, listen }: NodeStatement): string =>
  `${name} (${nodeId.slice(0, 8)}${listen === undefined ? "" : `, ${describeAddress(listen)}`})`;
