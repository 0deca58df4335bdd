/**
 * The catalogue of events: which kind number stands for what, and how one command's events become one record's body and
 * back. Kind numbers are never reused. What an event of an earlier version becomes is in `upgrades.ts`, so that `evolve` sees only
 * the newest shape.
 *
 *   kind    what                              codec
 *   1       epoch.started                     the log's own; no projection reads it
 *   2       several: more than one event      below
 *   3       idempotency.answered              idempotency/codec.ts
 *   4       point.named                       points/codec.ts
 *   16–31   kv                                kv/codec.ts
 *   32–47   queue                             queue/codec.ts
 *   48–63   stream                            stream/codec.ts
 *
 * `several`, version 1, is a MessagePack array: [cause, [kind uint, version uint, body bin], …]. The record is the unit
 * of atomicity: a reader decodes all of it before it applies any of it, and refuses all of it when one of its events is of a
 * kind that is not in this table.
 */
import { assert, EPOCH_STARTED } from "../log/index.js";
import type { Cause, EventCodec, StoreEvent } from "./decision.js";
import { malformed, ProjectionError } from "./errors.js";
import { idempotencyCodec } from "./idempotency/codec.js";
import { kvCodec, writeCause } from "./kv/codec.js";
import { pointCodec } from "./points/codec.js";
import { queueCodec } from "./queue/codec.js";
import { streamCodec } from "./stream/codec.js";
import { eventVersions, upgraded } from "./upgrades.js";
import { BodyReader, BodyWriter } from "./wire.js";

export const SEVERAL_KIND = 2;
const SEVERAL_VERSION = 1;

export interface EncodedRecord {
  readonly kind: number;
  readonly version: number;
  readonly body: Uint8Array;
}

/** Every projection's part of the catalogue. */
const codecs: readonly EventCodec<StoreEvent>[] = [
  kvCodec,
  queueCodec,
  streamCodec,
  idempotencyCodec,
  pointCodec,
];

const codecsByType = new Map(
  codecs.flatMap((codec) => Object.keys(codec.kinds).map((type) => [type, codec])),
);
const codecsByKind = new Map(
  codecs.flatMap((codec) => Object.values(codec.kinds).map((kind) => [kind, codec])),
);

/** The versions of each kind, by its number. */
export const versionsByKind = eventVersions([
  [SEVERAL_KIND, SEVERAL_VERSION],
  ...[...codecsByKind].map(([kind, { version }]) => [kind, version] as const),
]);

/** A record of an earlier version as the newest would have written it; the same object where it is that already. */
export function newestForm<Stored extends EncodedRecord>(record: Stored): Stored {
  return upgraded(record, versionsByKind);
}

/** Every kind of record that this release reads, the log's own too. */
export const knownKinds: readonly number[] = [EPOCH_STARTED, SEVERAL_KIND, ...codecsByKind.keys()];

// One of each for the process: encoding and decoding are synchronous and never nest.
const writer = new BodyWriter();
const reader = new BodyReader();

/** One command's events as one record. The body is borrowed: it is valid until the next call. */
export function encodeRecord(events: readonly StoreEvent[], cause: Cause): EncodedRecord {
  const [first] = events;
  assert(first !== undefined, "a record has at least one event");
  if (events.length > 1)
    return { kind: SEVERAL_KIND, version: SEVERAL_VERSION, body: several(events, cause) };
  const codec = codecOf(first);
  return { kind: kindOf(codec, first), version: codec.version, body: codec.encode(first, cause) };
}

function codecOf(event: StoreEvent): EventCodec<StoreEvent> {
  const codec = codecsByType.get(event.type);
  assert(codec !== undefined, "every event has a codec");
  return codec;
}

function kindOf(codec: EventCodec<StoreEvent>, event: StoreEvent): number {
  const kind = codec.kinds[event.type];
  assert(kind !== undefined, "every event has a kind");
  return kind;
}

function several(events: readonly StoreEvent[], cause: Cause): Uint8Array {
  writer.begin();
  writer.array(events.length + 1);
  writeCause(writer, cause);
  for (const event of events) {
    const codec = codecOf(event);
    const body = codec.encode(event, undefined);
    writer.array(3);
    writer.uint(kindOf(codec, event));
    writer.uint(codec.version);
    writer.bin(body, body.length);
  }
  return writer.finish();
}

/** Where the events of one `several` record lie in the memory of its body, and what they are. */
interface Parts {
  /** Undefined until all of it was found well-formed. */
  record: EncodedRecord | undefined;
  readonly kinds: number[];
  readonly versions: number[];
  readonly starts: number[];
  readonly ends: number[];
}

/** Of the record that was asked for last: every projection asks for the same one in turn, and one walk serves them all. */
const parts: Parts = { record: undefined, kinds: [], versions: [], starts: [], ends: [] };

function partsOf(record: EncodedRecord): Parts {
  if (parts.record === record) return parts;
  parts.record = undefined;
  if (record.version !== SEVERAL_VERSION) {
    throw new ProjectionError(
      "PROJECTION_EVENT_UNKNOWN",
      `several events, version ${record.version}, are not known to this release`,
      { kind: record.kind, version: record.version },
    );
  }
  reader.begin(record.body);
  const count = reader.array() - 1;
  if (count < 2) throw malformed("several events are fewer than two", 0);
  reader.skipFewStrings();
  for (let index = 0; index < count; index++) {
    if (reader.array() !== 3) throw malformed("expected [kind, version, body]", 0);
    const kind = reader.uint();
    const version = reader.uint();
    // Nobody would read it: the record would be applied in part.
    if (!codecsByKind.has(kind)) throw unknownKind(kind, version);
    parts.kinds[index] = kind;
    parts.versions[index] = version;
    parts.starts[index] = reader.passBin();
    parts.ends[index] = reader.at;
  }
  reader.atEnd();
  parts.kinds.length = count;
  parts.record = record;
  return parts;
}

/** Calls `visit` for each event of a record, in order, with the reader at the event's body, narrowed to it. */
function walk(record: EncodedRecord, visit: (kind: number, version: number, place: number) => void): void {
  if (record.kind !== SEVERAL_KIND) {
    reader.begin(record.body);
    visit(record.kind, record.version, 0);
    return;
  }
  const { kinds, versions, starts, ends } = partsOf(record);
  reader.begin(record.body);
  for (let place = 0; place < kinds.length; place++) {
    reader.narrow(starts[place] ?? 0, ends[place] ?? 0);
    visit(kinds[place] ?? 0, versions[place] ?? 0, place);
  }
}

/** Of a `several` record. */
function sharedCause(record: EncodedRecord): Cause | undefined {
  if (record.kind !== SEVERAL_KIND) return undefined;
  reader.begin(record.body);
  reader.array();
  return causeOf(reader.fewStrings());
}

function causeOf(strings: readonly string[] | undefined): Cause | undefined {
  const [command, requestId] = strings ?? [];
  if (command === undefined) return undefined;
  return requestId === undefined ? { command } : { command, requestId };
}

/**
 * The part of a record that one projection reads, whole, for `evolve`. `read` is called with the reader at the beginning of
 * the body of each event of its kinds, and with the event's place in the record, from 0.
 * @throws ProjectionError PROJECTION_EVENT_MALFORMED, PROJECTION_EVENT_UNKNOWN.
 */
export function changesOf<Change>(
  record: EncodedRecord,
  owns: (kind: number) => boolean,
  read: (reader: BodyReader, kind: number, version: number, place: number) => Change,
): readonly Change[] {
  if (record.kind !== SEVERAL_KIND) {
    reader.begin(record.body);
    return owns(record.kind) ? [read(reader, record.kind, record.version, 0)] : [];
  }
  let changes: Change[] | undefined;
  walk(record, (kind, version, place) => {
    if (!owns(kind)) return;
    const change = read(reader, kind, version, place);
    reader.atEnd();
    if (changes === undefined) changes = [change];
    else changes.push(change);
  });
  return changes ?? NONE;
}

const NONE: readonly never[] = [];

/**
 * Everything that a record says, for history, dumps and change feeds. Values come as bytes.
 * A record of the log itself (an epoch's start) says nothing here.
 * @throws ProjectionError PROJECTION_EVENT_MALFORMED, PROJECTION_EVENT_UNKNOWN.
 */
export function decodeEvents(record: EncodedRecord): { events: StoreEvent[]; cause?: Cause } {
  const events: StoreEvent[] = [];
  if (record.kind === EPOCH_STARTED) return { events };
  let own: Cause | undefined;
  walk(record, (kind, version) => {
    const codec = codecsByKind.get(kind);
    if (codec === undefined) throw unknownKind(kind, version);
    const decoded = codec.decode(kind, version, reader.rest());
    events.push(decoded.event);
    own = decoded.cause;
  });
  const cause = sharedCause(record) ?? own;
  return cause === undefined ? { events } : { events, cause };
}

function unknownKind(kind: number, version: number): ProjectionError {
  return new ProjectionError(
    "PROJECTION_EVENT_UNKNOWN",
    `event kind ${kind} version ${version} is not known to this release`,
    { kind, version },
  );
}
