/**
 * A node of a simulated set: a machine, a disk, and the real code of log and replication, started, killed and started again. What it
 * does for clients is what the API does: refuse, append, wait until it is committed, wait until it is confirmed, answer.
 */
import { offset as asOffset, type EventLog, holdsLog, LogError } from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import { isHigher } from "../../replication/leadership-order.js";
import { ReplicationNode } from "../../replication/node.js";
import type { Address, ReplicationLogger } from "../../replication/ports.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { startingRole } from "../../replication/starting-role.js";
import { type AppendedWrite, type ClusterHistory, leadershipOf } from "./cluster-history.js";
import { ClusterHost, type HostCounts } from "./cluster-host.js";
import type { Random } from "./fate.js";
import { DATA_DIRECTORY } from "./log-settings.js";
import { seededBytes } from "./seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "./simulated-file-system.js";
import { SimulatedMachine } from "./simulated-machine.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import type { VirtualTime } from "./virtual-time.js";

export const PORT = 15_501;
/** How long a write waits for its confirmations. */
const ACK_MS = 3000;
const TOKEN_MS = 2000;

export interface ClusterSurroundings {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: Random;
  readonly history: ClusterHistory;
  readonly counts: HostCounts;
  readonly note: (line: string) => void;
  readonly broken: (error: unknown) => void;
}

/** One process of a node. */
interface Life {
  readonly process: number;
  readonly files: SimulatedMount;
  readonly host: ClusterHost;
  readonly replication: ReplicationNode;
}

export class ClusterNode {
  readonly name: string;
  readonly disk: SimulatedDisk;
  readonly machine: SimulatedMachine;
  readonly #world: ClusterSurroundings;
  readonly #settings: ReplicationSettings;
  readonly #nodeId: string;
  #life: Life | undefined;
  /** How it ends if its disk does. */
  #armed: "stopped" | "off" = "stopped";
  /** Why the last start did not succeed. */
  startError: unknown;

  constructor(
    name: string,
    seed: number,
    settings: Partial<ReplicationSettings>,
    world: ClusterSurroundings,
  ) {
    this.name = name;
    this.#world = world;
    this.disk = new SimulatedDisk(seed);
    this.machine = new SimulatedMachine(name, world.time, world.random);
    world.network.add(this.machine);
    this.#nodeId = Buffer.from(seededBytes(world.random)(16)).toString("hex");
    this.#settings = { ...settingsOf(name), ...settings };
  }

  get address(): Address {
    return { host: this.name, port: PORT };
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

  get host(): ClusterHost | undefined {
    return this.#life?.host;
  }

  /** Resolves when it serves, or when its process has ended. */
  async start(): Promise<void> {
    const process = this.machine.boot();
    this.#world.network.flow();
    const ended = this.disk.ended().then(() => this.#diskEnded(process));
    const files = this.disk.mount();
    this.startError = undefined;
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
    this.machine.resume();
    this.disk.operations.resume();
    this.#world.network.flow();
  }

  /** Tells what became of it. */
  async write(body: string, acks: number): Promise<string> {
    const life = this.serving;
    const log = life?.host.log();
    if (life === undefined || log === undefined) return "down";
    const refusal = life.replication.writeRefusal();
    if (refusal !== undefined) return refusal.code;
    const { history } = this.#world;
    let write: AppendedWrite;
    try {
      const bytes = Buffer.from(body);
      const timestamp = Math.floor(this.machine.clockOf(life.process).now());
      const offset = log.append({ kind: 2, version: 1, timestamp, body: bytes });
      write = { ...leadershipOf(log), offset, node: this.name, body };
      history.append(write);
      await log.whenCommitted(offset);
      const confirmed =
        acks === 0 ? { confirmed: 0, wanted: 0 } : await life.replication.confirmed(offset, acks, ACK_MS);
      if (this.serving !== life) return "gone";
      if (life.replication.fence !== undefined) return "REPLICATION_FENCED";
      if (confirmed.confirmed < confirmed.wanted) return "REPLICATION_NOT_CONFIRMED";
    } catch (error) {
      return codeOf(error);
    }
    const { heard } = life.replication;
    if (heard !== undefined && isHigher(heard, write))
      history.fencedAnswers.push({ node: this.name, under: write, heard });
    history.answer(write, acks);
    return "answered";
  }

  /** Reads what a token names, as soon as it is here. */
  async read(token: AppendedWrite): Promise<string> {
    const life = this.serving;
    const { history, time } = this.#world;
    const until = time.ms + TOKEN_MS;
    for (;;) {
      const log = life?.host.log();
      if (life === undefined || log === undefined || this.serving !== life) return "down";
      const standing = standingOf(log, token);
      if (standing === "lost") return "lost";
      if (standing === "ours" && log.committedOffset >= token.offset) {
        const found = await bodyAt(log, token.offset);
        // The log was cut while it was read: a client would have been told to come again.
        if (standingOf(log, token) !== "ours" || life.host.log() !== log) return "changed";
        history.reads.push({ node: this.name, token, found });
        return "read";
      }
      if (time.ms >= until) return "late";
      await new Promise<void>((resolve) => void time.after(20, resolve));
    }
  }

  async promote(force: boolean, names: ReadonlyMap<string, string>): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    try {
      const report = await life.replication.promote({ force });
      const { history } = this.#world;
      const reached = report.answers.flatMap(({ nodeId, reached: was }) =>
        was ? [names.get(nodeId) ?? nodeId] : [],
      );
      const { epoch, lineageId } = report;
      const at = history.next();
      history.promotions.push({ epoch, lineageId, node: this.name, forced: force, at, reached });
      return "promoted";
    } catch (error) {
      return codeOf(error);
    }
  }

  async follow(address: Address): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    try {
      await life.replication.follow(address);
      return "follows";
    } catch (error) {
      return codeOf(error);
    }
  }

  async resync(): Promise<string> {
    try {
      await this.serving?.replication.resync();
      return "resyncs";
    } catch (error) {
      return codeOf(error);
    }
  }

  async retain(): Promise<string> {
    const life = this.serving;
    if (life === undefined) return "down";
    try {
      await life.host.retain();
      return "retained";
    } catch (error) {
      return codeOf(error);
    }
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
    const host = new ClusterHost({
      log: {
        ...{ dataDirectory: DATA_DIRECTORY, files, holder: this.name, randomBytes: bytes },
        ...{ fsyncMode: "always", fsyncIntervalMs: 50, segmentBytes: 4096, segmentAgeMs: 0, reserveBytes: 0 },
        ...{ recordBytesMax: 64 * 1024, pendingBytesMax: 256 * 1024 },
        now: clock.now,
        stopwatch: clock.stopwatch,
      },
      newNodeId: this.#nodeId,
      broken: this.#world.broken,
      counts: this.#world.counts,
    });
    if (starting.opens === "leading" || (await holdsLog(files, DATA_DIRECTORY)))
      await host.open(starting.opens === "following");
    const replication = new ReplicationNode({
      ...{ settings: this.#settings, clock, files, host, dataDirectory: DATA_DIRECTORY },
      network: network.of(this.machine, process),
      random: { bytes, unit: random },
      logger: loggerOf(this.name, this.#world.note),
    });
    await replication.start();
    return { process, files, host, replication };
  }
}

function settingsOf(name: string): ReplicationSettings {
  return {
    role: "replica",
    masterAddress: undefined,
    listenAddress: { host: name, port: PORT },
    advertiseAddress: undefined,
    httpAddress: () => `http://${name}`,
    name,
    heartbeatIntervalMs: 200,
    maxLagMs: 2000,
    bufferBytes: 16 * 1024,
    autoReconnect: true,
    reconnectDelayMs: 300,
    replicaTimeoutMs: 1500,
    minReplicasForWrite: 0,
    writeLagMsMax: 0,
    rejoin: true,
    checkIntervalMs: 1000,
    secret: Buffer.from("of the set"),
  };
}

function loggerOf(name: string, note: (line: string) => void): ReplicationLogger {
  const at =
    (level: string) =>
    (_: Readonly<Record<string, unknown>>, message: string): void =>
      note(`${name} ${level}: ${message}`);
  return { info: at("info"), warn: at("warn"), error: at("error") };
}

export function codeOf(error: unknown): string {
  if (error instanceof ReplicationError || error instanceof LogError) return error.code;
  throw error;
}

/** As the API judges a token: by the epochs that the log knows. */
function standingOf({ epochs }: EventLog, token: AppendedWrite): "ours" | "lost" | "unknown" {
  const at = epochs.findIndex(({ lineageId }) => lineageId === token.lineageId);
  const [oldest] = epochs;
  if (at < 0) return oldest !== undefined && token.offset < oldest.first ? "ours" : "unknown";
  const [entry, next] = [epochs[at], epochs[at + 1]];
  const isLost =
    entry === undefined || token.offset < entry.first || (next !== undefined && token.offset >= next.first);
  return isLost ? "lost" : "ours";
}

async function bodyAt(log: EventLog, at: number): Promise<string | undefined> {
  if (at < log.firstOffset) return undefined;
  for await (const batch of log.read(asOffset(at), { last: asOffset(at) }))
    for (const record of batch) return Buffer.from(record.body).toString();
  return undefined;
}
