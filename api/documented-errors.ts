/**
 * The codes that an operation may answer beside its own, by what it is: the OpenAPI document names them at each route, and
 * the contract test brings each of them about through each door.
 */
import type { ErrorCode } from "./errors.js";
import { type Operation, pathFields, type RestBinding, takesBody } from "./operations/operation.js";

const everyErrors: readonly ErrorCode[] = ["API_FIELD_UNKNOWN", "API_INTERNAL", "LOG_REPLAYING"];

export const bodyErrors: readonly ErrorCode[] = [
  "API_JSON_INVALID",
  "API_JSON_TOO_DEEP",
  "API_TEXT_INVALID",
  "API_BODY_TOO_LARGE",
  "API_CONTENT_ENCODING_UNSUPPORTED",
  "API_CONTENT_TYPE_UNSUPPORTED",
];

/** Whoever waits for an offset is sent away by a server that shuts down, whatever it asks. */
const minOffsetErrors: readonly ErrorCode[] = [
  "API_DRAINING",
  "API_LINEAGE_LOST",
  "API_MIN_OFFSET_INVALID",
  "API_MIN_OFFSET_TIMEOUT",
];

/** Of what looks back. */
const pastErrors: readonly ErrorCode[] = [
  "API_DISABLED",
  "API_PAST_BUSY",
  "API_PAST_FAILED",
  "API_PAST_TIMEOUT",
  "API_PAST_TOO_FAR",
  "API_PAST_TOO_LARGE",
  "LOG_OFFSET_RETIRED",
  "SNAPSHOT_MISSING",
];

const atErrors: readonly ErrorCode[] = ["API_AT_INVALID", "API_AT_BEFORE_FIRST", "LOG_OFFSET_BEYOND_END"];

const writeErrors: readonly ErrorCode[] = [
  "API_ACKS_INVALID",
  "API_OVERLOADED",
  "REPLICATION_CHANGING",
  "REPLICATION_FENCED",
  "REPLICATION_FORWARD_FAILED",
  "REPLICATION_LAGGING",
  "REPLICATION_NOT_CONFIRMED",
  "REPLICATION_READ_ONLY",
  "REPLICATION_TOO_FEW_REPLICAS",
  "LOG_BUSY",
  "LOG_DISK_FULL",
  "LOG_FAILED",
  "LOG_RECORD_TOO_LARGE",
  "API_IDEMPOTENCY_KEY_INVALID",
  "IDEMPOTENCY_ANSWER_TOO_LARGE",
  "IDEMPOTENCY_KEY_REUSED",
  "IDEMPOTENCY_IN_PROGRESS",
];

/** Of a write that a client may queue in its transaction. */
const queuedErrors: readonly ErrorCode[] = ["API_BATCH_TOO_LARGE", "API_TRANSACTIONS_FULL"];

/** They change nothing that the log tells of: they need no primary, and no answer of them is kept. */
export const NO_RECORD: ReadonlySet<string> = new Set(["admin.snapshot"]);

/** They look back whoever asks. */
export const LOOK_BACK: ReadonlySet<string> = new Set(["admin.digest", "kv.restore"]);

/** The same of a method of the raw door, by what it is. */
export function rawCommonErrors(kind: Operation["kind"]): readonly ErrorCode[] {
  const ofKind: readonly ErrorCode[] =
    kind === "write"
      ? ["API_AT_UNSUPPORTED", "API_BODY_TOO_LARGE", "API_CONTENT_ENCODING_UNSUPPORTED", ...writeErrors]
      : [...atErrors, ...pastErrors];
  return [
    ...everyErrors,
    ...minOffsetErrors,
    ...(["API_KEY_RESERVED", "KV_KEY_INVALID", "KV_REVISION_MISMATCH"] as const),
    ...ofKind,
  ];
}

/** They need a client, whom over REST the request alone can name. */
export const OF_A_CLIENT: ReadonlySet<string> = new Set([
  "transaction.exec",
  "transaction.discard",
  "transaction.unwatch",
]);

/** `binding` undefined: in the envelope. The errors of `operation` itself are not among them. */
export function commonErrors(operation: Operation, binding: RestBinding | undefined): readonly ErrorCode[] {
  const { input, kind, name, ofNow } = operation;
  const hasPast = kind === "read" && ofNow !== true;
  const inPath = binding === undefined ? [] : pathFields(binding.path);
  const isFree = (field: string): boolean => !inPath.includes(field);
  const withBody = binding === undefined || takesBody(binding);
  const required = [...(input.required ?? []), ...(binding?.required ?? [])];
  const codes: (readonly [boolean, readonly ErrorCode[]])[] = [
    [true, everyErrors],
    [binding === undefined || required.some(isFree) || OF_A_CLIENT.has(name), ["API_FIELD_MISSING"]],
    [withBody || Object.keys(input.properties).some(isFree), ["API_FIELD_INVALID"]],
    [withBody, bodyErrors],
    [true, minOffsetErrors],
    [kind === "write", NO_RECORD.has(name) ? ["API_IDEMPOTENCY_KEY_INVALID"] : writeErrors],
    [kind === "write", ["API_PRECONDITION_UNSUPPORTED"]],
    [operation.prepare !== undefined, queuedErrors],
    [hasPast, atErrors],
    [hasPast || LOOK_BACK.has(name), pastErrors],
    [!hasPast, ["API_AT_UNSUPPORTED"]],
    [name.startsWith("queue."), ["API_DISABLED"]],
  ];
  return codes.flatMap(([applies, some]) => (applies ? some : []));
}
