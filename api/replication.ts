/**
 * Replication as the API needs it: why no write is taken now, who has confirmed one, and what operators ask and command.
 * `ops/` gives it; which bytes travel between nodes is no matter of this room.
 */
import type { Offset } from "../log/index.js";
import type { Refusal } from "./errors.js";

/** So many replicas, or so many that they and the primary are more than half of all nodes known. */
export type Acks = number | "quorum";

export interface Leadership {
  readonly epoch: number;
  /** 32 hex digits. */
  readonly lineageId: string;
}

/** A replica as its primary sees it. Times are ms since 1970. */
export interface ReplicaFacts {
  readonly id: string;
  readonly name: string;
  /** Where its replication port is; where it came from when it did not say. */
  readonly address: string;
  readonly http: string | undefined;
  readonly connected: boolean;
  /** What it has on its disk. */
  readonly offset: number;
  readonly lagOperations: number;
  readonly lagBytes: number;
  readonly lagMs: number;
  readonly status: "in_sync" | "lagging" | "syncing" | "disconnected";
  readonly connectedAt: number | undefined;
  readonly lastHeartbeatAt: number | undefined;
}

/** The node that is followed, as its replica sees it. */
export interface UpstreamFacts {
  readonly address: string;
  readonly id: string | undefined;
  readonly http: string | undefined;
  readonly connected: boolean;
  /** What the link is doing: `streaming` when all is well. */
  readonly phase: string;
  readonly offset: number | undefined;
  readonly lagOperations: number | undefined;
  readonly lagMs: number | undefined;
  readonly lastHeartbeatAt: number | undefined;
  /** Code of what the last connection ended with. */
  readonly lastError: string | undefined;
  readonly recordsReceived: number;
  readonly bytesReceived: number;
  readonly fullSyncs: number;
  readonly partialSyncs: number;
  readonly reconnects: number;
}

export interface Fence {
  readonly heard: Leadership;
  readonly from: string;
  readonly since: number;
}

export interface ReplicationFacts {
  readonly role: "master" | "replica" | "standalone";
  readonly nodeId: string;
  readonly name: string;
  readonly listen: string | undefined;
  readonly http: string | undefined;
  /** Of the log's last epoch; undefined before the first sync. */
  readonly leadership: Leadership | undefined;
  /** Of its log, durable. */
  readonly offset: number;
  /** Heard of a higher leadership than its own: it takes no writes until it follows. */
  readonly fence: Fence | undefined;
  /** Why no write is taken, if none is. */
  readonly refusal: Refusal | undefined;
  readonly replicas: readonly ReplicaFacts[];
  /** Of a node that follows. */
  readonly upstream: UpstreamFacts | undefined;
  /** Whether it is on the primary's list of nodes, and knows it: before that a promotion needs force. */
  readonly listed: boolean;
  /** Every other node that this one knows of. */
  readonly peers: readonly PeerFacts[];
  /** How often an end that only this node had, or a whole log that a full sync replaced, was put aside. */
  readonly divergences: number;
  readonly damage: DamageFacts;
  /** Nodes that were refused, or believed no longer, lately, because another one has the same id. */
  readonly twins: readonly TwinFacts[];
}

/** The data directory of one of two nodes is a copy of the other's. Where the two are: `host:port` of their connections. */
export interface TwinFacts {
  readonly nodeId: string;
  readonly name: string;
  readonly stays: string;
  readonly refused: string;
  readonly refusedAt: number;
}

/** How the log lies on this node's disk, and beside that of the node that it follows. Times are ms since 1970. */
export interface DamageFacts {
  /** Segments that are known to be damaged now. */
  readonly known: readonly {
    readonly first: number;
    readonly file: string;
    readonly words: string;
    readonly since: number;
  }[];
  /** Damaged files that were put aside since the process began, and segments that were fetched again. */
  readonly quarantines: number;
  readonly refetchedSegments: number;
  /** Since when it lacks records that it may have confirmed. */
  readonly owesSince: number | undefined;
  /** The log is not open because of damage: what is waited for. */
  readonly opening: string | undefined;
  /** Segments compared with the node that is followed; how many were not the same though both are sound; the last of them. */
  readonly comparisons: number;
  readonly mismatches: number;
  readonly comparedAt: number | undefined;
  readonly mismatchAt: number | undefined;
  /** What the node that is followed has damaged on its own disk. */
  readonly upstream: string | undefined;
}

export interface PeerFacts {
  readonly id: string;
  readonly name: string;
  readonly address: string | undefined;
  readonly http: string | undefined;
  /** Id of the node that it follows; undefined of the primary, and when that is not known here. */
  readonly follows: string | undefined;
}

export interface PromotionReport {
  readonly type: "promoted";
  readonly leadership: Leadership;
  /** At which the new epoch begins. */
  readonly offset: number;
  /** Nodes that were fenced before it, by name. */
  readonly reached: readonly string[];
  readonly notReached: readonly string[];
  /** Records at least that other nodes were heard to have, and this one lacks: what may be lost. */
  readonly mayBeLost: number;
  /** From there on the log was read before it led. */
  readonly verifiedFrom: number | undefined;
  /** For people: what could not be ruled out. */
  readonly warnings: readonly string[];
}

export interface SwitchoverReport {
  readonly type: "switched";
  /** Its name. */
  readonly to: string;
  readonly epoch: number;
  readonly offset: number;
  /** For how long writes were refused. */
  readonly heldMs: number;
  readonly repointed: readonly string[];
  /** They could not be told to follow the new primary. */
  readonly notRepointed: readonly string[];
}

export interface BreakerFacts {
  readonly link: string;
  readonly tripped: boolean;
  readonly failures: number;
  readonly lastError: string | undefined;
  readonly trippedAt: number | undefined;
}

/** An end that only this node had, kept as a data directory. */
export interface DivergedFacts {
  /** Below the data directory. */
  readonly directory: string;
  readonly first: number;
  readonly last: number;
  readonly records: number;
  readonly bytes: number;
  readonly keptAt: number;
}

export interface Replication {
  /** Asked before each write, so it is cheap. */
  refuseWrites(): Refusal | undefined;
  /** Calls back when this node stops to take writes, because another leads: whoever waits to write is told so. Ends by the function given back. */
  onRest(listener: () => void): () => void;
  /** Of writes that do not say. */
  readonly acks: Acks;
  /** Undefined once so many replicas have everything up to `offset` on disk; else who has not, when the time is over. */
  confirmed(offset: Offset, acks: Acks): Promise<Refusal | undefined>;
  /** Why nothing may be said any more of a record that was stored here: another node leads since. Asked when its answer leaves. */
  replacedAfter(offset: Offset): Refusal | undefined;
  /** True when records that this node does not have yet may be history already: of a replica, and of one that was replaced. */
  readonly isBehind: boolean;
  /** Of a replica: all that it has is what the primary has in its place. Asked about tokens of lineages that are not known here. */
  readonly hasPrimarysLog: boolean;
  facts(): ReplicationFacts;
  promote(force: boolean, from?: string): Promise<PromotionReport | Refusal>;
  /** Undefined: from now on that node is followed. */
  follow(address: string): Promise<Refusal | undefined>;
  /** True: everything is fetched anew. False: a full sync is under way, and goes on. */
  resync(): Promise<boolean | Refusal>;
  /** Strikes a node that does not come back off the list of nodes. Undefined: it is done. */
  forget(node: string): Promise<Refusal | undefined>;
  /** Hands the lead over to a replica, named by name, id or address. */
  switchover(to: string): Promise<SwitchoverReport | Refusal>;
  breakers(): readonly BreakerFacts[];
  /** How many had been tripped; of all links without one. */
  resetBreakers(link: string | undefined): number | Refusal;
  diverged(): Promise<readonly DivergedFacts[]>;
  /** Sends a write on to the primary; undefined when this node does not, and the write is to be refused. */
  readonly forward: ((write: ForwardedWrite) => Promise<ForwardedAnswer | Refusal>) | undefined;
}

export type OnceBy = "client's key" | "a key" | "nothing";

/** A request as it came. */
export interface ForwardedWrite {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** Names and values by turns, as they came. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | undefined;
  readonly requestId: string;
  /**
   * What makes it happen once: the key that its client sent, one that it may be given, or nothing (it only looks, or opens a
   * transaction): then it must not be sent again when its answer is lost.
   */
  readonly once: OnceBy;
  /** Ends the request when its client is gone. */
  readonly signal: AbortSignal;
}

export interface ForwardedAnswer {
  readonly type: "forwarded";
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}
