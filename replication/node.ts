/**
 * A node of a replicated set: puts role, door, links, fence and confirmations together. It changes its role in one way at a time; what the
 * others say may fence it at any moment.
 */
import { epoch as asEpoch, type EventLog, type Offset } from "../log/index.js";
import { Breakers } from "./breaker.js";
import { Care } from "./care.js";
import { refuseCircle } from "./circle.js";
import type { Confirmation } from "./confirmations.js";
import { Counters } from "./counters.js";
import type { ReplicationError } from "./errors.js";
import { followedNode, LOOK_SOON_MS } from "./followed-node.js";
import { Handover, type HandoverOutcome } from "./handover.js";
import { configuredNow, roleAtStart } from "./leadership.js";
import { LeadershipFile } from "./leadership-file.js";
import { describeLeadership, isHigher, type Leadership } from "./leadership-order.js";
import { linkErrorOf } from "./link-error.js";
import { type LinkContext, linkContextOf } from "./link-ports.js";
import { LinkListener } from "./listener.js";
import { LocalNode, lendersOf } from "./local-node.js";
import type { Heartbeat, NodeStatement } from "./messages.js";
import type { ReplicationNodeOptions } from "./node-options.js";
import { fenceStats, replicationStats } from "./node-stats.js";
import type { Address } from "./ports.js";
import {
  askAround,
  type PromoteOptions,
  type PromotionContext,
  reportOf,
  type Won,
  winLeadership,
} from "./promotion.js";
import type { PromotionReport } from "./promotion-report.js";
import * as refusals from "./refusals.js";
import { ReplicaSet } from "./replica-set.js";
import { RoleChanges } from "./role-changes.js";
import { Seeker } from "./seeker.js";
import type { Role } from "./settings.js";
import type { FenceStats, ReplicationStats } from "./stats.js";
import type { Upstream } from "./upstream.js";

export class ReplicationNode {
  readonly #options: ReplicationNodeOptions;
  readonly #file: LeadershipFile;
  readonly #local: LocalNode;
  readonly #set: ReplicaSet;
  readonly #link: LinkContext;
  readonly #counters = new Counters();
  readonly #seeker: Seeker;
  readonly #handover: Handover;
  readonly #care: Care;
  readonly #asking: PromotionContext;
  readonly #breakers = new Breakers(() => this.#options.clock.now());
  readonly #changes = new RoleChanges(() => this.#seeker.consider());
  #listener: LinkListener | undefined;
  #upstream: Upstream | undefined;
  /** The node that is followed, also while the own log is being mended. */
  #follows: Address | undefined;
  /** The host is asked for one thing at a time. */
  #hostTurn: Promise<unknown> = Promise.resolve();
  #knowsFence = false;

  constructor(options: ReplicationNodeOptions) {
    const { settings, clock, files, dataDirectory, logger, host } = options;
    this.#options = options;
    this.#file = new LeadershipFile(files, dataDirectory);
    this.#local = new LocalNode({
      settings,
      clock,
      logger,
      host,
      file: this.#file,
      events: {
        heard: (leadership, from) => this.#heard(leadership, from),
        yields: (leadership, to) => this.#handover.yieldTo(leadership, to),
        primaryKnown: () => this.#seeker.consider(),
        listChanged: () => this.#listChanged(),
        heartbeat: (heartbeat, from) => this.#heartbeat(heartbeat, from),
      },
    });
    this.#local.upstream = () => this.#upstream?.place;
    const senders = () => this.#listener?.senders ?? [];
    this.#local.senders = senders;
    const upstream = () => this.#upstream;
    const common = { settings, clock, logger, local: this.#local };
    const mayList = () => this.#mustLead() === undefined;
    this.#set = new ReplicaSet({ ...common, senders, upstream, mayList });
    const wentOn = (error: unknown): void =>
      logger.error({ err: error }, "this node could not go on writing by itself");
    this.#link = linkContextOf(this.#local, options);
    this.#asking = { local: this.#local, network: options.network, link: this.#link };
    this.#handover = new Handover({
      asking: this.#asking,
      set: this.#set,
      changing: () => this.#changes.underWay,
      hold: () => this.#askHost(() => host.followBegins()),
      goOn: () => this.#askHost(() => host.lead()).catch(wentOn),
      lead: (from, tries) => this.#changes.run("takes its lead back", () => this.#promote({ from, tries })),
    });
    this.#seeker = new Seeker({
      ...common,
      ask: () => askAround(this.#asking, (nodeId) => !this.#set.isConnected(nodeId)),
      upstream,
      isChanging: () => this.#changes.underWay !== undefined,
      follow: (address) => this.turnTo(address),
      takeBack: () => this.#handover.takeBack(),
    });
    this.#care = new Care({
      host,
      settings,
      network: options.network,
      link: this.#link,
      file: this.#file,
      lenders: () => lendersOf(this.#local, this.#follows),
      stream: () => upstream()?.stream,
      events: {
        closing: () => this.#changes.run("is mending its log", () => this.#close()),
        opened: (how) => this.#opened(how),
        mended: () => this.#breakers.resetDamaged() > 0 && this.#upstream?.retryNow(),
      },
    });
  }

  /**
   * Begins to listen and to follow, or to lead: a master first asks the nodes that it knows whether it was replaced, for a second at
   * most, and calls `host.lead()`. The log is open as `startingRole` said, the state folded.
   * @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED, and whatever a promotion is refused with, when the settings make a
   * replica a master; the network's own error when the address cannot be listened on.
   */
  async start(): Promise<void> {
    this.#changes.begin();
    try {
      await this.#changes.run("is starting", () => this.#start());
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#seeker.lookIn(this.#options.settings.reconnectDelayMs);
    this.#care.start();
  }

  async stop(): Promise<void> {
    if (this.#changes.isEnded) return;
    this.#changes.end();
    this.#handover.forget();
    const reason = refusals.stopping();
    await this.#changes.settled();
    this.#set.end(reason);
    await Promise.all([this.#upstream?.stop(), this.#listener?.close(reason), this.#care.stop()]);
    await this.#seeker.stop();
    await this.#hostTurn;
    await this.#file.settled();
  }

  get role(): Role {
    return this.#local.role;
  }

  /** The address that is listened on, with the port that was taken. */
  get listening(): Address | undefined {
    return this.#local.listening;
  }

  /** The address of the node that is followed. */
  get following(): Address | undefined {
    return this.#upstream?.address;
  }

  get own(): Leadership | undefined {
    return this.#local.own;
  }

  get heard(): Leadership | undefined {
    return this.#local.heard;
  }

  /** Why a node that leads may not write any more. */
  get fence(): FenceStats | undefined {
    return fenceStats(this.#local);
  }

  /** The primary's HTTP address, as far as it is known. */
  get primaryHttp(): string | undefined {
    return this.#local.primary?.http ?? this.#upstream?.http;
  }

  /** The primary's clock now, ms since 1970: the own one when this node leads; undefined before the first heartbeat. */
  get primaryTime(): number | undefined {
    return this.#local.primaryTime;
  }

  /**
   * Why this node takes no writes now; undefined when it does. Cheap, for every write. REPLICATION_READ_ONLY (context.primary: its HTTP
   * address), REPLICATION_FENCED (context.epoch, context.from, context.primary), REPLICATION_CHANGING, REPLICATION_TOO_FEW_REPLICAS
   * (context.found, context.wanted), REPLICATION_LAGGING.
   */
  writeRefusal(): ReplicationError | undefined {
    if (this.#changes.isEnded) return refusals.stopping();
    if (!this.#local.leads) return refusals.readOnly(this.primaryHttp, this.following);
    return this.#mustLead() ?? this.#set.refusal();
  }

  /** How many replicas make, with this node, more than half of the set. */
  quorum(): number {
    return Math.floor(Math.max(1, this.#local.list.nodes.length) / 2);
  }

  /**
   * Waits until `count` replicas hold `offset` durably, under this node's leadership, or the time is over: then `confirmed` < `wanted`.
   * Also when more wait than are kept count of. Rejects with REPLICATION_FENCED when this node was replaced meanwhile.
   */
  confirmed(offset: Offset, count: number, timeoutMs: number): Promise<Confirmation> {
    if (this.#changes.isEnded) return Promise.reject(refusals.stopping());
    if (!this.#local.leads) return Promise.reject(refusals.followsNow(this.following));
    if (this.#local.isFenced) return Promise.reject(refusals.fenced(this.#local));
    return this.#set.confirmed(offset, count, timeoutMs);
  }

  /**
   * Makes this node the primary. Without `force` refused with REPLICATION_ROLE_WRONG (it leads already), REPLICATION_NOT_READY (no log,
   * or a full sync under way), REPLICATION_NOT_ALL_REACHED, REPLICATION_BETTER_REPLICA; with and without, REPLICATION_LOG_FAILED or
   * _DAMAGED, and REPLICATION_FENCED when a higher leadership was heard of meanwhile. `from`: the node that hands its lead over.
   */
  promote(how: PromoteOptions = {}): Promise<PromotionReport> {
    return this.#changes.run("is being promoted", async () => {
      if (this.#local.leads && !this.#local.isFenced) throw refusals.leadsAlready(this.#local);
      return await this.#promote(how);
    });
  }

  /** From now on; a primary stops to write. Kept over restarts, until the settings change. @throws ReplicationError REPLICATION_CIRCLE, which `turnTo` does not. */
  async follow(address: Address): Promise<void> {
    if (this.#changes.underWay === undefined && !this.#changes.isEnded)
      await refuseCircle(address, this.#asking);
    await this.turnTo(address);
  }

  /** Takes everything anew from the node that is followed. False: a full sync is under way, and goes on. */
  async resync(): Promise<boolean> {
    const instead = this.#care.resync();
    if (instead !== undefined) return instead;
    const upstream = this.#upstream;
    if (upstream === undefined || this.#local.leads) throw refusals.followsNobody();
    if (this.#changes.underWay !== undefined) throw refusals.changing(this.#changes.underWay);
    return upstream.resync();
  }

  /**
   * For a switchover: holds writes (REPLICATION_CHANGING) until that replica has everything, and then until it is promoted with this node
   * as `from`, or `timeoutMs` have passed since the call. Resolves with the end that the replica has; rejects with
   * REPLICATION_NOT_CONFIRMED when the time is over before, and writes go on.
   */
  async drain(nodeId: string, timeoutMs: number): Promise<Offset> {
    const refusal = this.#mustLead();
    if (refusal !== undefined) throw refusal;
    return await this.#handover.begin(nodeId, this.#log(), timeoutMs);
  }

  /** After `drain`: takes writes again, unless the lead was given up. Says what became of it; `open` may be asked again. */
  endDrain(): HandoverOutcome {
    this.#handover.end();
    return this.#handover.outcome;
  }

  /** Strikes a node that never comes back off the primary's list. False: it is not on it. @throws ReplicationError REPLICATION_ROLE_WRONG. */
  async forget(nodeId: string): Promise<boolean> {
    const refusal = this.#mustLead();
    if (refusal !== undefined) throw refusal;
    if (nodeId === this.#local.nodeId || this.#set.isConnected(nodeId)) throw refusals.isThere(nodeId);
    const wasListed = await this.#local.list.forget(nodeId);
    this.#set.confirmations.forget(nodeId);
    return wasListed;
  }

  /** Closes tripped breakers; all of them without an id. Returns how many were open. */
  resetBreaker(id?: string): number {
    const reset = this.#breakers.reset(id);
    if (reset > 0) this.#upstream?.retryNow();
    return reset;
  }

  stats(): ReplicationStats {
    const { clock, host } = this.#options;
    return replicationStats({
      local: this.#local,
      set: this.#set,
      clock,
      upstream: this.#upstream,
      clusterId: host.identity().clusterId,
      segments: host.logSegments(),
      breakers: this.#breakers.stats(),
      twins: this.#listener?.twins ?? [],
      changing: this.#changes.underWay !== undefined || this.#handover.to !== undefined,
      damage: this.#care.stats(),
      counters: this.#counters.with(this.#set, this.#upstream, this.#care.counters),
    });
  }

  // ---- changes of the role ----

  turnTo(address: Address): Promise<void> {
    return this.#changes.run("is turning to another primary", () => this.#follow(address));
  }

  async #start(): Promise<void> {
    const { settings, network, host } = this.#options;
    await this.#file.load();
    await this.#local.keepNodeId();
    const { role, address } = roleAtStart(settings, this.#file.content);
    this.#local.role = role;
    if (settings.listenAddress !== undefined) {
      const door = { address: settings.listenAddress, network, context: this.#link, host, events: this.#set };
      this.#listener = await LinkListener.open({ ...door, damaged: (first) => this.#care.notice(first) });
      this.#local.listening = this.#listener.address;
    }
    const { own } = this.#local;
    if (own !== undefined) await this.#local.leadership.raise(own, "its own log");
    if (role === "replica") {
      if (address === undefined) throw refusals.noAddress();
      await this.#file.change({ lived: role });
      this.#followFrom(address);
    } else if (this.#log().following) {
      // The log was written by others. Until it has won it is what it was.
      this.#local.role = "replica";
      await this.#promote({});
    } else await this.#goOnLeading();
  }

  async #goOnLeading(): Promise<void> {
    const { host } = this.#options;
    if (!this.#local.isFenced) await askAround(this.#asking);
    await this.#file.change({ lived: "master" });
    const { own, place, list } = this.#local;
    if (this.#local.isFenced) return this.#fenced();
    if (own !== undefined) await list.goOn(own, place);
    await this.#askHost(() => host.lead());
  }

  async #promote({ force = false, from, tries }: PromoteOptions): Promise<PromotionReport> {
    this.#care.mustBeWhole(force);
    const log = this.#log();
    const upstream = this.#upstream;
    if (upstream?.progress.phase === "installing") throw refusals.installing();
    // From here on the own end stands still.
    await upstream?.stop();
    try {
      const verify = () => this.#care.verifyNewest();
      const candidacy = { log, force, from, tries, verify, followed: upstream?.lastEnd };
      const won = await winLeadership(this.#asking, candidacy);
      return await this.#lead(log, won, force);
    } catch (error) {
      if (!this.#local.leads && !this.#changes.isEnded) upstream?.start();
      throw linkErrorOf(error);
    }
  }

  /** The leadership is won: its epoch begins, durably, and then this node writes. */
  async #lead(log: EventLog, won: Won, forced: boolean): Promise<PromotionReport> {
    const { host, clock, logger } = this.#options;
    const since = clock.stopwatch();
    const { leadership } = won;
    if (isHigher(this.#local.heard, leadership)) throw refusals.fenced(this.#local);
    const above = asEpoch(leadership.epoch - 1);
    const entry = await log.startEpoch({ above, lineageId: leadership.lineageId });
    this.#letUpstreamGo();
    this.#local.role = "master";
    this.#knowsFence = false;
    this.#counters.promotions++;
    const told = { role: "master", address: undefined, settings: configuredNow(this.#options) } as const;
    await this.#file.change({ lived: "master", told, owes: undefined });
    await this.#local.list.lead(leadership, this.#local.place);
    if (this.#local.isFenced) {
      this.#fenced();
      throw refusals.fenced(this.#local);
    }
    await this.#askHost(() => host.lead());
    logger.warn(
      { epoch: entry.epoch, offset: entry.first, forced },
      `this node is the primary now: ${describeLeadership(leadership)} begins at offset ${entry.first}`,
    );
    // Those that were reached learn whom to follow; whoever was not asks around itself.
    this.#seeker.lookIn(0);
    const tookMs = won.tookMs + clock.stopwatch() - since;
    return reportOf(entry, won, { forced, tookMs, listens: this.#listener !== undefined });
  }

  async #follow(address: Address): Promise<void> {
    const { host } = this.#options;
    const told = { role: "replica", address, settings: configuredNow(this.#options) } as const;
    await this.#file.change({ lived: "replica", told });
    await this.#upstream?.stop();
    this.#letUpstreamGo();
    if (this.#local.leads) {
      this.#local.role = "replica";
      this.#knowsFence = false;
      this.#handover.forget();
      this.#set.end(refusals.followsNow(address));
      this.#options.rests?.();
      await this.#askHost(() => host.followBegins());
      const log = host.log();
      if (log !== undefined && !log.following) await log.beginFollowing();
    }
    this.#followFrom(address);
  }

  /** Nothing goes into the log, or out of it, any more. */
  async #close(): Promise<void> {
    await this.#upstream?.stop();
    this.#letUpstreamGo();
    await this.#listener?.stopSenders(refusals.mendsLog());
  }

  /** The log is there again, or everything is to be fetched anew. */
  #opened(how: "open" | "resync"): void {
    const address = this.#follows;
    if (this.#changes.isEnded || this.#local.leads || address === undefined) return;
    this.#followFrom(address);
    if (how === "resync") this.#upstream?.resync();
  }

  #followFrom(address: Address): void {
    this.#follows = address;
    if (this.#care.opens()) return;
    this.#upstream = followedNode(address, {
      options: this.#options,
      link: this.#link,
      seeker: this.#seeker,
      listener: this.#listener,
      local: this.#local,
      breakers: this.#breakers,
      counters: this.#counters,
    });
    if (!this.#changes.isEnded) this.#upstream.start();
  }

  #letUpstreamGo(): void {
    if (this.#upstream !== undefined) this.#counters.keep(this.#upstream);
    this.#upstream = undefined;
  }

  // ---- what is heard ----

  #heard(leadership: Leadership, from: NodeStatement): void {
    const { epoch, lineageId } = leadership;
    const words = `heard of ${describeLeadership(leadership)} from ${from.name}`;
    this.#options.logger.info({ epoch, lineageId, from: from.name }, words);
    if (this.#local.isFenced) this.#fenced();
    this.#seeker.lookIn(LOOK_SOON_MS);
  }

  /** At once nothing more is written or confirmed. */
  #fenced(): void {
    if (this.#knowsFence) return;
    this.#knowsFence = true;
    const { host, logger } = this.#options;
    const reason = refusals.fenced(this.#local);
    this.#counters.timesFenced++;
    this.#handover.forget();
    this.#set.end(reason);
    this.#options.rests?.();
    logger.error({ ...reason.context }, `this node writes no more: ${reason.message}`);
    const told = (error: unknown): void => logger.error({ err: error }, "a fenced node did not come to rest");
    this.#listener?.stopSenders(reason).catch(told);
    this.#askHost(() => host.followBegins()).catch(told);
    this.#seeker.lookIn(LOOK_SOON_MS);
  }

  #listChanged(): void {
    this.#set.listChanged();
    for (const sender of this.#listener?.senders ?? []) sender.beat();
    this.#upstream?.beat();
  }

  #heartbeat(heartbeat: Heartbeat, from: NodeStatement): void {
    const upstream = this.#upstream;
    const isUpstream = upstream?.node?.nodeId === from.nodeId;
    if (isUpstream) upstream.heartbeat(heartbeat);
    this.#care.heard(isUpstream && upstream.progress.phase === "streaming" ? heartbeat : undefined);
    if (this.#local.role === "master" && this.#mustLead() === undefined) this.#set.heartbeat(heartbeat, from);
  }

  #log(): EventLog {
    const log = this.#options.host.log();
    if (log === undefined) throw refusals.noLog();
    return log;
  }

  #mustLead(): ReplicationError | undefined {
    if (!this.#local.leads) return refusals.followsNow(this.following);
    if (this.#local.isFenced) return refusals.fenced(this.#local);
    if (this.#changes.underWay !== undefined) return refusals.changing(this.#changes.underWay);
    return this.#handover.to === undefined ? undefined : refusals.handsOver(this.#handover.to);
  }

  #askHost<T>(ask: () => Promise<T>): Promise<T> {
    const answer = this.#hostTurn.then(ask);
    this.#hostTurn = answer.catch(() => undefined);
    return answer;
  }
}
