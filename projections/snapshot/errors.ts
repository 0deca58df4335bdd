/**
 * Failures of snapshots. None of them loses anything: the log is the truth, a snapshot only saves a start the time to read all
 * of it. Two end a start: SNAPSHOT_MISSING, when the log does not reach back far enough to do without one, and SNAPSHOT_BEYOND_LOG,
 * when one shows that the log lost its end.
 */

export type SnapshotErrorCode =
  /** Bytes are not what was written: flipped, cut short, or no snapshot at all. */
  | "SNAPSHOT_DAMAGED"
  /** Written by a release with another format. Not damage: that release, or a newer one, reads it. */
  | "SNAPSHOT_VERSION_UNKNOWN"
  /** Whole, but of another log, of a lost future of this one, or of another offset than its name says. */
  | "SNAPSHOT_FOREIGN"
  /** The log begins after its first record, and no snapshot that can be used reaches up to where it begins. */
  | "SNAPSHOT_MISSING"
  /** It was made of durable records of this very log, and the log ends before them: they are lost. */
  | "SNAPSHOT_BEYOND_LOG";

export type SnapshotErrorContext = Readonly<Record<string, string | number | undefined>>;

export class SnapshotError extends Error {
  readonly code: SnapshotErrorCode;
  /** `file` (path or name), `position`, `expected`, `found`, as far as they are known. */
  readonly context: SnapshotErrorContext;

  constructor(code: SnapshotErrorCode, message: string, context: SnapshotErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "SnapshotError";
    this.code = code;
    this.context = context;
  }
}
