/**
 * Whole nodes of a replicated set: the real `ReplicationNode` over a real log on a simulated disk, a network in memory in which any two can be
 * cut off from each other, and a clock that a test moves. The host does what a server does with log and writes, and nothing else.
 */
import {
  DamagedDirectory,
  type EventLog,
  type Finding,
  findingOf,
  holdsLog,
  Installation,
  keepDiverged,
  type LogSegments,
  type Offset,
  openLog,
  soundEnd,
} from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "../../props/world/simulated-file-system.js";
import type { ReplicationErrorCode } from "../../replication/errors.js";
import type { Kept, NodeIdentity, ReplicationHost } from "../../replication/host.js";
import { configuredRole } from "../../replication/leadership.js";
import { ReplicationNode } from "../../replication/node.js";
import type { Address, Connection, ConnectionHandlers, Listener, Network } from "../../replication/ports.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { startingRole } from "../../replication/starting-role.js";
import { MemoryNetwork } from "./memory-network.js";
import { DISK, logOptions, readAll, textOf, textRecord } from "./test-log.js";
import { VirtualClock } from "./virtual-clock.js";

export class SetWorld {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork();
  readonly nodes = new Map<string, SetNode>();
  readonly #ways = new Map<number, readonly [string, string]>();
  readonly #cuts = new Set<string>();

  constructor() {
    this.network.faults.stalled = ({ connection }) => {
      const ends = this.#ways.get(connection);
      return ends !== undefined && this.isCut(...ends);
    };
  }

  /** The network as one process sees it: bytes between two that are cut off from each other go nowhere. */
  networkOf(name: string): ProcessNetwork {
    return new ProcessNetwork(this.network, (connection, to) => this.#ways.set(connection, [name, to]));
  }

  isCut(a: string, b: string): boolean {
    return this.#cuts.has([a, b].sort().join());
  }

  /** From now on no byte passes between them; nobody is told. */
  cut(a: string, ...others: readonly string[]): void {
    for (const b of others) this.#cuts.add([a, b].sort().join());
  }

  heal(): void {
    this.#cuts.clear();
    this.network.resume();
  }

  add(name: string, changes: Partial<ReplicationSettings> = {}): SetNode {
    const node = new SetNode(this, name, this.nodes.size + 1, changes);
    this.nodes.set(name, node);
    return node;
  }

  /** A primary, which is the first, and replicas of it, all on each other's lists. */
  async setOf(...names: readonly string[]): Promise<SetNode[]> {
    const [first, ...rest] = names.map((name) => this.add(name));
    if (first === undefined) throw new Error("a set has a node");
    await first.start();
    for (const node of rest) await node.start({ role: "replica", masterAddress: addressOf(first.name) });
    const nodes = [first, ...rest];
    const areListed = () => nodes.every(({ node }) => node.stats().peers.length === names.length);
    await this.clock.until(areListed, "all are listed");
    await this.clock.until(() => first.node.stats().peers.every(({ counts }) => counts), "all count");
    return nodes;
  }

  /** What it was refused with. */
  async codeOf(promise: Promise<unknown>): Promise<ReplicationErrorCode | "none"> {
    try {
      await this.clock.settled(promise, "it was refused");
      return "none";
    } catch (error) {
      return (error as { code: ReplicationErrorCode }).code;
    }
  }

  async stop(): Promise<void> {
    this.heal();
    const stopping = Promise.all([...this.nodes.values()].map((node) => node.stop()));
    let stopped = false;
    void stopping.finally(() => {
      stopped = true;
    });
    await this.clock.until(() => stopped, "everybody stopped");
    await stopping;
  }
}

/** What a process has open ends with it. */
class ProcessNetwork implements Network {
  readonly #network: MemoryNetwork;
  readonly #dialled: (connection: number, to: string) => void;
  readonly #connections = new Set<Connection>();
  readonly #listeners: Listener[] = [];
  #isDead = false;

  constructor(network: MemoryNetwork, dialled: (connection: number, to: string) => void) {
    this.#network = network;
    this.#dialled = dialled;
  }

  connect(address: Address, handlers: ConnectionHandlers): Connection {
    if (this.#isDead) return NOWHERE;
    this.#dialled(this.#network.dialled, address.host);
    return this.#keep(this.#network.connect(address, handlers));
  }

  async listen(address: Address, accept: (connection: Connection) => ConnectionHandlers): Promise<Listener> {
    const listener = await this.#network.listen(address, (connection) => accept(this.#keep(connection)));
    this.#listeners.push(listener);
    return listener;
  }

  async die(): Promise<void> {
    this.#isDead = true;
    for (const connection of this.#connections) connection.close();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  #keep(connection: Connection): Connection {
    this.#connections.add(connection);
    return connection;
  }
}

const NOWHERE: Connection = {
  remote: "nowhere",
  bufferedBytes: 0,
  write: () => true,
  close: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
};

export const addressOf = (name: string) => ({ host: name, port: 1 });

/** Why it takes no writes; undefined when it does. */
export const refusal = (node: SetNode): ReplicationErrorCode | undefined => node.node.writeRefusal()?.code;

/** Follows, and has durably what the primary has. */
export const has = (node: SetNode, primary: SetNode): boolean =>
  node.node.role === "replica" &&
  node.log()?.durableOffset === primary.end &&
  node.node.own?.lineageId === primary.node.own?.lineageId;

/** Writes, and waits for `acks` replicas: how many confirmed it. */
export async function confirmedBy(
  node: SetNode,
  text: string,
  acks: number,
  timeoutMs = 5_000,
): Promise<number> {
  const offset = node.write(text);
  await node.required.whenCommitted(offset);
  const confirmed = node.node.confirmed(offset, acks, timeoutMs);
  return (await node.world.clock.settled(confirmed, "it was confirmed")).confirmed;
}

export class SetNode implements ReplicationHost {
  readonly name: string;
  readonly world: SetWorld;
  readonly disk: SimulatedDisk;
  readonly random: () => number;
  settings: ReplicationSettings;
  files: SimulatedMount;
  node: ReplicationNode;
  /** Whether what writes by itself runs: begun by `lead`, ended by `followBegins`. */
  writesByItself = false;
  /** How often whoever waits to write was told to give it up. */
  rests = 0;
  readonly kept: Kept[] = [];
  installs = 0;
  readonly words: string[] = [];
  #log: EventLog | undefined;
  #segments: LogSegments | undefined;
  damage: Finding | undefined;
  #identity: NodeIdentity;
  #isRunning = false;
  #network: ProcessNetwork;

  constructor(world: SetWorld, name: string, seed: number, changes: Partial<ReplicationSettings>) {
    this.world = world;
    this.name = name;
    this.random = seededRandom(seed);
    this.disk = new SimulatedDisk(seed);
    this.files = this.disk.mount();
    this.#identity = {
      clusterId: undefined,
      nodeId: Buffer.from(seededBytes(this.random)(16)).toString("hex"),
    };
    this.settings = {
      role: "master",
      masterAddress: undefined,
      listenAddress: addressOf(name),
      advertiseAddress: undefined,
      httpAddress: () => `http://${name}:15500`,
      name,
      heartbeatIntervalMs: 1_000,
      maxLagMs: 10_000,
      bufferBytes: 64 * 1024,
      autoReconnect: true,
      reconnectDelayMs: 1_000,
      replicaTimeoutMs: 10_000,
      minReplicasForWrite: 0,
      writeLagMsMax: 0,
      rejoin: true,
      checkIntervalMs: 0,
      secrets: () => [],
      ...changes,
    };
    this.#network = world.networkOf(name);
    this.node = this.#newNode();
  }

  get nodeId(): string {
    return this.#identity.nodeId;
  }

  get required(): EventLog {
    if (this.#log === undefined) throw new Error(`${this.name} has no log`);
    return this.#log;
  }

  get end(): number {
    return this.#log?.endOffset ?? 0;
  }

  /** A process begins. */
  async start(changes: Partial<ReplicationSettings> = {}): Promise<void> {
    this.settings = { ...this.settings, ...changes };
    this.#network = this.world.networkOf(this.name);
    this.node = this.#newNode();
    const { role, opens } = await startingRole(this.files, DISK, this.settings);
    const isFresh = !(await this.files.exists(`${DISK}/identity.json`));
    this.damage = undefined;
    if (!isFresh || role !== "replica") await this.#openOrFind(opens === "following");
    this.#isRunning = true;
    await this.node.start();
  }

  async stop(): Promise<void> {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.writesByItself = false;
    await this.node.stop();
    await this.#log?.close();
    this.#log = undefined;
  }

  /** Kill -9 or a power cut: what the process was doing never comes to its end, and nobody hears from it again. */
  async crash(ending: "kill" | "power" = "kill"): Promise<void> {
    this.#isRunning = false;
    this.writesByItself = false;
    if (ending === "kill") this.disk.kill();
    else this.disk.losePower();
    void this.node.stop();
    await this.#network.die();
    this.#log = undefined;
    this.files = this.disk.mount();
  }

  /** Refused as a server would. */
  write(text: string): Offset {
    const refusal = this.node.writeRefusal();
    if (refusal !== undefined) throw refusal;
    return this.required.append(textRecord(text));
  }

  async texts(): Promise<string[]> {
    const records = await readAll(this.required);
    return records.filter(({ kind }) => kind === 7).map(textOf);
  }

  // ---- as a host ----

  identity(): NodeIdentity {
    return this.#identity;
  }

  log(): EventLog | undefined {
    return this.#log;
  }

  logSegments(): LogSegments | undefined {
    return this.#log === undefined ? undefined : this.#segments;
  }

  async shut(finding: Finding): Promise<void> {
    this.damage = finding;
    await this.#log?.close();
    this.#log = undefined;
  }

  async reopen(): Promise<void> {
    this.damage = undefined;
    if (await holdsLog(this.files, DISK)) await this.#openOrFind(true);
  }

  openDamaged(): Promise<DamagedDirectory> {
    const { files, name: holder, world } = this;
    return DamagedDirectory.open({ files, dataDirectory: DISK, now: world.clock.now, holder });
  }

  async prepareCut(): Promise<void> {
    return undefined;
  }

  async newestSnapshot(): Promise<undefined> {
    return undefined;
  }

  async lead(): Promise<void> {
    this.writesByItself = true;
  }

  async followBegins(): Promise<void> {
    this.writesByItself = false;
  }

  async cut(after: { readonly offset: Offset }): Promise<Kept | undefined> {
    const kept = await keepDiverged(this.files, DISK, this.required, after.offset, this.world.clock.now());
    if (kept !== undefined) this.kept.push(kept);
    return kept;
  }

  beginInstall({ clusterId }: { readonly clusterId: string }): Promise<Installation> {
    const { files, nodeId, name: holder, world, random } = this;
    const isHeld = this.#log !== undefined;
    const common = { files, dataDirectory: DISK, holder, now: world.clock.now };
    return Installation.begin({ ...common, randomBytes: seededBytes(random), clusterId, nodeId, isHeld });
  }

  async installed(installing: unknown): Promise<Kept | undefined> {
    if (!(installing instanceof Installation)) throw new Error("somebody else's installation");
    const oldEnd = await soundEnd(this.#log);
    await this.#log?.close();
    const { kept } = await installing.commit({ oldEnd });
    if (kept !== undefined) this.kept.push(kept);
    this.damage = undefined;
    await this.#open(true);
    this.installs++;
    return kept;
  }

  /** As a server does: opens the log and reads all of it, for its state. */
  async #openOrFind(following: boolean): Promise<void> {
    try {
      await this.#open(following);
      await readAll(this.required);
    } catch (error) {
      const finding = following ? findingOf(error) : undefined;
      if (finding === undefined) throw error;
      await this.shut(finding);
    }
  }

  async #open(following: boolean): Promise<void> {
    const { files, random, world } = this;
    const options = { files, following, randomBytes: seededBytes(random), now: world.clock.now };
    const { log, identity, segments } = await openLog(logOptions(DISK, options));
    this.#log = log;
    this.#segments = segments;
    this.#identity = identity;
  }

  #newNode(): ReplicationNode {
    const say = (_: unknown, message: string): void => void this.words.push(message);
    return new ReplicationNode({
      settings: this.settings,
      configured: () => configuredRole(this.settings),
      network: this.#network,
      clock: this.world.clock,
      random: { bytes: seededBytes(this.random), unit: this.random },
      files: this.files,
      dataDirectory: DISK,
      logger: { info: say, warn: say, error: say },
      host: this,
      rests: () => {
        this.rests += 1;
      },
    });
  }
}
