/**
 * The greeting: CHALLENGE, HELLO, WELCOME. Afterwards both sides know that they speak the same protocol, share the secret, are two nodes of one
 * cluster, and each has durably heard the other's leadership. Until then nothing that was said is believed.
 */
import { ReplicationError } from "./errors.js";
import { isHigher, type Leadership } from "./leadership-order.js";
import type { LinkContext } from "./link-ports.js";
import { decodeHelloBody, decodeWelcomeBody, encodeHelloBody, encodeWelcomeBody } from "./message-codec.js";
import {
  type Challenge,
  type Hello,
  type HelloBody,
  type Message,
  NONCE_BYTES,
  type NodeStatement,
  PROTOCOL_VERSION,
  type Purpose,
  type Welcome,
  type WelcomeBody,
} from "./messages.js";
import { proofsOf, provedWith, proveHello, proveHelloWithAll, proveWelcome, type Secrets } from "./secret.js";
import { type Session, type SessionOwner, unexpected } from "./session.js";

/** However long the timeout of a link is: who doesn't greet holds a connection no longer than this. */
const GREETING_MS_MAX = 10_000;

abstract class GreetingSide implements SessionOwner {
  protected readonly context: LinkContext;
  protected session: Session | undefined;
  readonly #ended: (reason: ReplicationError) => void;
  #cancelDeadline: (() => void) | undefined;

  constructor(context: LinkContext, ended: (reason: ReplicationError) => void) {
    this.context = context;
    this.#ended = ended;
  }

  /** The session that this owns; it ends when the greeting takes too long. */
  begin(session: Session): void {
    this.session = session;
    const { clock, settings } = this.context;
    const deadlineMs = Math.min(settings.timeoutMs, GREETING_MS_MAX);
    this.#cancelDeadline = clock.after(deadlineMs, () =>
      session.end(
        new ReplicationError(
          "REPLICATION_TIMEOUT",
          `no greeting from ${session.remote} in ${deadlineMs} ms: it may be no replication port, or one that takes only TLS`,
          {
            remote: session.remote,
            deadlineMs,
          },
        ),
      ),
    );
  }

  abstract message(message: Message): undefined | Promise<void>;

  ended(reason: ReplicationError): void {
    this.#cancelDeadline?.();
    this.#ended(reason);
  }

  /** Both are known: hears the other's leadership, durably, then lets the session go on. */
  protected async know(other: NodeStatement): Promise<void> {
    refuseStranger(this.context.node.introduction(), other);
    const highest = isHigher(other.own, other.heard) ? other.own : other.heard;
    if (highest !== undefined) await this.context.node.onHeard(highest, other);
  }

  protected over(): void {
    this.#cancelDeadline?.();
  }
}

export class AcceptedGreeting extends GreetingSide {
  readonly #challenge: Challenge;
  readonly #done: (session: Session, hello: HelloBody) => SessionOwner;

  constructor(
    context: LinkContext,
    done: (session: Session, hello: HelloBody) => SessionOwner,
    ended: (reason: ReplicationError) => void,
  ) {
    super(context, ended);
    this.#done = done;
    const nonce = context.random.bytes(NONCE_BYTES);
    this.#challenge = { type: "challenge", protocol: PROTOCOL_VERSION, nonce };
  }

  override begin(session: Session): void {
    super.begin(session);
    session.send(this.#challenge);
  }

  override message(message: Message): undefined | Promise<void> {
    if (message.type !== "hello") throw unexpected(message.type, "a greeting");
    refuseProtocol(message.protocol);
    return this.#hello(message);
  }

  async #hello(message: Hello): Promise<void> {
    const { body } = message;
    const { context, session } = this;
    const { heartbeatIntervalMs: heartbeatMs } = context.settings;
    const secrets = context.settings.secrets();
    const said = { challenge: this.#challenge, hello: body };
    const known = mustBeProved(secrets, proofsOf(message), (secret) => proveHello(secret, said));
    const hello = decodeHelloBody(body);
    refuseReplay(this.#challenge.nonce, hello.answers, "hello");
    await this.know(hello.node);
    if (known > 0) this.#tellOfOlder(hello.node);
    if (hello.purpose === "follow") refuseFormat(context.node.introduction(), hello.node);
    const node = await context.node.statement();
    if (session === undefined || session.reason !== undefined) return;
    const welcome = encodeWelcomeBody({ answers: hello.nonce, heartbeatMs, node });
    session.send({ type: "welcome", body: welcome, proof: proveWelcome(secrets[known], said, welcome) });
    session.greeted(hello.node, node.own, hello.heartbeatMs, "words", secrets[known]);
    this.over();
    session.handTo(this.#done(session, hello));
  }

  /** For whoever waits with taking the older secret out until all nodes know the newer one. */
  #tellOfOlder({ nodeId, name }: NodeStatement): void {
    this.context.logger.info(
      { nodeId, remote: this.session?.remote },
      `${name} does not know the first of this node's secrets, but a further one`,
    );
  }
}

interface SaidByDialler {
  readonly challenge: Challenge;
  readonly hello: Uint8Array;
  readonly nonce: Uint8Array;
  /** The leadership that the hello states. */
  readonly own: Leadership | undefined;
  /** With which the hello was proved; the answer must be with one of them. */
  readonly secrets: Secrets;
}

export class DialledGreeting extends GreetingSide {
  readonly #purpose: Purpose;
  readonly #opened: (() => void) | undefined;
  readonly #resync: boolean;
  readonly #done: (session: Session, welcome: WelcomeBody) => SessionOwner;
  #said: SaidByDialler | undefined;

  constructor(
    context: LinkContext,
    wish: { readonly purpose: Purpose; readonly resync: boolean },
    done: (session: Session, welcome: WelcomeBody) => SessionOwner,
    ended: (reason: ReplicationError) => void,
    opened?: () => void,
  ) {
    super(context, ended);
    this.#opened = opened;
    this.#purpose = wish.purpose;
    this.#resync = wish.resync;
    this.#done = done;
  }

  opened(): void {
    this.#opened?.();
  }

  override message(message: Message): undefined | Promise<void> {
    if (message.type === "challenge" && this.#said === undefined) return this.#challenge(message);
    if (message.type === "welcome" && this.#said !== undefined) return this.#welcome(message, this.#said);
    throw unexpected(message.type, "a greeting");
  }

  async #challenge(challenge: Challenge): Promise<void> {
    refuseProtocol(challenge.protocol);
    const { node, random, settings } = this.context;
    const compares = this.#purpose === "follow" && !this.#resync;
    const statement = compares ? await node.statement() : node.introduction();
    const nonce = random.bytes(NONCE_BYTES);
    const hello = encodeHelloBody({
      nonce,
      answers: challenge.nonce,
      purpose: this.#purpose,
      resync: this.#resync,
      incarnation: this.context.incarnation,
      heartbeatMs: settings.heartbeatIntervalMs,
      node: statement,
    });
    const said = { challenge, hello, nonce, own: statement.own, secrets: settings.secrets() };
    this.#said = said;
    const proofs = proveHelloWithAll(said.secrets, said);
    this.session?.send({ type: "hello", protocol: PROTOCOL_VERSION, body: hello, ...proofs });
  }

  async #welcome({ body, proof }: Welcome, said: SaidByDialler): Promise<void> {
    const known = mustBeProved(said.secrets, [proof], (secret) => proveWelcome(secret, said, body));
    const welcome = decodeWelcomeBody(body);
    refuseReplay(said.nonce, welcome.answers, "welcome");
    await this.know(welcome.node);
    if (this.#purpose === "follow") refuseFormat(welcome.node, this.context.node.introduction());
    const { session } = this;
    if (session === undefined || session.reason !== undefined) return;
    const takes = this.#purpose === "ask" ? "words" : "records";
    session.greeted(welcome.node, said.own, welcome.heartbeatMs, takes, said.secrets[known]);
    this.over();
    session.handTo(this.#done(session, welcome));
  }
}

function refuseProtocol(found: number): void {
  if (found === PROTOCOL_VERSION) return;
  throw new ReplicationError(
    "REPLICATION_PROTOCOL_UNKNOWN",
    `this node speaks protocol ${PROTOCOL_VERSION}, the other one ${found}: bring both to one release`,
    { expected: PROTOCOL_VERSION, found },
  );
}

/** The place of the secret that was proved. @throws ReplicationError REPLICATION_SECRET_WRONG. */
function mustBeProved(
  secrets: Secrets,
  found: readonly Uint8Array[],
  prove: (secret: Uint8Array | undefined) => Uint8Array,
): number {
  const known = provedWith(secrets, found, prove);
  if (known !== undefined) return known;
  const why =
    secrets.length === 0
      ? "the other side has a shared secret and this one none"
      : found.every((proof) => proof.length === 0)
        ? "this node asks for the shared secret and the other side has none"
        : "the other side does not know this node's shared secret";
  throw new ReplicationError("REPLICATION_SECRET_WRONG", why);
}

/**
 * What an older connection began with may come again, from a box in between. The proof would not hold for it, but without a secret there
 * is none, and what comes behind the greeting would be believed: confirmations of records that are long cut, the time of another day.
 */
function refuseReplay(expected: Uint8Array, found: Uint8Array, what: "hello" | "welcome"): void {
  if (Buffer.compare(expected, found) === 0) return;
  throw new ReplicationError(
    "REPLICATION_MESSAGE_UNEXPECTED",
    `a ${what} that was said on another connection`,
    {
      found: what,
      state: "a greeting",
    },
  );
}

/**
 * What a later release writes may be in any record, and a replica keeps a record before it looks into it: it could not start any more. So it
 * is not begun. To ask and to fence, and to fetch records that the other side had itself, it does not matter who is of which release.
 */
function refuseFormat(feeder: NodeStatement, replica: NodeStatement): void {
  if (replica.format >= feeder.format) return;
  throw new ReplicationError(
    "REPLICATION_FORMAT_UNKNOWN",
    `${feeder.name} writes format ${feeder.format} of data directories, and ${replica.name} reads up to ${replica.format}: bring ${replica.name} to the release of ${feeder.name}`,
    { expected: feeder.format, found: replica.format },
  );
}

function refuseStranger(own: NodeStatement, other: NodeStatement): void {
  if (own.nodeId === other.nodeId)
    throw new ReplicationError(
      "REPLICATION_SELF",
      `the other side has this node's id ${own.nodeId}: it is this node, or its data directory was copied from it`,
      { nodeId: own.nodeId },
    );
  if (own.clusterId !== undefined && other.clusterId !== undefined && own.clusterId !== other.clusterId)
    throw new ReplicationError(
      "REPLICATION_CLUSTER_FOREIGN",
      `${own.name} belongs to cluster ${own.clusterId}, ${other.name} to ${other.clusterId}`,
      { nodeId: own.nodeId, own: own.clusterId, other: other.clusterId },
    );
}
