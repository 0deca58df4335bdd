/**
 * A node of a simulated set: a machine, a disk, and the real code of log and replication, started, killed and started again. What it
 * does for clients is what the API does: refuse, append, wait until it is committed, wait until it is confirmed, answer.
 */
import {
  type AppendedRecord,
  EPOCH_STARTED,
  type EventLog,
  type FsyncMode,
  holdsLog,
  LogError,
} from "../../log/index.js";
import { type NodeAnswer, switchOver } from "../../ops/replication/switchover.js";
import { ReplicationError } from "../../replication/errors.js";
import { isHigher } from "../../replication/leadership-order.js";
import { ReplicationNode } from "../../replication/node.js";
import type { Address } from "../../replication/ports.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { startingRole } from "../../replication/starting-role.js";
import { checkLeadsWhole } from "../checkers/leads-whole.js";
import { doorOf } from "./cluster-door.js";
import {
  type AppendedWrite,
  bodyText,
  type ClusterHistory,
  leadershipOf,
  type Switchover,
} from "./cluster-history.js";
import type { ClusterHostOptions, HostCounts, WorldHost } from "./cluster-host.js";
import { loggerOf, PORT, settingsOf } from "./cluster-node-setup.js";
import { bodyAt, judgedAt } from "./cluster-tokens.js";
import type { Random } from "./fate.js";
import { DATA_DIRECTORY, worldLogOptions } from "./log-settings.js";
import { seededBytes } from "./seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "./simulated-file-system.js";
import { SimulatedMachine } from "./simulated-machine.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import type { VirtualTime } from "./virtual-time.js";

/** How long a write waits for its confirmations. */
const ACK_MS = 3000;
const TOKEN_MS = 2000;

export interface ClusterSurroundings {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: Random;
  readonly history: ClusterHistory;
  readonly counts: HostCounts;
  /** Most turns of the event loop that a sync of this node's disk takes. */
  readonly syncTurnsMax: number;
  /** What owns a node's log and state. */
  readonly host: (options: ClusterHostOptions) => WorldHost;
  /** Who but its writer has it on the disk now, as the world sees it. */
  readonly holders: (write: AppendedWrite) => {
    readonly holders: readonly string[];
    readonly unknown: number;
  };
  /** Another node, as an HTTP client calls it. */
  readonly called: (http: string) => ClusterNode | undefined;
  /** Its log or state is gone while it runs: a server ends then. */
  readonly lost: (node: ClusterNode, error: unknown) => void;
  readonly note: (line: string) => void;
  readonly broken: (error: unknown) => void;
}

/** One process of a node. */
interface Life {
  readonly process: number;
  readonly files: SimulatedMount;
  readonly host: WorldHost;
  readonly replication: ReplicationNode;
}

/** How far a log is. */
interface LogSeen {
  readonly durable: number;
  readonly end: number;
  readonly following: boolean;
}

/** How many replicas a write asks for. */
export type AsksFor = number | "quorum";

export class ClusterNode {
  readonly name: string;
  readonly disk: SimulatedDisk;
  readonly machine: SimulatedMachine;
  readonly #world: ClusterSurroundings;
  #settings: ReplicationSettings;
  /** As it was said last. */
  #nodeId = "";
  /** Read at the next start. */
  fsyncMode: FsyncMode;
  /** An operator has promised that it never comes back. */
  isGone = false;
  /** Promotions by force that are under way, or were when the process ended. */
  #forcing = 0;
  /** The switchover by which it is being promoted. */
  #takesOver: Switchover | undefined;
  /** The last one that it was asked for itself. */
  #handsOver: Switchover | undefined;
  /** What it answers over HTTP is lost on the way. */
  isMute = false;
  /** By the world's clock: when it was told to write no more because it is fenced, and when the last pause was over. */
  #restsSince = 0;
  #resumedAt = 0;
  #life: Life | undefined;
  /** How it ends if its disk does. */
  #armed: "stopped" | "off" = "stopped";
  #lastSeen: LogSeen | undefined;
  /** Why the last start did not succeed. */
  startError: unknown;

  constructor(
    name: string,
    seed: number,
    settings: Partial<ReplicationSettings>,
    fsyncMode: FsyncMode,
    world: ClusterSurroundings,
  ) {
    this.fsyncMode = fsyncMode;
    this.name = name;
    this.#world = world;
    this.disk = new SimulatedDisk(seed, { syncTurnsMax: world.syncTurnsMax });
    this.machine = new SimulatedMachine(name, world.time, world.random);
    world.network.add(this.machine);
    this.#settings = { ...settingsOf(name), ...settings };
  }

  get address(): Address {
    return { host: this.name, port: PORT };
  }

  /** Its wall clock. */
  get now(): number {
    return this.machine.clockOf(this.machine.process).now();
  }

  /** Undefined while it is down, starting or paused: nobody can ask it for anything. */
  get serving(): Life | undefined {
    const life = this.#life;
    return life !== undefined && this.machine.state === "running" && this.machine.lives(life.process)
      ? life
      : undefined;
  }

  get log(): EventLog | undefined {
    return this.#life?.host.log();
  }

  get replication(): ReplicationNode | undefined {
    return this.#life?.replication;
  }

  get host(): WorldHost | undefined {
    return this.#life?.host;
  }

  /** Its log, as it is now, or was when the process ended. */
  get lastSeen(): LogSeen | undefined {
    const { log } = this;
    if (log === undefined) return this.#life === undefined ? this.#lastSeen : undefined;
    return { durable: log.durableOffset, end: log.endOffset, following: log.following };
  }

  /** Of whom its configuration makes it a replica. */
  get configuredMaster(): string | undefined {
    return this.#settings.masterAddress?.host;
  }

  /** Its configuration makes it a replica, from the next start on. */
  turn(masterAddress: Address): void {
    this.#settings = { ...this.#settings, role: "replica", masterAddress };
  }

  /** Resolves when it serves, or when its process has ended. */
  async start(): Promise<void> {
    const process = this.machine.boot();
    this.#world.network.flow();
    const ended = this.disk.ended().then(() => this.#diskEnded(process));
    const files = this.disk.mount();
    this.startError = undefined;
    this.#takesOver = undefined;
    try {
      this.#life = await Promise.race([this.#begin(process, files), ended]);
      this.#world.note(`${this.name} started`);
    } catch (error) {
      this.startError = error;
      this.#world.note(`${this.name} did not start: ${String(error)}`);
      if (files.alive) this.end("stopped");
    }
  }

  /** Ends in this operation of its disk, counted from now. */
  endAt(operation: number, how: "stopped" | "off"): void {
    this.#armed = how;
    this.disk.arm({ type: "end", at: operation, ending: how === "off" ? "power" : "kill" });
  }

  #diskEnded(process: number): undefined {
    this.disk.disarm();
    if (this.machine.lives(process)) this.#gone(this.#armed);
  }

  #gone(how: "stopped" | "off"): void {
    const { log } = this;
    const { history } = this.#world;
    if (how === "off" && log !== undefined)
      history.powerCuts.push({ node: this.name, at: history.next(), durable: log.durableOffset });
    this.#lastSeen = this.lastSeen;
    this.#life = undefined;
    this.machine.end(how);
    this.#world.network.processEnded(this.machine, how);
    this.#world.note(`${this.name} ended: ${how}`);
  }

  end(how: "stopped" | "off"): void {
    this.#gone(how);
    if (how === "off") this.disk.losePower();
    else this.disk.kill();
  }

  pause(): void {
    this.machine.pause();
    this.disk.operations.pause();
  }

  resume(): void {
    this.#resumedAt = this.#world.time.ms;
    this.disk.operations.resume();
    this.machine.resume(() => this.#world.network.flow());
  }

  /** Tells what became of it. */
  async write(text: string, acks: AsksFor): Promise<string> {
    const life = this.serving;
    const log = life?.host.log();
    if (life === undefined || log === undefined) return "down";
    const refusal = life.replication.writeRefusal();
    if (refusal !== undefined) return refusal.code;
    const since = this.#world.time.ms;
    const wanted = acks === "quorum" ? life.replication.quorum() : acks;
    let write: AppendedWrite | undefined;
    let outcome = "answered";
    try {
      const offset = life.host.submit(text);
      if (offset === undefined) return "rejected";
      write = this.#taken(life, log, offset);
      await log.whenCommitted(offset);
      if (wanted > 0) {
        const { confirmed } = await life.replication.confirmed(offset, wanted, ACK_MS);
        if (confirmed < wanted) outcome = "REPLICATION_NOT_CONFIRMED";
      }
      if (this.serving !== life) return "gone";
      if (life.replication.fence !== undefined) outcome = "REPLICATION_FENCED";
    } catch (error) {
      outcome = codeOf(error);
    }
    this.#noteWait(life, since);
    if (outcome === "answered" && write !== undefined) this.#answer(life, write, wanted, acks === "quorum");
    return outcome;
  }

  /** It is in the log: whether it should be is judged by what the node knew in that moment. */
  #taken({ replication }: Life, log: EventLog, offset: number): AppendedWrite {
    const { history, network, time } = this.#world;
    const under = leadershipOf(log);
    const write = history.appendedAt(under, offset);
    if (write === undefined) throw new Error(`${this.name}: nobody saw offset ${offset} appended`);
    const { heard } = replication;
    if (heard !== undefined && isHigher(heard, under))
      history.fencedWrites.push({ node: this.name, under, heard });
    const { minReplicasForWrite: wanted, replicaTimeoutMs: timeoutMs } = this.#settings;
    if (wanted > 0) {
      const silentMs = network.heardAt(this.machine).map((at) => time.ms - at);
      history.guarded.push({ node: this.name, wanted, silentMs, timeoutMs });
    }
    return write;
  }

  /** How long a write that was not done when its node was fenced was kept waiting. */
  #noteWait(life: Life, since: number): void {
    const { time, history } = this.#world;
    if (this.serving !== life || life.replication.fence === undefined) return;
    if (this.#restsSince <= since || this.#resumedAt > since) return;
    history.fencedWaits.push({ node: this.name, ms: time.ms - this.#restsSince });
  }

  #answer({ replication }: Life, write: AppendedWrite, confirmed: number, quorum: boolean): void {
    const { history, holders } = this.#world;
    const { heard } = replication;
    if (heard !== undefined && isHigher(heard, write))
      history.fencedAnswers.push({ node: this.name, under: write, heard });
    history.answer({ ...write, confirmed, quorum, ...holders(write) });
  }

  /** Reads what a token names, as soon as it is here. */
  async read(token: AppendedWrite): Promise<string> {
    const life = this.serving;
    const { history, time } = this.#world;
    const until = time.ms + TOKEN_MS;
    for (;;) {
      const log = life?.host.log();
      if (life === undefined || log === undefined || this.serving !== life) return "down";
      const verdict = judgedAt(life.replication, log, token);
      const isReplica = life.replication.role === "replica";
      if (verdict === "lost" && isReplica) history.refusedReads.push({ node: this.name, token });
      if (verdict === "lost") return verdict;
      if (verdict === "here") {
        const found = await bodyAt(log, token.offset).catch((error: unknown) => this.#damaged(error));
        if (found === "damaged") return found;
        // The log was cut while it was read: a client would have been told to come again.
        if (life.host.log() !== log || judgedAt(life.replication, log, token) !== "here") return "changed";
        history.reads.push({ node: this.name, token, found });
        return "read";
      }
      if (time.ms >= until) return "late";
      await new Promise<void>((resolve) => void time.after(20, resolve));
    }
  }

  /** Where its disk was damaged a client may be told so. */
  #damaged(error: unknown): "damaged" {
    const isDamage = error instanceof LogError && error.code === "LOG_CORRUPT";
    if (isDamage && this.#world.history.isDamaged(this.name)) return "damaged";
    throw error;
  }

  async promote(force: boolean, from?: string): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    this.#forcing += force ? 1 : 0;
    const { known, opening, owesSince } = life.replication.stats().damage;
    try {
      const { offset } = await life.replication.promote({ force, from });
      const durable = life.host.log()?.durableOffset ?? offset;
      const knowsDamage = known.length > 0 || opening !== undefined || (owesSince !== undefined && !force);
      checkLeadsWhole({ node: this.name, offset, durable, knowsDamage });
      return "promoted";
    } catch (error) {
      return codeOf(error);
    } finally {
      if (force && this.serving === life) this.#forcing -= 1;
    }
  }

  /** Hands its lead over, as the server does that is asked to. */
  async switchOver(to: ClusterNode): Promise<string> {
    const life = this.serving;
    const log = life?.host.log();
    if (life === undefined || log === undefined) return "down";
    this.#handsOver = { from: this.name, under: leadershipOf(log), to: to.name };
    const clock = this.machine.clockOf(life.process);
    const door = doorOf(this.machine, this.#handsOver, { ...this.#world, clock });
    return await codeOr(async () => {
      const report = await switchOver(life.replication, to.name, door);
      return report.type === "refused" ? report.code : "switched";
    });
  }

  /** Asked over HTTP: what a command came to. */
  async told(command: string, body: Readonly<Record<string, unknown>>, by: Switchover): Promise<NodeAnswer> {
    const outcome =
      command === "promote"
        ? await this.#takeOver(by, String(body["from"]))
        : await this.follow({ host: String(body["address"]).split(":")[0] ?? "", port: PORT });
    const ok = outcome === "promoted" || outcome === "follows";
    const log = this.serving?.host.log();
    const offset = log?.epochs.findLast(({ nodeId }) => nodeId === this.nodeId)?.first;
    return { ok, body: ok ? { epoch: log?.epochs.at(-1)?.epoch, offset } : { error_code: outcome } };
  }

  async #takeOver(by: Switchover, from: string): Promise<string> {
    const life = this.serving;
    // What somebody else has it promoted by is not to be taken for this.
    if (life?.replication.stats().changing === false) this.#takesOver = by;
    const outcome = await this.promote(false, from);
    if (this.#takesOver === by && this.serving === life) this.#takesOver = undefined;
    return outcome;
  }

  async follow(address: Address): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    return await codeOr(async () => {
      await life.replication.follow(address);
      return "follows";
    });
  }

  async resync(): Promise<string> {
    return await codeOr(async () => {
      await this.serving?.replication.resync();
      return "resyncs";
    });
  }

  /** At the primary: the node never comes back. */
  async forget(node: ClusterNode): Promise<string> {
    const { history } = this.#world;
    return await codeOr(async () => {
      const isStruck = await this.serving?.replication.forget(node.nodeId);
      if (isStruck !== true) return "not listed";
      history.forgotten.set(node.name, { at: history.next() });
      return "forgotten";
    });
  }

  async retain(): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    return await codeOr(async () => {
      await life.host.retain();
      this.#world.history.retain(this.name, life.host.log());
      return "retained";
    });
  }

  get nodeId(): string {
    return this.#life?.host.identity().nodeId ?? this.#nodeId;
  }

  async #begin(process: number, files: SimulatedMount): Promise<Life> {
    const { random, network } = this.#world;
    const clock = this.machine.clockOf(process);
    const bytes = seededBytes(random);
    await files.makeDirectory(DATA_DIRECTORY);
    const starting = await startingRole(files, DATA_DIRECTORY, this.#settings);
    const host = this.#world.host({
      log: {
        ...worldLogOptions(this.disk, files, clock, this.fsyncMode),
        randomBytes: bytes,
        holder: this.name,
        fsyncIntervalMs: 50,
        pendingBytesMax: 256 * 1024,
        stopwatch: clock.stopwatch,
      },
      clock,
      nodeId: starting.nodeId,
      broken: this.#world.broken,
      appended: (log, record) => this.#appended(host, log, record),
      lost: (error) => this.#world.lost(this, error),
      followBegins: () => {
        if (this.#life?.replication.fence !== undefined) this.#restsSince = this.#world.time.ms;
      },
      installed: () => this.#world.history.retain(this.name, host.log()),
      counts: this.#world.counts,
    });
    if (starting.opens === "leading" || (await holdsLog(files, DATA_DIRECTORY)))
      await host.open(starting.opens === "following");
    const replication = new ReplicationNode({
      settings: this.#settings,
      clock,
      files,
      host,
      dataDirectory: DATA_DIRECTORY,
      network: network.of(this.machine, process),
      random: { bytes, unit: random },
      logger: loggerOf(this.name, this.#world.note),
    });
    await replication.start();
    // What a promotion began that nobody lived to answer counts as begun.
    this.#nodeId = host.identity().nodeId;
    this.#world.history.begin(this.name, host, this.#forcing > 0);
    this.#forcing = 0;
    return { process, files, host, replication };
  }

  /** Its leadership begins: by a switchover, or, when it has followed nobody since, because it takes back what it handed over. */
  #noteHandover({ epochs }: EventLog, offset: number): void {
    const { history, called } = this.#world;
    const [over, back] = [this.#takesOver, this.#handsOver];
    if (over !== undefined) history.handedOver.push({ ...over, offset });
    else if (back !== undefined && this.#forcing === 0 && epochs.at(-2)?.nodeId === this.nodeId) {
      const log = called(`http://${back.to}`)?.log;
      if (log !== undefined)
        history.handedOver.push({ from: back.to, under: leadershipOf(log), to: this.name, offset });
    }
  }

  #appended(host: WorldHost, log: EventLog, { kind, offset, body }: AppendedRecord): void {
    if (log.following) return;
    const { history } = this.#world;
    if (kind === EPOCH_STARTED) {
      history.begin(this.name, host, this.#forcing > 0);
      this.#noteHandover(log, offset);
    } else history.append({ ...leadershipOf(log), offset, node: this.name, body: bodyText(body) });
  }
}

/** What was asked came to, or the code that it was refused with. */
async function codeOr(ask: () => Promise<string>): Promise<string> {
  return await ask().catch(codeOf);
}

function codeOf(error: unknown): string {
  if (error instanceof ReplicationError || error instanceof LogError) return error.code;
  throw error;
}
