/**
 * Makes a backup of a data directory, whether or not a server is writing to it: everything up to the last whole record at the
 * beginning, so everything that was answered before it, in every fsync mode. Changes nothing in the directory.
 *
 * Objects first, each durable when the next begins; the manifest after all of them makes the backup; the head after it says
 * that it should be there. Killed before the manifest there is no backup, only objects that the next one uses or a prune removes.
 */
import {
  type FileSystem,
  type Identity,
  LogError,
  type LogView,
  openLogView,
  readDirectoryFormat,
  SEGMENT_FORMAT_VERSION,
} from "../../log/index.js";
import { version } from "../version.js";
import { identityOf } from "./archive-parts.js";
import type { Breaks } from "./breaks.js";
import { BackupError } from "./errors.js";
import { type BackupObject, backupId, backupObject, SEGMENTS, SNAPSHOTS } from "./layout.js";
import {
  MANIFEST_FORMAT_VERSION,
  type Manifest,
  type SegmentEntry,
  sealManifest,
  segmentsOf,
} from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { lockWith, type Patience } from "./patient-lock.js";
import { type ExtentPlan, planSegments } from "./plan.js";
import { type Head, listBackups, loadBackup, loadHead, orError, storeHead } from "./repository.js";
import { type SendOptions, type Sent, type SentFile, sendSegment } from "./send.js";
import { chooseSnapshot } from "./snapshot-choice.js";

export interface BackupOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly store: ObjectStore;
  /** Wall clock, ms since 1970. */
  readonly now: () => number;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Who holds the repository meanwhile, e.g. "annals backup, pid 42". */
  readonly holder: string;
  /** With which somebody else's work on the repository is waited for. Default: none. */
  readonly patience?: Patience;
  /** What is said in the manifest, e.g. "annals backup". */
  readonly tool: string;
  /** Copy also what could be linked. */
  readonly copy?: boolean;
  /** One after each piece of about 1 MiB. Without them nothing waits. */
  readonly breaks?: Breaks;
  /** Bytes done so far, and of all that is to be sent, as far as that is known: a snapshot is chosen last. */
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface BackupReport {
  readonly id: string;
  readonly repository: string;
  readonly clusterId: string;
  readonly createdAt: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly lastCrc: number;
  readonly lastTimestamp: number;
  readonly snapshotOffset: number | null;
  readonly files: number;
  /** Of all files that the backup consists of. */
  readonly bytes: number;
  /** Of those that were not there before. */
  readonly sentFiles: number;
  readonly sentBytes: number;
  /** Of the sent ones: those that share their bytes with the data directory. */
  readonly linkedBytes: number;
  readonly durationMs: number;
  readonly warnings: readonly string[];
}

/** How often retention may be quicker than a backup before it gives up. */
const ATTEMPTS = 5;

/**
 * @throws BackupError; LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN when the directory cannot be trusted; what the disk throws.
 */
export async function makeBackup(options: BackupOptions): Promise<BackupReport> {
  // Before the lock, which begins a repository: a later release's directory is none of ours to back up.
  await readDirectoryFormat(options.files, options.dataDirectory);
  const lock = await lockWith(options.patience, options.store, options.holder);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await new Backup(options).make();
      } catch (error) {
        if (!isOvertaken(error) || attempt === ATTEMPTS) throw error;
      }
    }
  } finally {
    await lock.release();
  }
}

/** Retention took what was about to be sent: segments, or the last snapshot that reaches up to the log's beginning. */
function isOvertaken(error: unknown): boolean {
  if (error instanceof LogError) return error.code === "LOG_OFFSET_RETIRED";
  return (
    error instanceof BackupError &&
    error.code === "BACKUP_SNAPSHOT_MISSING" &&
    error.context["newer"] !== undefined
  );
}

class Backup {
  readonly #options: BackupOptions;
  readonly #warnings: string[] = [];
  readonly #begun: number;
  readonly #there = new Map<string, number>();
  #bytesDone = 0;
  #bytesAll = 0;

  constructor(options: BackupOptions) {
    this.#options = options;
    this.#begun = options.stopwatch();
  }

  async make(): Promise<BackupReport> {
    const { files, dataDirectory, store } = this.#options;
    // The offset is fixed here, before anything that takes time.
    const view = await openLogView(files, dataDirectory);
    const identity = this.#identityOf(view);
    const [first, last] = [await view.markAt(view.firstOffset), await view.markAt(view.endOffset)];
    const backups = await listBackups(store);
    const previous = await this.#newestOf(backups, identity);
    const head = await this.#readHead();
    for (const prefix of [SEGMENTS, SNAPSHOTS])
      for await (const { name, bytes } of store.list(prefix)) this.#there.set(name, bytes);

    const known = segmentsOf(previous);
    const plans = await planSegments({ files, dataDirectory, view, known, there: this.#there });
    this.#bytesAll = plans.reduce((sum, { rest }) => sum + (rest?.bytes ?? 0), 0);
    const segments = await this.#sendSegments(plans);
    const snapshot = await chooseSnapshot({
      files,
      dataDirectory,
      view,
      previous,
      agreedOffset: agreedOffset(plans),
      send: this.#send,
      onWarning: (warning) => this.#warnings.push(warning),
    });

    const { manifest, text } = sealManifest({
      ...this.#origin(identity, backups.at(-1)),
      // After everything that is named was read: what is of a newer format came only after the directory had said so.
      directoryFormat: Math.max(
        await readDirectoryFormat(files, dataDirectory),
        // Its snapshot may go with this backup, too.
        previous?.snapshot ? previous.directoryFormat : 1,
      ),
      firstOffset: first.offset,
      lastOffset: last.offset,
      firstTimestamp: first.timestamp,
      lastTimestamp: last.timestamp,
      lastCrc: last.crc,
      epochs: [...view.epochs],
      files: [...segments.map(({ entry }) => entry), ...(snapshot ? [snapshot.file.entry] : [])],
      snapshot: snapshot?.mark ?? null,
      previous: previous === undefined ? null : { id: idOf(previous), sha256: previous.sha256 },
    });
    const id = idOf(manifest);
    const oldest = head?.oldest ?? backups[0]?.id ?? id;
    // One that was killed before its head left it a step behind, and two steps would look as if something were missing.
    if (previous !== undefined && (head?.newest.id ?? "") < idOf(previous))
      await storeHead(store, { oldest, newest: { id: idOf(previous), sha256: previous.sha256 } });
    const done = await store.put(backupObject(id), Buffer.from(text), { ifAbsent: true });
    // Taken by an attempt of our own whose answer was lost, or by somebody else.
    if (done === "exists" && (await loadBackup(store, id)).sha256 !== manifest.sha256)
      throw new BackupError("BACKUP_LOCKED", `another backup ${id} appeared in ${store.url}`, { id });
    await storeHead(store, { oldest, newest: { id, sha256: manifest.sha256 } });
    return this.#report(id, manifest, snapshot === undefined ? segments : [...segments, snapshot.file]);
  }

  get #send(): SendOptions {
    const { files, store, copy = false, breaks } = this.#options;
    const onBytes = (bytes: number): void => {
      this.#bytesDone += bytes / 2;
      const done = Math.round(this.#bytesDone);
      this.#options.onProgress?.(done, Math.max(done, this.#bytesAll));
    };
    return { files, store, there: this.#there, copy, onBytes, breaks };
  }

  #identityOf(view: LogView): Identity {
    const { dataDirectory } = this.#options;
    if (view.extents.length === 0)
      throw new BackupError("BACKUP_NOTHING", `${dataDirectory} holds no record yet`, {
        directory: dataDirectory,
      });
    return identityOf(view, dataDirectory);
  }

  /** The newest backup that can be read. One that can't be is the checker's matter and no reason to have no backup. */
  async #newestOf(backups: readonly BackupObject[], identity: Identity): Promise<Manifest | undefined> {
    const { store } = this.#options;
    for (const { id } of backups.toReversed()) {
      const read = await orError(() => loadBackup(store, id));
      if (read instanceof BackupError) {
        this.#warnings.push(`backup ${id} cannot be read: ${read.message}`);
        continue;
      }
      if (read.clusterId === identity.clusterId) return read;
      throw new BackupError(
        "BACKUP_REPOSITORY_FOREIGN",
        `${store.url} holds backups of cluster ${read.clusterId}, the data is of ${identity.clusterId}`,
        { url: store.url, expected: identity.clusterId, found: read.clusterId },
      );
    }
    return undefined;
  }

  async #sendSegments(plans: readonly ExtentPlan[]): Promise<SentFile<SegmentEntry>[]> {
    const sent: SentFile<SegmentEntry>[] = [];
    for (const { extent, reused, rest } of plans) {
      for (const entry of reused) sent.push({ entry, how: "there" });
      if (rest === undefined) continue;
      sent.push(await sendSegment(this.#send, this.#options.dataDirectory, extent, rest.from));
    }
    return sent;
  }

  #origin({ clusterId, nodeId }: Identity, newest: BackupObject | undefined) {
    const { now, tool } = this.#options;
    return {
      formatVersion: MANIFEST_FORMAT_VERSION,
      kind: "backup",
      annalsVersion: version,
      tool,
      segmentFormat: SEGMENT_FORMAT_VERSION,
      clusterId,
      nodeId,
      // Ids are in the order of time also when the clock was set back.
      createdAt: Math.max(now(), (newest?.createdAt ?? 0) + 1),
    } as const;
  }

  async #readHead(): Promise<Head | undefined> {
    try {
      return await loadHead(this.#options.store);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== "BACKUP_DAMAGED") throw error;
      this.#warnings.push(`${error.message}; it was written anew`);
      return undefined;
    }
  }

  #report(
    id: string,
    manifest: Manifest,
    sent: readonly SentFile<Manifest["files"][number]>[],
  ): BackupReport {
    const bytesOf = (...how: Sent[]): number =>
      sent.filter((file) => how.includes(file.how)).reduce((sum, { entry }) => sum + entry.bytes, 0);
    const { clusterId, createdAt, firstOffset, lastOffset, lastCrc, lastTimestamp } = manifest;
    return {
      id,
      repository: this.#options.store.url,
      clusterId,
      createdAt,
      firstOffset,
      lastOffset,
      lastCrc,
      lastTimestamp,
      snapshotOffset: manifest.snapshot?.offset ?? null,
      files: sent.length,
      bytes: bytesOf("there", "linked", "copied"),
      sentFiles: sent.filter(({ how }) => how !== "there").length,
      sentBytes: bytesOf("linked", "copied"),
      linkedBytes: bytesOf("linked"),
      durationMs: Math.round(this.#options.stopwatch() - this.#begun),
      warnings: this.#warnings,
    };
  }
}

const idOf = ({ createdAt, lastOffset }: Manifest): string => backupId(createdAt, lastOffset);

/** Up to here the pieces of the last backup are this log's: the chained crc at the end of one speaks for all before. */
function agreedOffset(plans: readonly ExtentPlan[]): number {
  return Math.max(0, ...plans.flatMap(({ reused }) => reused.map(({ endOffset }) => endOffset)));
}
