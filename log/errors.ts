/**
 * Failures of the log: the world's fault (disk, a damaged file, another process), each with a stable code.
 * Nothing ever matches on a message; `context` carries what an operator needs: file, position, offset, expected, found.
 */

export type LogErrorCode =
  /** A write or a sync failed, so nobody knows what the disk holds. Only a restart that re-reads the files clears it. */
  | "LOG_FAILED"
  /** Free space is at or below the reserve; appends are refused until there is space again. */
  | "LOG_DISK_FULL"
  /** More is waiting for the disk than the log may hold in memory. */
  | "LOG_BUSY"
  /** The record is larger than the log accepts. */
  | "LOG_RECORD_TOO_LARGE"
  /** The state is still being folded from the log; nothing can be asked or told yet. */
  | "LOG_REPLAYING"
  /** The log was closed. */
  | "LOG_CLOSED"
  /** Something that was once durable is damaged, missing or foreign. Never repaired silently. */
  | "LOG_CORRUPT"
  /** A file has a format version that this release does not know. Not damage: another release is needed. */
  | "LOG_VERSION_UNKNOWN"
  /** Another process holds the data directory. */
  | "LOG_LOCKED"
  /** The requested offset was removed by retention, `context.first` is the earliest that can be read; or it was cut off while it was read. */
  | "LOG_OFFSET_RETIRED"
  /** The requested offset lies beyond the end of the log. */
  | "LOG_OFFSET_BEYOND_END"
  /** The data directory cannot be used as asked (not a directory, not empty, not writable). */
  | "LOG_DIRECTORY_UNUSABLE"
  /** A restore into the data directory was ended before it was whole. */
  | "LOG_RESTORE_UNFINISHED"
  /** An installation of another node's log was ended before it was whole; the next opening ends it. */
  | "LOG_INSTALL_UNFINISHED"
  /** The log follows another one: it takes no records of its own. */
  | "LOG_FOLLOWING"
  /** Records were received by a log that follows none. */
  | "LOG_NOT_FOLLOWING"
  /** What was received does not continue the log; `context` says what was expected and found. */
  | "LOG_NOT_CONTINUED"
  /** A received record does not hold. */
  | "LOG_RECORD_BAD"
  /** A reader fell too far behind a bounded buffer and was let go. */
  | "LOG_READER_TOO_SLOW";

export type LogErrorContext = Readonly<Record<string, string | number | boolean | undefined>>;

export class LogError extends Error {
  readonly code: LogErrorCode;
  readonly context: LogErrorContext;

  constructor(code: LogErrorCode, message: string, context: LogErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "LogError";
    this.code = code;
    this.context = context;
  }
}

/** Stops on a mistake of ours. A failed assertion is a bug, never the world's or the caller's fault. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new AssertionFailed(invariant);
}

export class AssertionFailed extends Error {
  constructor(invariant: string) {
    super(`broken invariant: ${invariant}`);
    this.name = "AssertionFailed";
  }
}

/** The end of a switch over a union: reaching it does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionFailed(`unreachable case ${String(value)}`);
}

/** The code of an error that has one, whoever gave it: the system, the runtime, a library or a room of ours. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/** What an error says, or whatever was thrown in its place. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const ERRNO = /^E[A-Z0-9]+$/;

/**
 * The errno name of a system error (`ENOSPC`, `EIO`), or undefined for anything else. What the runtime says of a call that was wrong
 * (`ERR_OUT_OF_RANGE`) is a bug, and no word of the disk's.
 */
export function errnoOf(error: unknown): string | undefined {
  const code = codeOf(error);
  if (code === undefined || ERRNO.test(code)) return code;
  // The runtime has no name for some, such as EUCLEAN; they have their number all the same.
  return error instanceof Error && "errno" in error && typeof error.errno === "number" ? code : undefined;
}

/** Goes on without what the disk refused. Whatever else has failed is thrown. */
export function ignoreDiskError(error: unknown): void {
  if (errnoOf(error) === undefined) throw error;
}

/** Of a failure that somebody else is told. */
export function ignoreReported(): undefined {
  return undefined;
}
