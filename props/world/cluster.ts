/**
 * A replicated set in a simulated world: machines, disks, a network and the real code of log and replication on them, driven by steps
 * that may fall into each other, then healed and brought together again. Everything comes from one seed.
 */
import { LogError } from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import { isHigher } from "../../replication/leadership-order.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { seededRandom } from "../run-settings.js";
import { type AppendedWrite, ClusterHistory } from "./cluster-history.js";
import type { HostCounts } from "./cluster-host.js";
import { ClusterNode } from "./cluster-node.js";
import type { Random } from "./fate.js";
import { SimulatedNetwork } from "./simulated-network.js";
import { VirtualTime } from "./virtual-time.js";

export type ClusterStep =
  /** To one of those that take writes now. */
  | { readonly type: "write"; readonly node: number; readonly acks: number; readonly count: number }
  | { readonly type: "read"; readonly node: number; readonly back: number }
  | { readonly type: "promote"; readonly node: number; readonly force: boolean }
  | { readonly type: "follow"; readonly node: number; readonly to: number }
  /** Killed or without power now, or in that operation of its disk; started again after so long. */
  | {
      readonly type: "end";
      readonly node: number;
      readonly how: "stopped" | "off";
      readonly operation: number;
      readonly downMs: number;
    }
  | { readonly type: "pause"; readonly node: number; readonly ms: number }
  | {
      readonly type: "cut";
      readonly from: number;
      readonly to: number;
      readonly both: boolean;
      readonly ms: number;
    }
  /** From everybody. */
  | { readonly type: "isolate"; readonly node: number; readonly ms: number }
  | { readonly type: "drop"; readonly from: number; readonly to: number }
  | { readonly type: "retain"; readonly node: number }
  | { readonly type: "join" }
  | { readonly type: "rest"; readonly ms: number };

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly settings?: Partial<ReplicationSettings>;
  /** Moves the clocks that the world does not own: the timers of the log. */
  readonly moved: (ms: number) => void;
}

const NODES_MAX = 4;
const TRACE_MAX = 3000;
const CONVERGE_MS = 120_000;

export class Cluster {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: Random;
  readonly history = new ClusterHistory();
  readonly nodes: ClusterNode[] = [];
  readonly hostCounts: HostCounts = { installs: 0, cuts: 0, diverged: 0 };
  /** How often what came of what. */
  readonly outcomes = new Map<string, number>();
  readonly #options: ClusterOptions;
  readonly #broken: unknown[] = [];
  #trace: string[] = [];
  #pending = 0;
  #bodies = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.time = new VirtualTime({
      random: this.random,
      isBusy: () => this.nodes.some(({ disk }) => disk.operations.isBusy),
      moved: options.moved,
    });
    this.network = new SimulatedNetwork(this.time, this.random);
  }

  /** The first node leads; the others follow it, and all of them are there. */
  async begin(): Promise<void> {
    for (let index = 0; index < this.#options.nodes; index += 1)
      await this.time.settled(this.#started(this.add()), 10_000);
    await this.must("everybody has joined", () => this.#areOne() && this.#allCount());
  }

  add(settings: Partial<ReplicationSettings> = {}): ClusterNode {
    const { seed, settings: common } = this.#options;
    const number = this.nodes.length + 1;
    const role =
      number === 1
        ? ({ role: "master" } as const)
        : ({ role: "replica", masterAddress: this.nodes[0]?.address } as const);
    const node = new ClusterNode(
      `n${number}`,
      seed * 16 + number,
      { ...role, ...common, ...settings },
      {
        ...{ time: this.time, network: this.network, random: this.random, history: this.history },
        counts: this.hostCounts,
        note: (line) => this.note(line),
        broken: (error) => void this.#broken.push(error),
      },
    );
    this.nodes.push(node);
    return node;
  }

  node(index: number): ClusterNode {
    const node = this.nodes[index % this.nodes.length];
    if (node === undefined) throw new RangeError(`no node ${index}`);
    return node;
  }

  note(line: string): void {
    if (this.#trace.length >= TRACE_MAX) this.#trace = this.#trace.slice(TRACE_MAX / 2);
    this.#trace.push(`${this.time.ms} ${line}`);
  }

  /** What happened, for whoever reads a failing run. */
  withTrace(error: unknown): Error {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return new Error(`${text}\n${this.#trace.slice(-120).join("\n")}`, { cause: error });
  }

  async must(what: string, holds: () => boolean, msMax = CONVERGE_MS): Promise<void> {
    if (!(await this.time.until(() => this.#broken.length > 0 || holds(), msMax)))
      throw new Error(`waited in vain until ${what}: ${this.describe()}`);
    if (this.#broken.length > 0) throw this.#broken[0];
  }

  /** Begins a step, and does not wait for its end. */
  take(step: ClusterStep): void {
    this.note(JSON.stringify(step));
    switch (step.type) {
      case "write":
        for (let count = 0; count < step.count; count += 1) this.#write(step.node, step.acks);
        return;
      case "read":
        this.#read(step.node, step.back);
        return;
      case "promote":
        this.#count("promote", this.node(step.node).promote(step.force, this.#names()));
        return;
      case "follow":
        if (step.node % this.nodes.length !== step.to % this.nodes.length)
          this.#count("follow", this.node(step.node).follow(this.node(step.to).address));
        return;
      case "end":
        this.#end(this.node(step.node), step);
        return;
      case "pause":
        this.#pause(this.node(step.node), step.ms);
        return;
      case "cut":
        this.#cut(this.node(step.from), this.node(step.to), step.ms);
        if (step.both) this.#cut(this.node(step.to), this.node(step.from), step.ms);
        return;
      case "isolate":
        for (const other of this.nodes) {
          this.#cut(this.node(step.node), other, step.ms);
          this.#cut(other, this.node(step.node), step.ms);
        }
        return;
      case "drop":
        this.network.drop(this.node(step.from).name, this.node(step.to).name);
        return;
      case "retain":
        this.#count("retain", this.node(step.node).retain());
        return;
      case "join":
        if (this.nodes.length < NODES_MAX) void this.#started(this.add());
        return;
      case "rest":
        return;
    }
  }

  async run(steps: readonly ClusterStep[]): Promise<void> {
    for (const step of steps) {
      this.take(step);
      await this.time.pass(step.type === "rest" ? step.ms : this.random() < 0.3 ? 0 : this.random() * 30);
      if (this.#broken.length > 0) throw this.#broken[0];
    }
  }

  /** The faults stop: everything runs and reaches everything, and an operator looks after what does not find back by itself. */
  async converge(): Promise<ClusterNode> {
    this.network.healAll();
    for (const node of this.nodes) {
      node.disk.disarm();
      node.resume();
    }
    await this.must("everybody runs", () => this.nodes.every((node) => node.serving !== undefined));
    await this.must("everything begun has ended", () => this.#pending === 0);
    await this.time.until(() => this.#areOne(), 20_000);
    const winner = await this.#winner();
    for (const node of this.nodes) if (node !== winner) await this.#bring(node, winner);
    await this.must("all logs are equal", () => this.#areOne());
    const outcome = await this.time.settled(winner.write("the last one", this.nodes.length - 1), 30_000);
    if (outcome?.value !== "answered")
      throw new Error(`a healed set does not confirm a write: ${outcome?.value} ${this.describe()}`);
    await this.must("all logs are equal again", () => this.#areOne());
    return winner;
  }

  /** The world is over: nothing of it goes on. */
  end(): void {
    for (const node of this.nodes) node.end("off");
  }

  /** Whoever leads under the highest leadership of all. */
  get leader(): ClusterNode | undefined {
    return this.nodes
      .filter(({ serving }) => {
        const { role, fence } = serving?.replication ?? {};
        return role === "master" && fence === undefined;
      })
      .sort((a, b) => (isHigher(a.replication?.own, b.replication?.own) ? -1 : 1))[0];
  }

  /** What happened, line by line. */
  get trace(): readonly string[] {
    return this.#trace;
  }

  /** Takes a step and lets time pass until what it began has ended. */
  async do(step: ClusterStep, msMax = 20_000): Promise<void> {
    this.take(step);
    await this.time.until(() => this.#pending === 0 || this.#broken.length > 0, msMax);
    if (this.#broken.length > 0) throw this.#broken[0];
  }

  describe(): string {
    return this.nodes
      .map(({ name, machine, replication, log, startError }) => {
        const { role, fence, own, following } = replication ?? {};
        const up = replication?.stats().upstream;
        return `${name} ${machine.state} ${role} own ${own?.epoch}/${own?.lineageId.slice(0, 4)} fence ${fence?.heard.epoch} follows ${following?.host} (${up?.phase} ${up?.error?.code}) end ${log?.endOffset} durable ${log?.durableOffset} ${startError ?? ""}`;
      })
      .join("\n");
  }

  // ---- steps ----

  #write(index: number, acks: number): void {
    const takers = this.nodes.filter(
      ({ serving }) => serving !== undefined && serving.replication.writeRefusal() === undefined,
    );
    const taker = takers[index % Math.max(1, takers.length)] ?? this.node(index);
    this.#bodies += 1;
    const size = this.random() < 0.2 ? Math.floor(this.random() * 3000) : Math.floor(this.random() * 200);
    this.#count("write", taker.write(`write ${this.#bodies} ${"x".repeat(size)}`, acks));
  }

  #read(index: number, back: number): void {
    const token: AppendedWrite | undefined = this.history.answered.at(-1 - back) ?? this.history.answered[0];
    if (token !== undefined) this.#count("read", this.node(index).read(token));
  }

  #end(node: ClusterNode, { how, operation, downMs }: Extract<ClusterStep, { type: "end" }>): void {
    if (node.machine.state !== "running") return;
    if (operation > 0) node.endAt(operation, how);
    else node.end(how);
    const again = (): void => {
      if (node.machine.state === "stopped" || node.machine.state === "off") void this.#started(node);
      else if (operation > 0) this.time.after(downMs, again);
    };
    this.#tally(`end ${how}`);
    this.time.after(downMs, again);
  }

  async #started(node: ClusterNode): Promise<void> {
    await node.start();
    const { startError } = node;
    if (startError === undefined) return;
    const isCoded = startError instanceof ReplicationError || startError instanceof LogError;
    // Nothing damages a disk in this world, so nothing may look like damage.
    if (!isCoded || startError.code === "LOG_CORRUPT" || startError.code === "REPLICATION_LEADERSHIP_DAMAGED")
      this.#broken.push(startError);
    this.#tally(`start failed`);
    // As whatever supervises it would.
    this.time.after(1000, () => {
      if (node.machine.state === "stopped") void this.#started(node);
    });
  }

  #pause(node: ClusterNode, ms: number): void {
    if (node.machine.state !== "running") return;
    node.pause();
    this.#tally("pause");
    this.time.after(ms, () => {
      if (node.machine.state === "paused") node.resume();
    });
  }

  #cut(from: ClusterNode, to: ClusterNode, ms: number): void {
    if (from === to) return;
    this.network.cut(from.name, to.name);
    this.#tally("cut");
    this.time.after(ms, () => this.network.heal(from.name, to.name));
  }

  #count(what: string, outcome: Promise<string>): void {
    this.#pending += 1;
    // What a process had begun that is gone never ends.
    let isOver = false;
    const over = (): void => {
      if (!isOver) this.#pending -= 1;
      isOver = true;
    };
    this.time.after(15_000, over);
    outcome.then(
      (found) => {
        over();
        this.note(`${what}: ${found}`);
        this.#tally(`${what}: ${found}`);
      },
      (error: unknown) => {
        over();
        this.#broken.push(error);
      },
    );
  }

  #tally(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }

  #names(): Map<string, string> {
    return new Map(this.nodes.map((node) => [node.nodeId, node.name]));
  }

  // ---- together again ----

  async #winner(): Promise<ClusterNode> {
    const { leader } = this;
    if (leader !== undefined) return leader;
    // Nobody leads: who has most is made to.
    const [best] = [...this.nodes].sort((a, b) => {
      const [own, other] = [a.replication?.own, b.replication?.own];
      if (isHigher(own, other)) return -1;
      if (isHigher(other, own)) return 1;
      return (b.log?.endOffset ?? 0) - (a.log?.endOffset ?? 0);
    });
    if (best === undefined) throw new Error("no nodes");
    this.#tally("operator promoted");
    for (const force of [false, false, true]) {
      const outcome = await this.time.settled(best.promote(force, this.#names()), 30_000);
      this.note(`operator promotes ${best.name}: ${outcome?.value}`);
      if (outcome?.value === "promoted") return best;
    }
    throw new Error(`nobody can be promoted: ${this.describe()}`);
  }

  async #bring(node: ClusterNode, winner: ClusterNode): Promise<void> {
    node.replication?.resetBreaker();
    // Also one behind another: what it confirms the primary hears of.
    const isNear = (): boolean => this.#hasAll(node);
    if (await this.time.until(isNear, 5000)) return;
    this.#tally("operator pointed");
    const outcome = await this.time.settled(node.follow(winner.address), 30_000);
    this.note(`operator points ${node.name} to ${winner.name}: ${outcome?.value}`);
    if (await this.time.until(isNear, 10_000)) return;
    this.#tally("operator resynced");
    await this.time.settled(node.resync(), 10_000);
  }

  #hasAll(node: ClusterNode): boolean {
    const { leader } = this;
    if (leader === undefined) return false;
    if (node === leader) return node.log?.durableOffset === node.log?.endOffset;
    const [own, lead] = [node.log, leader.log];
    return (
      node.serving?.replication.role === "replica" &&
      own !== undefined &&
      lead !== undefined &&
      own.endOffset === lead.endOffset &&
      own.durableOffset === lead.endOffset &&
      own.epochs.at(-1)?.lineageId === lead.epochs.at(-1)?.lineageId &&
      node.replication?.stats().upstream?.phase === "streaming"
    );
  }

  /** Everybody is on the primary's list, and everybody else knows that. */
  #allCount(): boolean {
    const replicas = this.leader?.replication?.stats().replicas ?? [];
    return replicas.filter(({ counts }) => counts).length === this.nodes.length - 1;
  }

  #areOne(): boolean {
    return this.nodes.every((node) => this.#hasAll(node));
  }
}
