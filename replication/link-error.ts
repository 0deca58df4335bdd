/** What ended a link, as a coded error: failures of the log and of the connection get the words of replication. */
import { codeOf, describeFinding, type Finding, LogError, type Offset } from "../log/index.js";
import { type LinkErrorCode, ReplicationError } from "./errors.js";
import { describeLeadership, type Leadership } from "./leadership-order.js";

/** Anything that was thrown while a message was acted upon. What carries no code is a bug, and stays one. */
export function linkErrorOf(error: unknown): ReplicationError {
  if (error instanceof ReplicationError) return error;
  if (error instanceof LogError)
    return new ReplicationError(
      codeOfFailure(error),
      `${error.code}: ${error.message}`,
      error.context,
      error,
    );
  const code = codeOf(error);
  if (code !== undefined)
    return new ReplicationError("REPLICATION_LOG_FAILED", `${code}: ${String(error)}`, { code }, error);
  throw error;
}

/** Why a node with a damaged log does not say where it ends, sends nothing of it, and does not lead. */
export const damagedLog = (finding: Finding): ReplicationError =>
  new ReplicationError("REPLICATION_LOG_DAMAGED", `this node's log is damaged: ${describeFinding(finding)}`, {
    file: finding.file,
    offset: finding.offset,
  });

/** The end that only this node has is damaged: it cannot be had again, nor put aside record by record. */
export const endDamaged = (finding: Finding, last: Offset): ReplicationError =>
  new ReplicationError(
    "REPLICATION_CUT_TOO_DEEP",
    `what this node has behind offset ${last}, and the others have not, is damaged, so it cannot be cut off: everything is fetched anew, and this log is kept as a whole: ${describeFinding(finding)}`,
    { after: last, file: finding.file, offset: finding.offset },
  );

/** Whoever has heard of a higher leadership than its log ends with sends nothing of it. */
export const sendsNoMore = (own: Leadership | undefined, heard: Leadership | undefined): ReplicationError =>
  new ReplicationError(
    "REPLICATION_FENCED",
    `this node's log ends with ${describeLeadership(own)}, and it has heard of ${describeLeadership(heard)}`,
    { own: own?.epoch, heard: heard?.epoch },
  );

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

function codeOfFailure(error: LogError): LinkErrorCode {
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
