/**
 * A network between simulated machines, as TCP shows it to processes: bytes of one connection arrive in order, in pieces of any size, each
 * piece some time after it was written; nothing is ordered between connections. A way that is cut holds what goes over it, as TCP
 * sends again, until it is healed; whoever does not wait that long must find out by its own timer. A machine without power says
 * nothing; one whose process has ended resets what still comes. What is changed on its way is in `garbling.ts`; what comes more than
 * once, and how, in `duplicates.ts`.
 */
import {
  type Address,
  type Connection,
  type ConnectionHandlers,
  describeAddress,
  type Listener,
  type Network,
} from "../../replication/ports.js";
import { Duplicates } from "./duplicates.js";
import type { Random } from "./fate.js";
import { Garbling } from "./garbling.js";
import { lend } from "./lend.js";
import { SentFrames } from "./sent-frames.js";
import type { SimulatedMachine } from "./simulated-machine.js";
import type { VirtualTime } from "./virtual-time.js";

/** What may wait on its way before whoever writes is told to wait. */
const BUFFER_BYTES = 64 * 1024;

type Item =
  | { readonly type: "syn"; readonly port: number }
  | { readonly type: "open" }
  | { readonly type: "data"; readonly bytes: Uint8Array; readonly endsFrame: boolean }
  | { readonly type: "end"; readonly error: Error | undefined };

interface Listening {
  readonly machine: SimulatedMachine;
  readonly process: number;
  readonly accept: (connection: Connection) => ConnectionHandlers;
}

export interface NetworkCounts {
  connections: number;
  refused: number;
  resets: number;
  bytes: number;
  /** Deliveries that waited because a way was cut. */
  held: number;
}

/** Of no process: whatever comes there is answered as by a machine that knows of no such connection. */
const NOBODY = -1;

export class SimulatedNetwork {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly counts: NetworkCounts = { connections: 0, refused: 0, resets: 0, bytes: 0, held: 0 };
  readonly duplicates = new Duplicates();
  readonly garbling: Garbling;
  readonly #machines = new Map<string, SimulatedMachine>();
  readonly #listeners = new Map<string, Listening>();
  readonly #cuts = new Set<string>();
  /** When a machine's process last got bytes from another machine, by `to<from`. */
  readonly #heardAt = new Map<string, number>();
  readonly #ends = new Set<End>();
  /** Most ms that a piece takes. */
  delayMsMax: number;
  /** Of each frame, when all of it was written, and when all of it has come. */
  frameWritten: (from: string, to: string) => void = () => undefined;
  frameArrived: (from: string, to: string) => void = () => undefined;

  constructor(time: VirtualTime, random: Random) {
    this.time = time;
    this.random = random;
    this.garbling = new Garbling(random);
    this.delayMsMax = random() < 0.3 ? 40 : 3;
  }

  add(machine: SimulatedMachine): void {
    this.#machines.set(machine.name, machine);
  }

  machine(name: string): SimulatedMachine | undefined {
    return this.#machines.get(name);
  }

  /** The network as one process sees it. */
  of(machine: SimulatedMachine, process: number): Network {
    return {
      connect: (address, handlers) => this.#connect(machine, process, address, handlers),
      listen: (address, accept) => this.#listen(machine, process, address, accept),
    };
  }

  /** Nothing more goes this way. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
    this.flow();
  }

  healAll(): void {
    this.#cuts.clear();
    this.garbling.end();
    this.duplicates.end();
    for (const end of this.#ends) end.out.release();
    this.flow();
  }

  /** When each of the other machines was last heard of by this one, the latest first. */
  heardAt(by: SimulatedMachine): number[] {
    const heard: number[] = [];
    for (const [way, at] of this.#heardAt) if (way.startsWith(`${by.name}<`)) heard.push(at);
    return heard.sort((a, b) => b - a);
  }

  heard(by: SimulatedMachine, from: SimulatedMachine): void {
    this.#heardAt.set(`${by.name}<${from.name}`, this.time.ms);
  }

  isCut(from: SimulatedMachine, to: SimulatedMachine): boolean {
    return this.#cuts.has(`${from.name}>${to.name}`);
  }

  /** Ends every connection between the two, as a box between them does that forgot them. */
  drop(a: string, b: string): void {
    for (const end of [...this.#ends]) {
      const names = [end.machine.name, end.other?.machine.name];
      if (names.includes(a) && names.includes(b)) end.finishSoon(connectionError("ECONNRESET"));
    }
  }

  /** What goes this way over the connections that there are now is held for a while; newer ones are not. */
  straggle(from: string, to: string, ms: number): void {
    for (const end of this.#ends) {
      if (end.machine.name !== from || end.out.to.name !== to) continue;
      this.duplicates.counts.straggled += 1;
      end.out.hold(ms);
    }
  }

  /** What a connection to there began with comes again, on one of its own. The machine it is of knows nothing of that, and mostly says so. */
  replay(from: string, to: string): void {
    const begun = this.duplicates.oneOf(from, to, this.random());
    const [machine, target] = [this.#machines.get(from), this.#machines.get(to)];
    if (begun === undefined || machine === undefined || target === undefined) return;
    this.duplicates.counts.replayed += 1;
    const ghost = new End(this, machine, NOBODY, target, `${to}:${begun.port}`);
    ghost.isMute = this.random() < 0.5;
    ghost.out.push({ type: "syn", port: begun.port });
    this.#play(ghost, begun.dialler);
  }

  /** The next connection to there is answered with what an older one was answered, as far as it goes. */
  answer(from: string, to: string): void {
    const begun = this.duplicates.oneOf(from, to, this.random());
    if (begun !== undefined) this.duplicates.answerNext(begun);
  }

  /** As it was said, or faster. */
  #play(end: End, { beginning }: SentFrames): void {
    const gapMs = this.random() < 0.3 ? 0 : 40;
    let afterMs = 0;
    for (const bytes of beginning) {
      afterMs += this.random() * gapMs;
      this.time.after(afterMs, () => void end.write(bytes));
    }
  }

  /** Its process has ended: by a kill, of which others are told, or with the power. */
  processEnded(machine: SimulatedMachine, how: "stopped" | "off"): void {
    for (const end of [...this.#ends]) if (end.machine === machine) end.die(how);
  }

  /** What was held may go on: a way was healed, a machine runs again. */
  flow(): void {
    for (const end of [...this.#ends]) {
      end.out.flow();
      end.other?.out.flow();
    }
  }

  delay(): number {
    return this.random() * this.delayMsMax;
  }

  enlist(end: End): void {
    this.#ends.add(end);
  }

  strike(end: End): void {
    this.#ends.delete(end);
  }

  /** A connection asks to be taken. */
  arrive(near: End, target: SimulatedMachine, port: number): void {
    const before = this.duplicates.takeAnswer(near.machine.name, target.name);
    if (before !== undefined) {
      this.#answerWith(near, target, before.acceptor);
      return;
    }
    const listening = this.#listeners.get(`${target.name}:${port}`);
    if (listening === undefined || !target.lives(listening.process)) {
      this.counts.refused += 1;
      near.finishSoon(connectionError("ECONNREFUSED"));
      return;
    }
    this.counts.connections += 1;
    const far = new End(this, target, listening.process, near.machine, `${near.machine.name}:${near.number}`);
    far.other = near;
    near.other = far;
    far.out.push({ type: "open" });
    const [from, to] = [near.machine.name, target.name];
    this.duplicates.begun({ from, to, port, dialler: near.sent, acceptor: far.sent });
    far.handlers = listening.accept(far);
  }

  #answerWith(near: End, target: SimulatedMachine, said: SentFrames): void {
    this.duplicates.counts.answered += 1;
    const ghost = new End(this, target, NOBODY, near.machine, `${near.machine.name}:${near.number}`);
    ghost.isMute = this.random() < 0.5;
    ghost.other = near;
    near.other = ghost;
    ghost.out.push({ type: "open" });
    this.#play(ghost, said);
  }

  #connect(
    machine: SimulatedMachine,
    process: number,
    address: Address,
    handlers: ConnectionHandlers,
  ): Connection {
    const target = this.#machines.get(address.host);
    const near = new End(this, machine, process, target ?? machine, describeAddress(address));
    near.handlers = handlers;
    if (target === undefined) near.finishSoon(connectionError("ENOTFOUND"));
    else near.out.push({ type: "syn", port: address.port });
    return near;
  }

  async #listen(
    machine: SimulatedMachine,
    process: number,
    { host, port }: Address,
    accept: (connection: Connection) => ConnectionHandlers,
  ): Promise<Listener> {
    const name = `${machine.name}:${port}`;
    const there = this.#listeners.get(name);
    if (there?.machine.lives(there.process) === true) throw connectionError("EADDRINUSE");
    this.#listeners.set(name, { machine, process, accept });
    return { address: { host, port }, close: async () => void this.#listeners.delete(name) };
  }
}

/** One direction of a connection. */
class Way {
  readonly #end: End;
  readonly to: SimulatedMachine;
  #queue: Item[] = [];
  /** How many of the first have been long enough on their way. */
  #ripe = 0;
  #lastAt = 0;
  #heldUntil = 0;
  #isFlowing = false;

  constructor(end: End, to: SimulatedMachine) {
    this.#end = end;
    this.to = to;
  }

  push(item: Item): void {
    const { network } = this.#end;
    const now = network.time.ms;
    this.#lastAt = Math.max(this.#lastAt, now + network.delay());
    this.#queue.push(item);
    network.time.after(this.#lastAt - now, () => {
      this.#ripe += 1;
      this.flow();
    });
  }

  hold(ms: number): void {
    const { time } = this.#end.network;
    this.#heldUntil = Math.max(this.#heldUntil, time.ms + ms);
    time.after(ms + 1, () => this.flow());
  }

  release(): void {
    this.#heldUntil = 0;
  }

  /** What the machine had not sent when its power went. */
  lose(): void {
    const { random } = this.#end.network;
    this.#queue.length = Math.min(this.#queue.length, Math.floor(random() * (this.#queue.length + 1)));
  }

  flow(): void {
    if (this.#isFlowing) return;
    this.#isFlowing = true;
    try {
      while (this.#ripe > 0 && this.#mayFlow()) {
        const item = this.#queue.shift();
        this.#ripe -= 1;
        if (item !== undefined) this.#deliver(item);
      }
    } finally {
      this.#isFlowing = false;
    }
  }

  #mayFlow(): boolean {
    const { network, machine, other } = this.#end;
    if (network.isCut(machine, this.to) || network.time.ms < this.#heldUntil) {
      network.counts.held += 1;
      return false;
    }
    const { state } = this.to;
    if (state === "paused" || state === "off") return false;
    return other === undefined || !other.isHolding;
  }

  #deliver(item: Item): void {
    const { network, other } = this.#end;
    switch (item.type) {
      case "syn":
        network.arrive(this.#end, this.to, item.port);
        return;
      case "open":
        other?.opened();
        return;
      case "data":
        network.counts.bytes += item.bytes.length;
        this.#end.left(item.bytes.length);
        if (other?.isAlive === true) {
          if (!this.#end.isNobodys) network.heard(this.to, this.#end.machine);
          const way = [this.#end.machine.name, this.to.name] as const;
          lend(network.garbling.passed(...way, item.bytes), (bytes) => other.handlers?.data(bytes));
          if (item.endsFrame) network.frameArrived(...way);
        }
        // Nobody is there any more to take it.
        else if (other?.isMute !== true)
          other?.out.push({ type: "end", error: connectionError("ECONNRESET") });
        return;
      case "end":
        other?.finish(item.error);
        return;
    }
  }
}

class End implements Connection {
  readonly network: SimulatedNetwork;
  readonly machine: SimulatedMachine;
  readonly remote: string;
  readonly number: number;
  readonly out: Way;
  readonly sent = new SentFrames();
  /** Says nothing, not even that it is not there. */
  isMute = false;
  readonly #process: number;
  other: End | undefined;
  handlers: ConnectionHandlers | undefined;
  bufferedBytes = 0;
  #isClosed = false;
  #isFinished = false;
  #isPaused = false;
  #wantsDrain = false;

  constructor(
    network: SimulatedNetwork,
    machine: SimulatedMachine,
    process: number,
    to: SimulatedMachine,
    remote: string,
  ) {
    this.network = network;
    this.machine = machine;
    this.#process = process;
    this.remote = remote;
    this.number = 40_000 + network.counts.connections;
    this.out = new Way(this, to);
    network.enlist(this);
  }

  /** What comes from it nobody says now. */
  get isNobodys(): boolean {
    return this.#process === NOBODY;
  }

  /** Its process is there and has not let it go. */
  get isAlive(): boolean {
    return !this.#isClosed && !this.#isFinished && this.machine.lives(this.#process);
  }

  /** Whoever reads here wants nothing now. */
  get isHolding(): boolean {
    return this.#isPaused && this.isAlive;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || this.#isFinished) return true;
    const endsFrame = this.sent.written(Uint8Array.from(bytes));
    this.#send(Uint8Array.from(bytes), endsFrame);
    if (endsFrame) {
      this.network.frameWritten(this.machine.name, this.out.to.name);
      this.#repeatSometimes();
    }
    if (this.bufferedBytes < BUFFER_BYTES) return true;
    this.#wantsDrain = true;
    return false;
  }

  #send(bytes: Uint8Array, endsFrame: boolean): void {
    const { random } = this.network;
    const at = random() < 0.3 ? Math.floor(random() * bytes.length) : 0;
    const [begin, rest] = [bytes.subarray(0, at), bytes.subarray(at)];
    if (begin.length > 0) this.out.push({ type: "data", bytes: begin, endsFrame: false });
    if (rest.length > 0) this.out.push({ type: "data", bytes: rest, endsFrame });
    this.bufferedBytes += bytes.length;
  }

  /** A frame that was sent already, behind the one that ends here. */
  #repeatSometimes(): void {
    const { random, duplicates } = this.network;
    const share = duplicates.repeats(this.machine.name, this.out.to.name);
    if (share === 0 || random() >= share) return;
    const frame = this.sent.latest(random());
    if (frame === undefined) return;
    duplicates.counts.repeated += 1;
    this.#send(frame, true);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.out.push({ type: "end", error: undefined });
    this.finishSoon(undefined);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#soon(() => this.other?.out.flow());
  }

  opened(): void {
    if (this.isAlive) this.handlers?.opened?.();
  }

  /** So many bytes arrived. */
  left(bytes: number): void {
    this.bufferedBytes -= bytes;
    if (!this.#wantsDrain || this.bufferedBytes >= BUFFER_BYTES / 2) return;
    this.#wantsDrain = false;
    this.#soon(() => {
      if (this.isAlive) this.handlers?.drain();
    });
  }

  finishSoon(error: Error | undefined): void {
    this.network.time.after(this.network.delay(), () =>
      this.machine.run(this.#process, () => this.finish(error)),
    );
  }

  finish(error: Error | undefined): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.network.strike(this);
    if (error !== undefined) this.network.counts.resets += 1;
    if (this.machine.lives(this.#process)) this.handlers?.closed(error);
  }

  /** Its process is gone. Without power the other side is told nothing. */
  die(how: "stopped" | "off"): void {
    this.#isFinished = true;
    this.network.strike(this);
    if (how === "off") this.out.lose();
    else this.out.push({ type: "end", error: connectionError("ECONNRESET") });
  }

  #soon(run: () => void): void {
    this.network.time.after(0, () => this.machine.run(this.#process, run));
  }
}

function connectionError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
