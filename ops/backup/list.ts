/** What backups a repository holds, and its archive, by their manifests. */
import { listArchive, loadArchiveManifest } from "./archive-chain.js";
import { BackupError } from "./errors.js";
import type { Manifest } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { eachBackup, orError } from "./repository.js";

export interface ListedBackup {
  readonly id: string;
  readonly createdAt: number;
  /** Undefined when the manifest cannot be read; `problem` says why. */
  readonly contents?: {
    /** The release that made it. */
    readonly annalsVersion: string;
    readonly clusterId: string;
    readonly nodeId: string;
    readonly firstOffset: number;
    readonly lastOffset: number;
    readonly firstTimestamp: number;
    readonly lastTimestamp: number;
    readonly snapshotOffset: number | null;
    readonly files: number;
    readonly bytes: number;
  };
  readonly problem?: string;
  /** No damage: a release that this one does not know the format of. */
  readonly isOfOtherRelease?: boolean;
}

/** Oldest first. */
export async function describeBackups(store: ObjectStore): Promise<ListedBackup[]> {
  const listed: ListedBackup[] = [];
  for await (const { id, createdAt, read } of eachBackup(store)) listed.push(describe(id, createdAt, read));
  return listed;
}

/** As its newest manifest shows it; undefined when the repository holds none. */
export async function describeArchive(store: ObjectStore): Promise<ListedBackup | undefined> {
  const sequence = (await listArchive(store)).at(-1);
  if (sequence === undefined) return undefined;
  const read = await orError(() => loadArchiveManifest(store, sequence));
  return describe("archive", read instanceof BackupError ? 0 : read.createdAt, read);
}

function describe(id: string, createdAt: number, read: Manifest | BackupError): ListedBackup {
  if (read instanceof BackupError) {
    const isOfOtherRelease = read.code === "BACKUP_VERSION_UNKNOWN";
    return { id, createdAt, problem: read.message, isOfOtherRelease };
  }
  const { clusterId, nodeId, firstOffset, lastOffset, firstTimestamp, lastTimestamp } = read;
  const contents = {
    annalsVersion: read.annalsVersion,
    clusterId,
    nodeId,
    firstOffset,
    lastOffset,
    firstTimestamp,
    lastTimestamp,
    snapshotOffset: read.snapshot?.offset ?? null,
    files: read.files.length,
    bytes: read.files.reduce((sum, { bytes }) => sum + bytes, 0),
  };
  return { id, createdAt, contents };
}
