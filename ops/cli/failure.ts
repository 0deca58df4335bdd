/**
 * How a command ends: one exit code, and for every code but 0 exactly one line on stderr that says what, where and what
 * to do. The codes are promises to supervisors and scripts; `ops/docs/operations.md` lists them.
 */
import { errnoOf, errorMessage, LogError, type LogErrorCode } from "../../log/index.js";
import {
  ProjectionError,
  type ProjectionErrorCode,
  SnapshotError,
  type SnapshotErrorCode,
} from "../../projections/index.js";
import { ReplicationError, type ReplicationErrorCode } from "../../replication/index.js";
import { BackupError } from "../backup/errors.js";
import { ConfigFileError } from "../config/config-file.js";
import { describeMistake, type Mistake } from "../config/origin.js";
import { backupAdvice } from "./backup-advice.js";
import { type Advice, type ExitCode, exitCodes } from "./exit-codes.js";

export { type ExitCode, exitCodes } from "./exit-codes.js";

/** Ends the command with this code and this line. */
export class CliFailure extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "CliFailure";
    this.exitCode = exitCode;
  }
}

/** The first mistake, and how many more there are. */
export function configFailure(mistakes: readonly Mistake[]): CliFailure {
  const [first] = mistakes;
  const more = mistakes.length - 1;
  const rest = more > 0 ? ` (and ${more} more: run annals config check)` : "";
  return new CliFailure(
    exitCodes.usage,
    `${first === undefined ? "configuration" : describeMistake(first)}${rest}`,
  );
}

interface Verdict {
  readonly exitCode: ExitCode;
  readonly line: string;
}

export function verdictOf(error: unknown): Verdict {
  if (error instanceof CliFailure) return { exitCode: error.exitCode, line: oneLine(error.message) };
  if (error instanceof ConfigFileError)
    return { exitCode: exitCodes.usage, line: oneLine(`${error.file}: ${error.message}`) };
  if (error instanceof LogError) return coded(error, adviceByCode[error.code]);
  if (error instanceof ReplicationError)
    return coded(error, replicationAdvice[error.code] ?? { exitCode: exitCodes.failed, advice: seeSet });
  if (error instanceof BackupError) return coded(error, backupAdvice[error.code]);
  if (error instanceof ProjectionError) return coded(error, projectionAdvice[error.code]);
  if (error instanceof SnapshotError) return coded(error, snapshotAdvice[error.code]);
  return { exitCode: exitCodes.failed, line: oneLine(systemText(error)) };
}

/** The place is told once, and the failure's own advice goes before the general one. */
function coded(
  error: LogError | ProjectionError | SnapshotError | BackupError | ReplicationError,
  { exitCode, advice }: Advice,
): Verdict {
  const { advice: own, ...place } = error.context;
  const where = Object.entries(place)
    .filter(([, value]) => value !== undefined && !error.message.includes(String(value)))
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ");
  const shown = where === "" ? "" : ` (${where})`;
  const next = own === undefined ? advice : exitCode === exitCodes.damaged ? seeAll(error, own) : String(own);
  return { exitCode, line: oneLine(`${error.code}: ${error.message}${shown}; ${next}`) };
}

const SEE_ALL = "nothing was changed; `annals verify` lists all damage";

const seeAll = ({ message }: Error, own: unknown): string =>
  message.includes(String(own)) ? SEE_ALL : `${String(own)}; ${SEE_ALL}`;

const damagedAdvice =
  "nothing was changed: `annals verify` lists all damage, restore a backup, or see what `annals repair` would keep";

const otherRelease = "this is not damage: start the release that wrote it; nothing was changed";

/** Every code has an exit code and says what to do, so that a new one does not compile without them. */
const adviceByCode: Readonly<Record<LogErrorCode, Advice>> = {
  LOG_CORRUPT: { exitCode: exitCodes.damaged, advice: damagedAdvice },
  LOG_VERSION_UNKNOWN: {
    exitCode: exitCodes.damaged,
    advice: "this is not damage: start the release that wrote it; nothing was changed",
  },
  LOG_LOCKED: { exitCode: exitCodes.locked, advice: "stop that process, or choose another --data-dir" },
  LOG_FAILED: {
    exitCode: exitCodes.storageFailed,
    advice: "check the disk (dmesg), then start again: the start finds out what the disk holds",
  },
  LOG_DIRECTORY_UNUSABLE: {
    exitCode: exitCodes.usage,
    advice: "check data_dir: a directory that this user may write, empty or of an earlier start",
  },
  LOG_DISK_FULL: { exitCode: exitCodes.failed, advice: "free some space, or lower log.reserve_bytes" },
  LOG_BUSY: { exitCode: exitCodes.failed, advice: "try again" },
  LOG_RECORD_TOO_LARGE: { exitCode: exitCodes.failed, advice: "split it, or raise log.record_bytes_max" },
  LOG_REPLAYING: { exitCode: exitCodes.failed, advice: "try again when the replay is done" },
  LOG_CLOSED: { exitCode: exitCodes.failed, advice: "start it again" },
  LOG_OFFSET_RETIRED: {
    exitCode: exitCodes.failed,
    advice: "begin at the first offset that is still there",
  },
  LOG_OFFSET_BEYOND_END: { exitCode: exitCodes.failed, advice: "choose an offset up to the end" },
  LOG_RESTORE_UNFINISHED: {
    exitCode: exitCodes.damaged,
    advice:
      "run the same `annals restore` or `annals migrate` into this directory again, or remove it and choose another",
  },
  LOG_INSTALL_UNFINISHED: {
    exitCode: exitCodes.damaged,
    advice: "start the server in this directory once: it ends what was begun",
  },
  LOG_FOLLOWING: { exitCode: exitCodes.failed, advice: "write to the primary" },
  LOG_NOT_FOLLOWING: { exitCode: exitCodes.failed, advice: "let the node follow first" },
  LOG_NOT_CONTINUED: { exitCode: exitCodes.failed, advice: "compare the two logs: `annals diff`" },
  LOG_RECORD_BAD: {
    exitCode: exitCodes.failed,
    advice: "check the network and the primary's log: `annals verify`",
  },
  LOG_READER_TOO_SLOW: { exitCode: exitCodes.failed, advice: "read on from the last offset seen" },
};

const projectionAdvice: Readonly<Record<ProjectionErrorCode, Advice>> = {
  PROJECTION_EVENT_MALFORMED: { exitCode: exitCodes.damaged, advice: damagedAdvice },
  PROJECTION_EVENT_UNKNOWN: {
    exitCode: exitCodes.damaged,
    advice:
      "this is not damage, and nothing is lost: start the release that wrote it; of a replica, the release of its primary",
  },
  PROJECTION_DEAD: {
    exitCode: exitCodes.storageFailed,
    advice: "start it again: the state is folded anew from the log; please report the log's last lines",
  },
  PROJECTION_CLOSED: { exitCode: exitCodes.failed, advice: "start it again" },
  PROJECTION_PAST: { exitCode: exitCodes.failed, advice: "only reads can be asked of the past" },
};

const snapshotAdvice: Readonly<Record<SnapshotErrorCode, Advice>> = {
  SNAPSHOT_DAMAGED: {
    exitCode: exitCodes.damaged,
    advice:
      "the log has all of it: remove the file, or restore it from a backup; `annals verify` looks at every snapshot",
  },
  SNAPSHOT_VERSION_UNKNOWN: { exitCode: exitCodes.damaged, advice: otherRelease },
  SNAPSHOT_FOREIGN: { exitCode: exitCodes.damaged, advice: "move the file to where it belongs" },
  SNAPSHOT_BEYOND_LOG: {
    exitCode: exitCodes.damaged,
    advice:
      "nothing was changed: restore a backup, or, to go on without the lost records, move the snapshot elsewhere",
  },
  SNAPSHOT_MISSING: {
    exitCode: exitCodes.damaged,
    advice: "nothing was changed: restore a snapshot of that range, or the whole directory, from a backup",
  },
};

const seeSet = "`annals status` shows the nodes of the set; see ops/docs/replication.md";

/** What can keep a node from starting; the others are told to clients, or to the log. */
const replicationAdvice: Partial<Readonly<Record<ReplicationErrorCode, Advice>>> = {
  REPLICATION_NOT_ALONE: {
    exitCode: exitCodes.usage,
    advice:
      "nothing was changed: start it as a node of its set (--role master or replica), and promote it if it is to lead; for a store of its own, `annals backup` it and restore that elsewhere",
  },
  REPLICATION_LEADERSHIP_DAMAGED: {
    exitCode: exitCodes.damaged,
    advice:
      "nothing was changed: start it as a replica in an empty data_dir, or restore leadership.json from a backup of this node",
  },
};

/** System errors that an operator can act on, in words; anything else as it is. */
function systemText(error: unknown): string {
  const text = errorMessage(error);
  switch (errnoOf(error)) {
    case "EADDRINUSE":
      return `${text}; another process has this port: stop it, or choose another --port`;
    case "EADDRNOTAVAIL":
      return `${text}; this machine has no such address: check server.host`;
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return `${text}; this user may not do that: check owner and mode`;
    case "ENOSPC":
      return `${text}; the disk is full: free some space`;
    case "ENOENT":
    case "ENOTDIR":
      return `${text}; check the path`;
    case "EISDIR":
      return `${text}; a file belongs there: move the directory elsewhere`;
    case "EIO":
      return `${text}; the disk does not work: check it (dmesg)`;
    default:
      return text;
  }
}

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, " ").trim();
