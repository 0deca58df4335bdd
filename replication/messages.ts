/**
 * The messages of the protocol, as types. `message-codec.ts` gives them bytes, `README.md` tells who says what when. The side that dials is
 * the replica, or whoever asks or fences; the other accepts.
 */
import type { Offset, SegmentHeader } from "../log/index.js";
import type { Leadership } from "./leadership-order.js";
import type { Address } from "./ports.js";
import type { Position } from "./position.js";

/** What the dialler wants: the log; only to know (and then perhaps to fence); or records that it had, to mend or to compare its own. */
export type Purpose = "follow" | "ask" | "fetch";

/** What a node says of itself when it greets. Believed only after the proof of the secret, where there is one. */
export interface NodeStatement {
  /** Undefined of a node that has no log yet: it takes the other's. */
  readonly clusterId: string | undefined;
  /** 32 hex digits. */
  readonly nodeId: string;
  readonly name: string;
  /** Where others reach its replication port and its HTTP port, as far as it knows. */
  readonly listen: Address | undefined;
  readonly http: string | undefined;
  /** The version of data directories up to which its release reads, and which it may write at any moment. */
  readonly format: number;
  /** The leadership of its log's last epoch; undefined without a log. */
  readonly own: Leadership | undefined;
  /** The highest leadership it ever heard of, its own included. */
  readonly heard: Leadership | undefined;
  /** The durable end of its log; undefined without a log. */
  readonly end: Position | undefined;
  /** Of the oldest record that it keeps. */
  readonly firstOffset: Offset;
  /** It lost records that it may have confirmed, and does not have all of them again. */
  readonly owes?: boolean;
  /** Whether it leads, or would if it were not fenced; else it follows another. */
  readonly leads: boolean;
  /** Who leads under `heard`, as far as it knows: how a fenced primary learns whom to follow. */
  readonly primary: PeerNote | undefined;
}

/** First word, of whoever accepts. Nothing in it is secret or believed. */
export interface Challenge {
  readonly type: "challenge";
  readonly protocol: number;
  readonly nonce: Uint8Array;
}

/** The dialler's greeting. `body` is the encoded statement, so that the proof covers every byte of it. */
export interface Hello {
  readonly type: "hello";
  readonly protocol: number;
  readonly body: Uint8Array;
  /** Empty without a secret. */
  readonly proof: Uint8Array;
  /** The proofs by each further secret that the dialler knows, one behind the other. */
  readonly more?: Uint8Array | undefined;
}

export interface HelloBody {
  readonly nonce: Uint8Array;
  /** The nonce of the challenge: this is said on this connection, and was not said on an older one. */
  readonly answers: Uint8Array;
  readonly purpose: Purpose;
  /** The dialler wants everything anew, whatever it has. */
  readonly resync: boolean;
  /** 32 hex digits, drawn by its process: another one with the same node id is its next life, or a copy. */
  readonly incarnation?: string | undefined;
  /** How often it says something, at least. */
  readonly heartbeatMs: number;
  readonly node: NodeStatement;
}

export interface Welcome {
  readonly type: "welcome";
  readonly body: Uint8Array;
  readonly proof: Uint8Array;
}

export interface WelcomeBody {
  /** The nonce of the hello. */
  readonly answers: Uint8Array;
  /** How often it says something, at least. */
  readonly heartbeatMs: number;
  readonly node: NodeStatement;
}

/** The last word of either side: why it closes. */
export interface Refused {
  readonly type: "refused";
  readonly code: string;
  readonly message: string;
}

export interface Probe {
  readonly type: "probe";
  readonly offset: Offset;
}

/** The answer to a probe: undefined when the record is not kept. */
export interface Mark {
  readonly type: "mark";
  readonly position: Position | undefined;
}

/** Runs follow, from this offset on. */
export interface Continue {
  readonly type: "continue";
  readonly from: Offset;
}

/** Everything after this position is to be put aside. */
export interface Cut {
  readonly type: "cut";
  readonly after: Position;
}

export interface CutDone {
  readonly type: "cutDone";
  readonly end: Position;
}

/** A full sync begins: the chunks of the snapshot, if there is one, then runs from `from`; it is whole when `until` has come. */
export interface Install {
  readonly type: "install";
  readonly clusterId: string;
  readonly snapshot: { readonly name: string; readonly bytes: number; readonly offset: Offset } | undefined;
  readonly from: Offset;
  readonly until: Offset;
}

/** A piece of the snapshot file. */
export interface Chunk {
  readonly type: "chunk";
  readonly bytes: Uint8Array;
}

/** Records as their bytes lie in one segment. */
export interface Run {
  readonly type: "run";
  readonly header: SegmentHeader;
  readonly startsSegment: boolean;
  readonly bytes: Uint8Array;
}

/** How far the replica is. */
export interface Ack {
  readonly type: "ack";
  /** Bytes of chunks and runs that were taken in since the connection began: what the sender's window counts. */
  readonly bytes: number;
  readonly received: Offset;
  readonly committed: Offset;
  readonly durable: Offset;
  /** `sentAt` of the last heartbeat that has come by this link; undefined before the first. */
  readonly answers?: number | undefined;
}

/** A node that others may want to know of. */
export interface PeerNote {
  readonly nodeId: string;
  readonly name: string;
  readonly listen: Address | undefined;
  readonly http: string | undefined;
  /** The version of the primary's list with which this node came onto it; 0 of a node that is not on it. */
  readonly since: number;
  /** The newest version of the list that this node is known to keep durably. */
  readonly confirmed: number;
}

export interface Heartbeat {
  readonly type: "heartbeat";
  /** The sender's own leadership at this moment; undefined without a log. */
  readonly own: Leadership | undefined;
  /** The primary's wall clock, as the sender knows it (its own, when it is the primary). */
  readonly time: number | undefined;
  readonly end: Offset;
  readonly durable: Offset;
  readonly firstOffset: Offset;
  /** The primary, as the sender knows it. */
  readonly primary: PeerNote | undefined;
  /** The nodes of the set as the primary lists them, itself included; at most `PEERS_MAX`. */
  readonly peers: readonly PeerNote[];
  /** Grows with every change of the list. A replica states the version that it keeps durably. */
  readonly peersVersion: number;
  /** The leadership whose primary made that list: versions of two lists are not compared. */
  readonly peersUnder: Leadership | undefined;
  /** By the sender's stopwatch, whole ms: acknowledgements name it. */
  readonly sentAt?: number | undefined;
}

/** What a node has to say; when it says so is the link's to add. */
export type HeartbeatWords = Omit<Heartbeat, "type" | "sentAt">;

/** A node that follows the sender, or one of those that do. */
export interface FollowerNote {
  readonly nodeId: string;
  readonly name: string;
  readonly listen: Address | undefined;
  readonly http: string | undefined;
  /** The node id of the one that it follows. */
  readonly follows: string;
  /** Of its process, as it said itself. */
  readonly incarnation?: string | undefined;
  /** The version that it keeps durably of the list under the leadership of the message; 0 when its list is of another. */
  readonly version: number;
  /** What it holds durably of the sender's log; 0 while it is not known to hold any. */
  readonly durable: Offset;
  /** For how long nothing was heard of it. */
  readonly silentMs: number;
}

/** What a middle node passes on to the one that it follows: all nodes below it, so far as it knows. */
export interface Below {
  readonly type: "below";
  readonly under: Leadership | undefined;
  /** At most `PEERS_MAX`. */
  readonly nodes: readonly FollowerNote[];
}

/** In between: how far nodes are that a `below` named. */
export interface Held {
  readonly type: "held";
  /** At most `PEERS_MAX`. */
  readonly nodes: readonly { readonly nodeId: string; readonly durable: Offset }[];
}

/** A candidate's word: from now on nothing below this leadership may be confirmed. */
export interface Fence {
  readonly type: "fence";
  readonly leadership: Leadership;
  /** True: only if the other gives way to this candidate; else it refuses, has heard nothing, and goes on. */
  readonly asks?: boolean;
}

/** The answer, once the fence is durable. */
export interface Fenced {
  readonly type: "fenced";
  readonly node: NodeStatement;
  /** For so many ms what this node acknowledged before may still count at the one that it followed. */
  readonly leaseMs?: number | undefined;
}

/** The records of whole sealed segments, wanted as they lie on the other side's disk: runs, then FETCHED. */
export interface Fetch {
  readonly type: "fetch";
  readonly first: Offset;
  readonly last: Offset;
}

/** The last of the runs that were fetched has come. */
export interface Fetched {
  readonly type: "fetched";
}

/** Read those records from your disk: where do they end there? */
export interface Check {
  readonly type: "check";
  readonly first: Offset;
  readonly last: Offset;
}

export interface Checked {
  readonly type: "checked";
  /** Of the record `last`. */
  readonly end: Position;
}

export type Message =
  | Challenge
  | Hello
  | Welcome
  | Refused
  | Probe
  | Mark
  | Continue
  | Cut
  | CutDone
  | Install
  | Chunk
  | Run
  | Ack
  | Heartbeat
  | Below
  | Held
  | Fence
  | Fenced
  | Fetch
  | Fetched
  | Check
  | Checked;

export type MessageType = Message["type"];

export const PROTOCOL_VERSION = 1;
export const NONCE_BYTES = 32;
export const PEERS_MAX = 64;
