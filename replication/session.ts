/**
 * One connection, as messages: frames in order, one acted upon at a time, the leadership of the other side heard before the content counts,
 * heartbeats both ways, an end that both sides have words for. What is said is somebody else's.
 *
 * While a message is being acted upon nothing more is read: the connection is paused, so the other side's bytes wait in its own buffers.
 */
import { linkErrorCode, ReplicationError } from "./errors.js";
import { FrameReader } from "./frames.js";
import { isSameLeadership, type Leadership } from "./leadership-order.js";
import { connectionLost, linkErrorOf, notConnected } from "./link-error.js";
import type { LinkContext } from "./link-ports.js";
import { decodeMessage, encodeMessage } from "./message-codec.js";
import type { Heartbeat, Message, NodeStatement } from "./messages.js";
import type { Connection, ConnectionHandlers } from "./ports.js";
import { isAmong } from "./secret.js";

/** Whoever asks waits so long for an answer, or for the next run; so whoever answers waits no longer until that is taken in. */
export const ANSWER_MS_MAX = 120_000;

export interface SessionOwner {
  /** A dialled connection is there. */
  opened?(): void;
  /** Acts upon one message. Nothing more is read until the promise settles; what it throws ends the session. */
  message(message: Message): undefined | Promise<void>;
  /** Everything that had come is acted upon. */
  turn?(): void;
  /** There is room to write again. */
  writable?(): void;
  /** A heartbeat was said: what else is said regularly follows it. */
  beaten?(): void;
  /** Once. What was being acted upon may still be running: `idle` tells. */
  ended(reason: ReplicationError): void;
}

/** The other side, once it is known. */
export interface Other {
  readonly node: NodeStatement;
  /** Its own leadership, as it stated it last. */
  own: Leadership | undefined;
}

export class Session implements ConnectionHandlers {
  readonly #context: LinkContext;
  #connection: Connection | undefined;
  readonly #reader = new FrameReader();
  #owner: SessionOwner;
  #other: Other | undefined;
  /** What this side stated last. */
  #stated: Leadership | undefined;
  #acting: Promise<void> | undefined;
  #isOpen = false;
  #blocked = false;
  #ended: ReplicationError | undefined;
  #lastHeardAt: number;
  /** `sentAt` of the last heartbeat. */
  #beatAt = 0;
  #timeoutMs: number;
  /** The secret that the greeting was proved with; undefined where there is none. */
  #provedWith: Uint8Array | undefined;
  #cancelTick: (() => void) | undefined;
  /** Whoever waits for room. */
  #wake: (() => void) | undefined;

  constructor(context: LinkContext, owner: SessionOwner) {
    this.#context = context;
    this.#owner = owner;
    this.#timeoutMs = context.settings.timeoutMs;
    this.#lastHeardAt = context.clock.stopwatch();
  }

  /** Before anything comes. An accepted connection is open already. */
  attach(connection: Connection, isOpen: boolean): void {
    this.#connection = connection;
    this.#isOpen = isOpen;
  }

  get isGreeted(): boolean {
    return this.#other !== undefined;
  }

  get remote(): string {
    return this.#connection?.remote ?? "nobody yet";
  }

  get reason(): ReplicationError | undefined {
    return this.#ended;
  }

  /** False: wait for `writable`. */
  get hasRoom(): boolean {
    return !this.#blocked;
  }

  /**
   * Resolves when there is room, or the end has come. Before every answer: what is asked, and not taken in, would else wait here without a
   * bound. One may wait.
   */
  async room(): Promise<void> {
    if (this.hasRoom || this.#ended !== undefined) return;
    const words = `${this.remote} has taken in nothing of what it asked for in ${ANSWER_MS_MAX} ms`;
    const cancel = this.#context.clock.after(ANSWER_MS_MAX, () =>
      this.end(new ReplicationError("REPLICATION_TIMEOUT", words, { remote: this.remote })),
    );
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    cancel();
  }

  get lastHeardAt(): number {
    return this.#lastHeardAt;
  }

  /** When the last heartbeat was sent, as it says itself; 0 before the first. */
  get beatAt(): number {
    return this.#beatAt;
  }

  /** @throws ReplicationError REPLICATION_MESSAGE_UNEXPECTED before the greeting is over. */
  get other(): Other {
    if (this.#other === undefined) throw unexpected("anything", "the greeting");
    return this.#other;
  }

  /** Whoever acts upon messages from now on. */
  handTo(owner: SessionOwner): void {
    this.#owner = owner;
  }

  /** The greeting is over: both sides are known, and from here on every frame carries its side's leadership. */
  greeted(
    other: NodeStatement,
    stated: Leadership | undefined,
    otherHeartbeatMs: number,
    takes: "words" | "records",
    provedWith: Uint8Array | undefined,
  ): void {
    this.#provedWith = provedWith;
    this.#other = { node: other, own: other.own };
    this.#stated = stated;
    // A side that is silent for its own interval is not gone.
    this.#timeoutMs = Math.max(this.#timeoutMs, 3 * otherHeartbeatMs);
    this.#reader.greeted(takes);
    this.#tick();
  }

  send(message: Message): void {
    if (this.#ended !== undefined) return;
    if (this.#other !== undefined && !isSameLeadership(this.#stated, this.#context.node.own))
      this.#sendHeartbeat();
    this.#write(message);
  }

  /** Says now what the next heartbeat would say. */
  beat(): void {
    if (this.#ended !== undefined || this.#other === undefined || !this.hasRoom) return;
    this.#sendHeartbeat();
    this.#owner.beaten?.();
  }

  /** Ends it. The other side is told why, unless it said so itself or is gone. Idempotent. */
  end(reason: ReplicationError, tell = true): void {
    if (this.#ended !== undefined) return;
    if (tell) this.#write({ type: "refused", code: reason.code, message: reason.message });
    this.#ended = reason;
    this.#cancelTick?.();
    this.#wake?.();
    this.#connection?.close();
    this.#owner.ended(reason);
  }

  /** Resolves when nothing is being acted upon. */
  async idle(): Promise<void> {
    while (this.#acting !== undefined) await this.#acting;
  }

  opened(): void {
    this.#isOpen = true;
    this.#owner.opened?.();
  }

  data(bytes: Uint8Array): void {
    if (this.#ended !== undefined) return;
    // A process that was stopped finds what came meanwhile before its timers tell that it is late: such words are too old to count.
    if (this.#other !== undefined && this.#giveUpSilent()) return;
    this.#lastHeardAt = this.#context.clock.stopwatch();
    this.#reader.push(bytes);
    this.#actOnWhatCame();
  }

  drain(): void {
    this.#blocked = false;
    this.#wake?.();
    if (this.#ended === undefined) this.#owner.writable?.();
  }

  closed(error: Error | undefined): void {
    this.end(this.#isOpen ? connectionLost(this.remote, error) : notConnected(this.remote, error), false);
    this.#isOpen = false;
  }

  #actOnWhatCame(): void {
    if (this.#acting !== undefined) return;
    try {
      while (this.#ended === undefined) {
        const frame = this.#reader.next();
        if (frame === undefined) break;
        const acting = this.#act(decodeMessage(frame), frame.epoch);
        if (acting !== undefined) {
          this.#waitFor(acting);
          break;
        }
      }
      if (this.#ended === undefined) this.#owner.turn?.();
    } catch (error) {
      this.end(linkErrorOf(error));
    }
  }

  #waitFor(acting: Promise<void>): void {
    this.#connection?.pause();
    this.#acting = acting
      .catch((error: unknown) => this.end(linkErrorOf(error)))
      .then(() => {
        this.#acting = undefined;
        // It wasn't listening, so it can't say that nothing was said.
        this.#lastHeardAt = this.#context.clock.stopwatch();
        if (this.#ended !== undefined) return;
        this.#connection?.resume();
        this.#actOnWhatCame();
      });
  }

  #act(message: Message, epoch: number): undefined | Promise<void> {
    const other = this.#other;
    if (message.type === "heartbeat" && other !== undefined) other.own = message.own;
    if (epoch !== (other?.own?.epoch ?? 0))
      throw new ReplicationError(
        "REPLICATION_MESSAGE_BAD",
        "a frame under a leadership that was not stated",
        {
          message: message.type,
          expected: other?.own?.epoch ?? 0,
          found: epoch,
        },
      );
    const noted = other?.own && this.#context.node.onHeard(other.own, other.node);
    return noted === undefined ? this.#pass(message) : noted.then(() => this.#pass(message));
  }

  #pass(message: Message): undefined | Promise<void> {
    if (this.#ended !== undefined) return undefined;
    if (message.type === "refused") {
      const code = linkErrorCode(message.code);
      const text = `${this.remote} refused: ${message.message}`;
      this.end(new ReplicationError(code, text, { by: this.remote, code: message.code }), false);
      return undefined;
    }
    if (message.type === "heartbeat") this.#context.node.onHeartbeat(message, this.other.node);
    return this.#owner.message(message);
  }

  #tick(): void {
    const { clock, settings } = this.#context;
    const everyMs = Math.max(1, Math.min(settings.heartbeatIntervalMs, Math.floor(this.#timeoutMs / 3)));
    this.#cancelTick = clock.after(everyMs, () => {
      if (this.#giveUpSilent() || this.#giveUpSecret()) return;
      // Where bytes wait to leave, more words say nothing.
      this.beat();
      this.#tick();
    });
  }

  #giveUpSilent(): boolean {
    const silentMs = Math.round(this.#context.clock.stopwatch() - this.#lastHeardAt);
    if (this.#acting !== undefined || silentMs <= this.#timeoutMs) return false;
    const words = `nothing heard from ${this.remote} for ${silentMs} ms`;
    this.end(new ReplicationError("REPLICATION_TIMEOUT", words, { remote: this.remote, silentMs }));
    return true;
  }

  /** Whoever knows a secret that has leaked may have opened a link with it, too. */
  #giveUpSecret(): boolean {
    if (isAmong(this.#context.settings.secrets(), this.#provedWith)) return false;
    const words = `the shared secret that the link with ${this.remote} began with is none of this node's any more`;
    this.end(new ReplicationError("REPLICATION_SECRET_RETIRED", words, { remote: this.remote }));
    return true;
  }

  /** States the leadership of this moment, and with it everything else that the other side wants to know regularly. */
  #sendHeartbeat(): void {
    const { node, clock } = this.#context;
    this.#beatAt = Math.floor(clock.stopwatch());
    const heartbeat: Heartbeat = { type: "heartbeat", ...node.heartbeat(), sentAt: this.#beatAt };
    this.#stated = heartbeat.own;
    this.#write(heartbeat);
  }

  #write(message: Message): void {
    const epoch = this.#other === undefined ? 0 : (this.#stated?.epoch ?? 0);
    if (!this.#isOpen) return;
    for (const piece of encodeMessage(message, epoch))
      if (this.#connection?.write(piece) === false) this.#blocked = true;
  }
}

export const unexpected = (found: string, state: string): ReplicationError =>
  new ReplicationError("REPLICATION_MESSAGE_UNEXPECTED", `${found} does not belong into ${state}`, {
    found,
    state,
  });
