/**
 * The replicas of a node that leads, those that it feeds itself and those behind them: how far each is, whose acknowledgements confirm
 * writes, and whether there are enough of them to take any. A node that follows counts nothing; it passes on what is below it.
 */
import { BEFORE_FIRST, type Offset } from "../log/index.js";
import { type Confirmation, Confirmations } from "./confirmations.js";
import { ReplicationError } from "./errors.js";
import { isSameLeadership } from "./leadership-order.js";
import { LEASE_RENEWED_EVERY_MS } from "./lease.js";
import type { ReplicaProgress } from "./link-ports.js";
import type { LocalNode } from "./local-node.js";
import type { Heartbeat, Held, NodeStatement } from "./messages.js";
import type { NodePlace } from "./peers.js";
import type { Clock, ReplicationLogger } from "./ports.js";
import { hostOf, placedAt } from "./reachable.js";
import { countsBefore, type KeptList, type NodeBelow } from "./relay.js";
import type { Sender, SenderEvents } from "./sender.js";
import type { ReplicationSettings } from "./settings.js";
import type { Upstream } from "./upstream.js";

/** Writes that may wait for acknowledgements. */
const WAITERS_MAX = 100_000;
/** How long a judgement about the replicas' lag is kept: writes ask for it one by one. */
const LAG_JUDGED_FOR_MS = 50;

export interface ReplicaSetOptions {
  readonly settings: ReplicationSettings;
  readonly clock: Clock;
  readonly local: LocalNode;
  readonly logger: ReplicationLogger;
  readonly senders: () => readonly Sender[];
  /** The node that is followed, if one is. */
  readonly upstream: () => Pick<Upstream, "say"> | undefined;
  /** This node leads, and nothing changes that: it may change the list of nodes. */
  readonly mayList: () => boolean;
}

/** A replica whose link ended, as it was last heard of. It counts for nothing but having been heard of lately. */
interface Gone {
  readonly progress: ReplicaProgress;
  readonly counted: boolean;
  readonly below: readonly NodeBelow[];
}

export class ReplicaSet implements SenderEvents {
  readonly confirmations: Confirmations;
  readonly #options: ReplicaSetOptions;
  readonly #gone = new Map<string, Gone>();
  /** Of links that ended. */
  #sentBefore = { bytes: 0, records: 0 };
  /** By the stopwatch: until then enough replicas were heard of lately. */
  #enoughUntil = Number.NEGATIVE_INFINITY;
  #lagJudgedUntil = Number.NEGATIVE_INFINITY;
  #lagMs = 0;
  readonly #drains = new Set<() => void>();
  /** Set while leases are renewed for those who wait. */
  #cancelRenewal: (() => void) | undefined;
  /** What was passed on last of how far replicas are. */
  readonly #passedOn = new Map<string, Offset>();
  #passedOnBelow = "";

  constructor(options: ReplicaSetOptions) {
    const { clock, local } = options;
    this.#options = options;
    this.confirmations = new Confirmations({
      clock,
      waitersMax: WAITERS_MAX,
      counts: (nodeId) => local.list.counts(nodeId),
      isLeased: (nodeId) => this.#isLeased(nodeId),
    });
  }

  /** A replica said how far it is. It is counted when it streams: before that its log need not be this one. */
  acknowledged(sender: Sender): void {
    const { local } = this.#options;
    const { node, phase, durable } = sender.progress;
    if (phase !== "streaming") return;
    if (!local.leads) {
      this.#passOnHeld([{ nodeId: node.nodeId, durable }]);
      return;
    }
    if (local.isFenced) return;
    this.#gone.delete(node.nodeId);
    if (local.list.of(node.nodeId) !== undefined) this.confirmations.acknowledged(node.nodeId, durable);
    for (const check of this.#drains) check();
  }

  /** By its own link, or by that of one that is asked, too, before anybody else leads. */
  #isLeased(nodeId: string): boolean {
    const { senders, local } = this.#options;
    return senders().some((sender) => {
      if (!sender.isLeased) return false;
      const passesOn = (): boolean =>
        sender.relayed.of(nodeId) !== undefined && local.list.counts(sender.nodeId);
      return sender.nodeId === nodeId || passesOn();
    });
  }

  /**
   * A replica told of those that follow it, or keeps another list than before. Which list a replica of this node keeps its own heartbeat
   * says.
   */
  below(sender: Sender): void {
    const { local, mayList } = this.#options;
    if (!local.leads) {
      this.#passOnBelow();
      return;
    }
    if (local.isFenced) return;
    for (const node of sender.relayed.nodes)
      if (mayList() && this.#isLatestWord(node)) this.#noteSoon(node.place, node.list);
    this.#holdBelow(sender);
  }

  held(sender: Sender, held: Held): void {
    const { local } = this.#options;
    // Those that it told of: they are few, and what is remembered of others nothing would take away.
    if (!local.leads) this.#passOnHeld(held.nodes.filter(({ nodeId }) => sender.relayed.of(nodeId)));
    else if (!local.isFenced) this.#holdBelow(sender);
  }

  /**
   * What nodes behind this replica hold counts as what it holds itself: they had it before they could be fenced, or whoever fences them
   * is told of it, and they are asked as all that are on the list.
   */
  #holdBelow(sender: Sender): void {
    const { local, clock } = this.#options;
    if (sender.progress.phase !== "streaming") return;
    const wallAhead = clock.now() - clock.stopwatch();
    for (const node of sender.relayed.nodes) {
      const { durable, lastHeardAt } = node;
      const { nodeId } = node.place;
      if (durable === BEFORE_FIRST || local.list.of(nodeId) === undefined || !this.#isLatestWord(node))
        continue;
      local.list.heardOf(nodeId, durable, wallAhead + lastHeardAt);
      this.confirmations.acknowledged(nodeId, durable);
    }
    for (const check of this.#drains) check();
  }

  /** Only what is new: of nodes that follow each other nothing goes round and round. Heartbeats say the rest. */
  #passOnBelow(): void {
    const { local, upstream } = this.#options;
    const { below } = local;
    if (below === undefined) return;
    const words = JSON.stringify([
      below.under,
      below.nodes.map((node) => ({ ...node, durable: 0, silentMs: 0 })),
    ]);
    if (words === this.#passedOnBelow) return;
    this.#passedOnBelow = words;
    const named = new Set(below.nodes.map(({ nodeId }) => nodeId));
    for (const nodeId of this.#passedOn.keys()) if (!named.has(nodeId)) this.#passedOn.delete(nodeId);
    upstream()?.say({ type: "below", ...below });
  }

  #passOnHeld(held: Held["nodes"]): void {
    const nodes = held.filter(
      ({ nodeId, durable }) => durable > (this.#passedOn.get(nodeId) ?? BEFORE_FIRST),
    );
    if (nodes.length === 0) return;
    for (const { nodeId, durable } of nodes) this.#passedOn.set(nodeId, durable);
    this.#options.upstream()?.say({ type: "held", nodes });
  }

  ended(sender: Sender): void {
    const { progress } = sender;
    this.#passedOn.delete(progress.node.nodeId);
    this.#sentBefore.bytes += progress.bytesSent;
    this.#sentBefore.records += progress.recordsSent;
    this.#forgetGone();
    // Bounded by the list: others are let go at once.
    if (this.#options.local.list.of(progress.node.nodeId) !== undefined)
      this.#gone.set(progress.node.nodeId, {
        progress,
        counted: progress.phase === "streaming",
        below: [...sender.relayed.nodes],
      });
    this.#enoughUntil = Number.NEGATIVE_INFINITY;
    if (!this.#options.local.leads) this.#passOnBelow();
  }

  /** To be called while this node leads a set, and nothing changes that. */
  heartbeat({ peersUnder: under, peersVersion: version }: Heartbeat, from: NodeStatement): void {
    const sender = this.#options.senders().find(({ progress }) => progress.node.nodeId === from.nodeId);
    if (sender === undefined) return;
    const { nodeId, name, listen, http } = placedAt(from, hostOf(sender.progress.remote));
    this.#noteSoon({ nodeId, name, http, listen }, { under, version });
  }

  #noteSoon(place: NodePlace, kept: KeptList): void {
    this.#note(place, kept)?.catch((error: unknown) =>
      this.#options.logger.warn({ err: error }, "the list of nodes could not be written"),
    );
  }

  /** A replica comes onto the list when it keeps the list as it is: then it knows whom to ask before it leads. */
  #note(place: NodePlace, { under, version }: KeptList): Promise<unknown> | undefined {
    const { list, own } = this.#options.local;
    const { nodeId } = place;
    const isListed = list.of(nodeId) !== undefined;
    const isOfThis = isSameLeadership(under, own);
    if (!isListed && !(isOfThis && version === list.version)) return undefined;
    if (!isListed || !list.isAt(place)) return list.admit(place);
    return isOfThis ? list.confirm(nodeId, version) : undefined;
  }

  /** The list of nodes is not what it was: who came onto it counts from where it is. */
  listChanged(): void {
    for (const sender of this.#options.senders()) {
      this.acknowledged(sender);
      if (this.#options.local.leads && !this.#options.local.isFenced) this.#holdBelow(sender);
    }
    this.confirmations.recount();
  }

  /** Nothing more is confirmed under this leadership. */
  end(reason: ReplicationError): void {
    this.confirmations.end(reason);
    this.#cancelRenewal?.();
    this.#cancelRenewal = undefined;
    for (const check of this.#drains) check();
  }

  /** Why writes are refused now. For every write. */
  refusal(): ReplicationError | undefined {
    const { minReplicasForWrite: wanted, writeLagMsMax } = this.#options.settings;
    if (wanted === 0 && writeLagMsMax === 0) return undefined;
    const now = this.#options.clock.stopwatch();
    if (wanted > 0 && now >= this.#enoughUntil) {
      const heard = this.#heardAt(now);
      this.#enoughUntil =
        (heard[wanted - 1] ?? Number.NEGATIVE_INFINITY) + this.#options.settings.replicaTimeoutMs;
      if (now >= this.#enoughUntil) return this.#tooFew(heard.length, wanted);
    }
    return writeLagMsMax > 0 ? this.#lagging(now, writeLagMsMax) : undefined;
  }

  /** As `Confirmations.confirmed`; nothing is held back from the replicas meanwhile. */
  confirmed(offset: Offset, count: number, timeoutMs: number): Promise<Confirmation> {
    const { confirmations } = this;
    const before = confirmations.waiting;
    const confirmed = confirmations.confirmed(offset, count, timeoutMs);
    if (before === 0 && confirmations.waiting > 0) this.#hurry();
    if (confirmations.waiting > before) this.#renewLeases();
    return confirmed;
  }

  /** While somebody waits: what one replica has acknowledged must still count when the last one does, however much later. */
  #renewLeases(): void {
    const { senders, clock } = this.#options;
    for (const sender of senders()) sender.renewLease();
    this.#cancelRenewal ??= clock.after(LEASE_RENEWED_EVERY_MS, () => {
      this.#cancelRenewal = undefined;
      if (this.confirmations.waiting > 0) this.#renewLeases();
    });
  }

  /** Somebody waits for what the replicas confirm. */
  isAwaited(): boolean {
    return this.confirmations.waiting > 0 || this.#drains.size > 0;
  }

  /** Resolves when that replica holds `offset` durably; rejects when `timeoutMs` are over, or this node leads no more. */
  holds(nodeId: string, offset: Offset, timeoutMs: number): Promise<void> {
    const { clock, local } = this.#options;
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const isHeld = (this.confirmations.durableOf(nodeId) ?? 0) >= offset;
        if (!isHeld && !local.isFenced) return;
        cancel();
        this.#drains.delete(check);
        if (isHeld) resolve();
        else reject(this.#notHeld(nodeId, offset, "this node was fenced"));
      };
      const cancel = clock.after(timeoutMs, () => {
        this.#drains.delete(check);
        reject(this.#notHeld(nodeId, offset, `it was waited ${Math.round(timeoutMs)} ms`));
      });
      this.#drains.add(check);
      this.#hurry();
      check();
    });
  }

  get sent(): { readonly bytes: number; readonly records: number } {
    let { bytes, records } = this.#sentBefore;
    for (const { progress } of this.#options.senders()) {
      bytes += progress.bytesSent;
      records += progress.recordsSent;
    }
    return { bytes, records };
  }

  /** Those that are connected, then those that were, and are neither fed by another now nor followed. */
  progress(): readonly { readonly of: ReplicaProgress; readonly connected: boolean }[] {
    this.#forgetGone();
    const { senders, local } = this.#options;
    const connected = senders().map((sender) => ({ of: sender.progress, connected: true }));
    const leader = local.primary?.nodeId;
    const gone = [...this.#gone].filter(([nodeId]) => nodeId !== leader && !this.isConnected(nodeId));
    return [...connected, ...gone.map(([, { progress }]) => ({ of: progress, connected: false }))];
  }

  /** Through others, too. */
  isConnected(nodeId: string): boolean {
    return (
      this.#isFed(nodeId) || this.#options.senders().some(({ relayed }) => relayed.of(nodeId) !== undefined)
    );
  }

  /** A node that has turned to another feeder may be told of by both for a while, and is believed itself before either. This one, too. */
  #isLatestWord(node: NodeBelow): boolean {
    const { senders, local } = this.#options;
    const { nodeId } = node.place;
    if (nodeId === local.nodeId || this.#isFed(nodeId)) return false;
    return senders().every(({ relayed }) => {
      const other = relayed.of(nodeId);
      return other === undefined || !countsBefore(other, node);
    });
  }

  #isFed(nodeId: string): boolean {
    return this.#options.senders().some(({ progress }) => progress.node.nodeId === nodeId);
  }

  /** When the replicas that hold this log were heard of, the latest first. */
  #heardAt(now: number): readonly number[] {
    this.#forgetGone();
    const heard = new Map<string, number>();
    const hear = (nodeId: string, at: number): void =>
      void heard.set(nodeId, Math.max(at, heard.get(nodeId) ?? at));
    const hearAll = ({ node, lastHeardAt }: ReplicaProgress, below: Iterable<NodeBelow>): void => {
      hear(node.nodeId, lastHeardAt);
      for (const { place, durable, lastHeardAt: at } of below)
        if (durable !== BEFORE_FIRST) hear(place.nodeId, at);
    };
    for (const { progress, counted, below } of this.#gone.values()) if (counted) hearAll(progress, below);
    for (const { progress, relayed } of this.#options.senders())
      if (progress.phase === "streaming") hearAll(progress, relayed.nodes);
    const since = now - this.#options.settings.replicaTimeoutMs;
    return [...heard.values()].filter((at) => at > since).sort((a, b) => b - a);
  }

  /**
   * A primary goes on to tell of a replica that it has lost until that is struck off, or fed by another: so there are no more of them than
   * the list has nodes. A node that follows does not hear where it went.
   */
  #forgetGone(): void {
    const { clock, local, settings } = this.#options;
    const since = clock.stopwatch() - settings.replicaTimeoutMs;
    const misses = local.leads && !local.isFenced;
    for (const [nodeId, { progress }] of this.#gone) {
      const isMissed = progress.lastHeardAt > since || (misses && !this.isConnected(nodeId));
      if (!isMissed || local.list.of(nodeId) === undefined) this.#gone.delete(nodeId);
    }
  }

  #tooFew(found: number, wanted: number): ReplicationError {
    const { replicaTimeoutMs } = this.#options.settings;
    return new ReplicationError(
      "REPLICATION_TOO_FEW_REPLICAS",
      `${found} replicas were heard of in the last ${replicaTimeoutMs / 1000} s, and min_replicas_for_write is ${wanted}`,
      { found, wanted },
    );
  }

  #lagging(now: number, lagMsMax: number): ReplicationError | undefined {
    if (now >= this.#lagJudgedUntil) {
      this.#lagJudgedUntil = now + LAG_JUDGED_FOR_MS;
      this.#lagMs = 0;
      for (const { progress } of this.#options.senders())
        if (progress.phase === "streaming") this.#lagMs = Math.max(this.#lagMs, progress.lagMs);
    }
    if (this.#lagMs <= lagMsMax) return undefined;
    return new ReplicationError(
      "REPLICATION_LAGGING",
      `a replica is ${Math.round(this.#lagMs)} ms behind, and writes may run ahead ${lagMsMax} ms`,
      { found: Math.round(this.#lagMs), limit: lagMsMax },
    );
  }

  #hurry(): void {
    for (const sender of this.#options.senders()) sender.hurry();
  }

  #notHeld(nodeId: string, offset: Offset, why: string): ReplicationError {
    const found = this.confirmations.durableOf(nodeId);
    return new ReplicationError(
      "REPLICATION_NOT_CONFIRMED",
      `node ${nodeId} does not hold everything up to offset ${offset}: ${why}`,
      { nodeId, offset, found },
    );
  }
}
