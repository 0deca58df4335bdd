/**
 * The replicas of a node that leads: how far each is, whose acknowledgements confirm writes, and whether there are enough of them to
 * take any. A node that follows serves replicas, too; then nothing is counted.
 */
import type { Offset } from "../log/index.js";
import { type Confirmation, Confirmations } from "./confirmations.js";
import { ReplicationError } from "./errors.js";
import type { ReplicaProgress } from "./link-ports.js";
import type { LocalNode } from "./local-node.js";
import type { Heartbeat, NodeStatement } from "./messages.js";
import type { Clock, ReplicationLogger } from "./ports.js";
import { hostOf, reachable } from "./reachable.js";
import type { Sender } from "./sender.js";
import type { ReplicationSettings } from "./settings.js";

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
}

/** A replica whose link ended; it is still heard of until the replica timeout is over. */
interface Gone {
  readonly progress: ReplicaProgress;
  readonly counted: boolean;
}

export class ReplicaSet {
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

  constructor(options: ReplicaSetOptions) {
    const { clock, local } = options;
    this.#options = options;
    this.confirmations = new Confirmations({
      clock,
      waitersMax: WAITERS_MAX,
      counts: (nodeId) => local.list.counts(nodeId),
    });
  }

  /** A replica said how far it is. It is counted when it streams: before that its log need not be this one. */
  acknowledged(sender: Sender): void {
    const { local } = this.#options;
    if (!local.leads || local.isFenced) return;
    const { node, phase, durable } = sender.progress;
    if (phase !== "streaming") return;
    this.#gone.delete(node.nodeId);
    if (local.list.of(node.nodeId) !== undefined) this.confirmations.acknowledged(node.nodeId, durable);
    for (const check of this.#drains) check();
  }

  ended(sender: Sender): void {
    const { progress } = sender;
    this.#sentBefore.bytes += progress.bytesSent;
    this.#sentBefore.records += progress.recordsSent;
    this.#forgetGone();
    // Bounded by the list: others are let go at once.
    if (this.#options.local.list.of(progress.node.nodeId) !== undefined)
      this.#gone.set(progress.node.nodeId, { progress, counted: progress.phase === "streaming" });
    this.#enoughUntil = Number.NEGATIVE_INFINITY;
  }

  /** To be called while this node leads a set. */
  heartbeat(heartbeat: Heartbeat, from: NodeStatement): void {
    const { senders, logger } = this.#options;
    const sender = senders().find(({ progress }) => progress.node.nodeId === from.nodeId);
    if (sender === undefined) return;
    const written = this.#note(heartbeat, from, sender.progress.remote);
    written?.catch((error: unknown) => logger.warn({ err: error }, "the list of nodes could not be written"));
  }

  /** A replica comes onto the list when it keeps the list as it is: then it knows whom to ask before it leads. */
  #note(heartbeat: Heartbeat, from: NodeStatement, remote: string): Promise<unknown> | undefined {
    const { list } = this.#options.local;
    const { nodeId, name, http } = from;
    const place = { nodeId, name, http, listen: reachable(from.listen, hostOf(remote)) };
    const isListed = list.of(nodeId) !== undefined;
    if (!isListed && heartbeat.peersVersion !== list.version) return undefined;
    if (!isListed || !list.isAt(place)) return list.admit(place);
    return list.confirm(nodeId, heartbeat.peersVersion);
  }

  /** The list of nodes is not what it was: who came onto it counts from where it is. */
  listChanged(): void {
    for (const sender of this.#options.senders()) this.acknowledged(sender);
    this.confirmations.recount();
  }

  /** Nothing more is confirmed under this leadership. */
  end(reason: ReplicationError): void {
    this.confirmations.end(reason);
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
    return confirmed;
  }

  /** Somebody waits for what the replicas confirm. */
  get isAwaited(): boolean {
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
        reject(this.#notHeld(nodeId, offset, `it was waited ${timeoutMs} ms`));
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

  /** Those that are connected, then those that were lately. */
  progress(): readonly { readonly of: ReplicaProgress; readonly connected: boolean }[] {
    this.#forgetGone();
    const connected = this.#options.senders().map((sender) => ({ of: sender.progress, connected: true }));
    const ids = new Set(connected.map(({ of }) => of.node.nodeId));
    const gone = [...this.#gone.values()].filter(({ progress }) => !ids.has(progress.node.nodeId));
    return [...connected, ...gone.map(({ progress }) => ({ of: progress, connected: false }))];
  }

  isConnected(nodeId: string): boolean {
    return this.#options.senders().some(({ progress }) => progress.node.nodeId === nodeId);
  }

  /** When the replicas that hold this log were heard of, the latest first. */
  #heardAt(now: number): readonly number[] {
    this.#forgetGone();
    const heard = new Map<string, number>();
    for (const [nodeId, { progress, counted }] of this.#gone)
      if (counted) heard.set(nodeId, progress.lastHeardAt);
    for (const { progress } of this.#options.senders())
      if (progress.phase === "streaming") heard.set(progress.node.nodeId, progress.lastHeardAt);
    const since = now - this.#options.settings.replicaTimeoutMs;
    return [...heard.values()].filter((at) => at > since).sort((a, b) => b - a);
  }

  #forgetGone(): void {
    const since = this.#options.clock.stopwatch() - this.#options.settings.replicaTimeoutMs;
    for (const [nodeId, { progress }] of this.#gone)
      if (progress.lastHeardAt <= since) this.#gone.delete(nodeId);
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
