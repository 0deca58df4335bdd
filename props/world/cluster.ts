/**
 * A replicated set in a simulated world: machines, disks, a network and the real code of log and replication on them, driven by steps
 * that may fall into each other, then healed and brought together again. Everything comes from one seed.
 */
import type { FsyncMode } from "../../log/index.js";
import { isHigher } from "../../replication/leadership-order.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { seededRandom } from "../run-settings.js";
import { bringTogether } from "./cluster-convergence.js";
import { type AppendedWrite, ClusterHistory } from "./cluster-history.js";
import { ClusterHost, type ClusterHostOptions, type HostCounts, type WorldHost } from "./cluster-host.js";
import { ClusterNode } from "./cluster-node.js";
import type { ClusterStep } from "./cluster-step.js";
import { ClusterSteps } from "./cluster-steps.js";
import type { ClusterView } from "./cluster-view.js";
import type { Random } from "./fate.js";
import { SimulatedNetwork } from "./simulated-network.js";
import { VirtualTime } from "./virtual-time.js";

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly settings?: Partial<ReplicationSettings>;
  /** By node; the last one is that of all further ones. Default: always. */
  readonly fsyncModes?: readonly FsyncMode[];
  /** Most turns of the event loop that syncs take on some of the disks: there words overtake them. Default: 0, everywhere. */
  readonly slowSyncTurns?: number;
  /** What owns log and state of a node. Default: the log, and the smallest state that there is. */
  readonly host?: (options: ClusterHostOptions) => WorldHost;
  /** Moves the clocks that the world does not own: the timers of the log. */
  readonly moved: (ms: number) => void;
}

const TRACE_MAX = 3000;
const CONVERGE_MS = 120_000;

export class Cluster implements ClusterView {
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
  readonly #steps: ClusterSteps;
  #trace: string[] = [];

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.time = new VirtualTime({
      random: this.random,
      isBusy: () => this.nodes.some(({ disk }) => disk.operations.isBusy),
      moved: options.moved,
    });
    this.network = new SimulatedNetwork(this.time, this.random);
    this.#steps = new ClusterSteps(this);
  }

  /** How many nodes there are from the beginning; all of them are on the list. */
  get begunWith(): number {
    return this.#options.nodes;
  }

  /** The first node leads; the others follow it, and all of them are there. */
  async begin(): Promise<void> {
    for (let index = 0; index < this.#options.nodes; index += 1)
      await this.time.settled(this.#steps.started(this.add()), 10_000);
    await this.must("everybody has joined", () => this.areOne() && this.#allCount());
  }

  add(settings: Partial<ReplicationSettings> = {}): ClusterNode {
    const { seed, settings: common, fsyncModes = [], slowSyncTurns = 0, host } = this.#options;
    const number = this.nodes.length + 1;
    const role =
      number === 1
        ? ({ role: "master" } as const)
        : ({ role: "replica", masterAddress: this.nodes[0]?.address } as const);
    const node = new ClusterNode(
      `n${number}`,
      seed * 16 + number,
      { ...role, ...common, ...settings },
      fsyncModes[number - 1] ?? fsyncModes.at(-1) ?? "always",
      {
        time: this.time,
        network: this.network,
        random: this.random,
        history: this.history,
        counts: this.hostCounts,
        syncTurnsMax: this.random() < 0.4 ? slowSyncTurns : 0,
        host: host ?? ((options) => new ClusterHost(options)),
        holders: (write) => this.#holders(write),
        called: (http) => this.nodes.find(({ name }) => http === `http://${name}`),
        lost: (lost, error) => this.#steps.lost(lost, error),
        note: (line) => this.note(line),
        broken: (error) => this.breaks(error),
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

  /** A promise was broken where nobody waits: whoever waits for anything of this world hears of it. */
  breaks(error: unknown): void {
    this.#broken.push(error);
  }

  mustBeWhole(): void {
    if (this.#broken.length > 0) throw this.#broken[0];
  }

  /** Begins a step, and does not wait for its end. */
  take(step: ClusterStep): void {
    this.#steps.take(step);
  }

  async run(steps: readonly ClusterStep[]): Promise<void> {
    for (const step of steps) {
      this.take(step);
      await this.time.pass(step.type === "rest" ? step.ms : this.random() < 0.3 ? 0 : this.random() * 30);
      this.mustBeWhole();
    }
  }

  /** Takes a step and lets time pass until what it began has ended. */
  async do(step: ClusterStep, msMax = 20_000): Promise<void> {
    this.take(step);
    await this.time.until(() => this.#steps.pending === 0 || this.#broken.length > 0, msMax);
    this.mustBeWhole();
  }

  /** The faults stop: everything runs and reaches everything, and an operator looks after what does not find back by itself. */
  converge(): Promise<ClusterNode> {
    return bringTogether(this, this.#steps);
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

  describe(): string {
    return this.nodes
      .map(({ name, machine, replication, log, startError }) => {
        const { role, fence, own, following } = replication ?? {};
        const up = replication?.stats().upstream;
        return `${name} ${machine.state} ${role} own ${own?.epoch}/${own?.lineageId.slice(0, 4)} fence ${fence?.heard.epoch} follows ${following?.host} (${up?.phase}, ended last by ${up?.error?.code}) end ${log?.endOffset} durable ${log?.durableOffset} ${startError ?? ""}`;
      })
      .join("\n");
  }

  tally(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }

  /** Its log is the leader's, and durable. */
  hasAll(node: ClusterNode): boolean {
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

  areOne(): boolean {
    return this.nodes.every((node) => this.hasAll(node));
  }

  /** Who but its writer holds a record durably at this moment. Of a node whose log is not open, or was passed over by force, nobody can tell. */
  #holders(write: AppendedWrite): { readonly holders: readonly string[]; readonly unknown: number } {
    const holders: string[] = [];
    let unknown = 0;
    for (const { name, log } of this.nodes) {
      if (name === write.node) continue;
      const entry = log?.epochs.findLast(({ first }) => first <= write.offset);
      if (log === undefined || entry === undefined) unknown += 1;
      else if (entry.lineageId !== write.lineageId) unknown += this.history.isForcedOver(write) ? 1 : 0;
      else if (log.durableOffset >= write.offset) holders.push(name);
      else if (this.history.mayHaveCut(name, write)) unknown += 1;
    }
    return { holders, unknown };
  }
}
