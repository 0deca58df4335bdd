/**
 * The bodies of key-value events, each a MessagePack array. `previous` is the offset of the key's own previous event
 * (0 = none), `expires` ms since 1970 or nil, `cause` nil or [command] or [command, request id].
 *
 *   kind  event               v  body                                                     checked on read
 *   16    kv.set              1  [key str, type uint | str, value bin, expires, previous, cause]   shape, UTF-8, integers < 2^53
 *   17    kv.deleted          1  [key str, previous, cause]                               the same
 *   18    kv.evicted          1  [key str, previous, cause]                               the same
 *   19    kv.expiry_changed   1  [key str, expires, previous, cause]                      the same
 *   20    kv.flushed          1  [cause]                                                  the same
 *
 * A content type is 0 (text), 1 (JSON), 2 (bytes) or written out. An event inside a `several` record has a nil cause: the
 * record has one for all. Example, kv.set of k = "v" as text, first of its key, cause kv.set:
 *
 *   96  a1 6b  00  c4 01 76  c0  00  91 a6 6b 76 2e 73 65 74
 *
 * kv.set is written and read by hand (see `wire.ts`), since replay is made of it; the others through the package.
 */
import { unreachable } from "../../log/index.js";
import type { Cause, EventCodec } from "../decision.js";
import { malformed, ProjectionError } from "../errors.js";
import { causeStrings, EventFields, encodeFields } from "../event-fields.js";
import { type BodyReader, BodyWriter } from "../wire.js";
import { BYTES_TYPE, JSON_TYPE, type KeySet, type KvEvent, TEXT_TYPE } from "./contract.js";
import { inputBytes } from "./values.js";

export const KV_KINDS = {
  "kv.set": 16,
  "kv.deleted": 17,
  "kv.evicted": 18,
  "kv.expiry_changed": 19,
  "kv.flushed": 20,
} as const satisfies Record<KvEvent["type"], number>;

export const KV_VERSION = 1;

/** The types that nearly every value has, by the number that stands for them in bodies and in the table. Never reordered. */
export const WELL_KNOWN_TYPES: readonly string[] = [TEXT_TYPE, JSON_TYPE, BYTES_TYPE];

/**
 * kv.set as the state takes it: where key (UTF-8) and value lie in the record's memory, so that the bytes are copied once, into
 * the table, and no string is made of them. Borrowed, as the record's body is: read it at once.
 */
export interface KeyStored {
  readonly type: "kv.set";
  readonly source: Uint8Array;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly valueStart: number;
  readonly valueEnd: number;
  readonly contentType: string;
  readonly expiresAt: number;
  readonly previous: number;
}

/** What `evolve` applies: the newest shape of every event. */
export type KvChange = KeyStored | Exclude<KvEvent, KeySet>;

// ---- kv.set, by hand ----

export function writeKeySet(writer: BodyWriter, event: KeySet, cause: Cause | undefined): void {
  writer.array(6);
  writer.str(event.key, Buffer.byteLength(event.key));
  const type = WELL_KNOWN_TYPES.indexOf(event.contentType);
  if (type < 0) writer.str(event.contentType, Buffer.byteLength(event.contentType));
  else writer.uint(type);
  writer.bin(event.value, inputBytes(event.value));
  if (event.expiresAt === 0) writer.nil();
  else writer.uint(event.expiresAt);
  writer.uint(event.previous);
  writeCause(writer, cause);
}

export function writeCause(writer: BodyWriter, cause: Cause | undefined): void {
  if (cause === undefined) {
    writer.nil();
    return;
  }
  writer.array(cause.requestId === undefined ? 1 : 2);
  writer.str(cause.command, Buffer.byteLength(cause.command));
  if (cause.requestId !== undefined) writer.str(cause.requestId, Buffer.byteLength(cause.requestId));
}

export function readKeySet(reader: BodyReader): KeyStored {
  if (reader.array() !== 6) throw malformed("kv.set has not six fields", 0);
  const keyStart = reader.passStr();
  const keyEnd = reader.at;
  const contentType = reader.isStr() ? reader.str() : wellKnownType(reader.uint());
  const valueStart = reader.passBin();
  const valueEnd = reader.at;
  const expiresAt = reader.uintOrNil(0);
  const previous = reader.uint();
  reader.skipFewStrings();
  reader.atEnd();
  const source = reader.bytes;
  return {
    type: "kv.set",
    source,
    keyStart,
    keyEnd,
    valueStart,
    valueEnd,
    contentType,
    expiresAt,
    previous,
  };
}

const contentTypeOf = (type: string | number): string =>
  typeof type === "number" ? wellKnownType(type) : type;

function wellKnownType(number: number): string {
  const type = WELL_KNOWN_TYPES[number];
  if (type === undefined) {
    throw new ProjectionError("PROJECTION_EVENT_UNKNOWN", `content type number ${number} is unknown`, {
      found: number,
    });
  }
  return type;
}

// ---- every event, through the package ----

/** Every event of this projection, for the catalogue. */
export const kvCodec: EventCodec<KvEvent> = {
  kinds: KV_KINDS,
  version: KV_VERSION,
  encode: encodeKvEvent,
  decode: decodeKvEvent,
};

const setWriter = new BodyWriter();

/** Borrowed: valid until the next call. */
export function encodeKvEvent(event: KvEvent, cause: Cause | undefined): Uint8Array {
  if (event.type === "kv.set") {
    setWriter.begin();
    writeKeySet(setWriter, event, cause);
    return setWriter.finish();
  }
  return encodeFields(fieldsOf(event, causeStrings(cause)));
}

function fieldsOf(event: Exclude<KvEvent, KeySet>, cause: string[] | null): unknown[] {
  switch (event.type) {
    case "kv.deleted":
    case "kv.evicted":
      return [event.key, event.previous, cause];
    case "kv.expiry_changed":
      return [event.key, event.expiresAt || null, event.previous, cause];
    case "kv.flushed":
      return [cause];
    default:
      return unreachable(event);
  }
}

/** Every field of an event's body, values as bytes. */
export function decodeKvEvent(
  kind: number,
  version: number,
  body: Uint8Array,
): { event: KvEvent; cause?: Cause } {
  const type = kvTypeOf(kind, version);
  const fields = new EventFields(body);
  const event = eventOf(type, fields);
  const cause = fields.cause();
  fields.end();
  return cause === undefined ? { event } : { event, cause };
}

function eventOf(type: KvEvent["type"], fields: EventFields): KvEvent {
  switch (type) {
    case "kv.set":
      return {
        type,
        key: fields.text(),
        contentType: contentTypeOf(fields.textOrUint()),
        value: fields.bytes(),
        expiresAt: fields.uintOrNil(),
        previous: fields.offset(),
      };
    case "kv.deleted":
    case "kv.evicted":
      return { type, key: fields.text(), previous: fields.offset() };
    case "kv.expiry_changed":
      return { type, key: fields.text(), expiresAt: fields.uintOrNil(), previous: fields.offset() };
    case "kv.flushed":
      return { type };
    default:
      return unreachable(type);
  }
}

const TYPES_BY_KIND = new Map<number, KvEvent["type"]>(
  (Object.keys(KV_KINDS) as KvEvent["type"][]).map((type) => [KV_KINDS[type], type]),
);

export const isKvKind = (kind: number): boolean => TYPES_BY_KIND.has(kind);

/** There is one version of each event so far; what becomes of an earlier one is told in `upgrades.ts`. */
function kvTypeOf(kind: number, version: number): KvEvent["type"] {
  const type = TYPES_BY_KIND.get(kind);
  if (type === undefined || version !== KV_VERSION) {
    throw new ProjectionError(
      "PROJECTION_EVENT_UNKNOWN",
      `event kind ${kind} version ${version} is not known to this release`,
      { kind, version },
    );
  }
  return type;
}

/** Reads one event of this projection for `evolve`. The reader stands at the beginning of its body. */
export function readKvChange(reader: BodyReader, kind: number, version: number): KvChange {
  if (kind === KV_KINDS["kv.set"] && version === KV_VERSION) return readKeySet(reader);
  const { event } = decodeKvEvent(kind, version, reader.rest());
  if (event.type === "kv.set") throw malformed("kv.set of another version", 0);
  return event;
}
