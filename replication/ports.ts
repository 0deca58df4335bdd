/**
 * What replication asks of the world: a network, a clock, randomness, somebody to tell. Injected, so that the simulated world of the
 * properties runs this very code. `tcp.ts` is the real network.
 */

export interface Address {
  /** A host name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export const describeAddress = ({ host, port }: Address): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

export interface Network {
  /** Begins to connect; never throws. `opened` or `closed` follows, in a later turn. */
  connect(address: Address, handlers: ConnectionHandlers): Connection;
  /** Rejects when the address cannot be listened on. Port 0 takes a free one. */
  listen(address: Address, accept: (connection: Connection) => ConnectionHandlers): Promise<Listener>;
}

export interface Listener {
  /** With the port that was taken. */
  readonly address: Address;
  /** Takes no more connections. Those that there are stay. */
  close(): Promise<void>;
}

/** Bytes in order, either way, until either side or the world ends it. */
export interface Connection {
  /** The other end, for words and logs: `host:port`. */
  readonly remote: string;
  /** Queues bytes, which must not change afterwards. False: wait for `drain` before more. After `close` it does nothing. */
  write(bytes: Uint8Array): boolean;
  /** Bytes that were written and have not left yet. */
  readonly bufferedBytes: number;
  /** Sends what was written, if the other side takes it soon, and ends. `closed` follows, in a later turn. Idempotent. */
  close(): void;
  /** No `data` until `resume`; the other side's bytes wait where they are. */
  pause(): void;
  resume(): void;
}

export interface ConnectionHandlers {
  /** Of a connection that was dialled: bytes may flow. An accepted one is open when it is given. */
  opened?(): void;
  /** `bytes` are lent for the call: the next ones may come into the same memory. */
  data(bytes: Uint8Array): void;
  /** After a `write` that returned false: there is room again. */
  drain(): void;
  /** Once, and the last call. Undefined: somebody closed it. */
  closed(error: Error | undefined): void;
}

export interface Clock {
  /** Wall clock, ms since 1970. */
  now(): number;
  /** Ms on a clock that nobody sets: for everything that is measured. */
  stopwatch(): number;
  /** Runs `run` once after `ms`; the answer cancels it. */
  after(ms: number, run: () => void): () => void;
}

export interface Random {
  bytes(count: number): Uint8Array;
  /** In [0, 1). */
  unit(): number;
}

export interface ReplicationLogger {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}
