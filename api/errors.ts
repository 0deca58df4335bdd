/**
 * Every code that a door can answer, with its HTTP status: the only place where a code meets HTTP. `ERRORS.md` tells
 * users the same, held equal by a test. A code of the log or the projections that is missing here does not compile.
 */
import type { LogErrorCode } from "../log/index.js";
import type {
  ProjectionErrorCode,
  RejectionCode,
  RejectionDetails,
  SnapshotErrorCode,
} from "../projections/index.js";

/** Refusals of the doors themselves, before or beside any decision. */
export type ApiErrorCode =
  | "API_ACKS_INVALID"
  | "API_ADDRESS_INVALID"
  | "API_AT_BEFORE_FIRST"
  | "API_AT_INVALID"
  | "API_AT_UNSUPPORTED"
  | "API_BATCH_OPERATION_UNSUPPORTED"
  | "API_BATCH_TOO_LARGE"
  | "API_BODY_EMPTY"
  | "API_BODY_INCOMPLETE"
  | "API_BODY_TOO_LARGE"
  | "API_CLIENT_GONE"
  | "API_COMMAND_UNKNOWN"
  | "API_CONTENT_ENCODING_UNSUPPORTED"
  | "API_CONTENT_TYPE_UNSUPPORTED"
  | "API_DISABLED"
  | "API_DRAINING"
  | "API_EXPECTATION_FAILED"
  | "API_FIELD_INVALID"
  | "API_FIELD_MISSING"
  | "API_FIELD_UNKNOWN"
  | "API_HEADERS_TOO_LARGE"
  | "API_HEADER_INVALID"
  | "API_IDEMPOTENCY_KEY_INVALID"
  | "API_INTERNAL"
  | "API_JSON_INVALID"
  | "API_JSON_TOO_DEEP"
  | "API_KEY_RESERVED"
  | "API_LINEAGE_LOST"
  | "API_LINK_UNKNOWN"
  | "API_LIVE_READERS_MAX"
  | "API_METHOD_NOT_ALLOWED"
  | "API_MIN_OFFSET_INVALID"
  | "API_MIN_OFFSET_TIMEOUT"
  | "API_NODE_UNKNOWN"
  | "API_NOT_BUILT"
  | "API_NOT_READY"
  | "API_OFFSET_INVALID"
  | "API_OVERLOADED"
  | "API_PAST_BUSY"
  | "API_PAST_FAILED"
  | "API_PAST_TIMEOUT"
  | "API_PAST_TOO_FAR"
  | "API_PAST_TOO_LARGE"
  | "API_PRECONDITION_UNSUPPORTED"
  | "API_REQUEST_MALFORMED"
  | "API_REQUEST_TIMEOUT"
  | "API_RESULT_TOO_LARGE"
  | "API_ROUTE_UNKNOWN"
  | "API_SECTION_UNKNOWN"
  | "API_SNAPSHOT_FAILED"
  | "API_TEXT_INVALID"
  | "API_TRANSACTIONS_FULL"
  | "API_TRANSACTION_OPEN"
  | "API_URL_INVALID"
  | "API_URL_TOO_LONG"
  | "API_WAITING_FULL";

/** Of replication, as far as a client is told: `ops/` gives these, and a test holds them against the codes of that room. */
export type ReplicationRefusalCode =
  | "REPLICATION_BETTER_REPLICA"
  | "REPLICATION_CHANGING"
  | "REPLICATION_CIRCLE"
  | "REPLICATION_FENCED"
  | "REPLICATION_FORWARD_FAILED"
  | "REPLICATION_HANDOVER_UNKNOWN"
  | "REPLICATION_LAGGING"
  | "REPLICATION_LOG_DAMAGED"
  | "REPLICATION_LOG_FAILED"
  | "REPLICATION_NOT_ALL_REACHED"
  | "REPLICATION_NOT_CONFIRMED"
  | "REPLICATION_NOT_READY"
  | "REPLICATION_READ_ONLY"
  | "REPLICATION_ROLE_WRONG"
  | "REPLICATION_TOO_FEW_REPLICAS";

export type ErrorCode =
  | ReplicationRefusalCode
  | LogErrorCode
  | ProjectionErrorCode
  | SnapshotErrorCode
  | RejectionCode
  | ApiErrorCode;

export interface ErrorRow {
  readonly status: number;
  /** The same for every occurrence; `detail` says what was special about this one. */
  readonly title: string;
  /** Present when the same request may succeed later: seconds to wait, sent as `Retry-After`. */
  readonly retryAfterSecs?: number;
  /** The status on the raw door, where a precondition travels in headers and HTTP has a status of its own for it. */
  readonly rawStatus?: number;
}

export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = {
  API_ACKS_INVALID: { status: 400, title: "So many confirmations cannot be asked for" },
  API_ADDRESS_INVALID: { status: 400, title: "Not an address of a node" },
  API_AT_BEFORE_FIRST: { status: 422, title: "There was nothing yet" },
  API_AT_INVALID: { status: 400, title: "This is not a moment" },
  API_AT_UNSUPPORTED: { status: 400, title: "This cannot be asked of the past" },
  API_BATCH_OPERATION_UNSUPPORTED: { status: 400, title: "This operation cannot be part of a batch" },
  API_BATCH_TOO_LARGE: { status: 413, title: "Too many items in one request" },
  API_BODY_EMPTY: { status: 400, title: "The request needs a body" },
  API_BODY_INCOMPLETE: { status: 400, title: "The body is not as long as announced" },
  API_BODY_TOO_LARGE: { status: 413, title: "The body is larger than accepted" },
  API_CLIENT_GONE: { status: 400, title: "The client went away before its answer" },
  API_COMMAND_UNKNOWN: { status: 400, title: "Unknown command" },
  API_CONTENT_ENCODING_UNSUPPORTED: { status: 415, title: "The encoding of the body is not undone here" },
  API_CONTENT_TYPE_UNSUPPORTED: { status: 415, title: "This route takes application/json" },
  API_DISABLED: { status: 400, title: "This part of the server is switched off" },
  API_DRAINING: { status: 503, title: "The server is shutting down", retryAfterSecs: 1 },
  API_EXPECTATION_FAILED: { status: 417, title: "The only expectation met is 100-continue" },
  API_FIELD_INVALID: { status: 422, title: "A field has a wrong type or value" },
  API_FIELD_MISSING: { status: 422, title: "A required field is missing" },
  API_FIELD_UNKNOWN: { status: 422, title: "A field is not known" },
  API_HEADERS_TOO_LARGE: { status: 431, title: "Request line and headers are larger than accepted" },
  API_HEADER_INVALID: { status: 400, title: "A header is missing or cannot be used" },
  API_IDEMPOTENCY_KEY_INVALID: { status: 400, title: "Not a usable idempotency key" },
  API_INTERNAL: { status: 500, title: "A mistake of the server" },
  API_JSON_INVALID: { status: 400, title: "The body is not JSON" },
  API_JSON_TOO_DEEP: { status: 400, title: "The JSON is nested deeper than accepted" },
  API_KEY_RESERVED: { status: 400, title: "This path is a route of its own, so the key needs another door" },
  API_LINEAGE_LOST: { status: 409, title: "The offset is of a lost history" },
  API_LINK_UNKNOWN: { status: 404, title: "There is no link of this name" },
  API_LIVE_READERS_MAX: { status: 429, title: "Too many live readers are connected", retryAfterSecs: 1 },
  API_METHOD_NOT_ALLOWED: { status: 405, title: "The path does not take this method" },
  API_MIN_OFFSET_INVALID: { status: 400, title: "The minimum offset cannot be used" },
  API_MIN_OFFSET_TIMEOUT: { status: 504, title: "The offset was not reached in time", retryAfterSecs: 1 },
  API_NODE_UNKNOWN: { status: 404, title: "There is no node of this name" },
  API_NOT_BUILT: { status: 501, title: "Not built yet" },
  API_NOT_READY: { status: 503, title: "Not ready to serve", retryAfterSecs: 1 },
  API_OFFSET_INVALID: { status: 400, title: "The offset cannot be used" },
  API_OVERLOADED: { status: 503, title: "Too many writes are waiting", retryAfterSecs: 1 },
  API_PAST_BUSY: { status: 503, title: "Too many requests look back", retryAfterSecs: 1 },
  API_PAST_FAILED: { status: 503, title: "Looking back failed", retryAfterSecs: 5 },
  API_PAST_TIMEOUT: { status: 503, title: "Looking back took too long", retryAfterSecs: 1 },
  API_PAST_TOO_FAR: { status: 422, title: "The moment lies too many records away" },
  API_PAST_TOO_LARGE: { status: 422, title: "The state of that moment is too large to be looked at" },
  API_PRECONDITION_UNSUPPORTED: { status: 400, title: "This precondition is not supported here" },
  API_REQUEST_MALFORMED: { status: 400, title: "Not an HTTP request" },
  API_REQUEST_TIMEOUT: { status: 408, title: "The request took too long to arrive" },
  API_RESULT_TOO_LARGE: { status: 400, title: "The answer would be too large" },
  API_ROUTE_UNKNOWN: { status: 404, title: "Unknown route" },
  API_SECTION_UNKNOWN: { status: 404, title: "Unknown section" },
  API_SNAPSHOT_FAILED: { status: 503, title: "No snapshot was made", retryAfterSecs: 5 },
  API_TEXT_INVALID: { status: 400, title: "The text is not Unicode" },
  API_TRANSACTIONS_FULL: { status: 503, title: "Too much is kept for open transactions", retryAfterSecs: 1 },
  API_TRANSACTION_OPEN: { status: 409, title: "The client has an open transaction" },
  API_URL_INVALID: { status: 400, title: "The URL cannot be decoded" },
  API_URL_TOO_LONG: { status: 414, title: "A part of the path is longer than accepted" },
  API_WAITING_FULL: { status: 503, title: "Too many requests are waiting", retryAfterSecs: 1 },
  BATCH_PRECONDITION_FAILED: { status: 409, title: "A precondition does not hold" },
  BATCH_TRANSACTION_NOT_FOUND: { status: 409, title: "The client has no open transaction" },
  BATCH_VALUES_TOO_LARGE: { status: 413, title: "The values of one batch are too large together" },
  IDEMPOTENCY_ANSWER_TOO_LARGE: { status: 413, title: "The answer is too large to be kept" },
  IDEMPOTENCY_IN_PROGRESS: {
    status: 409,
    title: "The first request with this key is on its way",
    retryAfterSecs: 1,
  },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: "The key was used for another request" },
  KV_CONTENT_TYPE_INVALID: { status: 400, title: "The content type cannot be used" },
  KV_CURSOR_INVALID: { status: 400, title: "The cursor is not one that a scan gave out" },
  KV_EXPIRY_INVALID: { status: 400, title: "The expiry cannot be used" },
  KV_FLUSH_NOT_ALLOWED: { status: 403, title: "Flushing is switched off" },
  KV_HISTORY_TOO_LONG: { status: 422, title: "This lies too far back in the key's history" },
  KV_INTEGER_OVERFLOW: { status: 400, title: "The result does not fit into 64 bits" },
  KV_KEY_INVALID: { status: 400, title: "Not a usable key" },
  KV_KEY_NOT_FOUND: { status: 404, title: "The key is not there" },
  KV_MEMORY_FULL: { status: 507, title: "The memory budget is used up" },
  KV_NOT_AN_INTEGER: { status: 400, title: "The value is not a 64-bit integer" },
  KV_OPTIONS_CONFLICT: { status: 400, title: "Options exclude each other" },
  KV_PATTERN_INVALID: { status: 400, title: "The pattern cannot be read" },
  KV_RANGE_INVALID: { status: 400, title: "The range cannot be used" },
  KV_REVISION_MISMATCH: { status: 409, rawStatus: 412, title: "The key has another revision" },
  KV_REVISION_NOT_FOUND: { status: 404, title: "This is no revision of the key" },
  KV_REVISION_REMOVED: { status: 422, title: "This revision removed the key" },
  KV_REVISION_RETIRED: { status: 410, title: "The revision was removed by retention" },
  KV_VALUES_TOO_LARGE: { status: 413, title: "The values are too large together" },
  KV_VALUE_NOT_TEXT: { status: 400, title: "The value is not text" },
  KV_VALUE_TOO_LARGE: { status: 413, title: "The value is larger than accepted" },
  LOG_BUSY: { status: 503, title: "Too much is waiting for the disk", retryAfterSecs: 1 },
  LOG_CLOSED: { status: 503, title: "The log is closed", retryAfterSecs: 1 },
  LOG_CORRUPT: { status: 500, title: "The log is damaged" },
  LOG_DIRECTORY_UNUSABLE: { status: 500, title: "The data directory cannot be used" },
  LOG_DISK_FULL: { status: 507, title: "The disk is nearly full; writes are refused", retryAfterSecs: 10 },
  LOG_FAILED: { status: 503, title: "Writing to the disk failed; the server restarts", retryAfterSecs: 5 },
  LOG_FOLLOWING: {
    status: 503,
    title: "This node follows another one and takes no writes",
    retryAfterSecs: 1,
  },
  LOG_INSTALL_UNFINISHED: { status: 500, title: "The data of another node was not installed to the end" },
  LOG_LOCKED: { status: 503, title: "Another process holds the data", retryAfterSecs: 5 },
  LOG_NOT_CONTINUED: { status: 500, title: "Records that were received do not continue the log" },
  LOG_NOT_FOLLOWING: { status: 500, title: "Records were received by a node that follows none" },
  LOG_OFFSET_BEYOND_END: { status: 400, title: "The offset lies beyond the end of the log" },
  LOG_OFFSET_RETIRED: { status: 410, title: "The offset was removed by retention" },
  LOG_READER_TOO_SLOW: { status: 503, title: "The reader fell too far behind", retryAfterSecs: 1 },
  LOG_RECORD_BAD: { status: 500, title: "A record that was received is damaged" },
  LOG_RECORD_TOO_LARGE: { status: 413, title: "One write is larger than a record may be" },
  LOG_REPLAYING: { status: 503, title: "The state is still being loaded", retryAfterSecs: 1 },
  LOG_RESTORE_UNFINISHED: { status: 500, title: "A restore into the data directory was not finished" },
  LOG_VERSION_UNKNOWN: { status: 500, title: "The data needs another release" },
  PROJECTION_CLOSED: { status: 503, title: "The store is closed", retryAfterSecs: 1 },
  PROJECTION_DEAD: { status: 503, title: "The state is lost; the server restarts", retryAfterSecs: 5 },
  PROJECTION_EVENT_MALFORMED: { status: 500, title: "A record of the log cannot be decoded" },
  PROJECTION_EVENT_UNKNOWN: { status: 500, title: "A record of the log needs another release" },
  PROJECTION_PAST: { status: 400, title: "The past cannot be changed" },
  QUEUE_CONFIG_INVALID: { status: 400, title: "The queue cannot be configured so" },
  QUEUE_CONSUMER_INVALID: { status: 400, title: "Not a usable consumer id" },
  QUEUE_FULL: { status: 507, title: "The queue is full", retryAfterSecs: 1 },
  QUEUE_LIMIT_INVALID: { status: 400, title: "The number of messages cannot be used" },
  QUEUE_MEMORY_FULL: { status: 507, title: "The memory budget of the queues is used up", retryAfterSecs: 1 },
  QUEUE_MESSAGE_INVALID: { status: 400, title: "Not a usable message" },
  QUEUE_MESSAGE_NOT_FOUND: { status: 404, title: "The message is not there" },
  QUEUE_NAME_INVALID: { status: 400, title: "Not a usable queue name" },
  QUEUE_NOT_FOUND: { status: 404, title: "The queue is not there" },
  QUEUE_NOT_IN_BATCH: { status: 400, title: "This operation cannot be part of a batch" },
  QUEUE_PAYLOAD_TOO_LARGE: { status: 413, title: "The payload is larger than accepted" },
  QUEUE_RECEIPT_STALE: { status: 409, title: "The delivery is not open any more" },
  QUEUE_TIME_INVALID: { status: 400, title: "The delay, ttl or deadline cannot be used" },
  QUEUE_TOO_MANY: { status: 507, title: "There are as many queues as accepted" },
  REPLICATION_BETTER_REPLICA: { status: 409, title: "Another replica has more" },
  REPLICATION_CHANGING: { status: 503, title: "The node is changing its role", retryAfterSecs: 1 },
  REPLICATION_CIRCLE: { status: 409, title: "The node to follow follows this one" },
  REPLICATION_FENCED: {
    status: 503,
    title: "Another node was promoted; this one takes no writes any more",
    retryAfterSecs: 5,
  },
  REPLICATION_FORWARD_FAILED: { status: 502, title: "The primary did not answer" },
  REPLICATION_HANDOVER_UNKNOWN: { status: 504, title: "Whether the other node leads is not known" },
  REPLICATION_LAGGING: { status: 503, title: "The replicas are too far behind", retryAfterSecs: 1 },
  REPLICATION_LOG_DAMAGED: { status: 503, title: "The log of this node is damaged", retryAfterSecs: 5 },
  REPLICATION_LOG_FAILED: { status: 503, title: "The log of this node cannot go on", retryAfterSecs: 5 },
  REPLICATION_NOT_ALL_REACHED: { status: 409, title: "Not every replica could be asked" },
  REPLICATION_NOT_CONFIRMED: {
    status: 504,
    title: "Stored here, but not confirmed by enough replicas in time",
  },
  REPLICATION_NOT_READY: { status: 503, title: "The node has no data of the set yet", retryAfterSecs: 1 },
  REPLICATION_READ_ONLY: { status: 403, title: "This node is a replica and takes no writes" },
  REPLICATION_ROLE_WRONG: { status: 409, title: "Not in this role of the node" },
  REPLICATION_TOO_FEW_REPLICAS: { status: 503, title: "Too few replicas are there", retryAfterSecs: 1 },
  RESTORE_POINT_EXISTS: { status: 409, title: "The restore point is there already" },
  RESTORE_POINT_NAME_INVALID: { status: 400, title: "Not a usable name of a restore point" },
  SNAPSHOT_BEYOND_LOG: { status: 500, title: "The log has lost records" },
  SNAPSHOT_DAMAGED: { status: 500, title: "A snapshot is damaged" },
  SNAPSHOT_FOREIGN: { status: 500, title: "A snapshot is not of this log" },
  SNAPSHOT_MISSING: { status: 410, title: "The state of that time cannot be had any more" },
  SNAPSHOT_VERSION_UNKNOWN: { status: 500, title: "A snapshot needs another release" },
  STREAM_BATCH_TOO_LARGE: { status: 413, title: "Too many messages in one append" },
  STREAM_CLOSED: { status: 409, title: "The stream is closed" },
  STREAM_CONFIG_INVALID: { status: 400, title: "The stream's settings cannot be used" },
  STREAM_CONTENT_TYPE_INVALID: { status: 400, title: "The content type cannot be used" },
  STREAM_CONTENT_TYPE_MISMATCH: { status: 409, title: "The stream takes another content type" },
  STREAM_EXISTS: { status: 400, title: "The stream exists already" },
  STREAM_FORK_INVALID: { status: 400, title: "The stream cannot be forked so" },
  STREAM_GONE: { status: 410, title: "The stream is kept for its forks only" },
  STREAM_MESSAGE_INVALID: { status: 400, title: "The message cannot be used" },
  STREAM_MESSAGE_TOO_LARGE: { status: 413, title: "The message is larger than accepted" },
  STREAM_NAME_INVALID: { status: 400, title: "The stream's name cannot be used" },
  STREAM_NOT_FOUND: { status: 400, title: "The stream is not there" },
  STREAM_OFFSET_BEYOND_END: { status: 400, title: "The stream ends before this offset" },
  STREAM_OFFSET_MISMATCH: { status: 409, title: "The stream has another length" },
  STREAM_OFFSET_TRIMMED: { status: 400, title: "The stream begins after this offset" },
  STREAM_PRODUCERS_FULL: { status: 507, title: "The stream remembers no more producers" },
  STREAM_PRODUCER_EPOCH_START: { status: 400, title: "A new epoch begins with sequence 0" },
  STREAM_PRODUCER_GAP: { status: 409, title: "Requests of this producer are missing" },
  STREAM_PRODUCER_INVALID: { status: 400, title: "The producer's numbers cannot be used" },
  STREAM_PRODUCER_STALE: { status: 403, title: "A newer epoch of this producer has written" },
  STREAM_RANGE_INVALID: { status: 400, title: "The range cannot be used" },
  STREAM_TOO_MANY: { status: 507, title: "The store holds no more streams" },
  STREAM_WRITER_SEQ: { status: 409, title: "The writer's sequence is not after the last one" },
};

/** The code of a failure below (a `LogError`, a `ProjectionError`, a `SnapshotError`) that the table knows; undefined for anything unexpected. */
export function failureCode(error: unknown): ErrorCode | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return isErrorCode(error.code) ? error.code : undefined;
}

function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(errorTable, code);
}

/** What a door answers instead of a result. The caller is told `message`, which holds nothing of the server's inside. */
export interface Refusal {
  readonly type: "refused";
  readonly code: ErrorCode;
  readonly message: string;
  /** Facts for programs, shown beside the message. */
  readonly details?: RejectionDetails;
}

export function refusal(code: ErrorCode, message: string, details?: RejectionDetails): Refusal {
  return details === undefined
    ? { type: "refused", code, message }
    : { type: "refused", code, message, details };
}

/** The body of every error: `code` is the HTTP status as documented, `error_code` the stable name. */
export function errorBody(refused: Refusal, status: number, requestId: string): string {
  return JSON.stringify({
    error: refused.message,
    code: status,
    error_code: refused.code,
    request_id: requestId,
    ...refused.details,
  });
}

/** The same as RFC 9457 `application/problem+json`, for those who ask for it by `Accept`. */
export function problemBody(refused: Refusal, status: number, requestId: string): string {
  return JSON.stringify({
    type: `urn:annals:error:${refused.code}`,
    title: errorTable[refused.code].title,
    status,
    detail: refused.message,
    error_code: refused.code,
    request_id: requestId,
    ...refused.details,
  });
}
