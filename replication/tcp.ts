/**
 * The network of `ports.ts` over TCP, or TLS where certificates are given. Host names, IPv4 and IPv6; small writes leave at once, and a
 * connection whose other end has vanished is found out by the system too, not only by heartbeats.
 */
import * as net from "node:net";
import * as tls from "node:tls";
import { errnoOf } from "../log/index.js";
import { Crowd } from "./crowd.js";
import {
  type Address,
  type Connection,
  type ConnectionHandlers,
  describeAddress,
  type Listener,
  type Network,
} from "./ports.js";

export interface TlsCertificates {
  /** PEM. Who signed the certificates of all nodes: nobody else is let in, and nobody else is believed. */
  readonly ca: string | Uint8Array;
  readonly certificate: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** The name that a dialled node's certificate must have, where it is not the one that was dialled. */
  readonly serverName?: string;
}

export interface TcpOptions {
  readonly tls?: TlsCertificates;
  /** A connection that could not be accepted, or a handshake that failed: nobody else would hear of it. */
  refused?(error: Error, remote: string): void;
}

/** The system asks a silent other end after this. */
const KEEP_ALIVE_MS = 15_000;
/** Most that is written and has not left, before whoever writes is told to wait. */
const WRITE_BUFFER_BYTES = 1024 * 1024;
/** What was written last gets so long to leave. */
const LINGER_MS = 1_000;
const HANDSHAKE_MS = 10_000;
const READ_BYTES = 256 * 1024;

export class TcpNetwork implements Network {
  readonly #options: TcpOptions;
  #certificates: TlsCertificates | undefined;
  readonly #servers = new Set<tls.Server>();

  constructor(options: TcpOptions = {}) {
    this.#options = options;
    this.#certificates = options.tls;
  }

  /** Of every connection from now on, at both ends; those that are open go on. For a network that has some: none becomes TLS by it. */
  renew(certificates: TlsCertificates): void {
    if (this.#certificates === undefined) throw new Error("a network without certificates has none to renew");
    this.#certificates = certificates;
    for (const server of this.#servers) server.setSecureContext(trustOf(certificates));
  }

  connect(address: Address, handlers: ConnectionHandlers): Connection {
    const { host, port } = address;
    const certificates = this.#certificates;
    let connection: SocketConnection | undefined;
    // Records come this way. All of them go through one piece of memory: one for each read would be the collector's most work.
    const onread = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (count: number, buffer: Uint8Array) => {
        connection?.came(buffer.subarray(0, count));
        return true;
      },
    };
    const where = { host, port, onread };
    const socket =
      certificates === undefined
        ? net.connect(where)
        : tls.connect({ ...where, ...trustOf(certificates), ...nameOf(host, certificates) });
    const opened = certificates === undefined ? "connect" : "secureConnect";
    connection = new SocketConnection(socket, describeAddress(address), { handlers, opened });
    return connection;
  }

  listen(address: Address, accept: (connection: Connection) => ConnectionHandlers): Promise<Listener> {
    const { refused } = this.#options;
    const certificates = this.#certificates;
    const crowd = new Crowd();
    const take = (socket: net.Socket): void => {
      const connection = new SocketConnection(socket, remoteOf(socket), { leaves: () => crowd.add(socket) });
      socket.on("data", (bytes: Buffer) => connection.came(bytes));
      connection.handTo(accept(connection));
    };
    const server =
      certificates === undefined ? net.createServer(take) : this.#secured(certificates, take, crowd);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.host, port: address.port }, () => {
        server.off("error", reject);
        server.on("error", (error) => refused?.(error, describeAddress(address)));
        resolve(listenerOf(server, address));
      });
    });
  }

  #secured(certificates: TlsCertificates, take: (socket: net.Socket) => void, crowd: Crowd): tls.Server {
    const wanted = { requestCert: true, handshakeTimeout: HANDSHAKE_MS };
    const server = tls.createServer({ ...trustOf(certificates), ...wanted }, take);
    const handshakes = new Handshakes(server, crowd);
    server.on("tlsClientError", (error: Error, socket: tls.TLSSocket) =>
      this.#options.refused?.(wordsFor(error, socket), handshakes.whose(socket)),
    );
    this.#servers.add(server);
    server.once("close", () => this.#servers.delete(server));
    return server;
  }
}

function listenerOf(server: net.Server, { host, port }: Address): Listener {
  const taken = server.address();
  return {
    address: { host, port: taken !== null && typeof taken === "object" ? taken.port : port },
    close: async () => {
      server.close();
    },
  };
}

const remoteOf = (socket: net.Socket): string =>
  describeAddress({ host: unmapped(socket.remoteAddress ?? "?"), port: socket.remotePort ?? 0 });

/** Who dials by IPv4 a node that listens on `::` comes from `::ffff:10.0.0.1`: the others, and certificates, know it as 10.0.0.1. */
function unmapped(host: string): string {
  const address = /^::ffff:(.*)$/i.exec(host)?.[1];
  return address !== undefined && net.isIPv4(address) ? address : host;
}

/** Where those come from whose handshake is under way: a socket that ended before it was over has forgotten it. */
class Handshakes {
  readonly #under = new Map<string, net.Socket>();

  constructor(server: net.Server, crowd: Crowd) {
    server.on("connection", (socket) => {
      const remote = remoteOf(socket);
      this.#under.set(remote, socket);
      crowd.add(socket);
      // The failure is told in the turn of the close.
      socket.once("close", () => setImmediate(() => this.#forget(remote, socket)));
    });
    server.on("secureConnection", (secured) => {
      const remote = remoteOf(secured);
      const socket = this.#under.get(remote);
      this.#under.delete(remote);
      if (socket !== undefined) crowd.leave(socket);
    });
  }

  #forget(remote: string, socket: net.Socket): void {
    if (this.#under.get(remote) === socket) this.#under.delete(remote);
  }

  /** Of the one that failed just now: in a crowd, perhaps, of those that ended together. */
  whose(failed: tls.TLSSocket): string {
    if (failed.remoteAddress !== undefined) return remoteOf(failed);
    const ended = [...this.#under].filter(([, socket]) => socket.destroyed);
    return ended.map(([remote]) => remote).join(" or ");
  }
}

/** Why a handshake failed: the library ends most of these without a word. */
function wordsFor(error: Error, { authorizationError }: tls.TLSSocket): Error {
  // Declared as an error, and in fact its code.
  const untrusted: unknown = authorizationError;
  if (typeof untrusted === "string") return new Error(`its certificate is not trusted: ${untrusted}`);
  if (errnoOf(error) !== "ECONNRESET") return error;
  return new Error("it ended the handshake: it may not trust this node's certificate", { cause: error });
}

const bytesOf = (text: string | Uint8Array): Buffer =>
  typeof text === "string" ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.length);

const trustOf = ({
  ca,
  certificate,
  key,
}: TlsCertificates): tls.SecureContextOptions & tls.CommonConnectionOptions => ({
  ca: bytesOf(ca),
  cert: bytesOf(certificate),
  key: bytesOf(key),
  minVersion: "TLSv1.2",
  rejectUnauthorized: true,
});

/** SNI has no place for addresses; their certificates are checked by the address itself. */
function nameOf(host: string, { serverName }: TlsCertificates): { servername?: string } {
  if (serverName !== undefined) return { servername: serverName };
  return net.isIP(host) === 0 ? { servername: host } : {};
}

/** TLS 1.3 is done for the dialler before the other side has looked at its certificate. */
const notTrusted = (): Error =>
  new Error("it was ended before a word was said: the other side may not trust this node's certificate");

interface SocketWishes {
  readonly handlers?: ConnectionHandlers;
  /** The event after which bytes may flow; undefined: they may. */
  readonly opened?: string;
  /** It is closed here, and what was written last is leaving. */
  readonly leaves?: () => void;
}

class SocketConnection implements Connection {
  readonly remote: string;
  readonly #socket: net.Socket;
  readonly #leaves: (() => void) | undefined;
  #handlers: ConnectionHandlers | undefined;
  #error: Error | undefined;
  /** Of a dialled one with TLS: nothing was said yet since the handshake. */
  #isUnheard = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(socket: net.Socket, remote: string, { handlers, opened, leaves }: SocketWishes) {
    this.remote = remote;
    this.#socket = socket;
    this.#leaves = leaves;
    this.#handlers = handlers;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    if (opened !== undefined)
      socket.once(opened, () => {
        this.#isUnheard = opened === "secureConnect";
        this.#handlers?.opened?.();
      });
    socket.on("drain", () => this.#handlers?.drain());
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.once("close", () => {
      clearTimeout(this.#linger);
      this.#handlers?.closed(this.#error ?? (this.#isUnheard ? notTrusted() : undefined));
    });
  }

  handTo(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  came(bytes: Uint8Array): void {
    this.#isUnheard = false;
    this.#handlers?.data(bytes);
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#socket.writable) return true;
    return this.#socket.write(bytes) || this.#socket.writableLength < WRITE_BUFFER_BYTES;
  }

  close(): void {
    if (this.#linger !== undefined || this.#socket.destroyed) return;
    // One that is still connecting has nothing to say.
    if (this.#socket.connecting) {
      this.#socket.destroy();
      return;
    }
    this.#linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#socket.end();
    // Its end comes only to who reads.
    this.#socket.resume();
    this.#leaves?.();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
