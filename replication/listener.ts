/**
 * The door of a node's replication port: takes connections, greets, and gives each to a sender, or to whoever answers questions and
 * fences. Bounded: so many connections, so long for a greeting, one sender for each replica.
 */
import type { Offset } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { AcceptedGreeting } from "./greeting.js";
import { Lending } from "./lending.js";
import type { LinkContext, SenderHost } from "./link-ports.js";
import type { Fence, HelloBody, Message } from "./messages.js";
import type { Address, Connection, Listener, Network } from "./ports.js";
import { Sender, type SenderEvents } from "./sender.js";
import { Session, type SessionOwner, unexpected } from "./session.js";

/** Replicas, candidates and those who have not greeted yet, together. */
const CONNECTIONS_MAX = 256;
const LENT_MAX = 8;
/** Of each reason for which strangers are not let in, one is told of in so long. */
const STRANGERS_EVERY_MS = 10_000;

export interface LinkListenerOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
  readonly host: SenderHost;
  readonly events: SenderEvents;
  /** A sealed segment of this node was found damaged when another one asked for it. */
  readonly damaged?: (first: Offset) => void;
}

export class LinkListener {
  readonly #context: LinkContext;
  readonly #host: SenderHost;
  readonly #events: SenderEvents;
  readonly #damaged: (first: Offset) => void;
  readonly #sessions = new Set<Session>();
  readonly #senders = new Map<string, Sender>();
  readonly #lent = new Set<Session>();
  /** By code: until then no more is said of those who are not let in for it. */
  readonly #quietUntil = new Map<string, number>();
  #listener: Listener | undefined;

  private constructor({ context, host, events, damaged = () => undefined }: LinkListenerOptions) {
    this.#damaged = damaged;
    this.#context = context;
    this.#host = host;
    this.#events = events;
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
    return [...this.#senders.values()];
  }

  /** Ends the links to all replicas. Resolves when nothing of them reads from the log any more. */
  async stopSenders(reason: ReplicationError): Promise<void> {
    await Promise.all(this.senders.map((sender) => sender.stop(reason)));
  }

  async close(reason: ReplicationError): Promise<void> {
    await this.#listener?.close();
    const senders = this.senders;
    for (const session of [...this.#sessions]) session.end(reason);
    await Promise.all(senders.map((sender) => sender.stop(reason)));
  }

  #accept(connection: Connection): Session {
    const greeting = new AcceptedGreeting(
      this.#context,
      (greeted, hello) => this.#greeted(greeted, hello),
      (reason) => {
        this.#sessions.delete(session);
        this.#strange(session.remote, reason);
      },
    );
    const session = new Session(this.#context, greeting);
    session.attach(connection, true);
    this.#sessions.add(session);
    greeting.begin(session);
    if (this.#sessions.size > CONNECTIONS_MAX) this.#makeRoom(session);
    return session;
  }

  /** Whoever looks here for a replica that does not come finds why; strangers that come in crowds do not fill the log. */
  #strange(remote: string, { code, message }: ReplicationError): void {
    if (code === "REPLICATION_CONNECTION_LOST" || code === "REPLICATION_STOPPING") return;
    const { clock, logger } = this.#context;
    const now = clock.stopwatch();
    if (now < (this.#quietUntil.get(code) ?? now)) return;
    this.#quietUntil.set(code, now + STRANGERS_EVERY_MS);
    logger.warn({ code, remote }, `${remote} was not let in: ${message}`);
  }

  /** Who has not greeted for longest goes first, so that a crowd of strangers keeps no replica out. */
  #makeRoom(newest: Session): void {
    const stranger = [...this.#sessions].find((session) => !session.isGreeted) ?? newest;
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
      ended: () => {
        this.#lent.delete(session);
        this.#sessions.delete(session);
      },
    });
  }

  #greeted(session: Session, hello: HelloBody): SessionOwner {
    if (hello.purpose === "fetch") return this.#lend(session);
    if (hello.purpose === "ask")
      return new Answering(session, hello, this.#context, () => this.#sessions.delete(session));
    const { nodeId, name } = hello.node;
    const { logger } = this.#context;
    const before = this.#senders.get(nodeId);
    const sender = new Sender(session, hello, this.#context, this.#host, {
      isAwaited: () => this.#events.isAwaited?.() ?? false,
      acknowledged: (from) => this.#events.acknowledged?.(from),
      below: (from) => this.#events.below?.(from),
      held: (from, held) => this.#events.held?.(from, held),
      ended: (from, reason) => {
        this.#sessions.delete(session);
        if (this.#senders.get(nodeId) === from) this.#senders.delete(nodeId);
        logger.warn(
          { code: reason.code, replica: nodeId },
          `${name} follows this node no longer: ${reason.message}`,
        );
        this.#events.ended?.(from, reason);
      },
    });
    this.#senders.set(nodeId, sender);
    logger.info({ replica: nodeId, remote: session.remote }, `${name} follows this node`);
    // A replica follows once: the connection before is one whose end has not come here.
    void before?.stop(new ReplicationError("REPLICATION_STOPPING", `${name} has connected anew`));
    return sender;
  }
}

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
  async #fence({ leadership }: Fence): Promise<void> {
    const { node } = this.#context;
    await node.onHeard(leadership, this.#hello.node);
    this.#session.send({ type: "fenced", node: await node.statement() });
  }
}
