/**
 * A node as the two sides of a link see it, over a real log on a simulated disk: its leaderships, its log, its full syncs. It decides nothing:
 * a test says who leads, who follows, and what goes wrong.
 */
import {
  DIRECTORY_FORMAT_VERSION,
  type EventLog,
  encodeSegmentHeader,
  Installation,
  type KeptRecords,
  keepDiverged,
  type LogSegments,
  type Offset,
  type OpenedLog,
  type OpenLogOptions,
  openLog,
  readWholeFile,
  soundEnd,
} from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import {
  type DiskOptions,
  SimulatedDisk,
  type SimulatedMount,
} from "../../props/world/simulated-file-system.js";
import { ReplicationError } from "../../replication/errors.js";
import { isHigher, type Leadership } from "../../replication/leadership-order.js";
import type {
  Installing,
  LinkContext,
  LinkNode,
  LinkSettings,
  ReceiverHost,
  ReplicaProgress,
  SenderHost,
  SnapshotSource,
} from "../../replication/link-ports.js";
import { LinkListener } from "../../replication/listener.js";
import type { Heartbeat, NodeStatement } from "../../replication/messages.js";
import type { Address } from "../../replication/ports.js";
import type { Position } from "../../replication/position.js";
import { Receiver } from "../../replication/receiver.js";
import type { MemoryNetwork } from "./memory-network.js";
import { appendMany, DISK, logOptions } from "./test-log.js";
import type { VirtualClock } from "./virtual-clock.js";

export const SETTINGS: LinkSettings = {
  heartbeatIntervalMs: 1_000,
  timeoutMs: 10_000,
  windowBytes: 64 * 1024,
  reconnectDelayMs: 100,
  autoReconnect: true,
  secrets: () => [],
};

export interface NodeChanges {
  readonly log?: Partial<OpenLogOptions>;
  readonly settings?: Partial<LinkSettings>;
  readonly disk?: DiskOptions;
}

export interface LinkWorld {
  readonly network: MemoryNetwork;
  readonly clock: VirtualClock;
}

let nodes = 0;

export class LinkNodeDouble implements LinkNode, ReceiverHost, SenderHost {
  readonly nodeId: string;
  readonly name: string;
  /** Of its release. */
  format = DIRECTORY_FORMAT_VERSION;
  readonly world: LinkWorld;
  readonly context: LinkContext;
  readonly disk: SimulatedDisk;
  readonly overrides: Partial<OpenLogOptions>;
  files: SimulatedMount;
  #opened: OpenedLog | undefined;
  #log: EventLog | undefined;
  #heard: Leadership | undefined;
  /** Resolves when what was heard is durable; a test may make it wait. */
  noting: () => Promise<void> = async () => undefined;
  snapshot: SnapshotSource | undefined;
  listener: LinkListener | undefined;
  receiver: Receiver | undefined;
  readonly failures: ReplicationError[] = [];
  readonly senderEnds: ReplicationError[] = [];
  readonly warnings: { readonly code: unknown; readonly message: string }[] = [];
  readonly heartbeats: Heartbeat[] = [];
  readonly cuts: Position[] = [];
  readonly kept: KeptRecords[] = [];
  installs = 0;
  /** Whether somebody waits for confirmations. */
  isAwaited = false;
  onAcknowledged: (progress: ReplicaProgress) => void = () => undefined;
  /** The highest durable offset that a replica acknowledged. */
  acknowledged = 0;

  constructor(world: LinkWorld, { log = {}, settings = {}, disk = {} }: NodeChanges = {}) {
    const seed = ++nodes;
    const random = seededRandom(seed);
    this.world = world;
    this.nodeId = Buffer.from(seededBytes(random)(16)).toString("hex");
    this.name = `node ${seed}`;
    this.disk = new SimulatedDisk(seed, disk);
    this.files = this.disk.mount();
    this.overrides = { randomBytes: seededBytes(random), now: world.clock.now, ...log };
    this.context = {
      node: this,
      clock: world.clock,
      random: { bytes: seededBytes(random), unit: random },
      logger: {
        info: () => undefined,
        warn: (fields, message) => void this.warnings.push({ code: fields["code"], message }),
        error: () => undefined,
      },
      settings: { ...SETTINGS, ...settings },
      incarnation: Buffer.from(seededBytes(seededRandom(-seed))(16)).toString("hex"),
    };
  }

  /** Opens a log of its own, which nobody else has the beginning of. */
  async lead(records = 0, bytes = 100): Promise<void> {
    await this.open(false);
    if (records > 0) await appendMany(this.required, records, bytes);
  }

  async open(following: boolean): Promise<void> {
    const { files, overrides } = this;
    const opened = await openLog(logOptions(DISK, { files, ...overrides, following }));
    this.#opened = opened;
    this.#log = opened.log;
  }

  logSegments(): LogSegments | undefined {
    return this.#log === undefined ? undefined : this.#opened?.segments;
  }

  async close(): Promise<void> {
    await this.receiver?.stop();
    await this.#log?.close();
    this.#log = undefined;
  }

  async listen(address: Address = { host: this.nodeId.slice(0, 8), port: 1 }): Promise<Address> {
    this.listener = await LinkListener.open({
      address,
      network: this.world.network,
      context: this.context,
      host: this,
      events: {
        isAwaited: () => this.isAwaited,
        acknowledged: (sender) => {
          this.acknowledged = Math.max(this.acknowledged, sender.progress.durable);
          this.onAcknowledged(sender.progress);
        },
        ended: (_, reason) => this.senderEnds.push(reason),
      },
    });
    return address;
  }

  follow(address: Address): Receiver {
    this.receiver = new Receiver({
      address,
      network: this.world.network,
      context: this.context,
      host: this,
      events: { failed: (error) => this.failures.push(error) },
    });
    this.receiver.start();
    return this.receiver;
  }

  get required(): EventLog {
    if (this.#log === undefined) throw new Error(`${this.name} has no log`);
    return this.#log;
  }

  get end(): number {
    return this.#log?.endOffset ?? 0;
  }

  get own(): Leadership | undefined {
    const last = this.#log?.epochs.at(-1);
    return last && { epoch: last.epoch, lineageId: last.lineageId };
  }

  get heard(): Leadership | undefined {
    return isHigher(this.own, this.#heard) ? this.own : this.#heard;
  }

  /** Gives way to anybody. */
  yieldTo(leadership: Leadership): Promise<void> | undefined {
    return this.onHeard(leadership);
  }

  onHeard(leadership: Leadership): Promise<void> | undefined {
    if (!isHigher(leadership, this.heard)) return undefined;
    this.#heard = leadership;
    return this.noting();
  }

  onHeartbeat(heartbeat: Heartbeat): void {
    this.heartbeats.push(heartbeat);
  }

  introduction(): NodeStatement {
    return {
      clusterId: this.#opened?.identity.clusterId,
      nodeId: this.nodeId,
      name: this.name,
      listen: undefined,
      http: undefined,
      format: this.format,
      own: this.own,
      heard: this.heard,
      end: undefined,
      firstOffset: this.#log?.firstOffset ?? (0 as Offset),
      leads: this.#log?.following !== true,
      primary: undefined,
    };
  }

  async statement(): Promise<NodeStatement> {
    const log = this.#log;
    return { ...this.introduction(), end: log && (await log.positionAt(log.endOffset)) };
  }

  readonly below = undefined;
  readonly leaseMs = 0;
  leases = 0;

  leaseBegins(): void {
    this.leases += 1;
  }

  heartbeat(): Omit<Heartbeat, "type"> {
    return {
      own: this.own,
      time: this.world.clock.now(),
      end: this.#log?.endOffset ?? (0 as Offset),
      durable: this.#log?.durableOffset ?? (0 as Offset),
      firstOffset: this.#log?.firstOffset ?? (0 as Offset),
      primary: undefined,
      peers: [],
      peersVersion: 0,
      peersUnder: undefined,
    };
  }

  log(): EventLog | undefined {
    return this.#log;
  }

  async newestSnapshot(): Promise<SnapshotSource | undefined> {
    return this.snapshot;
  }

  async cut(after: Position): Promise<void> {
    this.cuts.push(after);
    const stopping = new ReplicationError("REPLICATION_STOPPING", "the log is cut");
    await this.listener?.stopSenders(stopping);
    const kept = await keepDiverged(this.files, DISK, this.required, after.offset, this.world.clock.now());
    if (kept !== undefined) this.kept.push(kept);
  }

  beginInstall(install: Parameters<ReceiverHost["beginInstall"]>[0]): Promise<Installing> {
    const { files, nodeId, name: holder } = this;
    const { now, randomBytes } = logOptions(DISK, this.overrides);
    const { clusterId } = install;
    const isHeld = this.#log !== undefined;
    return Installation.begin({
      files,
      dataDirectory: DISK,
      holder,
      now,
      randomBytes,
      clusterId,
      nodeId,
      isHeld,
    });
  }

  async installed(installing: Installing): Promise<void> {
    if (!(installing instanceof Installation)) throw new Error("somebody else's installation");
    const oldEnd = await soundEnd(this.#log);
    await this.#log?.close();
    const { kept } = await installing.commit({ oldEnd });
    if (kept !== undefined) this.kept.push(kept);
    await this.open(true);
    this.installs++;
  }

  /** A power cut, then a new process that follows. */
  async loseDisk(ending: "power" | "kill" = "power"): Promise<void> {
    const stopping = this.receiver?.stop();
    if (ending === "power") this.disk.losePower();
    else this.disk.kill();
    void stopping;
    this.files = this.disk.mount();
    await this.open(true);
  }

  /** What came with the last full sync, as it lies on the disk. */
  async snapshotBytes(name: string): Promise<Buffer> {
    return Buffer.from(await readWholeFile(this.files, `${DISK}/snapshots/${name}`, 100_000_000));
  }

  segments(): Promise<Map<number, string>> {
    return segmentsOf(this.required);
  }
}

/** The bytes of its segments, up to the last durable record; by their first offset. */
async function segmentsOf(log: EventLog): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  if (log.durableOffset < log.firstOffset) return found;
  for await (const { header, bytes, last } of log.ship(log.firstOffset)) {
    const before = found.get(header.baseOffset) ?? Buffer.from(encodeSegmentHeader(header)).toString("hex");
    found.set(header.baseOffset, before + Buffer.from(bytes).toString("hex"));
    if (last >= log.durableOffset) break;
  }
  return found;
}
