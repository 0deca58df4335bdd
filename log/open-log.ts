/**
 * Opens the log of a data directory: lock, identity, recovery, then a log that takes appends. The order is the point:
 * nothing is read before the directory is ours, and nothing is written before what is there was found sound.
 */
import type { DataDirectory } from "./data-directory.js";
import {
  checkIdentityIsThere,
  checkIsNotRestoring,
  createIdentity,
  isFollowing,
  openDataDirectory,
  readIdentity,
  UNUSABLE,
} from "./data-directory.js";
import { DIRECTORY_FORMAT_VERSION, raiseDirectoryFormat, readDirectoryFormat } from "./directory-format.js";
import { EpochTable } from "./epochs.js";
import { assert, errnoOf, errorMessage, LogError } from "./errors.js";
import { RECORD_BODY_BYTES_MAX } from "./format.js";
import { isNoSpace } from "./free-space.js";
import { endInstallation } from "./installing.js";
import type { OpenedLog } from "./opened-log.js";
import { type RecoveredLog, recoverLog } from "./recovery.js";
import { type RecoveryPoint, readRecoveryPoint } from "./recovery-point.js";
import { logSegment, SegmentList } from "./segment-list.js";
import { SegmentedLog } from "./segmented-log.js";
import type { Identity, LogSettings, OpenLogOptions } from "./settings.js";

const SEGMENT_BYTES_MIN = 4096;
const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

/**
 * Opens the log, or makes one in a directory without. A new log has its first epoch durable when this resolves.
 * @throws LogError LOG_LOCKED, LOG_DIRECTORY_UNUSABLE, LOG_RESTORE_UNFINISHED, LOG_CORRUPT, LOG_VERSION_UNKNOWN, LOG_DISK_FULL,
 * LOG_FAILED; what `mayLead` does.
 */
export async function openLog(options: OpenLogOptions): Promise<OpenedLog> {
  checkSettings(options);
  const { files, dataDirectory, holder, following, mayLead } = options;
  const explained = <T>(step: Promise<T>): Promise<T> =>
    step.catch((error: unknown) => {
      throw explain(error, dataDirectory);
    });
  const directory = await explained(openDataDirectory(files, dataDirectory, holder));
  try {
    const found = await explained(findLog(options, directory));
    if (following !== true) await mayLead?.(found.recovered.epochs.at(-1));
    return await explained(beginLog(options, directory, found));
  } catch (error) {
    await explained(directory.lock.release());
    throw error;
  }
}

function checkSettings(settings: LogSettings): void {
  const { segmentBytes, recordBytesMax, fsyncIntervalMs, segmentAgeMs, reserveBytes, pendingBytesMax } =
    settings;
  assert(
    segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX,
    "segmentBytes is 4 KiB to 1 GiB",
  );
  assert(recordBytesMax >= 0 && recordBytesMax <= RECORD_BODY_BYTES_MAX, "recordBytesMax is at most 64 MiB");
  assert(fsyncIntervalMs >= 1, "fsyncIntervalMs is at least 1");
  assert(segmentAgeMs >= 0 && reserveBytes >= 0 && pendingBytesMax > 0, "limits are not negative");
}

/** What a directory holds, recovered, before anything is begun in it. */
interface FoundLog {
  /** By the stopwatch. */
  readonly since: number;
  readonly formatVersion: number;
  readonly known: Identity | undefined;
  readonly recoveryPoint: RecoveryPoint | undefined;
  readonly followed: boolean;
  readonly recovered: RecoveredLog;
}

async function findLog(options: OpenLogOptions, directory: DataDirectory): Promise<FoundLog> {
  const { files, dataDirectory } = options;
  const since = stopwatchOf(options)();
  await checkIsNotRestoring(files, dataDirectory);
  const formatVersion = await readDirectoryFormat(files, dataDirectory);
  await endInstallation(files, dataDirectory);
  const known = await readIdentity(files, dataDirectory);
  await checkIdentityIsThere(files, directory, known);
  const recoveryPoint = await readRecoveryPoint(files, dataDirectory);
  const followed = await isFollowing(files, dataDirectory);
  const recovered = await recoverLog({
    files,
    dataDirectory,
    now: () => Math.floor(options.now()),
    recoveryPoint,
    isFollowing: followed,
    ...(known === undefined ? {} : { identity: known }),
  });
  if (options.following === true && recovered.segments.length === 0) throw nothingToFollow(dataDirectory);
  return { since, formatVersion, known, recoveryPoint, followed, recovered };
}

async function beginLog(
  options: OpenLogOptions,
  directory: DataDirectory,
  { since, formatVersion, known, recoveryPoint, followed, recovered }: FoundLog,
): Promise<OpenedLog> {
  const { files, dataDirectory, randomBytes } = options;
  // A directory with an identity and no version is an older release's: the version goes first.
  if (known === undefined) await raiseDirectoryFormat(files, dataDirectory);
  const identity = known ?? (await createIdentity(files, dataDirectory, randomBytes));

  const segments = new SegmentList();
  for (const { header, bytes } of recovered.segments) segments.push(logSegment(header, bytes, true));
  if (segments.count > 0) {
    segments.tail.sealed = false;
    segments.tail.index = recovered.index;
  }
  const created = segments.count === 0;
  const epochs = new EpochTable(recovered.epochs);
  const log = new SegmentedLog(options, {
    directory,
    identity,
    segments,
    epochs,
    next: recovered.next,
    followed,
  });
  await log.begin();
  return {
    log,
    identity,
    formatVersion: known === undefined ? DIRECTORY_FORMAT_VERSION : formatVersion,
    segments: log.segments,
    usage: () => log.segments.usage(),
    firstWithin: (bytesMax) => log.segments.firstWithin(bytesMax),
    recovery: {
      created,
      clean: recoveryPoint?.clean ?? false,
      tornBytes: recovered.torn?.bytes ?? 0,
      tornFile: recovered.torn?.file,
      firstOffset: log.firstOffset,
      endOffset: log.endOffset,
      durationMs: stopwatchOf(options)() - since,
    },
  };
}

const stopwatchOf = ({ stopwatch, now }: OpenLogOptions): (() => number) => stopwatch ?? now;

function nothingToFollow(directory: string): LogError {
  const message = `${directory} holds no log: it cannot follow another one before the first records were installed`;
  return new LogError("LOG_DIRECTORY_UNUSABLE", message, { directory, found: "no log" });
}

/** The system's own errors get a code of the log's; a full disk is no failure, it only comes at a bad moment. */
function explain(error: unknown, directory: string): unknown {
  const cause = error instanceof LogError && error.code === "LOG_FAILED" ? error.cause : error;
  if (isNoSpace(cause)) {
    const message = `the disk of ${directory} is full; make space and start again`;
    return new LogError("LOG_DISK_FULL", message, { directory }, cause);
  }
  const errno = errnoOf(error);
  if (error instanceof LogError || errno === undefined) return error;
  const why = errorMessage(error);
  // Whose file it is, or what stands in its place, no restart mends; one that was there a moment ago is the disk's matter.
  const code = UNUSABLE.has(errno) && errno !== "ENOENT" ? "LOG_DIRECTORY_UNUSABLE" : "LOG_FAILED";
  return new LogError(code, `the log in ${directory} cannot be opened: ${why}`, { directory, errno }, error);
}
