/** Real sockets that say to a replication port what no node says: noise, halves, lies about lengths, other nodes' words. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { checkOf, FRAME_TYPES, FrameReader } from "../../replication/frames.js";
import { TcpNetwork } from "../../replication/index.js";
import {
  decodeHelloBody,
  decodeMessage,
  encodeMessage,
  encodeWelcomeBody,
} from "../../replication/message-codec.js";
import type { Message, NodeStatement } from "../../replication/messages.js";
import { RawPeer } from "./raw-peer.js";
import { until } from "./set-waits.js";

/** Sends the bytes and waits until the other side has ended the connection, or so long. */
export function throwAt(port: number, bytes: Uint8Array, patienceMs = 30): Promise<Buffer> {
  return new Promise((resolve) => {
    const heard: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const late = setTimeout(() => socket.destroy(), patienceMs);
    socket.on("data", (piece: Buffer) => heard.push(piece));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(late);
      resolve(Buffer.concat(heard));
    });
  });
}

/** Noise; headers with lengths that nobody has; a sound beginning that breaks off. */
export function hostileBytes(round: number, random: () => number): Uint8Array {
  const bytes = Buffer.from(randomBytes(17 + Math.floor(random() * 100_000)));
  if (round % 3 === 0) return bytes;
  return round % 3 === 1 ? lying(bytes, round) : lying(bytes, round).subarray(0, 12);
}

/** A header of a known type that promises more than comes, or than may. Its own check holds: the length is looked at. */
export function lying(bytes: Buffer, round: number, length = round % 2 === 0 ? 0xffff_ffff : 4000): Buffer {
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt8(1 + (round % Object.keys(FRAME_TYPES).length), 8);
  bytes.writeUIntLE(checkOf(bytes), 9, 3);
  return bytes;
}

/** Connections that say this and then nothing, until they are ended. */
export class Crowd {
  readonly #sockets: Socket[] = [];
  /** Of those that were ended by the other side. */
  ended = 0;

  constructor(port: number, count: number, says: (place: number) => Uint8Array) {
    for (let place = 0; place < count; place += 1) {
      const socket = connect(port, "127.0.0.1", () => socket.write(says(place)));
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.ended += 1;
      });
      socket.resume();
      this.#sockets.push(socket);
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** One that greets as it should, and says this then. Resolves when the other side ended it, or after so long. */
export async function greetAndSay(
  port: number,
  node: NodeStatement,
  purpose: "follow" | "ask",
  say: (peer: RawPeer) => void,
  patienceMs = 100,
): Promise<boolean> {
  const waits = {
    until: (holds: () => boolean, what: string) => until(what, async () => holds() || peer.isClosed),
  };
  const peer = RawPeer.dial(new TcpNetwork(), waits, { host: "127.0.0.1", port });
  await peer.greet(node, { purpose });
  if (!peer.heard.some(({ type }) => type === "welcome"))
    throw new Error(`it was not greeted: ${JSON.stringify(peer.heard.at(-1))}`);
  say(peer);
  const ended = await until("it is ended", async () => peer.isClosed, patienceMs).then(
    () => true,
    () => false,
  );
  peer.close();
  return ended;
}

/** Whoever dials it is greeted as by a primary, and then told this. */
export class Impostor {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(node: NodeStatement, says: (socket: Socket) => void) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const say = (message: Message): void => {
        for (const piece of encodeMessage(message, 0)) socket.write(piece);
      };
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      const frames = new FrameReader();
      const listen = (bytes: Uint8Array): void => {
        frames.push(bytes);
        const frame = frames.next();
        const hello = frame && decodeMessage(frame);
        if (hello?.type !== "hello") return;
        socket.off("data", listen);
        const { nonce: answers } = decodeHelloBody(hello.body);
        const body = encodeWelcomeBody({ answers, heartbeatMs: 1000, node });
        say({ type: "welcome", body, proof: new Uint8Array(0) });
        says(socket);
        socket.resume();
      };
      socket.on("data", listen);
      say({ type: "challenge", protocol: 1, nonce: randomBytes(32) });
    });
  }

  static async open(node: NodeStatement, says: (socket: Socket) => void): Promise<Impostor> {
    const impostor = new Impostor(node, says);
    await new Promise<void>((resolve) => impostor.#server.listen(0, "127.0.0.1", resolve));
    return impostor;
  }

  get address(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Passes everything on, and keeps what the dialling sides said, a connection after the other. */
export class Recorder {
  readonly #server: Server;
  readonly said: Buffer[] = [];

  private constructor(target: number) {
    this.#server = createServer((near) => {
      const far = connect(target, "127.0.0.1");
      const place = this.said.push(Buffer.alloc(0)) - 1;
      near.on("data", (piece: Buffer) => {
        this.said[place] = Buffer.concat([this.said[place] ?? piece, piece]);
      });
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
    });
  }

  static async before(target: number): Promise<Recorder> {
    const recorder = new Recorder(target);
    await new Promise<void>((resolve) => recorder.#server.listen(0, "127.0.0.1", resolve));
    return recorder;
  }

  get address(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  }

  close(): void {
    this.#server.close();
  }
}

/** Memory of a process, from here on; the most that it ever had is measured anew. */
export class ResidentMemory {
  readonly #pid: number;
  readonly before: number;

  constructor(pid: number) {
    this.#pid = pid;
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    this.before = this.#read("VmRSS");
  }

  get growth(): number {
    return this.#read("VmRSS") - this.before;
  }

  get peak(): number {
    return this.#read("VmHWM") - this.before;
  }

  #read(field: string): number {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(
      readFileSync(`/proc/${this.#pid}/status`, "utf8"),
    );
    return Number(line?.[1] ?? 0) * 1024;
  }
}
