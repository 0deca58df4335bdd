/** The errors that an open log refuses calls with, each made in one place so that code, words and context agree. */
import { errnoOf, LogError } from "./errors.js";
import type { OpenLogOptions } from "./settings.js";
import type { Offset } from "./units.js";

export function closedError(): LogError {
  return new LogError("LOG_CLOSED", "the log was closed");
}

export function tooLarge(bytes: number, bytesMax: number): LogError {
  return new LogError("LOG_RECORD_TOO_LARGE", `a record of ${bytes} bytes is too large`, { bytes, bytesMax });
}

export function diskFull({ dataDirectory, reserveBytes }: OpenLogOptions): LogError {
  const message = `the disk is nearly full: less than the reserve of ${reserveBytes} bytes would be left; make space below ${dataDirectory}`;
  return new LogError("LOG_DISK_FULL", message, { directory: dataDirectory, reserveBytes });
}

export function beyondEnd(offset: Offset, end: Offset): LogError {
  const message = `offset ${offset} lies beyond the end of the log, ${end}`;
  return new LogError("LOG_OFFSET_BEYOND_END", message, { offset, end });
}

export function retired(offset: Offset, first: Offset): LogError {
  const message = `offset ${offset} was removed by retention; the log begins at ${first}`;
  return new LogError("LOG_OFFSET_RETIRED", message, { offset, first });
}

/** Of a reader under which the end of the log was cut off. */
export function cutOff(offset: Offset, end: Offset): LogError {
  const message = `the records up to offset ${offset} cannot be read as a whole any more: the log was cut after ${end}`;
  return new LogError("LOG_OFFSET_RETIRED", message, { offset, end });
}

/** Why the log cannot be cut now. */
export function recordsWait(count: number): LogError {
  const message = "records are waiting for the disk; the log is cut when none is";
  return new LogError("LOG_BUSY", message, { waiting: count });
}

/** Why nothing can be appended now. */
export function beingCut(): LogError {
  return new LogError("LOG_BUSY", "the end of the log is being cut off; try again shortly");
}

/** The last error of a log: everyone gets the same one. */
export function failedBecause(cause: unknown, end: Offset, durable: Offset): LogError {
  const errno = errnoOf(cause);
  const message = `the log cannot be written any more (${errno ?? String(cause)}); restart to find out what the disk holds`;
  return new LogError("LOG_FAILED", message, { errno, end, durable }, cause);
}
