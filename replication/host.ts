/**
 * What a replicated node asks of whoever owns its log and its state. Every method is awaited, one at a time, and while it runs no record
 * is on its way into the log from here.
 */
import type { DamagedDirectory, EventLog, Finding, Offset } from "../log/index.js";
import type { Installing, ReceiverHost, SenderHost } from "./link-ports.js";
import type { Position } from "./position.js";

/** What was put aside under `diverged/`. */
export interface Kept {
  readonly directory: string;
  readonly first: Offset;
  readonly last: Offset;
  readonly records: number;
  readonly bytes: number;
}

export interface NodeIdentity {
  /** Undefined of a fresh replica: it takes the primary's with its first install. */
  readonly clusterId: string | undefined;
  /** 32 hex digits; drawn before the first install, and kept. */
  readonly nodeId: string;
}

/** What the owner of log and state does when the log of a node that follows is damaged. Awaited, one at a time. */
export interface DamageHost {
  /** What was found when log and state were to be opened; while it is there neither is open. */
  readonly damage: Finding | undefined;
  /** Closes log and state, because this was found in what cannot be mended while they are open. */
  shut(finding: Finding): Promise<void>;
  /** Tries to open log and state, following: `damage` tells whether they are, and else what is in the way. Without records left neither is. */
  reopen(): Promise<void>;
  /** Only while they are closed. */
  openDamaged(): Promise<DamagedDirectory>;
  /**
   * The log is about to be cut after `last`: snapshots of what comes after are removed.
   * @throws ReplicationError REPLICATION_CUT_TOO_DEEP when what is left could not be folded; nothing is changed.
   */
  prepareCut(last: Offset): Promise<void>;
}

export interface ReplicationHost extends SenderHost, DamageHost {
  /** May change with an install. */
  identity(): NodeIdentity;
  /** Undefined of a fresh replica, before its first install. Another one after `cut` or `installed`, perhaps. */
  log(): EventLog | undefined;
  /** This node leads: whatever writes by itself (deadlines, sweeps) begins. */
  lead(): Promise<void>;
  /** Whatever writes by itself has ended when this resolves; the log is made to follow after it. Nothing to do when it never began. */
  followBegins(): Promise<void>;
  /**
   * Puts everything after the position aside, cuts the log there and folds the state again. Undefined: there was nothing.
   * @throws ReplicationError REPLICATION_CUT_TOO_DEEP when what is left could not be folded, or what is put aside is damaged: nothing is changed, and a full sync that
   * follows keeps the whole log aside.
   */
  cut(after: Position): Promise<Kept | undefined>;
  beginInstall(install: Parameters<ReceiverHost["beginInstall"]>[0]): Promise<Installing>;
  /**
   * Puts the gathered in place: log and state are closed, put aside unless the gathered is proven to begin with them, opened again; the log
   * follows. Undefined: there was nothing to put aside.
   */
  installed(installing: Installing): Promise<Kept | undefined>;
}
