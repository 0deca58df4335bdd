/**
 * Puts another node's log, and a snapshot of its state, into the place of this directory's own: a full sync. Everything is brought,
 * verified and synced under `incoming/` while the old log goes on; then `commit` puts it into place, each step durable before the next:
 *
 *   1. what was brought is durable, with the small files that belong to it
 *   2. the old log is kept under `diverged/`, unless what was brought is proven to begin with it
 *   3. the mark `installing.json`: from here on the new log is the log
 *   4. the old segments and snapshots go, the new ones get their second name in their place; then the small files
 *   5. the mark goes, then `incoming/`
 *
 * A kill before 3 leaves the old log; after it whoever opens the directory next does 4 again from its beginning, for `incoming/`
 * keeps everything until the mark is gone.
 */
import { findingOf } from "./damaged-directory.js";
import {
  checkIsNotRestoring,
  type DataDirectory,
  encodeIdentity,
  openDataDirectory,
  randomId,
  readIdentity,
} from "./data-directory.js";
import { raiseDirectoryFormat } from "./directory-format.js";
import type { KeptRecords } from "./diverged.js";
import { assert, LogError } from "./errors.js";
import type { EventLog, LogPosition, ReceivedRun } from "./event-log.js";
import { INCOMING_DIRECTORY, LOG_DIRECTORY, parseSnapshotName, SNAPSHOT_DIRECTORY } from "./file-names.js";
import { createFile, type FileSystem } from "./file-system.js";
import {
  clearIncoming,
  isInstalling,
  keepOldLog,
  markInstalling,
  placeSmallFiles,
  rollForward,
} from "./installing.js";
import { continues } from "./log-mark.js";
import { openUnmarkedView } from "./log-view.js";
import { listSegments } from "./segment-chain.js";
import type { Identity } from "./settings.js";
import { StagedLog } from "./staged-log.js";
import type { Offset } from "./units.js";

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
  /** Where the old log ended (`soundEnd`). Undefined when nobody can say: then it is kept in any case. */
  readonly oldEnd: LogPosition | undefined;
}

export interface InstalledLog {
  readonly identity: Identity;
  readonly end: LogPosition;
  /** The old log, where it had to be kept. */
  readonly kept: KeptRecords | undefined;
}

/** Where a log ends that is about to be replaced; undefined without one, and of one that cannot be read there. */
export async function soundEnd(log: EventLog | undefined): Promise<LogPosition | undefined> {
  if (log === undefined) return undefined;
  await log.whenCommitted(log.endOffset);
  try {
    return await log.positionAt(log.endOffset);
  } catch (error) {
    if (findingOf(error) === undefined) throw error;
    return undefined;
  }
}

export class Installation {
  readonly #options: InstallationOptions;
  readonly identity: Identity;
  readonly #incoming: string;
  readonly #log: StagedLog;
  readonly #snapshots: Offset[] = [];
  #held: DataDirectory | undefined;

  private constructor(options: InstallationOptions, identity: Identity, held: DataDirectory | undefined) {
    const { files, dataDirectory, clusterId } = options;
    this.#options = options;
    this.identity = identity;
    this.#held = held;
    this.#incoming = `${dataDirectory}/${INCOMING_DIRECTORY}`;
    this.#log = new StagedLog(files, `${this.#incoming}/${LOG_DIRECTORY}`, clusterId);
  }

  /**
   * Begins anew: what an earlier one that was not committed left is removed.
   * @throws LogError LOG_DIRECTORY_UNUSABLE when there is a log of another cluster, LOG_LOCKED, LOG_RESTORE_UNFINISHED.
   */
  static async begin(options: InstallationOptions): Promise<Installation> {
    const { files, dataDirectory, holder, isHeld } = options;
    const held = isHeld ? undefined : await openDataDirectory(files, dataDirectory, holder);
    try {
      await checkIsNotRestoring(files, dataDirectory);
      if (await isInstalling(files, dataDirectory)) await rollForward(files, dataDirectory);
      const identity = await identityFor(options);
      await clearIncoming(files, dataDirectory);
      await files.makeDirectory(`${dataDirectory}/${INCOMING_DIRECTORY}/${LOG_DIRECTORY}`);
      await files.makeDirectory(`${dataDirectory}/${INCOMING_DIRECTORY}/${SNAPSHOT_DIRECTORY}`);
      return new Installation(options, identity, held);
    } catch (error) {
      await held?.lock.release();
      throw error;
    }
  }

  /** Where the log that was brought ends; `EMPTY_LOG` before the first run. */
  get end(): LogPosition {
    return this.#log.end;
  }

  /** Brings a snapshot, whole. @throws RangeError when `name` is no snapshot's. */
  async placeSnapshot(name: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const parsed = parseSnapshotName(name);
    if (parsed === undefined) throw new RangeError(`${name} is not the name of a snapshot`);
    const { files } = this.#options;
    await createFile(files, `${this.#incoming}/${SNAPSHOT_DIRECTORY}/${name}`, bytes);
    this.#snapshots.push(parsed.offset);
  }

  /**
   * Brings the next records; the first run begins a segment. Verifies in this turn, and resolves when they are written.
   * @throws LogError LOG_NOT_CONTINUED, LOG_RECORD_BAD; then nothing of the run has happened.
   */
  receive(run: ReceivedRun): Promise<void> {
    return this.#log.receive(run);
  }

  /**
   * Makes what was brought the directory's log. The old log must be closed; it is removed when what was brought is proven to begin with it, and
   * otherwise kept. A kill before this resolves leaves the old log, or the next `openLog` ends what was begun. The directory is free
   * then, also when it fails.
   * @throws LogError LOG_LOCKED; LOG_NOT_CONTINUED when the log and the snapshots that were brought do not belong together.
   */
  async commit({ oldEnd }: CommitInstallation): Promise<InstalledLog> {
    const { files, dataDirectory, holder, now } = this.#options;
    try {
      this.#checkIsWhole();
      this.#held ??= await openDataDirectory(files, dataDirectory, holder);
      await this.#log.finish();
      await files.syncDirectory(`${this.#incoming}/${SNAPSHOT_DIRECTORY}`);
      const { end, tailBase } = this.#log;
      const point = { durable: end.offset, crc: end.crc, tail: tailBase, clean: true };
      await placeSmallFiles(files, this.#incoming, encodeIdentity(this.identity), point, now());
      const kept = (await this.#beginsWith(oldEnd))
        ? undefined
        : await keepOldLog(files, dataDirectory, now());
      await raiseDirectoryFormat(files, dataDirectory);
      await markInstalling(files, dataDirectory, now());
      await rollForward(files, dataDirectory);
      return { identity: this.identity, end, kept };
    } finally {
      await this.#close();
    }
  }

  /** Removes what was brought; the directory is as it was. */
  async abandon(): Promise<void> {
    const { files, dataDirectory } = this.#options;
    try {
      await this.#log.close();
      await clearIncoming(files, dataDirectory);
    } finally {
      await this.#close();
    }
  }

  async #beginsWith(oldEnd: LogPosition | undefined): Promise<boolean> {
    if (oldEnd === undefined) return false;
    return await continues(await openUnmarkedView(this.#options.files, this.#incoming, {}), oldEnd);
  }

  /** The state can be folded from what was brought. */
  #checkIsWhole(): void {
    const { first, end } = this.#log;
    assert(first !== undefined, "an installation brings at least one record");
    const isCovered = first === 1 || this.#snapshots.some((offset) => offset >= first - 1);
    if (isCovered && this.#snapshots.every((offset) => offset <= end.offset)) return;
    const expected = `a log up to each of the snapshots, from the first record or a snapshot on`;
    const found = `records ${first} to ${end.offset}, snapshots of ${this.#snapshots.join(", ") || "nothing"}`;
    throw new LogError("LOG_NOT_CONTINUED", `what was received is not whole: ${found}`, { expected, found });
  }

  async #close(): Promise<void> {
    await this.#log.close();
    const held = this.#held;
    this.#held = undefined;
    await held?.lock.release();
  }
}

/** The node keeps its id, unless it was another cluster's. */
async function identityFor(options: InstallationOptions): Promise<Identity> {
  const { files, dataDirectory, clusterId, nodeId, randomBytes } = options;
  const known = await readIdentity(files, dataDirectory);
  if (known?.clusterId === clusterId) return known;
  const segments = await listSegments(files, `${dataDirectory}/${LOG_DIRECTORY}`);
  if (segments.length === 0) return { clusterId, nodeId: nodeId ?? randomId(randomBytes) };
  const found = known === undefined ? "a log without identity" : `cluster ${known.clusterId}`;
  const message = `${dataDirectory} holds ${found}: the log of cluster ${clusterId} never goes over it`;
  throw new LogError("LOG_DIRECTORY_UNUSABLE", message, {
    directory: dataDirectory,
    expected: clusterId,
    found,
  });
}
