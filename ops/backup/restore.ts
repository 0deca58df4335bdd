/**
 * Restores a data directory from a repository, cut at exactly one record, into a place where there is nothing yet. Every byte is
 * checked on its way: the SHA-256 that the manifest gives, every record's crc, the chain across segments, and that snapshots are
 * of this log. What is left is a directory that `annals serve` opens; ended anywhere before, one that it refuses.
 */
import { createHash } from "node:crypto";
import {
  epoch as asEpoch,
  type FileSystem,
  type LogView,
  offset,
  type RestoredLog,
  RestoringDirectory,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import { inspectSnapshot, SnapshotError } from "../../projections/index.js";
import { BackupError } from "./errors.js";
import { parseObject } from "./layout.js";
import type { ManifestEntry, SegmentEntry, SnapshotEntry } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import type { RestorePlan } from "./restore-plan.js";

export const PARALLEL_DEFAULT = 4;

export interface RestoreOptions {
  readonly store: ObjectStore;
  readonly files: FileSystem;
  /** Absolute; empty, or not there. */
  readonly dataDirectory: string;
  /** How many files come at once. */
  readonly parallel: number;
  /** Wall clock, ms since 1970. */
  readonly now: () => number;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly holder: string;
  /** Ends the restore with its reason. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface RestoreReport {
  readonly dataDirectory: string;
  readonly repository: string;
  readonly backup: string;
  readonly clusterId: string;
  /** Of the restored directory: a node of its own. */
  readonly nodeId: string;
  readonly firstOffset: number;
  /** The last record of the past; the one behind it begins the new epoch. */
  readonly lastOffset: number;
  readonly lastTimestamp: number;
  readonly lastCrc: number;
  /** Records that the backup holds beyond it. */
  readonly leftOut: number;
  readonly epoch: number;
  readonly lineageId: string;
  /** Offset of the newest snapshot that was restored, or null. */
  readonly snapshotOffset: number | null;
  readonly files: number;
  readonly bytes: number;
  readonly durationMs: number;
  readonly warnings: readonly string[];
}

/** @throws BackupError BACKUP_DAMAGED; LogError LOG_DIRECTORY_UNUSABLE, LOG_LOCKED, LOG_CORRUPT; what the disk throws. */
export async function restore(plan: RestorePlan, options: RestoreOptions): Promise<RestoreReport> {
  const { files, dataDirectory, holder, now, randomBytes, stopwatch } = options;
  const begun = stopwatch();
  const from = `${options.store.url} ${plan.backup}`;
  const directory = await RestoringDirectory.begin(
    { files, dataDirectory, holder, now, randomBytes },
    { from, lastOffset: plan.last, startedAt: new Date(now()).toISOString() },
  );
  try {
    const restoration = new Restoration(plan, options, directory);
    await restoration.bringFiles();
    await restoration.joinPieces();
    const snapshots = await restoration.checkSnapshots();
    const log = await directory.finish({
      last: plan.last,
      clusterId: plan.manifest.clusterId,
      epochsUpTo: asEpoch(Math.max(...plan.manifest.epochs.map(({ epoch }) => epoch))),
      from,
    });
    const durationMs = Math.round(stopwatch() - begun);
    return { ...reportOf(plan, options, log, snapshots), durationMs, warnings: restoration.warnings };
  } finally {
    await directory.close();
  }
}

class Restoration {
  readonly warnings: string[];
  readonly #plan: RestorePlan;
  readonly #options: RestoreOptions;
  readonly #directory: RestoringDirectory;
  #bytesDone = 0;

  constructor(plan: RestorePlan, options: RestoreOptions, directory: RestoringDirectory) {
    this.#plan = plan;
    this.#options = options;
    this.#directory = directory;
    this.warnings = [...plan.warnings];
  }

  /** Several at once; when one fails, those that have begun are waited for, and no other begins. */
  async bringFiles(): Promise<void> {
    const waiting: ManifestEntry[] = [...this.#plan.segments, ...this.#plan.snapshots].reverse();
    const failures: unknown[] = [];
    const bringNext = async (): Promise<void> => {
      for (let entry = waiting.pop(); entry !== undefined && failures.length === 0; entry = waiting.pop())
        try {
          await (entry.kind === "segment" ? this.#bringSegment(entry) : this.#bringSnapshot(entry));
        } catch (error) {
          failures.push(error);
        }
    };
    await Promise.all(Array.from({ length: this.#options.parallel }, bringNext));
    if (failures.length > 0) throw failures[0];
  }

  /**
   * A segment that was sent in pieces, as the log grew, becomes one again: a replica that begins with this directory must have the borders
   * of its primary. (Manifests that do not say what is a piece leave the pieces segments of their own.)
   */
  async joinPieces(): Promise<void> {
    const segments: SegmentEntry[][] = [];
    for (const entry of this.#plan.segments) {
      const pieces = segments.at(-1);
      const before = pieces?.at(-1);
      if (before !== undefined && isOfOneSegment(before, entry)) pieces?.push(entry);
      else segments.push([entry]);
    }
    for (const pieces of segments)
      if (pieces.length > 1)
        await this.#directory.joinSegments(pieces.map(({ baseOffset }) => offset(baseOffset)));
  }

  /**
   * Snapshots are copied as bytes; here each shows that it is of this log. One that is not is left out: a start would pass it over.
   * @throws BackupError BACKUP_DAMAGED when the log cannot do without it.
   */
  async checkSnapshots(): Promise<readonly SnapshotEntry[]> {
    const { manifest, last, snapshots } = this.#plan;
    const view = await this.#directory.view(last);
    const good: SnapshotEntry[] = [];
    for (const entry of snapshots) {
      const problem = await this.#problemOf(entry, view);
      if (problem === undefined) good.push(entry);
      else {
        await this.#directory.removeSnapshot(fileNameOf(entry));
        this.warnings.push(problem);
      }
    }
    if (manifest.firstOffset === 1 || good.some(({ offset: at }) => at >= manifest.firstOffset - 1))
      return good;
    throw new BackupError(
      "BACKUP_DAMAGED",
      `the log begins at offset ${manifest.firstOffset}, and no snapshot of the backup tells what was before: ${this.warnings.join("; ")}`,
      { first: manifest.firstOffset },
    );
  }

  async #problemOf(entry: SnapshotEntry, view: LogView): Promise<string | undefined> {
    const { files, dataDirectory } = this.#options;
    const name = fileNameOf(entry);
    try {
      const mark = await inspectSnapshot(files, `${dataDirectory}/${SNAPSHOT_DIRECTORY}/${name}`);
      return (await view.agrees(mark)) ? undefined : `snapshot ${name} is not of this log, and was left out`;
    } catch (error) {
      if (error instanceof SnapshotError) return `snapshot ${name} was left out: ${error.message}`;
      throw error;
    }
  }

  async #bringSegment(entry: SegmentEntry): Promise<void> {
    const { last } = this.#plan;
    const { end } = await this.#directory.placeSegment(offset(entry.baseOffset), this.#bytesOf(entry), last);
    if (entry.endOffset > last || end.seed === entry.endCrc) return;
    throw damaged(entry, `crc ${entry.endCrc} of the last record`, `${end.seed}`);
  }

  async #bringSnapshot(entry: SnapshotEntry): Promise<void> {
    await this.#directory.placeSnapshot(fileNameOf(entry), this.#bytesOf(entry));
  }

  /** The object's bytes; the end is not reached when they are not those of the manifest. */
  async *#bytesOf(entry: ManifestEntry): AsyncGenerator<Uint8Array, void> {
    const { store, signal, onProgress } = this.#options;
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of store.get(entry.name)) {
      hash.update(chunk);
      bytes += chunk.length;
      // What is longer than it should be must not fill the disk.
      if (bytes > entry.bytes) break;
      yield chunk;
      signal?.throwIfAborted();
      this.#bytesDone += chunk.length;
      onProgress?.(this.#bytesDone, this.#plan.bytes);
    }
    const sha256 = hash.digest("hex");
    if (bytes !== entry.bytes || sha256 !== entry.sha256)
      throw damaged(entry, `${entry.bytes} bytes with SHA-256 ${entry.sha256}`, `${bytes} with ${sha256}`);
  }
}

function reportOf(
  { backup, manifest, segments, bytes }: RestorePlan,
  { store, dataDirectory }: RestoreOptions,
  log: RestoredLog,
  snapshots: readonly SnapshotEntry[],
): Omit<RestoreReport, "durationMs" | "warnings"> {
  return {
    dataDirectory,
    repository: store.url,
    backup,
    clusterId: log.identity.clusterId,
    nodeId: log.identity.nodeId,
    firstOffset: log.firstOffset,
    lastOffset: log.lastOffset,
    lastTimestamp: log.lastTimestamp,
    lastCrc: log.lastCrc,
    leftOut: manifest.lastOffset - log.lastOffset,
    epoch: log.epoch.epoch,
    lineageId: log.epoch.lineageId,
    snapshotOffset: newestOf(snapshots),
    files: segments.length + snapshots.length,
    bytes,
  };
}

const newestOf = (snapshots: readonly SnapshotEntry[]): number | null =>
  snapshots.length === 0 ? null : Math.max(...snapshots.map(({ offset: at }) => at));

const isOfOneSegment = (before: SegmentEntry, entry: SegmentEntry): boolean =>
  entry.segmentBase !== undefined &&
  entry.segmentBase === (before.segmentBase ?? before.baseOffset) &&
  entry.lineageId === before.lineageId &&
  entry.baseOffset === before.endOffset + 1;

function fileNameOf({ name }: SnapshotEntry): string {
  const parsed = parseObject(name);
  if (parsed?.kind === "snapshot") return parsed.fileName;
  throw new BackupError("BACKUP_DAMAGED", `the manifest names ${name} as a snapshot, which it is not`, {
    name,
  });
}

function damaged({ name }: ManifestEntry, expected: string, found: string): BackupError {
  return new BackupError("BACKUP_DAMAGED", `${name} is damaged: expected ${expected}, found ${found}`, {
    name,
  });
}
