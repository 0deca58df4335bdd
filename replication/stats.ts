/** What a node tells of its part in the set, as plain data: for routes, metrics and the status table. Times are ms. */
import type { Offset } from "../log/index.js";
import type { ReplicationErrorCode } from "./errors.js";
import type { Leadership } from "./leadership-order.js";
import type { ReceiverPhase } from "./link-ports.js";
import type { Role } from "./settings.js";

/** Why a node that leads may not write: it heard of a higher leadership. */
export interface FenceStats {
  readonly heard: Leadership;
  /** Who told: name and node id, or "a restart". */
  readonly from: string;
  /** Wall clock. */
  readonly since: number;
  /** Where the new primary is, when that is known. */
  readonly primary: PeerAddress | undefined;
}

export interface PeerAddress {
  readonly nodeId: string;
  readonly name: string;
  /** `host:port` of its replication port. */
  readonly address: string | undefined;
  readonly http: string | undefined;
}

/** A node of the set, as this node knows it. */
export interface PeerStats extends PeerAddress {
  readonly isSelf: boolean;
  readonly isPrimary: boolean;
  /** The durable end that it last told of. */
  readonly offset: Offset | undefined;
  /** Wall clock; undefined when nothing was heard since the start. */
  readonly lastHeard: number | undefined;
  /** Node id of the one that it follows, as far as this node knows. */
  readonly follows: string | undefined;
  /** Whether the primary may count its acknowledgements: every other node of the set knows it. */
  readonly counts: boolean;
}

/**
 * A replica that is connected to this node, or was within the replica timeout. A primary tells of one that was also later, until it is struck off the
 * list or fed by another: its lag grows.
 */
export interface ReplicaStats extends PeerAddress {
  readonly remote: string;
  readonly connected: boolean;
  readonly phase: "comparing" | "cutting" | "installing" | "streaming" | "gone";
  readonly received: Offset;
  readonly committed: Offset;
  readonly durable: Offset;
  /** Records of this node's durable log that it has not made durable. */
  readonly lagRecords: number;
  /** How many bytes those are: exact but for the segment that it is in, there by the mean size of its records. */
  readonly lagBytes: number;
  readonly lagMs: number;
  /** The first record that retention has to leave for its full sync. */
  readonly needs: Offset | undefined;
  readonly bytesInFlight: number;
  readonly bytesSent: number;
  readonly recordsSent: number;
  /** Wall clock. */
  readonly connectedAt: number;
  readonly lastHeard: number;
  /** Whether its acknowledgements confirm writes. */
  readonly counts: boolean;
}

/** The link to the node that this one follows. */
export interface UpstreamStats {
  /** `host:port` that is dialled. */
  readonly address: string;
  readonly phase: ReceiverPhase;
  readonly connected: boolean;
  readonly node: PeerAddress | undefined;
  /** The primary's end, as last heard. */
  readonly primaryEnd: Offset | undefined;
  /** So many at least while it is not connected, and then undefined when it has all that it heard of. */
  readonly lagRecords: number | undefined;
  /** For how long this node has not had everything that the primary was last heard to have; undefined before the first sync. */
  readonly lagMs: number | undefined;
  readonly lastHeard: number | undefined;
  readonly connectedAt: number | undefined;
  readonly retryInMs: number | undefined;
  readonly error: { readonly code: ReplicationErrorCode; readonly message: string } | undefined;
}

export interface BreakerStats {
  /** What `resetBreaker` takes. */
  readonly id: string;
  readonly open: boolean;
  readonly failures: number;
  /** Wall clock; undefined while closed. */
  readonly openedAt: number | undefined;
  readonly lastCode: ReplicationErrorCode | undefined;
  readonly lastMessage: string | undefined;
}

/** Two nodes with one id want to follow this one: one of them is let in, the other one was refused lately. */
export interface TwinStats {
  readonly nodeId: string;
  /** Of the one that was refused. */
  readonly name: string;
  /** Where the connections of the two come from. */
  readonly stays: string;
  readonly refused: string;
  /** Wall clock. */
  readonly refusedAt: number;
}

export interface KnownDamageStats {
  /** Of the damaged segment. */
  readonly first: Offset;
  readonly file: string;
  /** What is wrong, in one line. */
  readonly words: string;
  /** Wall clock: when it was found. */
  readonly since: number;
}

/** How the log lies on this node's disk, and beside that of the node that it follows. */
export interface DamageStats {
  /** Segments of this node's log that are known to be damaged now. */
  readonly known: readonly KnownDamageStats[];
  /** Since when it lacks records that it may have confirmed; wall clock. */
  readonly owesSince: number | undefined;
  /** The log cannot be opened because of damage: what is waited for. */
  readonly opening: string | undefined;
  /** When a segment was last compared with the node that is followed. */
  readonly comparedAt: number | undefined;
  /** The last time that two sound segments were not the same: at which offset, and the chained crcs. */
  readonly mismatch:
    | { readonly offset: Offset; readonly own: number; readonly other: number; readonly at: number }
    | undefined;
  /** What the node that is followed was heard to have damaged. */
  readonly upstream:
    | { readonly first: Offset; readonly last: Offset; readonly words: string; readonly since: number }
    | undefined;
}

/** Since the process started; they only grow. */
export interface DamageCounters {
  /** Damaged segment files that were put aside. */
  readonly quarantines: number;
  readonly refetchedSegments: number;
  readonly refetchedBytes: number;
  /** Segments that were read whole. */
  readonly checks: number;
  readonly comparisons: number;
  readonly mismatches: number;
}

/** Since the process started; they only grow. */
export interface ReplicationCounters extends DamageCounters {
  readonly bytesSent: number;
  readonly recordsSent: number;
  readonly bytesReceived: number;
  readonly recordsReceived: number;
  readonly fullSyncs: number;
  readonly partialSyncs: number;
  /** Attempts to connect after the first to each node that was followed. */
  readonly reconnects: number;
  /** Times that an end of the own log, or all of it, was put aside, and its records. */
  readonly divergences: number;
  readonly divergedRecords: number;
  readonly verificationFailures: number;
  readonly promotions: number;
  readonly timesFenced: number;
  readonly confirmed: number;
  readonly notConfirmed: number;
}

export interface ReplicationStats {
  readonly role: Role;
  readonly clusterId: string | undefined;
  readonly nodeId: string;
  readonly name: string;
  /** Where clients reach it, as it tells the others. */
  readonly http: string | undefined;
  /** `host:port` that this node listens on for replicas and candidates. */
  readonly listening: string | undefined;
  /** Of the own log's last epoch. */
  readonly leadership: Leadership | undefined;
  readonly heard: Leadership | undefined;
  readonly fence: FenceStats | undefined;
  /** A change of role is under way, or writes are held for a switchover. */
  readonly changing: boolean;
  readonly firstOffset: Offset;
  readonly end: Offset;
  readonly committed: Offset;
  readonly durable: Offset;
  readonly primary: PeerAddress | undefined;
  readonly replicas: readonly ReplicaStats[];
  readonly upstream: UpstreamStats | undefined;
  readonly peers: readonly PeerStats[];
  readonly breakers: readonly BreakerStats[];
  readonly twins: readonly TwinStats[];
  readonly damage: DamageStats;
  /** Writes that wait for acknowledgements. */
  readonly waiting: number;
  readonly counters: ReplicationCounters;
}
