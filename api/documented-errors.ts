/**
 * The codes that an operation may answer beside its own, by what it is: the OpenAPI document names them at each route, and
 * the contract test brings each of them about through each door.
 */
import type { ErrorCode } from "./errors.js";
import type { Operation } from "./operations/operation.js";

const everyErrors: readonly ErrorCode[] = [
  "API_FIELD_UNKNOWN",
  "API_FIELD_MISSING",
  "API_FIELD_INVALID",
  "API_INTERNAL",
  "LOG_REPLAYING",
];

export const bodyErrors: readonly ErrorCode[] = [
  "API_JSON_INVALID",
  "API_JSON_TOO_DEEP",
  "API_TEXT_INVALID",
  "API_BODY_TOO_LARGE",
  "API_CONTENT_TYPE_UNSUPPORTED",
];

const readErrors: readonly ErrorCode[] = ["API_MIN_OFFSET_INVALID", "API_MIN_OFFSET_TIMEOUT"];

export const writeErrors: readonly ErrorCode[] = [
  "API_OVERLOADED",
  "LOG_BUSY",
  "LOG_DISK_FULL",
  "LOG_FAILED",
  "API_IDEMPOTENCY_KEY_INVALID",
  "IDEMPOTENCY_KEY_REUSED",
  "IDEMPOTENCY_IN_PROGRESS",
];

/** `withBody`: the request carries JSON. The errors of `operation` itself are not among them. */
export function commonErrors(operation: Operation, withBody: boolean): readonly ErrorCode[] {
  const isQueue = operation.name.startsWith("queue.");
  return [
    ...everyErrors,
    ...(withBody ? bodyErrors : []),
    ...(operation.kind === "write" ? writeErrors : readErrors),
    ...(operation.whileDraining === true ? [] : ["API_DRAINING" as const]),
    ...(isQueue ? ["API_DISABLED" as const] : []),
  ];
}
