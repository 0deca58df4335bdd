/**
 * A network in memory: connections that deliver bytes in order, in pieces of any size, a turn after they were written; that can be cut after
 * so many bytes, stall, or have their bytes changed on the way. One for all the nodes of a test.
 */
import { lend } from "../../props/world/lend.js";
import {
  type Address,
  type Connection,
  type ConnectionHandlers,
  describeAddress,
  type Listener,
  type Network,
} from "../../replication/ports.js";

export interface NetworkFaults {
  /** How large the next piece is; default: as it was written. */
  pieceBytes?: () => number;
  /** Called with everything that goes over any connection, before it arrives. May change it, or end the connection with "cut". */
  onWay?: (bytes: Uint8Array, way: Way) => Uint8Array | "cut";
  /** Bytes arrive also at an end that is paused, as those that were under way already may. */
  ignoresPause?: boolean;
  /** No bytes arrive on this way while it holds. */
  stalled?: (way: Way) => boolean;
}

export interface Way {
  readonly connection: number;
  readonly from: "dialler" | "acceptor";
}

/** What may wait on its way before whoever writes is told to wait. */
const BUFFER_BYTES = 256 * 1024;

export class MemoryNetwork implements Network {
  readonly faults: NetworkFaults = {};
  readonly #listeners = new Map<string, (connection: Connection) => ConnectionHandlers>();
  readonly ends: End[] = [];
  #ports = 20_000;
  /** Connections that were dialled so far. */
  dialled = 0;

  connect(address: Address, handlers: ConnectionHandlers): Connection {
    const number = this.dialled++;
    const near = new End(this, { connection: number, from: "dialler" }, describeAddress(address));
    near.handlers = handlers;
    setImmediate(() => {
      if (near.isClosed) return;
      const accept = this.#listeners.get(describeAddress(address));
      if (accept === undefined) return near.finish(new Error("ECONNREFUSED"));
      const far = new End(this, { connection: number, from: "acceptor" }, `peer ${number}`);
      near.other = far;
      far.other = near;
      this.ends.push(near, far);
      far.handlers = accept(far);
      near.handlers?.opened?.();
      near.deliver();
    });
    return near;
  }

  async listen(address: Address, accept: (connection: Connection) => ConnectionHandlers): Promise<Listener> {
    const taken = { host: address.host, port: address.port === 0 ? this.#ports++ : address.port };
    const name = describeAddress(taken);
    if (this.#listeners.has(name)) throw new Error("EADDRINUSE");
    this.#listeners.set(name, accept);
    return { address: taken, close: async () => void this.#listeners.delete(name) };
  }

  /** Nobody listens there any more. */
  forget(address: Address): void {
    this.#listeners.delete(describeAddress(address));
  }

  /** Ends every connection without a word. */
  cutAll(): void {
    for (const end of this.ends.splice(0)) end.finish(new Error("ECONNRESET"));
  }

  /** Bytes that were written and have not arrived, on all ways together. */
  get waitingBytes(): number {
    return this.ends.reduce((sum, end) => sum + end.bufferedBytes, 0);
  }

  /** Stalled ways look again. */
  resume(): void {
    for (const end of this.ends) end.deliver();
  }
}

class End implements Connection {
  readonly remote: string;
  readonly #network: MemoryNetwork;
  readonly #way: Way;
  other: End | undefined;
  handlers: ConnectionHandlers | undefined;
  isClosed = false;
  #isFinished = false;
  #isPaused = false;
  #isDelivering = false;
  #wantsDrain = false;
  /** Written here and not yet arrived there. */
  #waiting: Uint8Array[] = [];
  bufferedBytes = 0;

  constructor(network: MemoryNetwork, way: Way, remote: string) {
    this.#network = network;
    this.#way = way;
    this.remote = remote;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isClosed) return true;
    this.#waiting.push(bytes);
    this.bufferedBytes += bytes.length;
    this.deliver();
    if (this.bufferedBytes < BUFFER_BYTES) return true;
    this.#wantsDrain = true;
    return false;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.deliver();
    if (this.other === undefined) setImmediate(() => this.finish(undefined));
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.other?.deliver();
  }

  /** Carries what was written to the other end, a piece in each turn. */
  deliver(): void {
    if (this.#isDelivering || this.other === undefined) return;
    this.#isDelivering = true;
    setImmediate(() => {
      this.#isDelivering = false;
      this.#step();
    });
  }

  #step(): void {
    const { other } = this;
    if (other === undefined || this.#isFinished) return;
    const { faults } = this.#network;
    // A stall keeps the end from being told, too.
    if (faults.stalled?.(this.#way) === true) return;
    const first = this.#waiting[0];
    if (first === undefined) {
      if (this.isClosed) {
        other.finish(undefined);
        this.finish(undefined);
      }
      return;
    }
    // Bytes for an end that has closed go nowhere.
    if (other.#isPaused && !other.isClosed && faults.ignoresPause !== true) return;
    const size = Math.max(1, Math.min(first.length, faults.pieceBytes?.() ?? first.length));
    const piece = first.slice(0, size);
    if (size === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(size);
    this.bufferedBytes -= size;
    const arriving = faults.onWay?.(piece, this.#way) ?? piece;
    if (arriving === "cut") {
      other.finish(new Error("ECONNRESET"));
      this.finish(new Error("ECONNRESET"));
      return;
    }
    if (!other.isClosed) lend(arriving, (bytes) => other.handlers?.data(bytes));
    if (this.#wantsDrain && this.bufferedBytes === 0) {
      this.#wantsDrain = false;
      if (!this.isClosed) this.handlers?.drain();
    }
    this.deliver();
  }

  finish(error: Error | undefined): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.isClosed = true;
    this.#waiting = [];
    this.bufferedBytes = 0;
    this.handlers?.closed(error);
  }
}
