/** Why a backup, a look at one, or a restore stopped. Each names what, where and what to do. */

export type BackupErrorCode =
  /** The address of a repository cannot be used: unknown scheme, not a directory, not writable. */
  | "BACKUP_TARGET_INVALID"
  /** Another process writes to the repository; `context.holder` says which. */
  | "BACKUP_LOCKED"
  /** The repository belongs to another cluster. */
  | "BACKUP_REPOSITORY_FOREIGN"
  /** The repository holds no backup, or none of that name. */
  | "BACKUP_NOT_FOUND"
  /** The data directory holds no record yet. */
  | "BACKUP_NOTHING"
  /** The log no longer begins at its first record, and no snapshot reaches far enough to do without what is gone. */
  | "BACKUP_SNAPSHOT_MISSING"
  /** What was read for the second time was not what had been read before. */
  | "BACKUP_SOURCE_CHANGED"
  /** An object of the repository is missing, damaged, or not what its name says. */
  | "BACKUP_DAMAGED"
  /** A file of the repository was written by a release with another format. */
  | "BACKUP_VERSION_UNKNOWN"
  /** A restore is asked for more than the backup holds. */
  | "RESTORE_TARGET_BEYOND"
  /** No backup reaches back so far. */
  | "RESTORE_TARGET_RETIRED"
  /** No backup holds a restore point of this name. */
  | "RESTORE_POINT_UNKNOWN"
  /** The store that a restore is to be compared with cannot be asked. */
  | "RESTORE_COMPARE_FAILED"
  /** The archive holds another history than this log: one from before a restore, or of a copy of this directory. */
  | "BACKUP_ARCHIVE_DIVERGED"
  /** The archive ends before the oldest record that this log still has. */
  | "BACKUP_ARCHIVE_GAP"
  /** Another server writes to the archive. */
  | "BACKUP_ARCHIVE_TAKEN"
  /** A drill's server did not start from the restored data. */
  | "DRILL_SERVER_FAILED"
  /** The store of a repository cannot be reached, or refuses. */
  | "BACKUP_STORE_FAILED";

export type BackupErrorContext = Readonly<Record<string, string | number | undefined>>;

export class BackupError extends Error {
  readonly code: BackupErrorCode;
  readonly context: BackupErrorContext;

  constructor(code: BackupErrorCode, message: string, context: BackupErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "BackupError";
    this.code = code;
    this.context = context;
  }
}
