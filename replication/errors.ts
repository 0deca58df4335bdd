/**
 * Failures of replication, each with a stable code. Nothing matches on a message; a code also travels in REFUSED, so that both sides
 * say the same.
 */

/** What a connection can end with. Those that a side tells the other before it closes are marked →. */
export const LINK_ERROR_CODES = [
  /** → Bytes that are no frame: a length past its bound, an unknown type, a checksum that does not hold. */
  "REPLICATION_FRAME_BAD",
  /** → A frame whose content does not have the fields and bounds of its type. */
  "REPLICATION_MESSAGE_BAD",
  /** → A sound message that the state of the link does not allow. */
  "REPLICATION_MESSAGE_UNEXPECTED",
  /** → The other side speaks a protocol version that this release does not. */
  "REPLICATION_PROTOCOL_UNKNOWN",
  /** → The other side keeps its log in a format version that this release does not know. */
  "REPLICATION_FORMAT_UNKNOWN",
  /** → The two nodes belong to different clusters. */
  "REPLICATION_CLUSTER_FOREIGN",
  /** → A node that reached itself. */
  "REPLICATION_SELF",
  /** → Another node that follows has the same id: the data directory of one is a copy of the other's. */
  "REPLICATION_TWIN",
  /** → The node that is followed follows this one, directly or through others: no record would ever come. */
  "REPLICATION_CIRCLE",
  /** → The proof of the shared secret is missing or wrong. */
  "REPLICATION_SECRET_WRONG",
  /** → The shared secret that the link began with is none of that side's any more. */
  "REPLICATION_SECRET_RETIRED",
  /** → Whoever was asked for records has heard of a higher leadership than its own. */
  "REPLICATION_FENCED",
  /** → Who was asked to give way to a candidate does not: it leads and holds no writes for it, or its role is changing. */
  "REPLICATION_NOT_YIELDED",
  /** → Whoever offers records leads under a lower leadership than the highest that was heard of here. */
  "REPLICATION_PRIMARY_STALE",
  /** → A leadership was stated that no promotions can have led to: its epoch is a million above all that was heard of here. */
  "REPLICATION_EPOCH_ABSURD",
  /** → There is nothing yet that the other side could begin with: no log, no snapshot that reaches up to where the log begins, or less than the other side has confirmed, perhaps. */
  "REPLICATION_NOT_READY",
  /** → More connections than are taken. */
  "REPLICATION_TOO_MANY_CONNECTIONS",
  /** → The log of the side that says so is damaged; nothing of it is sent on, nothing is written behind it. */
  "REPLICATION_LOG_DAMAGED",
  /** → Records arrived that do not continue this log, or whose checksum does not hold. */
  "REPLICATION_RECORDS_REFUSED",
  /** → The log or the disk of the side that says so cannot go on. */
  "REPLICATION_LOG_FAILED",
  /** → The end that only this side has cannot be cut off: no snapshot is left from which the rest could be folded, or it is damaged. It takes a full sync. */
  "REPLICATION_CUT_TOO_DEEP",
  /** → Retention, or a cut, took what was about to be sent; the next connection finds out what can be had instead. */
  "REPLICATION_RECORDS_RETIRED",
  /** → The full sync could not be put in place. */
  "REPLICATION_INSTALL_FAILED",
  /** → Nothing was heard from the other side for too long. */
  "REPLICATION_TIMEOUT",
  /** → This side stops, or goes somewhere else. */
  "REPLICATION_STOPPING",
  /** The other side refused with a code that this release does not know. */
  "REPLICATION_REFUSED",
  /** No connection could be made. */
  "REPLICATION_CONNECTION_FAILED",
  /** The connection ended without a word. */
  "REPLICATION_CONNECTION_LOST",
] as const;

export type LinkErrorCode = (typeof LINK_ERROR_CODES)[number];

export type ReplicationErrorCode =
  | LinkErrorCode
  /** This node follows another; writes go to the primary. */
  | "REPLICATION_READ_ONLY"
  /** Fewer replicas than `min_replicas_for_write` were heard of lately. */
  | "REPLICATION_TOO_FEW_REPLICAS"
  /** The replicas are further behind than writes may run ahead. */
  | "REPLICATION_LAGGING"
  /** Stored here, but not confirmed by as many replicas as were asked for, in time. */
  | "REPLICATION_NOT_CONFIRMED"
  /** Promotion: another replica has more of the newest leadership. */
  | "REPLICATION_BETTER_REPLICA"
  /** Promotion: not every known replica could be fenced. */
  | "REPLICATION_NOT_ALL_REACHED"
  /** The command does not fit the node's role. */
  | "REPLICATION_ROLE_WRONG"
  /** A change of role is under way. */
  | "REPLICATION_CHANGING"
  /** The link failed verification too often; it stays down until it is reset. */
  | "REPLICATION_BREAKER_OPEN"
  /** The node is to stand alone, and its directory is of a set in which it does not lead. */
  | "REPLICATION_NOT_ALONE"
  /** What this node kept of the leaderships it heard of cannot be read. */
  | "REPLICATION_LEADERSHIP_DAMAGED";

export type ReplicationErrorContext = Readonly<Record<string, string | number | boolean | undefined>>;

export class ReplicationError extends Error {
  readonly code: ReplicationErrorCode;
  readonly context: ReplicationErrorContext;

  constructor(
    code: ReplicationErrorCode,
    message: string,
    context: ReplicationErrorContext = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ReplicationError";
    this.code = code;
    this.context = context;
  }
}

/** The code that came in a REFUSED, or the one for codes that are not known here. */
export function linkErrorCode(code: string): LinkErrorCode {
  return LINK_ERROR_CODES.find((known) => known === code) ?? "REPLICATION_REFUSED";
}
