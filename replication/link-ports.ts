/**
 * What the two sides of a link ask of the node that they belong to. Neither decides about roles: they state what the node says, tell what
 * they hear, and end when the node may not go on.
 */
import type { EventLog, Installation, LogSegments, Offset } from "../log/index.js";
import type { ReplicationError } from "./errors.js";
import type { Leadership } from "./leadership-order.js";
import type { Below, Heartbeat, HeartbeatWords, Install, NodeStatement } from "./messages.js";
import type { Clock, Random, ReplicationLogger } from "./ports.js";
import type { Position } from "./position.js";
import type { Secrets } from "./secret.js";
import type { ReplicationSettings } from "./settings.js";

const INCARNATION_BYTES = 16;

export interface LinkSettings {
  readonly heartbeatIntervalMs: number;
  /** Nothing heard for so long: the other side is gone. */
  readonly timeoutMs: number;
  /** Bytes of records and snapshot that may be on their way to one replica. */
  readonly windowBytes: number;
  /** First wait before a new connection; it grows with every one that came to nothing. */
  readonly reconnectDelayMs: number;
  readonly autoReconnect: boolean;
  /** Proved in the greeting, never sent. */
  readonly secrets: () => Secrets;
}

export const linkSettingsOf = (settings: ReplicationSettings): LinkSettings => ({
  heartbeatIntervalMs: settings.heartbeatIntervalMs,
  timeoutMs: settings.replicaTimeoutMs,
  windowBytes: settings.bufferBytes,
  reconnectDelayMs: settings.reconnectDelayMs,
  autoReconnect: settings.autoReconnect,
  secrets: settings.secrets,
});

/** Asked and told by every link of a node, whichever side it is. */
export interface LinkNode {
  /** What the node says of itself at this moment. Rejects with REPLICATION_LOG_DAMAGED when its log cannot be read. */
  statement(): Promise<NodeStatement>;
  /** As `statement`, but nothing of where the log ends, which may be damaged: for who asks, and has nothing compared. Cheap. */
  introduction(): NodeStatement;
  /** What the next heartbeat says. Cheap. */
  heartbeat(): HeartbeatWords;
  /** The leadership of the own log's last epoch; undefined without a log. Cheap: asked for every frame. */
  readonly own: Leadership | undefined;
  /** The highest leadership ever heard of, the own included; durable. Cheap: asked before every acknowledgement. */
  readonly heard: Leadership | undefined;
  /**
   * Another node states its leadership; called before anything else of that frame is acted upon. Undefined: nothing new. Otherwise
   * `heard` has risen in this turn, and the promise resolves when that is durable.
   */
  onHeard(leadership: Leadership, from: NodeStatement): Promise<void> | undefined;
  /**
   * As `onHeard`, of a candidate that leads only if this node gives way to it.
   * @throws ReplicationError REPLICATION_NOT_YIELDED: then nothing was heard.
   */
  yieldTo(leadership: Leadership, from: NodeStatement): Promise<void> | undefined;
  /** What is told of the nodes below this one to the one that it follows; undefined when there never was one. */
  readonly below: Omit<Below, "type"> | undefined;
  /** A heartbeat has come that acknowledgements will name. */
  leaseBegins(): void;
  /** For so many ms what this node acknowledged may count at the one that it follows, if it acknowledges nothing more. */
  readonly leaseMs: number;
  /** What the other side of a link says of others, and of the time. */
  onHeartbeat(heartbeat: Heartbeat, from: NodeStatement): void;
}

export interface LinkContext {
  readonly node: LinkNode;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: ReplicationLogger;
  readonly settings: LinkSettings;
  /** 32 hex digits, of this process alone. */
  readonly incarnation: string;
}

export function linkContextOf(
  node: LinkNode,
  {
    clock,
    random,
    logger,
    settings,
  }: Omit<LinkContext, "node" | "settings" | "incarnation"> & {
    readonly settings: ReplicationSettings;
  },
): LinkContext {
  const incarnation = Buffer.from(random.bytes(INCARNATION_BYTES)).toString("hex");
  return { node, clock, random, logger, settings: linkSettingsOf(settings), incarnation };
}

/** Where a full sync is gathered before it takes the place of what there was: the log's `Installation`. */
export type Installing = Pick<Installation, "end" | "placeSnapshot" | "receive" | "abandon">;

/** What the owner of log and state does for a receiver. Awaited, one at a time, while no record is on its way. */
export interface ReceiverHost {
  /** Undefined before the first full sync. It follows while a receiver runs. */
  log(): EventLog | undefined;
  /** Puts everything after the position aside and cuts it. Resolves when the log follows again. */
  cut(after: Position): Promise<unknown>;
  beginInstall(install: Pick<Install, "clusterId" | "snapshot" | "from">): Promise<Installing>;
  /** The gathered takes the place of what there was, and is followed on. */
  installed(installing: Installing): Promise<unknown>;
}

export interface SnapshotSource {
  readonly name: string;
  readonly offset: Offset;
  readonly bytes: number;
  read(): AsyncIterable<Uint8Array>;
}

/** What a sender sends from. */
export interface SenderHost {
  log(): EventLog | undefined;
  /** Of the open log; undefined of one that is not made of segment files. */
  logSegments(): LogSegments | undefined;
  newestSnapshot(): Promise<SnapshotSource | undefined>;
}

/** How far a replica is, as its sender knows it. Plain data. */
export interface ReplicaProgress {
  readonly node: NodeStatement;
  readonly remote: string;
  readonly phase: "comparing" | "cutting" | "installing" | "streaming";
  readonly received: Offset;
  readonly committed: Offset;
  readonly durable: Offset;
  /** Sent and not yet taken in. */
  readonly bytesInFlight: number;
  readonly bytesSent: number;
  readonly recordsSent: number;
  readonly connectedAt: number;
  /** By the own stopwatch. */
  readonly lastHeardAt: number;
  /** For how long it has not had everything that is durable here; 0 when it has. */
  readonly lagMs: number;
  /** The first record that retention has to leave for its full sync, see `full-sync-hold.ts`. */
  readonly needs: Offset | undefined;
}

export type ReceiverPhase =
  | "idle"
  | "connecting"
  | "greeting"
  | "comparing"
  | "cutting"
  | "installing"
  | "streaming"
  | "waiting";

export interface ReceiverProgress {
  readonly phase: ReceiverPhase;
  /** Of the one that is followed, once it has greeted. */
  readonly primary: NodeStatement | undefined;
  readonly bytesReceived: number;
  readonly recordsReceived: number;
  readonly fullSyncs: number;
  readonly partialSyncs: number;
  readonly cuts: number;
  /** Attempts to connect after the first. */
  readonly reconnects: number;
  readonly lastHeardAt: number | undefined;
  readonly connectedAt: number | undefined;
  /** Why the last connection ended. */
  readonly lastError: ReplicationError | undefined;
  /** When the next connection is tried, by the own stopwatch. */
  readonly retryAt: number | undefined;
}

export interface ReceiverEvents {
  phase?(phase: ReceiverPhase): void;
  /** The connection ended; another is tried after a while, if reconnecting is on. */
  failed?(error: ReplicationError): void;
  /** Asked before each connection; false keeps the receiver waiting (a tripped breaker). */
  mayConnect?(): boolean;
}
