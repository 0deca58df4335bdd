/**
 * Puts another node's log, and a snapshot of its state, into the place of this directory's own: a full sync. Everything is brought,
 * verified and synced under `incoming/` while the old log goes on; then `commit` moves it into place.
 */
import { AssertionFailed } from "./errors.js";
import type { LogPosition, ReceivedRun } from "./event-log.js";
import type { FileSystem } from "./file-system.js";
import type { Identity } from "./settings.js";

export interface InstallationOptions {
  readonly files: FileSystem;
  /** Absolute. Made if it is missing. */
  readonly dataDirectory: string;
  /** Who holds the lock meanwhile, e.g. "annals serve, pid 42". */
  readonly holder: string;
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Whose log it is. */
  readonly clusterId: string;
  /** This node's id, if the directory has none of this cluster. Default: a random one. */
  readonly nodeId?: string;
  /** An open log of this process holds the directory's lock until `commit`. */
  readonly isHeld: boolean;
}

export interface CommitInstallation {
  /** The old log goes to `diverged/`; otherwise it is removed. */
  readonly keepOld: boolean;
}

export interface InstalledLog {
  readonly identity: Identity;
  readonly end: LogPosition;
  /** Below the data directory; where the old log was kept. */
  readonly kept: string | undefined;
}

export class Installation {
  /**
   * Begins anew: what an earlier one that was not committed left is removed.
   * @throws LogError LOG_DIRECTORY_UNUSABLE when there is a log of another cluster, LOG_LOCKED.
   */
  static async begin(_options: InstallationOptions): Promise<Installation> {
    throw new AssertionFailed("not built yet");
  }

  /** Where the log that was brought ends; `EMPTY_LOG` before the first run. */
  get end(): LogPosition {
    throw new AssertionFailed("not built yet");
  }

  /** Brings a snapshot, whole. @throws RangeError when `name` is no snapshot's. */
  async placeSnapshot(_name: string, _bytes: AsyncIterable<Uint8Array>): Promise<void> {
    throw new AssertionFailed("not built yet");
  }

  /**
   * Brings the next records; the first run begins a segment. Resolves when they are written.
   * @throws LogError LOG_NOT_CONTINUED, LOG_RECORD_BAD; then nothing of the run has happened.
   */
  async receive(_run: ReceivedRun): Promise<void> {
    throw new AssertionFailed("not built yet");
  }

  /**
   * Makes what was brought the directory's log. The old log must be closed. A kill before this resolves leaves the old log, or the next
   * `openLog` ends what was begun.
   * @throws LogError LOG_LOCKED.
   */
  async commit(_options: CommitInstallation): Promise<InstalledLog> {
    throw new AssertionFailed("not built yet");
  }

  /** Removes what was brought; the directory is as it was. */
  async abandon(): Promise<void> {
    throw new AssertionFailed("not built yet");
  }
}
