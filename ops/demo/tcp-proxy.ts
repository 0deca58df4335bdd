/**
 * A TCP proxy on loopback that does to a connection what networks do: delays its bytes, lets them dribble, changes some, cuts it, or swallows what
 * comes either way and says nothing, as a half-open connection does. Bytes of one connection stay in order.
 */
import { connect, createServer, type Server, type Socket } from "node:net";

export type Way = "out" | "back";

export interface ProxyFaults {
  /** Each piece is so much later. */
  delayMs: number;
  /** Pieces of at most so many bytes, one a turn. 0: as they come. */
  dribbleBytes: number;
  /** Ways on which nothing is passed on; it waits, as what TCP sends again does. */
  readonly silent: Set<Way>;
  /** Ways on which each piece has a changed bit, as no checksum of TCP has seen. */
  readonly garbled: Set<Way>;
  /** New connections are refused. */
  refuses: boolean;
  /** By the first words of whoever dialled: connections that are silent both ways. */
  silences: ((opening: Uint8Array) => boolean) | undefined;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly waiting: Record<Way, Buffer[]>;
  /** The first piece that the near side sent. */
  opening: Uint8Array | undefined;
}

/** What may wait on a silent way before its sender is held. */
const WAITING_PIECES = 64;

export class TcpProxy {
  readonly faults: ProxyFaults = {
    delayMs: 0,
    dribbleBytes: 0,
    silent: new Set(),
    garbled: new Set(),
    refuses: false,
    silences: undefined,
  };
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #target: () => number;
  /** Connections that were taken. */
  connections = 0;
  bytes = 0;

  private constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: false }, (near) => this.#take(near));
  }

  /** `target` is asked for each connection: a process that was started again may be elsewhere. */
  static async open(target: () => number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once("error", reject).listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return address.port;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Ends every connection at once, both ends being reset. */
  cut(): void {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  /** Nothing more is passed on, either way, and nobody is told. */
  silence(...ways: readonly Way[]): void {
    for (const way of ways.length === 0 ? (["out", "back"] as const) : ways) this.faults.silent.add(way);
  }

  /** All is well again; what waited goes on. */
  heal(): void {
    this.faults.silent.clear();
    this.faults.garbled.clear();
    Object.assign(this.faults, { delayMs: 0, dribbleBytes: 0, refuses: false, silences: undefined });
    for (const pair of this.#pairs)
      for (const way of ["out", "back"] as const) {
        for (const piece of pair.waiting[way].splice(0)) this.#pass(pair, way, piece);
        source(pair, way).resume();
      }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(near: Socket): void {
    if (this.faults.refuses) {
      near.resetAndDestroy();
      return;
    }
    this.connections += 1;
    const far = connect(this.#target(), "127.0.0.1");
    const pair: Pair = { near, far, waiting: { out: [], back: [] }, opening: undefined };
    this.#pairs.add(pair);
    for (const way of ["out", "back"] as const) {
      const from = source(pair, way);
      const to = way === "out" ? far : near;
      from.setNoDelay(true);
      from.on("data", (piece: Buffer) => this.#arrived(pair, way, piece));
      // Whoever ends it tells the other, after what it had said.
      from.on("end", () => this.#later(() => to.end()));
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#pairs.delete(pair);
        this.#later(() => to.destroySoon());
      });
    }
  }

  #arrived(pair: Pair, way: Way, piece: Buffer): void {
    this.bytes += piece.length;
    if (way === "out") pair.opening ??= piece;
    if (!this.#isSilent(pair, way)) {
      this.#pass(pair, way, piece);
      return;
    }
    const waiting = pair.waiting[way];
    waiting.push(piece);
    if (waiting.length >= WAITING_PIECES) source(pair, way).pause();
  }

  #isSilent({ opening }: Pair, way: Way): boolean {
    const { silent, silences } = this.faults;
    return silent.has(way) || (opening !== undefined && silences?.(opening) === true);
  }

  #pass(pair: Pair, way: Way, piece: Buffer): void {
    const to = way === "out" ? pair.far : pair.near;
    const { dribbleBytes, garbled } = this.faults;
    const middle = piece.length >> 1;
    if (garbled.has(way)) piece.writeUInt8(piece.readUInt8(middle) ^ 1, middle);
    const size = dribbleBytes > 0 ? dribbleBytes : piece.length;
    for (let at = 0; at < piece.length; at += size) {
      const part = piece.subarray(at, at + size);
      this.#later(() => {
        if (!to.destroyed) to.write(part);
      });
    }
  }

  #later(run: () => void): void {
    const { delayMs } = this.faults;
    if (delayMs === 0) run();
    else setTimeout(run, delayMs);
  }
}

const source = ({ near, far }: Pair, way: Way): Socket => (way === "out" ? near : far);
