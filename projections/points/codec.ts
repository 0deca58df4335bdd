/**
 * The body of the event that names a restore point, a MessagePack array; `cause` nil or [command] or [command, request id].
 * Offset and time are those of its record.
 *
 *   kind  event           v  body
 *   4     point.named     1  [name str, cause]
 *
 * Checked on read: shape, UTF-8.
 */
import type { Cause, EventCodec } from "../decision.js";
import { ProjectionError } from "../errors.js";
import { causeStrings, EventFields, encodeFields } from "../event-fields.js";
import type { BodyReader } from "../wire.js";
import type { PointNamed } from "./contract.js";

export const POINT_KIND = 4;
const VERSION = 1;

export const isPointKind = (kind: number): boolean => kind === POINT_KIND;

export const pointCodec: EventCodec<PointNamed> = {
  kinds: { "point.named": POINT_KIND },
  version: VERSION,
  encode: (event, cause) => encodeFields([event.name, causeStrings(cause)]),
  decode,
};

function decode(kind: number, version: number, body: Uint8Array): { event: PointNamed; cause?: Cause } {
  if (kind !== POINT_KIND || version !== VERSION) {
    throw new ProjectionError(
      "PROJECTION_EVENT_UNKNOWN",
      `event kind ${kind} version ${version} is not known to this release`,
      { kind, version },
    );
  }
  const fields = new EventFields(body);
  const event: PointNamed = { type: "point.named", name: fields.text() };
  const cause = fields.cause();
  fields.end();
  return cause === undefined ? { event } : { event, cause };
}

/** Reads one event for `evolve`. The reader stands at the beginning of its body. */
export function readPoint(reader: BodyReader, kind: number, version: number): PointNamed {
  return decode(kind, version, reader.rest()).event;
}
