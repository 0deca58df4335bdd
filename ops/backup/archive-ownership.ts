/**
 * Whether an archive is this log's to continue. It is when the archive's last record is in the log, told by cluster, lineage
 * and chained crc: then everything before it is the same, too. Anything else would mix two histories, so it is refused.
 */
import { epoch as asEpoch, offset as asOffset, type Identity, type LogView } from "../../log/index.js";
import { BackupError } from "./errors.js";
import type { Manifest } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { listBackups, loadBackup } from "./repository.js";

/** Failures that the same server meets again however often it tries. */
export const REFUSALS: ReadonlySet<string> = new Set([
  "BACKUP_REPOSITORY_FOREIGN",
  "BACKUP_ARCHIVE_DIVERGED",
  "BACKUP_ARCHIVE_GAP",
  "BACKUP_ARCHIVE_TAKEN",
  "BACKUP_VERSION_UNKNOWN",
  "BACKUP_TARGET_INVALID",
]);

/**
 * @param view reaches as far as the log is durable
 * @throws BackupError BACKUP_REPOSITORY_FOREIGN, BACKUP_ARCHIVE_DIVERGED, BACKUP_ARCHIVE_GAP.
 */
export async function refuseForeign(
  store: ObjectStore,
  view: LogView,
  { clusterId }: Identity,
  manifest: Manifest | undefined,
): Promise<void> {
  const found = manifest?.clusterId ?? (await clusterOfBackups(store));
  if (found !== undefined && found !== clusterId)
    throw new BackupError(
      "BACKUP_REPOSITORY_FOREIGN",
      `${store.url} is of cluster ${found}, this server is of ${clusterId}`,
      { url: store.url, expected: clusterId, found },
    );
  if (manifest === undefined) return;
  const { lastOffset, lastTimestamp: timestamp, lastCrc: crc, epochs } = manifest;
  const entry = epochs.findLast(({ first }) => first <= lastOffset);
  if (entry === undefined) throw new BackupError("BACKUP_DAMAGED", "the archive knows no epoch of its end");
  const mark = {
    clusterId,
    lineageId: entry.lineageId,
    epoch: asEpoch(entry.epoch),
    offset: asOffset(lastOffset),
    timestamp,
    crc,
  };
  if (await view.agrees(mark)) return;
  if (lastOffset < view.firstOffset - 1)
    throw new BackupError(
      "BACKUP_ARCHIVE_GAP",
      `the archive ${store.url} ends at offset ${lastOffset}, and this log begins at ${view.firstOffset}`,
      { url: store.url, expected: lastOffset + 1, found: view.firstOffset },
    );
  throw new BackupError(
    "BACKUP_ARCHIVE_DIVERGED",
    `the archive ${store.url} ends with offset ${lastOffset} of lineage ${entry.lineageId.slice(0, 8)}, which is not in this log`,
    { url: store.url, offset: lastOffset, lineage: entry.lineageId },
  );
}

/** Backups and an archive may share a repository, of one cluster. */
async function clusterOfBackups(store: ObjectStore): Promise<string | undefined> {
  const newest = (await listBackups(store)).at(-1);
  return newest === undefined ? undefined : (await loadBackup(store, newest.id)).clusterId;
}
