/** What a node of a replicated set is told when it starts. `ops/config` is where names, defaults and reasons stand. */
import type { Address } from "./ports.js";
import type { Secrets } from "./secret.js";

/** `master` is the documented word for the primary. */
export type Role = "master" | "replica";

export interface ReplicationSettings {
  readonly role: Role;
  /** Whom a replica follows when it starts. */
  readonly masterAddress: Address | undefined;
  /** Where replicas and candidates reach this node; port 0 takes a free one. A node that does not listen cannot be fenced by others. */
  readonly listenAddress: Address | undefined;
  /** What others are told instead, when they reach this node by another name. */
  readonly advertiseAddress: Address | undefined;
  /** Where clients reach this node, e.g. `http://10.0.0.1:15500`; asked anew each time it is told, for the port may be known late. */
  readonly httpAddress: () => string | undefined;
  /** Shown to people. */
  readonly name: string;
  readonly heartbeatIntervalMs: number;
  /** A replica that lags more is shown as lagging. */
  readonly maxLagMs: number;
  /** Most bytes on their way to one replica that it has not taken in yet. */
  readonly bufferBytes: number;
  readonly autoReconnect: boolean;
  readonly reconnectDelayMs: number;
  /** Silence after which a link is given up and a replica no longer counts. */
  readonly replicaTimeoutMs: number;
  /** Writes are refused when fewer replicas were heard of lately; 0: never. */
  readonly minReplicasForWrite: number;
  /** Writes are refused while a connected replica lags more than this; 0: never. */
  readonly writeLagMsMax: number;
  /** Whether a fenced primary follows the new one by itself, once it knows where that is. */
  readonly rejoin: boolean;
  /** How often a node that follows reads one segment whole, and compares it with the node that it follows; 0: never. */
  readonly checkIntervalMs: number;
  /** Of which any two nodes of the set share one. Asked for each greeting, for they may change while the node runs. */
  readonly secrets: () => Secrets;
}
