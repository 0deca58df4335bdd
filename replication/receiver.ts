/**
 * Keeps this node connected with the one that it follows: dials, greets, follows, and after an end waits and dials again, longer each time that
 * it came to nothing. What is said on a connection is `following.ts`; whom to follow is decided elsewhere.
 */
import { backoffMs } from "./backoff.js";
import { ReplicationError } from "./errors.js";
import { Following } from "./following.js";
import { DialledGreeting } from "./greeting.js";
import { linkErrorOf } from "./link-error.js";
import type {
  LinkContext,
  ReceiverEvents,
  ReceiverHost,
  ReceiverPhase,
  ReceiverProgress,
} from "./link-ports.js";
import type { Below, Held, NodeStatement } from "./messages.js";
import { type Address, describeAddress, type Network } from "./ports.js";
import { Session } from "./session.js";

export interface ReceiverOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
  readonly host: ReceiverHost;
  readonly events: ReceiverEvents;
}

export class Receiver {
  readonly address: Address;
  readonly #network: Network;
  readonly #context: LinkContext;
  readonly #host: ReceiverHost;
  readonly #events: ReceiverEvents;
  #phase: ReceiverPhase = "idle";
  #stopped = true;
  #session: Session | undefined;
  #primary: NodeStatement | undefined;
  /** The attempt that is under way, and what it leaves to be tidied up. */
  #attempt: Promise<void> = Promise.resolve();
  #cancelRetry: (() => void) | undefined;
  #retryAt: number | undefined;
  #failures = 0;
  #wantsAll = false;
  #dialsAgain = false;
  #hasDialled = false;
  /** The connection ended, and the settings let none follow by itself. */
  #isLeftAlone = false;
  #connectedAt: number | undefined;
  #lastError: ReplicationError | undefined;
  readonly #counts = { bytes: 0, records: 0, full: 0, partial: 0, cuts: 0, reconnects: 0 };

  constructor({ address, network, context, host, events }: ReceiverOptions) {
    this.address = address;
    this.#network = network;
    this.#context = context;
    this.#host = host;
    this.#events = events;
  }

  get progress(): ReceiverProgress {
    const isConnected = this.#connectedAt !== undefined;
    return {
      phase: this.#phase,
      primary: this.#primary,
      bytesReceived: this.#counts.bytes,
      recordsReceived: this.#counts.records,
      fullSyncs: this.#counts.full,
      partialSyncs: this.#counts.partial,
      cuts: this.#counts.cuts,
      reconnects: this.#counts.reconnects,
      lastHeardAt: isConnected ? this.#session?.lastHeardAt : undefined,
      connectedAt: this.#connectedAt,
      lastError: this.#lastError,
      retryAt: this.#retryAt,
    };
  }

  /** The connection over which records come; another one may have compared with another log. */
  get stream(): object | undefined {
    return this.#phase === "streaming" ? this.#session : undefined;
  }

  /** Begins to follow; after a `stop` only when that has resolved. */
  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#isLeftAlone = false;
    this.#failures = 0;
    this.#dial();
  }

  /** Resolves when nothing of a connection is acted upon any more: no record is on its way into the log. */
  async stop(why = "this node follows no longer"): Promise<void> {
    this.#stopped = true;
    this.#isLeftAlone = false;
    this.#cancelRetry?.();
    this.#retryAt = undefined;
    this.#session?.end(new ReplicationError("REPLICATION_STOPPING", why));
    await this.#attempt;
    this.#enter("idle");
  }

  /** Says now what the next heartbeat would say. */
  beat(): void {
    this.#session?.beat();
  }

  /** Passes on what is known of the nodes below, when the link streams and has room: what is left out the next heartbeat makes good. */
  say(message: Below | Held): void {
    if (this.#phase === "streaming" && this.#session?.hasRoom === true) this.#session.send(message);
  }

  /**
   * Takes everything anew, from the next connection, which begins at once. False: that is under way, or another full sync is, and goes
   * on; what was gathered would else be fetched again.
   */
  resync(): boolean {
    const isDialled = this.#phase !== "idle" && this.#phase !== "waiting";
    const isUnderWay = this.#phase === "installing" || (this.#wantsAll && isDialled);
    this.#wantsAll = true;
    if (isUnderWay) return false;
    if (this.#isLeftAlone) this.start();
    else this.retryNow("everything is wanted anew");
    return true;
  }

  /** Ends the wait, or the connection that there is, and dials. */
  retryNow(why = "this node connects anew"): void {
    if (this.#stopped) return;
    this.#failures = 0;
    if (this.#cancelRetry !== undefined) this.#dial();
    else if (this.#session !== undefined) {
      this.#dialsAgain = true;
      this.#session.end(new ReplicationError("REPLICATION_STOPPING", why));
    }
  }

  #dial(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#retryAt = undefined;
    if (this.#events.mayConnect?.() === false) {
      this.#retryAfter(this.#context.settings.reconnectDelayMs);
      return;
    }
    if (this.#hasDialled) this.#counts.reconnects++;
    this.#hasDialled = true;
    this.#enter("connecting");
    this.#attempt = this.#connect();
  }

  /** One connection, from the dialling to the end. */
  async #connect(): Promise<void> {
    let reason: ReplicationError;
    try {
      // What the greeting says of the log's end must be all that there is.
      const log = this.#host.log();
      if (log !== undefined) await log.whenCommitted(log.endOffset);
      if (this.#stopped) return;
      reason = await this.#converse();
    } catch (error) {
      reason = linkErrorOf(error);
    }
    const { now } = this.#context.clock;
    const lastedMs = this.#connectedAt === undefined ? 0 : now() - this.#connectedAt;
    // It came to something also where nothing was written: there may just have been nothing to take in.
    if (this.#phase === "streaming" && lastedMs >= this.#context.settings.timeoutMs) this.#failures = 0;
    this.#session = undefined;
    this.#connectedAt = undefined;
    this.#lastError = reason;
    if (this.#stopped) return;
    this.#context.logger.warn(
      { code: reason.code, address: describeAddress(this.address), failures: this.#failures },
      `the link to ${describeAddress(this.address)} ended: ${reason.message}`,
    );
    this.#events.failed?.(reason);
    // The two know another secret, most likely, so nobody who waits for acknowledgements need feel it. Who says so all the time waits as all do.
    if (reason.code === "REPLICATION_SECRET_RETIRED" && lastedMs >= this.#context.settings.reconnectDelayMs)
      this.#dialsAgain = true;
    this.#again();
  }

  /** Resolves with why it ended, when everything of it is over. */
  async #converse(): Promise<ReplicationError> {
    let following: Following | undefined;
    const reason = await new Promise<ReplicationError>((ended) => {
      const wish = { purpose: "follow", resync: this.#wantsAll } as const;
      const greeting = new DialledGreeting(
        this.#context,
        wish,
        (session, welcome) => {
          following = this.#follow(session, welcome.node, ended);
          return following;
        },
        ended,
        () => this.#enter("greeting"),
      );
      const session = new Session(this.#context, greeting);
      this.#session = session;
      greeting.begin(session);
      session.attach(this.#network.connect(this.address, session), false);
    });
    await following?.finish(reason);
    await this.#session?.idle();
    return reason;
  }

  #follow(session: Session, primary: NodeStatement, ended: (reason: ReplicationError) => void): Following {
    this.#primary = primary;
    this.#connectedAt = this.#context.clock.now();
    return new Following(session, this.#context, this.#host, {
      phase: (phase) => {
        if (phase === "cutting") this.#counts.cuts++;
        this.#enter(phase);
      },
      received: (bytes, records) => {
        this.#counts.bytes += bytes;
        this.#counts.records += records;
        if (this.#phase === "streaming" && records > 0) this.#failures = 0;
      },
      synced: (kind) => {
        this.#counts[kind]++;
        if (kind === "partial") return;
        this.#wantsAll = false;
        this.#failures = 0;
      },
      ended,
    });
  }

  #again(): void {
    if (this.#dialsAgain) {
      this.#dialsAgain = false;
      this.#dial();
      return;
    }
    if (!this.#context.settings.autoReconnect) {
      this.#stopped = true;
      this.#isLeftAlone = true;
      this.#enter("idle");
      return;
    }
    this.#failures++;
    const { reconnectDelayMs } = this.#context.settings;
    this.#retryAfter(backoffMs(reconnectDelayMs, this.#failures, this.#context.random.unit()));
  }

  #retryAfter(ms: number): void {
    this.#retryAt = this.#context.clock.stopwatch() + ms;
    this.#enter("waiting");
    this.#cancelRetry = this.#context.clock.after(ms, () => this.#dial());
  }

  #enter(phase: ReceiverPhase): void {
    if (this.#phase === phase) return;
    this.#phase = phase;
    this.#events.phase?.(phase);
  }
}
