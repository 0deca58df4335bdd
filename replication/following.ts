/**
 * The side of a link that receives, from the greeting to the end of one connection: answers probes, has the own log cut, gathers a full
 * sync, hands runs to the log, acknowledges. The log verifies every record before it takes it; here nothing of a run is believed.
 *
 * Acknowledged is only what is durable here, and only to a sender under the highest leadership that this node has heard of.
 */
import { offset as asOffset, type EventLog, LogError, type Offset, unreachable } from "../log/index.js";
import { PROBES_MAX } from "./comparison.js";
import { ReplicationError } from "./errors.js";
import { Gathering } from "./gathering.js";
import { describeLeadership, isHigher, isSameLeadership, type Leadership } from "./leadership-order.js";
import { linkErrorOf } from "./link-error.js";
import type { LinkContext, ReceiverHost, ReceiverPhase } from "./link-ports.js";
import type { Chunk, Cut, Heartbeat, Install, Message, NodeStatement, Probe, Run } from "./messages.js";
import { EMPTY_POSITION, isSamePosition, type Position } from "./position.js";
import { type Session, type SessionOwner, unexpected } from "./session.js";

/** Of a stream so many bytes are acknowledged as taken in at once; fewer together with their commit, which follows. */
const ACK_BYTES = 64 * 1024;

export interface FollowingEvents {
  phase(phase: ReceiverPhase): void;
  received(bytes: number, records: number): void;
  synced(kind: "full" | "partial"): void;
  ended(reason: ReplicationError): void;
}

type State =
  | { readonly type: "comparing" }
  /** Cut: what comes next is where to go on. */
  | { readonly type: "cut" }
  | { readonly type: "installing"; readonly gathering: Gathering }
  | { readonly type: "streaming"; readonly log: EventLog };

export class Following implements SessionOwner {
  readonly #session: Session;
  readonly #context: LinkContext;
  readonly #host: ReceiverHost;
  readonly #events: FollowingEvents;
  #state: State = { type: "comparing" };
  #probes = 0;
  /** Bytes of chunks and runs that were taken in. */
  #takenBytes = 0;
  #ackedBytes = -1;
  #ackedDurable = -1;
  #ackedCommitted = -1;
  /** `sentAt` of the last heartbeat, and of that which was acknowledged last. */
  #beatAt: number | undefined;
  #answered: number | undefined;
  #stopWatching: (() => void) | undefined;
  #feederLeads: boolean;

  constructor(session: Session, context: LinkContext, host: ReceiverHost, events: FollowingEvents) {
    this.#session = session;
    this.#context = context;
    this.#host = host;
    this.#events = events;
    this.#feederLeads = session.other.node.leads;
    events.phase("comparing");
  }

  message(message: Message): undefined | Promise<void> {
    if (message.type === "heartbeat")
      this.#feederLeads =
        feederLeads(message, this.#session.other.node, this.#context.node.heard) ?? this.#feederLeads;
    if (message.type === "heartbeat") this.#mustComeFromAbove();
    if (message.type !== "heartbeat" || !this.#mayBeLate) this.#mustFollow();
    switch (message.type) {
      case "heartbeat":
        this.#hear(message);
        return undefined;
      case "run":
        return this.#run(message);
      case "chunk":
        return this.#chunk(message);
      case "probe":
        return this.#probe(message);
      case "cut":
        return this.#cut(message);
      case "continue":
        this.#continue(message.from);
        return undefined;
      case "install":
        return this.#install(message);
      default:
        throw unexpected(message.type, this.#state.type);
    }
  }

  #hear({ sentAt }: Heartbeat): void {
    if (sentAt === undefined) return;
    this.#beatAt = sentAt;
    this.#context.node.leaseBegins();
    this.#acknowledge();
  }

  /** Two replicas told to follow each other would both wait for ever. Each hears of it, for what is below is told upward. */
  #mustComeFromAbove(): void {
    const { nodeId, name } = this.#session.other.node;
    if (this.#feederLeads) return;
    if (this.#context.node.below?.nodes.some((below) => below.nodeId === nodeId) !== true) return;
    const words = `${name} follows this node, so this one cannot follow it: point one of them elsewhere`;
    throw new ReplicationError("REPLICATION_CIRCLE", words, { nodeId });
  }

  turn(): void {
    const takes = this.#state.type === "streaming" ? ACK_BYTES : 1;
    if (this.#takenBytes - this.#ackedBytes >= takes) this.#acknowledge();
  }

  writable(): void {
    this.#acknowledge();
  }

  beaten(): void {
    const { below } = this.#context.node;
    if (below !== undefined) this.#session.send({ type: "below", ...below });
  }

  ended(reason: ReplicationError): void {
    this.#stopWatching?.();
    this.#events.ended(reason);
  }

  /** After the end: resolves when nothing that came is acted upon any more, and what was gathered in vain is gone. */
  async finish(reason: ReplicationError): Promise<void> {
    if (this.#state.type === "installing") this.#state.gathering.fail(reason);
    await this.#session.idle();
    if (this.#state.type === "installing") await this.#state.gathering.abandon(reason);
    this.#state = { type: "comparing" };
  }

  async #probe({ offset }: Probe): Promise<void> {
    if (this.#state.type !== "comparing" || this.#probes++ >= 2 * PROBES_MAX)
      throw unexpected("probe", this.#state.type);
    this.#session.send({ type: "mark", position: await this.#positionAt(this.#log("probe"), offset) });
  }

  /** Undefined where retention was, or nothing is written. */
  async #positionAt(log: EventLog, at: Offset): Promise<Position | undefined> {
    if (at < log.firstOffset || at > log.committedOffset) return undefined;
    return await log.positionAt(at);
  }

  async #cut({ after }: Cut): Promise<void> {
    if (this.#state.type !== "comparing") throw unexpected("cut", this.#state.type);
    const log = this.#log("cut");
    const own = after.offset === 0 ? EMPTY_POSITION : await this.#positionAt(log, after.offset);
    if (after.offset >= log.endOffset || own === undefined || !isSamePosition(own, after))
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", "a cut after a record that is not in this log", {
        after: after.offset,
        end: log.endOffset,
      });
    this.#state = { type: "cut" };
    this.#events.phase("cutting");
    await this.#host.cut(after);
    const cut = this.#log("cut");
    this.#session.send({ type: "cutDone", end: await cut.positionAt(cut.endOffset) });
  }

  #continue(from: Offset): void {
    if (this.#state.type !== "comparing" && this.#state.type !== "cut")
      throw unexpected("continue", this.#state.type);
    const log = this.#log("continue");
    if (from !== log.endOffset + 1)
      throw new ReplicationError(
        "REPLICATION_MESSAGE_BAD",
        "records that do not begin behind this log's end",
        {
          expected: log.endOffset + 1,
          found: from,
        },
      );
    this.#events.synced("partial");
    this.#stream(log);
  }

  async #install(install: Install): Promise<void> {
    if (this.#state.type !== "comparing") throw unexpected("install", this.#state.type);
    if (install.clusterId !== this.#session.other.node.clusterId)
      throw new ReplicationError(
        "REPLICATION_MESSAGE_BAD",
        "a full sync of another cluster than the greeting's",
        {
          expected: this.#session.other.node.clusterId,
          found: install.clusterId,
        },
      );
    this.#mustBringAsMuch(install);
    this.#events.phase("installing");
    const installing = await this.#host.beginInstall(install);
    this.#state = { type: "installing", gathering: new Gathering(install, installing) };
  }

  /**
   * A node that feeds this one without leading may be late: what it lacks is what this one has confirmed, perhaps, and with it that would be
   * gone. A later leadership has everything that was ever confirmed.
   */
  #mustBringAsMuch({ until }: Install): void {
    const log = this.#host.log();
    const { node } = this.#session.other;
    const isLater = isHigher(node.end, log?.epochs.at(-1));
    if (log === undefined || this.#feederLeads || until >= log.durableOffset || isLater) return;
    const words = `${node.name} is late itself: a full sync from it would end with record ${until}, and this node has ${log.durableOffset}`;
    throw new ReplicationError("REPLICATION_NOT_READY", words, { until, durable: log.durableOffset });
  }

  async #chunk({ bytes }: Chunk): Promise<void> {
    if (this.#state.type !== "installing") throw unexpected("chunk", this.#state.type);
    await this.#state.gathering.chunk(bytes);
    this.#take(bytes.length, 0);
  }

  #run(run: Run): undefined | Promise<void> {
    switch (this.#state.type) {
      case "streaming":
        return this.#receive(this.#state.log, run);
      case "installing":
        return this.#gather(this.#state.gathering, run);
      case "comparing":
      case "cut":
        throw unexpected("run", this.#state.type);
      default:
        return unreachable(this.#state);
    }
  }

  async #gather(gathering: Gathering, run: Run): Promise<void> {
    const before = Math.max(gathering.installing.end.offset, run.header.baseOffset - 1);
    await gathering.run(run);
    this.#take(run.bytes.length, gathering.installing.end.offset - before);
    if (!gathering.isWhole || this.#session.reason !== undefined) return;
    // From here on it is the host's: it ends as installed or as it was.
    this.#state = { type: "cut" };
    await this.#host.installed(gathering.installing);
    this.#events.synced("full");
    this.#stream(this.#log("install"));
  }

  #stream(log: EventLog): void {
    this.#state = { type: "streaming", log };
    this.#events.phase("streaming");
    const moves = log.moved.subscribe(() => this.#acknowledge());
    this.#stopWatching = () => moves.unsubscribe();
    if (this.#session.reason !== undefined) moves.unsubscribe();
    this.#acknowledge();
  }

  /** In one turn: whether the log took the run shows in its end. */
  #receive(log: EventLog, { header, startsSegment, bytes }: Run): undefined | Promise<void> {
    const before = log.endOffset;
    const committed = log.receive({ header, startsSegment, bytes });
    if (log.endOffset === before)
      return this.#refused(log, { type: "run", header, startsSegment, bytes }, committed);
    committed.catch((error: unknown) => this.#session.end(linkErrorOf(error)));
    this.#take(bytes.length, log.endOffset - before);
    return undefined;
  }

  /** When too much waits for the disk, the run waits too, and with it everything behind it. */
  async #refused(log: EventLog, run: Run, committed: Promise<void>): Promise<void> {
    try {
      await committed;
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== "LOG_BUSY" || log.committedOffset === log.endOffset)
        throw error;
    }
    await log.whenCommitted(asOffset(Math.min(log.committedOffset + 1, log.endOffset)));
    if (this.#session.reason !== undefined) return;
    this.#mustFollow();
    await this.#receive(log, run);
  }

  #take(bytes: number, records: number): void {
    this.#takenBytes += bytes;
    this.#events.received(bytes, records);
  }

  /** Says how far this node is, if that has changed and nobody waits for the words before. */
  #acknowledge(): void {
    const state = this.#state;
    if (state.type !== "streaming" && state.type !== "installing") return;
    if (!this.#session.hasRoom || this.#session.reason !== undefined) return;
    const [received, committed, durable] =
      state.type === "streaming"
        ? [state.log.endOffset, state.log.committedOffset, state.log.durableOffset]
        : [state.gathering.installing.end.offset, asOffset(0), asOffset(0)];
    const isNews =
      this.#takenBytes !== this.#ackedBytes ||
      durable !== this.#ackedDurable ||
      committed !== this.#ackedCommitted ||
      this.#beatAt !== this.#answered;
    if (!isNews || (this.#mayBeLate && this.#isStale)) return;
    try {
      this.#mustFollow();
    } catch (error) {
      this.#session.end(linkErrorOf(error));
      return;
    }
    this.#ackedBytes = this.#takenBytes;
    this.#ackedDurable = durable;
    this.#ackedCommitted = committed;
    const answers = this.#beatAt;
    this.#answered = answers;
    this.#session.send({ type: "ack", bytes: this.#takenBytes, received, committed, durable, answers });
  }

  #log(wanted: string): EventLog {
    const log = this.#host.log();
    if (log === undefined) throw unexpected(wanted, "a node without a log");
    return log;
  }

  /** Whoever feeds this node without leading gets there itself, and sends nothing before. Nothing is acknowledged to it meanwhile. */
  get #mayBeLate(): boolean {
    return !this.#feederLeads && this.#state.type === "streaming";
  }

  get #isStale(): boolean {
    return isHigher(this.#context.node.heard, this.#session.other.own);
  }

  /** @throws ReplicationError REPLICATION_PRIMARY_STALE. */
  #mustFollow(): void {
    if (!this.#isStale) return;
    const { heard } = this.#context.node;
    const { own, node } = this.#session.other;
    throw new ReplicationError(
      "REPLICATION_PRIMARY_STALE",
      `${node.name} leads under ${describeLeadership(own)}, and ${describeLeadership(heard)} was heard of`,
      { other: own?.epoch, heard: heard?.epoch },
    );
  }
}

/** Whether the one that feeds this node leads; undefined when its heartbeat does not tell. A fenced primary is no replica yet. */
export function feederLeads(
  { own, primary }: Heartbeat,
  feeder: NodeStatement,
  heard: Leadership | undefined,
): boolean | undefined {
  if (primary === undefined || !isSameLeadership(own, heard)) return undefined;
  return primary.nodeId === feeder.nodeId;
}
