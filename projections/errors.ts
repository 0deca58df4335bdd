/**
 * Failures of the projections: a record that this release cannot read, or a state that must not be asked any more.
 * What a caller asked wrongly is a rejection (a value, see `decision.ts`), never one of these.
 */

export type ProjectionErrorCode =
  /** A record's body is not what its kind and version say. Its checksum held, so whoever wrote it wrote it so. */
  | "PROJECTION_EVENT_MALFORMED"
  /** The event was written by a release that knows more than this one; another release is needed. Not damage. */
  | "PROJECTION_EVENT_UNKNOWN"
  /** A projection failed on a record. Its state may be half of the truth and is never shown again. */
  | "PROJECTION_DEAD"
  | "PROJECTION_CLOSED"
  /** A state of the past was asked to change. */
  | "PROJECTION_PAST";

export type ProjectionErrorContext = Readonly<Record<string, string | number | undefined>>;

export class ProjectionError extends Error {
  readonly code: ProjectionErrorCode;
  readonly context: ProjectionErrorContext;

  constructor(
    code: ProjectionErrorCode,
    message: string,
    context: ProjectionErrorContext = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ProjectionError";
    this.code = code;
    this.context = context;
  }
}

/** A body that does not decode. `position` counts from the body's first byte. */
export function malformed(what: string, position: number): ProjectionError {
  return new ProjectionError("PROJECTION_EVENT_MALFORMED", `event body: ${what} at byte ${position}`, {
    position,
  });
}
