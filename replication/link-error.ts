/** What ended a link, as a coded error: failures of the log and of the connection get the words of replication. */
import { errnoOf, LogError } from "../log/index.js";
import { type LinkErrorCode, ReplicationError } from "./errors.js";

/** Anything that was thrown while a message was acted upon. What carries no code is a bug, and stays one. */
export function linkErrorOf(error: unknown): ReplicationError {
  if (error instanceof ReplicationError) return error;
  if (error instanceof LogError)
    return new ReplicationError(codeOf(error), `${error.code}: ${error.message}`, error.context, error);
  const code = errnoOf(error);
  if (code !== undefined)
    return new ReplicationError("REPLICATION_LOG_FAILED", `${code}: ${String(error)}`, { code }, error);
  throw error;
}

const because = (cause: Error | undefined): string => (cause === undefined ? "" : `: ${cause.message}`);

export const connectionLost = (remote: string, cause: Error | undefined): ReplicationError =>
  new ReplicationError(
    "REPLICATION_CONNECTION_LOST",
    `the connection with ${remote} ended${because(cause)}`,
    { remote },
    cause,
  );

export const notConnected = (remote: string, cause: Error | undefined): ReplicationError =>
  new ReplicationError(
    "REPLICATION_CONNECTION_FAILED",
    `no connection to ${remote}${because(cause)}`,
    { remote },
    cause,
  );

function codeOf(error: LogError): LinkErrorCode {
  switch (error.code) {
    case "LOG_CORRUPT":
    case "LOG_VERSION_UNKNOWN":
      return "REPLICATION_LOG_DAMAGED";
    case "LOG_RECORD_BAD":
    case "LOG_NOT_CONTINUED":
      return "REPLICATION_RECORDS_REFUSED";
    case "LOG_OFFSET_RETIRED":
      return "REPLICATION_RECORDS_RETIRED";
    case "LOG_CLOSED":
      return "REPLICATION_STOPPING";
    default:
      return "REPLICATION_LOG_FAILED";
  }
}
