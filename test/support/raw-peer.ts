/** One end of a link that says whatever a test wants, whether it belongs there or not. */

import { FrameReader } from "../../replication/frames.js";
import {
  decodeHelloBody,
  decodeMessage,
  encodeHelloBody,
  encodeMessage,
  encodeWelcomeBody,
} from "../../replication/message-codec.js";
import type { HelloBody, Message, MessageType, NodeStatement } from "../../replication/messages.js";
import type { Address, Connection, ConnectionHandlers, Network } from "../../replication/ports.js";
import { proveHello, proveWelcome } from "../../replication/secret.js";

/** How it waits: on a virtual clock, or on the real one. */
export interface Waits {
  until(holds: () => boolean, what: string): Promise<void>;
}

const NONCE = new Uint8Array(32).fill(1);

export class RawPeer implements ConnectionHandlers {
  readonly #clock: Waits;
  readonly #reader = new FrameReader();
  #connection: Connection | undefined;
  readonly heard: Message[] = [];
  /** Of the leadership that frames are sent under. */
  epoch = 0;
  isClosed = false;
  isOpen = false;

  private constructor(clock: Waits) {
    this.#clock = clock;
    this.#reader.greeted("records");
  }

  static dial(network: Network, clock: Waits, address: Address): RawPeer {
    const peer = new RawPeer(clock);
    peer.#connection = network.connect(address, peer);
    return peer;
  }

  /** The peers that were dialled at this address, in order. */
  static async listen(network: Network, clock: Waits, address: Address): Promise<RawPeer[]> {
    const peers: RawPeer[] = [];
    await network.listen(address, (connection) => {
      const peer = new RawPeer(clock);
      peer.#connection = connection;
      peer.isOpen = true;
      peers.push(peer);
      return peer;
    });
    return peers;
  }

  opened(): void {
    this.isOpen = true;
  }

  data(bytes: Uint8Array): void {
    this.#reader.push(bytes);
    for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next())
      this.heard.push(decodeMessage({ ...frame, payload: Uint8Array.from(frame.payload) }));
  }

  drain(): undefined {
    return undefined;
  }

  closed(): void {
    this.isClosed = true;
  }

  say(message: Message): void {
    this.sayBytes(...encodeMessage(message, this.epoch));
  }

  sayBytes(...pieces: Uint8Array[]): void {
    for (const piece of pieces) this.#connection?.write(piece);
  }

  close(): void {
    this.#connection?.close();
  }

  /** The first message of this type that came, heartbeats aside. */
  async hears<Type extends MessageType>(type: Type): Promise<Extract<Message, { type: Type }>> {
    let found: Message | undefined;
    const look = (): boolean => {
      found = this.heard.find((message) => message.type === type);
      return found !== undefined;
    };
    await this.#clock.until(look, `a ${type} comes`);
    return found as Extract<Message, { type: Type }>;
  }

  /** Why the other side closed. */
  async refusal(): Promise<string> {
    const { code } = await this.hears("refused");
    await this.#clock.until(() => this.isClosed, "the connection closes");
    return code;
  }

  /** Greets as a dialler. */
  async greet(node: NodeStatement, wish: Partial<HelloBody> = {}, secret?: Uint8Array): Promise<void> {
    const challenge = await this.hears("challenge");
    const fields = {
      nonce: NONCE,
      answers: challenge.nonce,
      purpose: "follow",
      resync: false,
      heartbeatMs: 1_000,
      node,
      ...wish,
    } as const;
    const body = encodeHelloBody(fields);
    this.say({ type: "hello", protocol: 1, body, proof: proveHello(secret, { challenge, hello: body }) });
    await this.hears("welcome");
    this.epoch = node.own?.epoch ?? 0;
  }

  /** Greets as whoever was dialled. */
  async welcome(node: NodeStatement, secret?: Uint8Array): Promise<void> {
    const challenge = { type: "challenge", protocol: 1, nonce: NONCE } as const;
    this.say(challenge);
    const hello = await this.hears("hello");
    const body = encodeWelcomeBody({ answers: decodeHelloBody(hello.body).nonce, heartbeatMs: 1_000, node });
    this.say({ type: "welcome", body, proof: proveWelcome(secret, { challenge, hello: hello.body }, body) });
    this.epoch = node.own?.epoch ?? 0;
  }
}
