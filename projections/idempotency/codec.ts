/**
 * The body of the event that keeps an answer, a MessagePack array; `cause` nil or [command] or [command, request id].
 *
 *   kind  event                   v  body
 *   3     idempotency.answered    1  [key str, fingerprint bin (32), expires uint, status uint, revision uint | nil, body str, cause]
 *
 * Checked on read: shape, UTF-8, integers < 2^53, 32 bytes of fingerprint.
 */
import { type Offset, offset } from "../../log/index.js";
import type { Cause, EventCodec } from "../decision.js";
import { malformed, ProjectionError } from "../errors.js";
import { causeStrings, EventFields, encodeFields } from "../event-fields.js";
import type { BodyReader } from "../wire.js";
import type { RequestAnswered } from "./contract.js";

const ANSWERED_KIND = 3;
const VERSION = 1;
const FINGERPRINT_BYTES = 32;

export const isAnsweredKind = (kind: number): boolean => kind === ANSWERED_KIND;

export const idempotencyCodec: EventCodec<RequestAnswered> = {
  kinds: { "idempotency.answered": ANSWERED_KIND },
  version: VERSION,
  encode: (event, cause) =>
    encodeFields([
      event.key,
      event.fingerprint,
      event.expiresAt,
      event.status,
      event.revision ?? null,
      event.body,
      causeStrings(cause),
    ]),
  decode,
};

function decode(kind: number, version: number, body: Uint8Array): { event: RequestAnswered; cause?: Cause } {
  if (kind !== ANSWERED_KIND || version !== VERSION) {
    throw new ProjectionError(
      "PROJECTION_EVENT_UNKNOWN",
      `event kind ${kind} version ${version} is not known to this release`,
      { kind, version },
    );
  }
  const fields = new EventFields(body);
  const event: RequestAnswered = {
    type: "idempotency.answered",
    key: fields.text(),
    fingerprint: fields.bytes(),
    expiresAt: fields.uint(),
    status: fields.uint(),
    revision: revisionOf(fields),
    body: fields.text(),
  };
  if (event.fingerprint.length !== FINGERPRINT_BYTES) throw malformed("a fingerprint has 32 bytes", 0);
  const cause = fields.cause();
  fields.end();
  return cause === undefined ? { event } : { event, cause };
}

function revisionOf(fields: EventFields): Offset | undefined {
  const revision = fields.uintOrNil();
  return revision === 0 ? undefined : offset(revision);
}

/** Reads one event for `evolve`. The reader stands at the beginning of its body. */
export function readAnswered(reader: BodyReader, kind: number, version: number): RequestAnswered {
  return decode(kind, version, reader.rest()).event;
}
