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
import { isUtf8 } from "node:buffer";
import { Decoder, Encoder } from "@msgpack/msgpack";
import { type Offset, offset, unreachable } from "../../log/index.js";
import type { Cause } from "../decision.js";
import { malformed, ProjectionError } from "../errors.js";
import type { BodyReader, BodyWriter } from "../wire.js";
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
}

/** What `evolve` applies: the newest shape of every event. */
export type KvChange = KeyStored | Exclude<KvEvent, KeySet>;

export const causeStrings = (cause: Cause | undefined): string[] | null =>
  cause === undefined
    ? null
    : cause.requestId === undefined
      ? [cause.command]
      : [cause.command, cause.requestId];

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
  reader.uint();
  reader.skipFewStrings();
  reader.atEnd();
  const source = reader.bytes;
  return { type: "kv.set", source, keyStart, keyEnd, valueStart, valueEnd, contentType, expiresAt };
}

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

const encoder = new Encoder();
// Strings come as bytes: the package's own text decoder drops a byte order mark and lets broken UTF-8 pass.
const decoder = new Decoder({ rawStrings: true, maxArrayLength: 8, maxMapLength: 0, maxExtLength: 0 });

/** Borrowed: valid until the next call. */
export function encodeKvEvent(event: KvEvent, cause: Cause | undefined): Uint8Array {
  return encoder.encodeSharedRef(fieldsOf(event, causeStrings(cause)));
}

function fieldsOf(event: KvEvent, cause: string[] | null): unknown[] {
  switch (event.type) {
    case "kv.set": {
      const type = WELL_KNOWN_TYPES.indexOf(event.contentType);
      const value = typeof event.value === "string" ? Buffer.from(event.value) : event.value;
      return [
        event.key,
        type < 0 ? event.contentType : type,
        value,
        event.expiresAt || null,
        event.previous,
        cause,
      ];
    }
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
  const fields = new Fields(body);
  const event = eventOf(type, fields);
  const cause = fields.cause();
  fields.end();
  return cause === undefined ? { event } : { event, cause };
}

function eventOf(type: KvEvent["type"], fields: Fields): KvEvent {
  switch (type) {
    case "kv.set":
      return {
        type,
        key: fields.text(),
        contentType: fields.contentType(),
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

/** Older versions would be upgraded here, by one small function each, before anything else sees them; there are none yet. */
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

/** The fields of a decoded body in order, each checked for what it must be. */
class Fields {
  readonly #values: readonly unknown[];
  #next = 0;

  constructor(body: Uint8Array) {
    let decoded: unknown;
    try {
      decoded = decoder.decode(body);
    } catch (error) {
      throw new ProjectionError("PROJECTION_EVENT_MALFORMED", "event body is not MessagePack", {}, error);
    }
    if (!Array.isArray(decoded)) throw malformed("expected an array", 0);
    this.#values = decoded;
  }

  text(): string {
    return textOfField(this.#take(), this.#next);
  }

  contentType(): string {
    const value = this.#take();
    return typeof value === "number" ? wellKnownType(value) : textOfField(value, this.#next);
  }

  bytes(): Uint8Array {
    const value = this.#take();
    if (!(value instanceof Uint8Array)) throw malformed("expected a binary in field", this.#next);
    return new Uint8Array(value);
  }

  uintOrNil(): number {
    const value = this.#take();
    if (value === null) return 0;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw malformed("expected an unsigned integer in field", this.#next);
    }
    return value;
  }

  offset(): Offset {
    if (this.#values[this.#next] === null) throw malformed("expected an offset in field", this.#next);
    return offset(this.uintOrNil());
  }

  cause(): Cause | undefined {
    const value = this.#take();
    if (value === null) return undefined;
    if (!Array.isArray(value) || value.length < 1 || value.length > 2) {
      throw malformed("expected a cause in field", this.#next);
    }
    const command = textOfField(value[0], this.#next);
    return value.length === 1 ? { command } : { command, requestId: textOfField(value[1], this.#next) };
  }

  end(): void {
    if (this.#next !== this.#values.length) throw malformed("fields left over after field", this.#next);
  }

  #take(): unknown {
    if (this.#next >= this.#values.length) throw malformed("missing field", this.#next);
    return this.#values[this.#next++];
  }
}

function textOfField(value: unknown, field: number): string {
  if (!(value instanceof Uint8Array) || !isUtf8(value)) throw malformed("expected a string in field", field);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8");
}
