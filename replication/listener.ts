/**
 * The door of a node's replication port: takes connections, greets, and gives each to a sender, or to whoever answers questions and
 * fences. Bounded: so many connections, so long for a greeting, one sender for each replica.
 */
import type { Offset } from "../log/index.js";
import { CROWD_MAX } from "./crowd.js";
import { ReplicationError, type ReplicationErrorCode } from "./errors.js";
import { AcceptedGreeting } from "./greeting.js";
import { Lending } from "./lending.js";
import type { LinkContext, SenderHost } from "./link-ports.js";
import type { Fence, Fetch, HelloBody, Message } from "./messages.js";
import { type Address, type Connection, describeAddress, type Listener, type Network } from "./ports.js";
import { Seldom } from "./seldom.js";
import { Sender, type SenderEvents } from "./sender.js";
import { Session, type SessionOwner, unexpected } from "./session.js";
import type { TwinStats } from "./stats.js";
import { type Follower, Twins } from "./twins.js";

/** Replicas, candidates and those who have not greeted yet, together. */
const CONNECTIONS_MAX = 256;
/** That a node's replication port has open. */
export const LINK_SOCKETS_MAX = CONNECTIONS_MAX + CROWD_MAX;
/** Nodes that fetch records at once. */
const LENT_MAX = 8;

/** Of whoever has not greeted: it went, or this node goes. */
const NO_REFUSALS: ReadonlySet<ReplicationErrorCode> = new Set([
  "REPLICATION_CONNECTION_LOST",
  "REPLICATION_STOPPING",
]);

export interface LinkListenerOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
  readonly host: SenderHost;
  readonly events: SenderEvents;
  /** A sealed segment of this node was found damaged when another one asked for it. */
  readonly damaged?: (first: Offset) => void;
}

interface Connected {
  readonly sender: Sender;
  readonly follower: Follower;
  readonly accepted: number;
}

export class LinkListener {
  readonly #context: LinkContext;
  readonly #host: SenderHost;
  readonly #events: SenderEvents;
  readonly #damaged: (first: Offset) => void;
  /** By when they were accepted. */
  readonly #sessions = new Map<Session, number>();
  #accepted = 0;
  readonly #senders = new Map<string, Connected>();
  readonly #twins: Twins;
  readonly #lent = new Set<Session>();
  readonly #seldom: Seldom;
  #listener: Listener | undefined;

  private constructor({ context, host, events, damaged = () => undefined }: LinkListenerOptions) {
    this.#damaged = damaged;
    this.#context = context;
    this.#host = host;
    this.#events = events;
    this.#seldom = new Seldom(context.clock.stopwatch);
    this.#twins = new Twins(context.clock, context.settings);
  }

  /** Rejects when the address cannot be listened on. */
  static async open(options: LinkListenerOptions): Promise<LinkListener> {
    const door = new LinkListener(options);
    door.#listener = await options.network.listen(options.address, (connection) => door.#accept(connection));
    return door;
  }

  /** With the port that was taken. */
  get address(): Address | undefined {
    return this.#listener?.address;
  }

  get senders(): readonly Sender[] {
    return [...this.#senders.values()].map(({ sender }) => sender);
  }

  get twins(): readonly TwinStats[] {
    return this.#twins.stats();
  }

  /** Ends the links to all replicas. Resolves when nothing of them reads from the log any more. */
  async stopSenders(reason: ReplicationError): Promise<void> {
    await Promise.all(this.senders.map((sender) => sender.stop(reason)));
  }

  async close(reason: ReplicationError): Promise<void> {
    await this.#listener?.close();
    const senders = this.senders;
    for (const session of [...this.#sessions.keys()]) session.end(reason);
    await Promise.all(senders.map((sender) => sender.stop(reason)));
  }

  #accept(connection: Connection): Session {
    const greeting = new AcceptedGreeting(
      this.#context,
      (greeted, hello) => this.#greeted(greeted, hello),
      (reason) => {
        this.#sessions.delete(session);
        this.#notLetIn(session, reason);
      },
    );
    const session = new Session(this.#context, greeting);
    session.attach(connection, true);
    this.#accepted += 1;
    this.#sessions.set(session, this.#accepted);
    greeting.begin(session);
    if (this.#sessions.size > CONNECTIONS_MAX) this.#makeRoom(session);
    return session;
  }

  /** Whoever looks here for a replica that does not come finds why; strangers that come in crowds do not fill the log. */
  #notLetIn({ remote }: Session, { code, message }: ReplicationError): void {
    if (NO_REFUSALS.has(code)) return;
    const { logger } = this.#context;
    this.#seldom.tell(code, (untold) =>
      logger.warn({ code, remote, untold }, `${remote} was not let in: ${message}`),
    );
  }

  /** It goes on asking, and others may have them: what is to be done if nobody does stands there, too. */
  #notLent({ other, remote }: Session, { first, last }: Fetch): void {
    const { logger } = this.#context;
    const { nodeId, name } = other.node;
    const code = "REPLICATION_RECORDS_RETIRED";
    this.#seldom.tell(code, (untold) =>
      logger.warn(
        { code, replica: nodeId, remote, first, last, untold },
        `${name} asks in vain for the records ${first} to ${last}, which are damaged there: this node does not keep them any more. Where no other one does, \`annals resync\` has everything fetched anew there`,
      ),
    );
  }

  /** Who has not greeted for longest goes first, so that a crowd of strangers keeps no replica out. */
  #makeRoom(newest: Session): void {
    const stranger = [...this.#sessions.keys()].find((session) => !session.isGreeted) ?? newest;
    const words = `${CONNECTIONS_MAX} connections are taken`;
    stranger.end(new ReplicationError("REPLICATION_TOO_MANY_CONNECTIONS", words));
  }

  /** Bounded, for each reads from the disk. */
  #lend(session: Session): SessionOwner {
    if (this.#lent.size >= LENT_MAX) {
      const words = `${LENT_MAX} nodes fetch records already`;
      throw new ReplicationError("REPLICATION_TOO_MANY_CONNECTIONS", words);
    }
    this.#lent.add(session);
    return new Lending(session, this.#context, this.#host, {
      damaged: this.#damaged,
      retired: (asked) => this.#notLent(session, asked),
      ended: () => {
        this.#lent.delete(session);
        this.#sessions.delete(session);
      },
    });
  }

  /** Two that follow different nodes are not refused by either: somebody has to stop the copy. */
  #lookForTwins(): void {
    const { incarnation, logger, node } = this.#context;
    const { nodeId, name, listen } = node.introduction();
    const own = { nodeId, name, incarnation, remote: listen === undefined ? name : describeAddress(listen) };
    for (const { code, message, context } of this.#twins.look(() => followersOf(own, this.#senders.values())))
      logger.warn({ code, ...context }, message);
  }

  #greeted(session: Session, hello: HelloBody): SessionOwner {
    if (hello.purpose === "fetch") return this.#lend(session);
    if (hello.purpose === "ask")
      return new Answering(session, hello, this.#context, () => this.#sessions.delete(session));
    const { nodeId, name } = hello.node;
    const { logger } = this.#context;
    const before = this.#senders.get(nodeId);
    const accepted = this.#sessions.get(session) ?? 0;
    // A replica follows once, and dials one connection after the other: one that was held up on its way is given up there.
    if (before !== undefined && before.accepted > accepted) throw connectedAnew(name);
    const follower = { nodeId, name, incarnation: hello.incarnation, remote: session.remote };
    const ofCopy = this.#twins.meet(follower, before?.follower);
    const sender = new Sender(session, hello, this.#context, this.#host, {
      isAwaited: () => this.#events.isAwaited?.() ?? false,
      acknowledged: (from) => this.#events.acknowledged?.(from),
      below: (from) => {
        this.#lookForTwins();
        this.#events.below?.(from);
      },
      held: (from, held) => this.#events.held?.(from, held),
      ended: (from, reason) => {
        this.#sessions.delete(session);
        if (this.#senders.get(nodeId)?.sender === from) this.#senders.delete(nodeId);
        logger.warn(
          { code: reason.code, replica: nodeId },
          `${name} follows this node no longer: ${reason.message}`,
        );
        this.#events.ended?.(from, reason);
      },
    });
    this.#senders.set(nodeId, { sender, follower, accepted });
    logger.info({ replica: nodeId, remote: session.remote }, `${name} follows this node`);
    // The connection before is one whose end has not come here, but for that of a copy.
    void before?.sender.stop(ofCopy ?? connectedAnew(name));
    return sender;
  }
}

/** Of two with one id the one that is believed first: this node, one that follows it, then as `countsBefore` says. */
function* followersOf(own: Follower, connected: Iterable<Connected>): Iterable<Follower> {
  yield own;
  const behind: Follower[] = [];
  for (const { sender, follower } of connected) {
    yield follower;
    for (const { place, incarnation } of sender.relayed.nodes) {
      const { nodeId, name, listen } = place;
      const remote = listen === undefined ? `a node behind ${follower.name}` : describeAddress(listen);
      behind.push({ nodeId, name, incarnation, remote });
    }
  }
  yield* behind.sort((one, other) => ((one.incarnation ?? "") < (other.incarnation ?? "") ? -1 : 1));
}

const connectedAnew = (name: string): ReplicationError =>
  new ReplicationError("REPLICATION_STOPPING", `${name} has connected anew`);

/** Tells whoever asks, and lets itself be fenced. */
class Answering implements SessionOwner {
  readonly #session: Session;
  readonly #hello: HelloBody;
  readonly #context: LinkContext;
  readonly #ended: () => void;

  constructor(session: Session, hello: HelloBody, context: LinkContext, ended: () => void) {
    this.#session = session;
    this.#hello = hello;
    this.#context = context;
    this.#ended = ended;
  }

  message(message: Message): undefined | Promise<void> {
    if (message.type === "heartbeat") return undefined;
    if (message.type === "fence") return this.#fence(message);
    throw unexpected(message.type, "a conversation");
  }

  ended(): void {
    this.#ended();
  }

  /** The end that is told is asked for after the fence is durable: nothing older is acknowledged behind it. */
  async #fence({ leadership, asks }: Fence): Promise<void> {
    const { node } = this.#context;
    const candidate = this.#hello.node;
    await this.#session.room();
    await (asks === true ? node.yieldTo(leadership, candidate) : node.onHeard(leadership, candidate));
    const statement = await node.statement();
    this.#session.send({ type: "fenced", node: statement, leaseMs: node.leaseMs });
  }
}
