/** What to do about each failure of a backup, a look at one, or a restore, and the exit code that it ends with. */
import type { BackupErrorCode } from "../backup/errors.js";
import { type Advice, exitCodes } from "./exit-codes.js";

/** Every code is here, so that a new one does not compile without its advice. */
export const backupAdvice: Readonly<Record<BackupErrorCode, Advice>> = {
  BACKUP_TARGET_INVALID: { exitCode: exitCodes.usage, advice: "nothing was changed" },
  BACKUP_LOCKED: { exitCode: exitCodes.locked, advice: "wait until it has ended, or stop it" },
  BACKUP_REPOSITORY_FOREIGN: {
    exitCode: exitCodes.usage,
    advice: "choose a repository of its own for each cluster; nothing was changed",
  },
  BACKUP_NOT_FOUND: {
    exitCode: exitCodes.usage,
    advice: "`annals backup list` shows what there is",
  },
  BACKUP_NOTHING: { exitCode: exitCodes.failed, advice: "check --data-dir" },
  BACKUP_SNAPSHOT_MISSING: {
    exitCode: exitCodes.failed,
    advice: "make a snapshot first: POST /snapshot, or `annals snapshot` when no server is running",
  },
  BACKUP_SOURCE_CHANGED: { exitCode: exitCodes.failed, advice: "run the backup again" },
  BACKUP_DAMAGED: { exitCode: exitCodes.damaged, advice: "`annals backup verify --all` lists all damage" },
  BACKUP_VERSION_UNKNOWN: {
    exitCode: exitCodes.damaged,
    advice: "this is not damage: use the release that wrote it, or a newer one",
  },
  RESTORE_TARGET_BEYOND: {
    exitCode: exitCodes.usage,
    advice: "--latest takes everything that there is; nothing was changed",
  },
  RESTORE_TARGET_RETIRED: {
    exitCode: exitCodes.usage,
    advice: "`annals backup list` shows from where to where each backup goes; nothing was changed",
  },
  RESTORE_POINT_UNKNOWN: {
    exitCode: exitCodes.usage,
    advice: "GET /restore-points of the server shows what there is; nothing was changed",
  },
  RESTORE_COMPARE_FAILED: {
    exitCode: exitCodes.failed,
    advice: "check the address, or leave --compare out; nothing was changed",
  },
  BACKUP_ARCHIVE_DIVERGED: {
    exitCode: exitCodes.usage,
    advice: "give this server an archive.url of its own: another prefix is enough",
  },
  BACKUP_ARCHIVE_GAP: {
    exitCode: exitCodes.usage,
    advice: "give this server a new archive.url; the old archive stays restorable up to its end",
  },
  BACKUP_ARCHIVE_TAKEN: {
    exitCode: exitCodes.locked,
    advice: "stop one of the two servers, or give it an archive.url of its own, and start it again",
  },
  DRILL_SERVER_FAILED: {
    exitCode: exitCodes.failed,
    advice: "restore it by hand with `annals restore` and look at what `annals serve` says",
  },
  BACKUP_STORE_FAILED: { exitCode: exitCodes.failed, advice: "try again when the store can be reached" },
};
