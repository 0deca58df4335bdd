/**
 * The side of a link that sends: finds out where the replica's log leaves this one, has it cut or begins a full sync, then sends what is
 * durable here, as fast as the replica takes it in. One for each connected replica. Who leads is decided elsewhere; a sender only stops when
 * the node has heard of a higher leadership than the one that its log ends with.
 */
import { offset as asOffset, type EventLog, type Offset, type RecordRun } from "../log/index.js";
import { lastCommon, PROBES_MAX } from "./comparison.js";
import { ReplicationError } from "./errors.js";
import { chunksOf, planFullSync } from "./full-sync.js";
import { FullSyncHold } from "./full-sync-hold.js";
import { isHigher, isSameLeadership } from "./leadership-order.js";
import { LEASE_MS, LEASE_RENEWED_EVERY_MS } from "./lease.js";
import { linkErrorOf, sendsNoMore } from "./link-error.js";
import type { LinkContext, ReplicaProgress, SenderHost } from "./link-ports.js";
import type { Ack, Heartbeat, Held, HelloBody, Message } from "./messages.js";
import { describePosition, EMPTY_POSITION, isSamePosition, type Position } from "./position.js";
import { type KeptList, Relayed } from "./relay.js";
import { type Session, type SessionOwner, unexpected } from "./session.js";
import { Window } from "./window.js";

/** After a run nothing is sent for so long, unless somebody waits for it: whatever becomes durable meanwhile goes together. */
const HELD_BACK_MS = 3;
/** After a run of as many bytes, or of half of what may be on its way, nothing is held back: so much comes that the next one is large by itself. */
const LARGE_RUN_BYTES = 64 * 1024;

export interface SenderEvents {
  /** Whether somebody waits for what the replica confirms: then nothing is held back. */
  isAwaited?(): boolean;
  /** The replica said how far it is; `progress` has it. */
  acknowledged?(sender: Sender): void;
  /** It told of the nodes that follow it, or keeps another list of nodes. */
  below?(sender: Sender): void;
  /** It told how far some of them are. */
  held?(sender: Sender, held: Held): void;
  /** Once. */
  ended?(sender: Sender, reason: ReplicationError): void;
}

type Answer = Extract<Message, { type: "mark" | "cutDone" }>;

interface Asked {
  readonly wants: Answer["type"];
  resolve(answer: Answer): void;
  reject(reason: ReplicationError): void;
}

export class Sender implements SessionOwner {
  readonly #session: Session;
  readonly #hello: HelloBody;
  readonly #context: LinkContext;
  readonly #host: SenderHost;
  readonly #events: SenderEvents;
  readonly #window: Window;
  readonly #connectedAt: number;
  readonly #done: Promise<void>;
  #phase: ReplicaProgress["phase"] = "comparing";
  #asked: Asked | undefined;
  #probes = 0;
  #runs: AsyncIterableIterator<RecordRun> | undefined;
  /** The last record that the replica has or was sent. */
  #lastSent = EMPTY_POSITION.offset;
  #recordsSent = 0;
  #acked: Ack = {
    type: "ack",
    bytes: 0,
    received: asOffset(0),
    committed: asOffset(0),
    durable: asOffset(0),
    answers: undefined,
  };
  /** Of a full sync: with this record it is whole. */
  #installsUntil: Offset | undefined;
  /** Until everything that was durable here was sent once. */
  #hold: FullSyncHold | undefined;
  /** What was durable here at some moment, and when: once it is acknowledged, the replica was no further behind than that. */
  #sample: { readonly durable: Offset; readonly at: number };
  #caughtUpAt: number;
  /** The own durable offset when it moved last. */
  #seenDurable = asOffset(0);
  #list: KeptList = { under: undefined, version: 0 };
  /** The nodes that follow this replica. */
  readonly relayed = new Relayed();

  constructor(
    session: Session,
    hello: HelloBody,
    context: LinkContext,
    host: SenderHost,
    events: SenderEvents,
  ) {
    this.#session = session;
    this.#hello = hello;
    this.#context = context;
    this.#host = host;
    this.#events = events;
    this.#window = new Window(context.settings.windowBytes);
    this.#connectedAt = context.clock.now();
    this.#caughtUpAt = context.clock.stopwatch();
    this.#sample = { durable: asOffset(0), at: this.#caughtUpAt };
    this.#done = this.#serve();
  }

  get progress(): ReplicaProgress {
    const { received, committed, durable } = this.#acked;
    return {
      node: this.#session.other.node,
      remote: this.#session.remote,
      phase: this.#phase,
      received,
      committed,
      durable,
      bytesInFlight: this.#window.inFlightBytes,
      bytesSent: this.#window.sentBytes,
      recordsSent: this.#recordsSent,
      connectedAt: this.#connectedAt,
      lastHeardAt: this.#session.lastHeardAt,
      lagMs: this.#lagMs(),
      needs: this.#hold?.neededFrom(this.#lastSent),
    };
  }

  /** The list of nodes that the replica keeps, as it stated last. */
  get list(): KeptList {
    return this.#list;
  }

  get incarnation(): string | undefined {
    return this.#hello.incarnation;
  }

  get nodeId(): string {
    return this.#session.other.node.nodeId;
  }

  /** Whether what the replica acknowledged counts at this moment. */
  get isLeased(): boolean {
    const { answers } = this.#acked;
    if (this.#phase !== "streaming" || answers === undefined || this.#session.reason !== undefined)
      return false;
    return this.#context.clock.stopwatch() <= answers + LEASE_MS;
  }

  /** Has the replica's acknowledgements count for longer, if nobody asked it for that lately. */
  renewLease(): void {
    if (this.#context.clock.stopwatch() >= this.#session.beatAt + LEASE_RENEWED_EVERY_MS)
      this.#session.beat();
  }

  /** Says now what the next heartbeat would say. */
  beat(): void {
    this.#session.beat();
  }

  /** Somebody began to wait for what the replica confirms: `isAwaited` is asked again. */
  hurry(): void {
    this.#window.ring();
  }

  /** Ends the link. Resolves when nothing of it reads from the log any more. */
  async stop(reason: ReplicationError): Promise<void> {
    this.#session.end(reason);
    await this.#done;
  }

  message(message: Message): undefined {
    if (!this.#isLate) this.#mustLead();
    switch (message.type) {
      case "heartbeat":
        this.#keeps(message);
        return;
      case "below": {
        const { remote } = this.#session;
        const counts = this.#phase === "streaming";
        this.relayed.state(message, remote, this.#context.clock.stopwatch(), counts);
        this.#events.below?.(this);
        return;
      }
      case "held":
        if (this.#phase !== "streaming") return;
        this.relayed.hold(message, this.#context.clock.stopwatch());
        this.#events.held?.(this, message);
        return;
      case "ack":
        this.#acknowledge(message);
        return;
      case "mark":
      case "cutDone": {
        const asked = this.#asked;
        if (asked?.wants !== message.type) throw unexpected(message.type, this.#phase);
        this.#asked = undefined;
        asked.resolve(message);
        return;
      }
      default:
        throw unexpected(message.type, this.#phase);
    }
  }

  writable(): void {
    this.#window.ring();
  }

  ended(reason: ReplicationError): void {
    this.#window.ring();
    this.#asked?.reject(reason);
    const runs = this.#runs;
    this.#runs = undefined;
    // What it fails with reaches whoever pulls, and the link is over anyway.
    runs?.return?.().catch((error: unknown) => this.#note(error));
    this.#events.ended?.(this, reason);
  }

  async #serve(): Promise<void> {
    try {
      // Not before whoever made this one has it.
      await Promise.resolve();
      const log = this.#host.log();
      if (log === undefined)
        throw new ReplicationError("REPLICATION_NOT_READY", "this node has no log to send yet");
      this.#mustLead();
      const from = this.#hello.resync ? undefined : await this.#continueAt(log);
      if (from === undefined) await this.#install(log);
      else await this.#continue(log, from);
    } catch (error) {
      this.#session.end(this.#session.reason ?? linkErrorOf(error));
    }
  }

  /** The replica's next record, once its log is a beginning of this one; undefined when it must get everything. */
  async #continueAt(log: EventLog): Promise<Offset | undefined> {
    const { end } = this.#hello.node;
    if (end === undefined) return undefined;
    for (;;) {
      if (await this.#holds(log, end)) return asOffset(end.offset + 1);
      // More may come here while the two compare.
      const last = log.durableOffset;
      const common = await lastCommon(
        { firstOffset: log.firstOffset, last, positionAt: (at) => log.positionAt(at) },
        {
          firstOffset: this.#hello.node.firstOffset,
          last: end.offset,
          positionAt: (at) => this.#probe(at),
        },
      );
      if (common === undefined) return undefined;
      const isBehind = log.following && common.offset === last;
      if (!isBehind) return await this.#cut(log, common, end);
      // A node that follows may only be late: what the replica has beyond it is, perhaps, what it will get itself.
      await this.#hasAsMuch(log, end);
    }
  }

  async #holds(log: EventLog, end: Position): Promise<boolean> {
    if (end.offset > log.durableOffset) return false;
    if (end.offset === EMPTY_POSITION.offset) return log.firstOffset <= 1;
    return await log.agrees(end);
  }

  async #probe(offset: Offset): Promise<Position> {
    if (this.#probes++ >= PROBES_MAX * 2) throw unexpected("another probe", this.#phase);
    const answer = await this.#ask({ type: "probe", offset }, "mark");
    if (answer.type !== "mark" || answer.position?.offset !== offset)
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", "a mark of something else than was asked for", {
        expected: offset,
      });
    return answer.position;
  }

  async #cut(log: EventLog, after: Position, end: Position): Promise<Offset> {
    this.#phase = "cutting";
    this.#context.logger.warn(
      { replica: this.#hello.node.name, after: after.offset, end: end.offset, durable: log.durableOffset },
      `the log of ${this.#hello.node.name} leaves this one after ${describePosition(after)}; the rest of it is put aside there`,
    );
    const answer = await this.#ask({ type: "cut", after }, "cutDone");
    if (answer.type !== "cutDone" || !isSamePosition(answer.end, after))
      throw new ReplicationError(
        "REPLICATION_MESSAGE_BAD",
        "the replica's log does not end where it was cut",
        {
          expected: after.offset,
        },
      );
    return asOffset(after.offset + 1);
  }

  async #continue(log: EventLog, from: Offset): Promise<void> {
    this.#lastSent = asOffset(from - 1);
    this.#phase = "streaming";
    this.#session.send({ type: "continue", from });
    await this.#stream(log, from);
  }

  async #install(log: EventLog): Promise<void> {
    this.#phase = "installing";
    const { clusterId } = await this.#context.node.statement();
    if (clusterId === undefined)
      throw new ReplicationError("REPLICATION_NOT_READY", "this node belongs to no cluster yet");
    const plan = await planFullSync(log, () => this.#host.newestSnapshot(), this.#hello.resync);
    const { snapshot, from, until } = plan;
    this.#installsUntil = until;
    const segments = this.#host.logSegments();
    this.#hold = segments && new FullSyncHold(segments, plan);
    const offered = snapshot && { name: snapshot.name, bytes: snapshot.bytes, offset: snapshot.offset };
    this.#session.send({ type: "install", clusterId, snapshot: offered, from, until });
    if (snapshot !== undefined) {
      for await (const bytes of chunksOf(snapshot, this.#window.bytesMax)) {
        await this.#room(bytes.length);
        mustKeep(log, from);
        this.#window.sent(bytes.length);
        this.#session.send({ type: "chunk", bytes });
      }
    }
    await this.#stream(log, from);
  }

  /** Until the link ends. One run is held while there is no room for it. */
  async #stream(log: EventLog, from: Offset): Promise<void> {
    this.#mustGoOn();
    const { bytesMax } = this.#window;
    const largeBytes = Math.min(LARGE_RUN_BYTES, bytesMax / 2);
    const runs = log.ship(from, bytesMax);
    this.#runs = runs;
    this.#seenDurable = log.durableOffset;
    const moves = log.moved.subscribe(() => this.#moved(log.durableOffset));
    try {
      for await (const run of runs) {
        await this.#room(run.bytes.length);
        await this.#mayLead(log);
        this.#window.sent(run.bytes.length);
        this.#recordsSent += run.last - run.first + 1;
        this.#lastSent = run.last;
        if (run.last >= log.durableOffset) this.#hold = undefined;
        const { header, startsSegment, bytes } = run;
        this.renewLease();
        this.#session.send({ type: "run", header, startsSegment, bytes });
        if (bytes.length < largeBytes && !beginsSegment(log, run.last)) await this.#holdBack();
      }
    } finally {
      moves.unsubscribe();
    }
    throw new ReplicationError("REPLICATION_STOPPING", "this node closed its log");
  }

  /** A run costs both sides a frame, a few wake-ups, a write to the replica's disk and an ack, however few records it has. */
  async #holdBack(): Promise<void> {
    let isOver = false;
    const cancel = this.#context.clock.after(HELD_BACK_MS, () => {
      isOver = true;
      this.#window.ring();
    });
    try {
      while (!isOver && this.#events.isAwaited?.() !== true) {
        this.#mustGoOn();
        await this.#window.change();
      }
    } finally {
      cancel();
    }
  }

  async #room(bytes: number): Promise<void> {
    for (;;) {
      this.#mustGoOn();
      if (this.#window.hasRoomFor(bytes) && this.#session.hasRoom) return;
      await this.#window.change();
    }
  }

  /** Until this log holds as much as the replica's, or writes its own again. */
  async #hasAsMuch(log: EventLog, end: Position): Promise<void> {
    const subscription = log.moved.subscribe(() => this.#window.ring());
    try {
      while (log.following && log.durableOffset < end.offset) {
        await this.#window.change();
        this.#mustGoOn();
      }
    } finally {
      subscription.unsubscribe();
    }
  }

  /** This log is another's, and that one's newest leadership has only not come here yet. */
  get #isLate(): boolean {
    return this.#phase === "streaming" && this.#host.log()?.following === true;
  }

  /** A log that follows, and is late, is not sent on before it has what was heard of; the link need not end for it. */
  async #mayLead(log: EventLog): Promise<void> {
    const { node } = this.#context;
    if (this.#isLate && isHigher(node.heard, node.own)) {
      const subscription = log.moved.subscribe(() => this.#window.ring());
      try {
        while (log.following && isHigher(node.heard, node.own)) {
          await this.#window.change();
          this.#mustGoOn();
        }
      } finally {
        subscription.unsubscribe();
      }
    }
    this.#mustLead();
  }

  #ask(question: Message, wants: Answer["type"]): Promise<Answer> {
    this.#mustGoOn();
    return new Promise((resolve, reject) => {
      this.#asked = { wants, resolve, reject };
      this.#session.send(question);
    });
  }

  #keeps({ peersUnder: under, peersVersion: version }: Heartbeat): void {
    if (version === this.#list.version && isSameLeadership(under, this.#list.under)) return;
    this.#list = { under, version };
    this.#events.below?.(this);
  }

  #acknowledge(ack: Ack): void {
    const before = this.#acked;
    const { received, durable, answers = 0 } = ack;
    const isOlder = received < before.received || durable < before.durable || answers < (before.answers ?? 0);
    if (received > this.#lastSent || isOlder || answers > this.#session.beatAt)
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", "an ack of what was not sent", {
        sent: this.#lastSent,
        received: ack.received,
        durable: ack.durable,
      });
    this.#window.taken(ack.bytes);
    this.#acked = ack;
    if (this.#installsUntil !== undefined && ack.committed >= this.#installsUntil) {
      this.#installsUntil = undefined;
      this.#phase = "streaming";
    }
    this.#caughtUp();
    this.#events.acknowledged?.(this);
  }

  #caughtUp(): void {
    if (this.#acked.durable < this.#sample.durable) return;
    this.#caughtUpAt = this.#sample.at;
    const durable = this.#host.log()?.durableOffset ?? this.#sample.durable;
    this.#sample = { durable, at: this.#context.clock.stopwatch() };
  }

  /** A replica that had everything is behind from this moment on, however long nothing was written before. */
  #moved(durable: Offset): void {
    if (durable === this.#seenDurable) return;
    if (this.#acked.durable >= this.#seenDurable) {
      this.#caughtUpAt = this.#context.clock.stopwatch();
      this.#sample = { durable, at: this.#caughtUpAt };
    }
    this.#seenDurable = durable;
  }

  #lagMs(): number {
    const durable = this.#host.log()?.durableOffset ?? asOffset(0);
    return this.#acked.durable >= durable ? 0 : this.#context.clock.stopwatch() - this.#caughtUpAt;
  }

  #mustGoOn(): void {
    if (this.#session.reason !== undefined) throw this.#session.reason;
  }

  /** @throws ReplicationError REPLICATION_FENCED. */
  #mustLead(): void {
    const { heard, own } = this.#context.node;
    if (!isHigher(heard, own)) return;
    throw sendsNoMore(own, heard);
  }

  #note(error: unknown): void {
    this.#context.logger.warn({ err: error }, "the log's reader for a replica did not end well");
  }
}

/**
 * Retention waits for a full sync, but not for ever: without the log behind it the rest of a snapshot is sent for nothing.
 * @throws ReplicationError REPLICATION_RECORDS_RETIRED.
 */
function mustKeep(log: EventLog, from: Offset): void {
  const { firstOffset } = log;
  if (firstOffset <= from) return;
  throw new ReplicationError(
    "REPLICATION_RECORDS_RETIRED",
    `more was written during the full sync than it brings, and retention took what comes behind its snapshot, from record ${from} on`,
    { from, first: firstOffset },
  );
}

/** Whether what is durable behind a record begins another segment: a run ends there, however much there is. */
function beginsSegment(log: EventLog, last: Offset): boolean {
  const next = asOffset(last + 1);
  return next <= log.durableOffset && log.segmentStart(next) === next;
}
