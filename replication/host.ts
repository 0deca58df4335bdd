/**
 * What a replicated node asks of whoever owns its log and its state. Every method is awaited, one at a time, and while it runs no record
 * is on its way into the log from here.
 */
import type { EventLog, Offset } from "../log/index.js";
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

export interface ReplicationHost extends SenderHost {
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
   * @throws ReplicationError REPLICATION_CUT_TOO_DEEP when what is left could not be folded: nothing is changed, and a full sync that
   * follows keeps the whole log aside.
   */
  cut(after: Position): Promise<Kept | undefined>;
  beginInstall(install: Parameters<ReceiverHost["beginInstall"]>[0]): Promise<Installing>;
  /** Puts the gathered in place: log and state are closed, moved aside or removed, opened again; the log follows. */
  installed(installing: Installing): Promise<void>;
}
