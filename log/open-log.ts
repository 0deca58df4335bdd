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
} from "./data-directory.js";
import { DIRECTORY_FORMAT_VERSION, raiseDirectoryFormat, readDirectoryFormat } from "./directory-format.js";
import { EpochTable } from "./epochs.js";
import { assert, errnoOf, LogError } from "./errors.js";
import { RECORD_BODY_BYTES_MAX } from "./format.js";
import { isNoSpace } from "./free-space.js";
import { endInstallation } from "./installing.js";
import type { OpenedLog } from "./opened-log.js";
import { recoverLog } from "./recovery.js";
import { readRecoveryPoint } from "./recovery-point.js";
import { logSegment, SegmentList } from "./segment-list.js";
import { SegmentedLog } from "./segmented-log.js";
import type { LogSettings, OpenLogOptions } from "./settings.js";

const SEGMENT_BYTES_MIN = 4096;
const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

/**
 * Opens the log, or makes one in a directory without. A new log has its first epoch durable when this resolves.
 * @throws LogError LOG_LOCKED, LOG_DIRECTORY_UNUSABLE, LOG_CORRUPT, LOG_VERSION_UNKNOWN, LOG_DISK_FULL, LOG_FAILED.
 */
export async function openLog(options: OpenLogOptions): Promise<OpenedLog> {
  checkSettings(options);
  try {
    const directory = await openDataDirectory(options.files, options.dataDirectory, options.holder);
    try {
      return await openHeld(options, directory);
    } catch (error) {
      await directory.lock.release();
      throw error;
    }
  } catch (error) {
    throw explain(error, options.dataDirectory);
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

async function openHeld(options: OpenLogOptions, directory: DataDirectory): Promise<OpenedLog> {
  const { files, dataDirectory, randomBytes } = options;
  const stopwatch = options.stopwatch ?? options.now;
  const since = stopwatch();
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
      durationMs: stopwatch() - since,
    },
  };
}

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
  const message = `the log in ${directory} cannot be opened (${errno}): ${String(error)}`;
  return new LogError("LOG_FAILED", message, { directory, errno }, error);
}
