/**
 * A node of a replicated set: composes role, listener, links, fence and confirmations. One change of role at a time.
 */
import type { FileSystem, Offset } from "../log/index.js";
import type { ReplicationError } from "./errors.js";
import type { ReplicationHost } from "./host.js";
import type { Leadership } from "./leadership-order.js";
import type { Address, Clock, Network, Random, ReplicationLogger } from "./ports.js";
import type { PromotionReport } from "./promotion-report.js";
import type { ReplicationSettings, Role } from "./settings.js";
import type { FenceStats, ReplicationStats } from "./stats.js";

export interface ReplicationNodeOptions {
  readonly settings: ReplicationSettings;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly logger: ReplicationLogger;
  readonly host: ReplicationHost;
}

export interface Confirmation {
  /** Replicas that hold it durably, as far as they told. */
  readonly confirmed: number;
  readonly wanted: number;
}

/** What a node is when it starts: what the settings say, unless it was told otherwise since they were changed last. */
export interface StartingRole {
  readonly role: Role;
  readonly masterAddress: Address | undefined;
}

/**
 * To be asked before the log is opened: a replica's log is opened `following`.
 * @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED.
 */
export declare function startingRole(
  files: FileSystem,
  dataDirectory: string,
  settings: ReplicationSettings,
): Promise<StartingRole>;

export declare class ReplicationNode {
  constructor(options: ReplicationNodeOptions);

  /**
   * Begins to listen and to follow, or to lead: a master first asks the nodes that it knows whether it was replaced, for a second at
   * most, and calls `host.lead()`. The log is open (a replica's `following`), the state folded.
   * @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED, and whatever a promotion is refused with, when the settings make a
   * replica a master; the network's own error when the address cannot be listened on.
   */
  start(): Promise<void>;
  stop(): Promise<void>;

  readonly role: Role;
  /** The address that is listened on, with the port that was taken. */
  readonly listening: Address | undefined;
  /** The address of the node that is followed. */
  readonly following: Address | undefined;
  readonly own: Leadership | undefined;
  readonly heard: Leadership | undefined;
  /** Why a node that leads may not write any more. */
  readonly fence: FenceStats | undefined;
  /** The primary's HTTP address, as far as it is known. */
  readonly primaryHttp: string | undefined;
  /** The primary's clock now, ms since 1970: the own one when this node leads; undefined before the first heartbeat. */
  readonly primaryTime: number | undefined;

  /**
   * Why this node takes no writes now; undefined when it does. Cheap, for every write. REPLICATION_READ_ONLY (context.primary: its HTTP
   * address), REPLICATION_FENCED (context.epoch, context.from, context.primary), REPLICATION_CHANGING, REPLICATION_TOO_FEW_REPLICAS
   * (context.found, context.wanted), REPLICATION_LAGGING.
   */
  writeRefusal(): ReplicationError | undefined;
  /** How many replicas make, with this node, more than half of the set. */
  quorum(): number;
  /**
   * Waits until `count` replicas hold `offset` durably, under this node's leadership, or the time is over: then `confirmed` < `wanted`.
   * Also when more wait than are kept count of. Rejects with REPLICATION_FENCED when this node was replaced meanwhile.
   */
  confirmed(offset: Offset, count: number, timeoutMs: number): Promise<Confirmation>;

  /**
   * Makes this node the primary. Without `force` refused with REPLICATION_ROLE_WRONG (it leads already), REPLICATION_NOT_READY (no log,
   * or never on the primary's list), REPLICATION_LOG_FAILED, REPLICATION_NOT_ALL_REACHED, REPLICATION_BETTER_REPLICA; with and without,
   * REPLICATION_FENCED when a higher leadership was heard of meanwhile.
   */
  promote(options?: { readonly force?: boolean }): Promise<PromotionReport>;
  /** Follows the node at this address from now on; a primary stops to write. Kept over restarts. */
  follow(address: Address): Promise<void>;
  /** Takes everything anew from the node that is followed. */
  resync(): Promise<void>;
  /**
   * For a switchover: holds writes (REPLICATION_CHANGING) until that replica has everything, and then until this node is fenced, or
   * `timeoutMs` have passed since the call. Resolves with the end that the replica has; rejects with REPLICATION_NOT_CONFIRMED when the
   * time is over before, and writes go on.
   */
  drain(nodeId: string, timeoutMs: number): Promise<Offset>;
  /** Takes writes again after `drain`. */
  endDrain(): void;
  /** Strikes a node that never comes back off the primary's list. @throws ReplicationError REPLICATION_ROLE_WRONG when it is connected. */
  forget(nodeId: string): Promise<boolean>;
  /** Closes tripped breakers; all of them without an id. Returns how many were open. */
  resetBreaker(id?: string): number;
  stats(): ReplicationStats;
}
