/** What backups a repository holds, by their manifests. */
import { BackupError } from "./errors.js";
import type { ObjectStore } from "./object-store.js";
import { eachBackup } from "./repository.js";

export interface ListedBackup {
  readonly id: string;
  readonly createdAt: number;
  /** Undefined when the manifest cannot be read; `problem` says why. */
  readonly contents?: {
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
}

/** Oldest first. */
export async function describeBackups(store: ObjectStore): Promise<ListedBackup[]> {
  const listed: ListedBackup[] = [];
  for await (const { id, createdAt, read } of eachBackup(store)) {
    if (read instanceof BackupError) {
      listed.push({ id, createdAt, problem: read.message });
      continue;
    }
    const { clusterId, nodeId, firstOffset, lastOffset, firstTimestamp, lastTimestamp } = read;
    const contents = {
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
    listed.push({ id, createdAt, contents });
  }
  return listed;
}
