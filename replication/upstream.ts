/** The link to the node that this one follows: a receiver, its breaker, and how far behind it is. */
import { offset as asOffset, type Offset } from "../log/index.js";
import type { Breaker } from "./breaker.js";
import type { ReplicationError } from "./errors.js";
import { feederLeads } from "./following.js";
import type { Kept, ReplicationHost } from "./host.js";
import { isHigher, type Leadership } from "./leadership-order.js";
import type { LinkContext, ReceiverProgress } from "./link-ports.js";
import type { Below, Heartbeat, Held } from "./messages.js";
import { type Address, describeAddress, type Network } from "./ports.js";
import type { KnownEnd } from "./position.js";
import { placedAt } from "./reachable.js";
import { Receiver } from "./receiver.js";
import type { UpstreamStats } from "./stats.js";

export interface UpstreamOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
  readonly host: ReplicationHost;
  readonly breaker: Breaker;
  readonly events: UpstreamEvents;
}

export interface UpstreamEvents {
  /**
   * The own log is about to lose records, or has lost some: whoever sends from it ends. Who connected in between may have compared
   * with what is gone.
   */
  logChanges(): Promise<void>;
  /** An end of the own log, or all of it, was put aside. */
  diverged(kept: Kept): void;
  /** The connection ended, or could not be made. */
  failed(error: ReplicationError): void;
  /** Records come. */
  streaming(): void;
}

export class Upstream {
  readonly address: Address;
  readonly #options: UpstreamOptions;
  readonly #receiver: Receiver;
  /** What the other side had at some moment, by the stopwatch: when that is here, this node was no further behind. */
  #sample: { readonly end: number; readonly at: number } | undefined;
  #caughtUpAt: number | undefined;
  #primaryEnd: Offset | undefined;
  /** Where the log of the one that is followed was last heard to end. */
  lastEnd: KnownEnd | undefined;
  #feederLeads = true;
  #feederOwn: Leadership | undefined;
  #goodAt: number;
  #recordsAtFailure = 0;
  #isGreeted = false;
  #isBelow = false;

  constructor(options: UpstreamOptions) {
    const { address, network, context, host, breaker, events } = options;
    this.address = address;
    this.#options = options;
    this.#goodAt = context.clock.stopwatch();
    this.#receiver = new Receiver({
      address,
      network,
      context,
      host: {
        log: () => host.log(),
        cut: (after) => this.#changed(() => host.cut(after)),
        beginInstall: (install) => host.beginInstall(install),
        installed: (installing) => this.#changed(() => host.installed(installing)),
      },
      events: {
        phase: (phase) => {
          if (phase === "connecting" || phase === "waiting" || phase === "idle") this.#isGreeted = false;
          else if (phase !== "greeting" && !this.#isGreeted) {
            this.#isGreeted = true;
            const { primary: feeder } = this.#receiver.progress;
            if (feeder !== undefined) this.#feederSays(feeder.own, feeder.leads);
            if (feeder?.end !== undefined) this.#feederEnds(feeder.end.offset);
          }
          if (phase === "streaming") events.streaming();
        },
        failed: (error) => this.#failed(error),
        mayConnect: () => !breaker.isOpen,
      },
    });
  }

  /** The own log loses an end, or gives way to another one. */
  async #changed(change: () => Promise<Kept | undefined>): Promise<void> {
    const { events } = this.#options;
    await events.logChanges();
    const kept = await change();
    await events.logChanges();
    if (kept !== undefined) events.diverged(kept);
  }

  get progress(): ReceiverProgress {
    return this.#receiver.progress;
  }

  get stream(): object | undefined {
    return this.#receiver.stream;
  }

  /** The other side, while there is a connection that has greeted. */
  get node(): ReceiverProgress["primary"] {
    return this.#isGreeted ? this.#receiver.progress.primary : undefined;
  }

  /** Its HTTP address, once it has greeted. */
  get http(): string | undefined {
    return this.node && placedAt(this.node, this.address.host).http;
  }

  /** Its node, once it has greeted, and the host at which it was reached. */
  get place(): { readonly nodeId: string; readonly host: string } | undefined {
    return this.node && { nodeId: this.node.nodeId, host: this.address.host };
  }

  start(): void {
    this.#receiver.start();
  }

  /** Resolves when no record is on its way into the log. */
  stop(): Promise<void> {
    return this.#receiver.stop();
  }

  /** Somebody has looked: also when the link was down for failed verifications. False: it is under way, and goes on. */
  resync(): boolean {
    this.#options.breaker.reset();
    return this.#receiver.resync();
  }

  retryNow(): void {
    this.#receiver.retryNow();
  }

  beat(): void {
    this.#receiver.beat();
  }

  say(message: Below | Held): void {
    this.#receiver.say(message);
  }

  /** The one that is followed follows another itself, as it was last heard to. */
  get isFedByReplica(): boolean {
    return this.#receiver.progress.primary !== undefined && !this.#feederLeads;
  }

  /** The link ended last because the one that was followed follows this node. */
  get isBelow(): boolean {
    return this.#isBelow;
  }

  /** For how long the one that is followed has not been there with the highest leadership that this node heard of. */
  get lateForMs(): number {
    const { clock, node } = this.#options.context;
    if (this.node !== undefined && !isHigher(node.heard, this.#feederOwn)) return 0;
    return clock.stopwatch() - this.#goodAt;
  }

  #feederSays(own: Leadership | undefined, leads: boolean): void {
    const { clock, node } = this.#options.context;
    this.#feederOwn = own;
    this.#feederLeads = leads;
    if (!isHigher(node.heard, own)) this.#goodAt = clock.stopwatch();
  }

  /** Of the other side. */
  heartbeat(heartbeat: Heartbeat): void {
    const { end, own } = heartbeat;
    this.#isBelow = false;
    const { node } = this.#options.context;
    const feeder = this.node;
    if (feeder !== undefined && own !== undefined)
      this.lastEnd = { ...own, nodeId: feeder.nodeId, offset: end };
    const leads = feeder && feederLeads(heartbeat, feeder, node.heard);
    this.#feederSays(own, leads ?? this.#feederLeads);
    this.#feederEnds(end);
  }

  #feederEnds(end: Offset): void {
    this.#primaryEnd = end;
    const at = this.#options.context.clock.stopwatch();
    this.#look();
    this.#sample ??= { end, at };
    if (this.#committed >= end) this.#caughtUpAt = at;
  }

  stats(): UpstreamStats {
    const { clock } = this.#options.context;
    const progress = this.#receiver.progress;
    const { node, lagRecords } = this;
    const { lastError } = progress;
    const wall = clock.now() - clock.stopwatch();
    return {
      address: describeAddress(this.address),
      phase: progress.phase,
      connected: node !== undefined,
      node: progress.primary && {
        nodeId: progress.primary.nodeId,
        name: progress.primary.name,
        address: describeAddress(this.address),
        http: placedAt(progress.primary, this.address.host).http,
      },
      primaryEnd: this.#primaryEnd && asOffset(Math.max(this.#primaryEnd, this.#committed)),
      lagRecords,
      lagMs: this.lagMs,
      lastHeard: progress.lastHeardAt === undefined ? undefined : wall + progress.lastHeardAt,
      connectedAt: progress.connectedAt,
      retryInMs:
        progress.retryAt === undefined ? undefined : Math.max(0, progress.retryAt - clock.stopwatch()),
      error: lastError && { code: lastError.code, message: lastError.message },
    };
  }

  /**
   * Records that the other side was last heard to have and this node has not committed. While nothing is heard there may be more, so then it is
   * not known that there are none.
   */
  get lagRecords(): number | undefined {
    if (this.#primaryEnd === undefined) return undefined;
    const lag = Math.max(0, this.#primaryEnd - this.#committed);
    return lag === 0 && this.node === undefined ? undefined : lag;
  }

  /** For how long this node has not had everything; it grows while nothing is heard. */
  get lagMs(): number | undefined {
    this.#look();
    if (this.#caughtUpAt === undefined) return undefined;
    const hasAll = this.node !== undefined && this.lagRecords === 0;
    return hasAll ? 0 : this.#options.context.clock.stopwatch() - this.#caughtUpAt;
  }

  get #committed(): number {
    return this.#options.host.log()?.committedOffset ?? 0;
  }

  #look(): void {
    if (this.#sample === undefined || this.#committed < this.#sample.end) return;
    this.#caughtUpAt = this.#sample.at;
    this.#sample = undefined;
  }

  #failed(error: ReplicationError): void {
    const { breaker, context, events } = this.#options;
    this.#isBelow = error.code === "REPLICATION_CIRCLE";
    // What cannot be cut is replaced: the next connection fetches everything, and the host keeps what was only here.
    if (error.code === "REPLICATION_CUT_TOO_DEEP") this.#receiver.resync();
    const { recordsReceived } = this.#receiver.progress;
    if (recordsReceived > this.#recordsAtFailure) breaker.progressed();
    this.#recordsAtFailure = recordsReceived;
    if (breaker.failed(error))
      context.logger.error(
        { address: describeAddress(this.address), code: error.code },
        `the link to ${describeAddress(this.address)} failed verification again and again and stays down until it is reset: ${error.message}`,
      );
    events.failed(error);
  }
}
