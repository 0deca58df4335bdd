/**
 * Event bodies, of every projection.
 *
 * 1. What is encoded by hand is byte for byte what `@msgpack/msgpack` encodes, and either reads what the other wrote.
 * 2. A record gives back exactly the events and the cause that were put into it, whatever their kinds; every kind that the
 *    catalogue knows is tried.
 * 3. What the projections read of a record is, taken together and in order, what the full decoder reads.
 * 4. Arbitrary, cut or damaged bytes end in a coded error or in events; nothing else is thrown, and what a projection refuses
 *    the full decoder refuses too.
 * 5. A record with an event of a kind or version that nobody knows is refused whole, by every projection.
 */
import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { EPOCH_STARTED, epoch, offset } from "../log/index.js";
import {
  changesOf,
  type EncodedRecord,
  encodeRecord,
  knownKinds,
  SEVERAL_KIND,
} from "../projections/events.js";
import { isAnsweredKind, readAnswered } from "../projections/idempotency/codec.js";
import {
  BYTES_TYPE,
  type Cause,
  decodeEvents,
  JSON_TYPE,
  type KeySet,
  ProjectionError,
  type StoreEvent,
  TEXT_TYPE,
} from "../projections/index.js";
import { isKvKind, type KvChange, readKvChange, writeKeySet } from "../projections/kv/codec.js";
import { isPointKind, readPoint } from "../projections/points/codec.js";
import { isQueueKind, type QueueChange, readHeaders, readQueueChange } from "../projections/queue/codec.js";
import {
  isStreamKind,
  messageBytes,
  readStreamChange,
  readStreamMessages,
  type StreamChange,
} from "../projections/stream/codec.js";
import { BodyReader, BodyWriter } from "../projections/wire.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { anyEvent, asStored, cause, EVENT_TYPES, eventsByType } from "./model/store-events.js";
import { runs } from "./run-settings.js";

const seen = { longKeys: 0, severals: 0, mixed: 0, malformed: 0, decoded: 0, unknown: 0 };
/** How often a record gave back an event of this type. */
const seenTypes = new Map<string, number>(EVENT_TYPES.map((type) => [type, 0]));

const keySet = eventsByType["kv.set"];

/** kv.set as the generic package is asked to write it. */
function fieldsOf(e: KeySet, c: Cause | undefined): unknown[] {
  const type = [TEXT_TYPE, JSON_TYPE, BYTES_TYPE].indexOf(e.contentType);
  const causeField =
    c === undefined ? null : c.requestId === undefined ? [c.command] : [c.command, c.requestId];
  return [
    e.key,
    type < 0 ? e.contentType : type,
    typeof e.value === "string" ? Buffer.from(e.value) : e.value,
    e.expiresAt === 0 ? null : e.expiresAt,
    e.previous,
    causeField,
  ];
}

function binOf(reader: BodyReader): Buffer {
  const from = reader.passBin();
  return Buffer.from(reader.bytes.subarray(from, reader.at));
}

type Changes = readonly [
  readonly KvChange[],
  readonly QueueChange[],
  readonly StreamChange[],
  readonly StoreEvent[],
  readonly StoreEvent[],
];

/** What every projection takes of a record. */
function projected(record: EncodedRecord): Changes {
  return [
    changesOf(record, isKvKind, readKvChange),
    changesOf(record, isQueueKind, readQueueChange),
    changesOf(record, isStreamKind, readStreamChange),
    changesOf(record, isAnsweredKind, readAnswered),
    changesOf(record, isPointKind, readPoint),
  ];
}

/** Both ways on one record: where both read it they read as many events, and neither throws anything uncoded. */
function bothDecode(record: EncodedRecord): string {
  const ways = [
    () => decodeEvents(record).events.length,
    () => projected(record).reduce((sum, changes) => sum + changes.length, 0),
  ];
  const [full = "", hot = ""] = ways.map((read) => {
    try {
      return String(read());
    } catch (error) {
      if (!(error instanceof ProjectionError)) throw error;
      return error.code;
    }
  });
  // The projections pass over the cause, so they take a little more than the full decoder; never less.
  if (!full.startsWith("PROJECTION_")) expect(hot).toBe(full);
  return hot;
}

/** One change as the event that it was made of, for comparison. */
function kvEventOf(change: KvChange): object {
  if (change.type !== "kv.set") return change;
  const { source, keyStart, keyEnd, valueStart, valueEnd, ...rest } = change;
  const value = new Uint8Array(source.subarray(valueStart, valueEnd));
  return { ...rest, key: Buffer.from(source.subarray(keyStart, keyEnd)).toString(), value };
}

function queueEventOf({ event }: QueueChange): object {
  if (event.type !== "queue.published") return event;
  const { source, payloadStart, payloadEnd, headersStart, headersEnd, ...rest } = event;
  const payload = new Uint8Array(source.subarray(payloadStart, payloadEnd));
  return { ...rest, payload, headers: readHeaders(source.subarray(headersStart, headersEnd)) };
}

/** The events as the projections see them: of messages in streams only their sizes. */
function asProjected(event: StoreEvent): object {
  switch (event.type) {
    case "stream.created":
    case "stream.appended": {
      const bytes = event.messages.reduce((sum, message) => sum + messageBytes(message.bytes), 0);
      return { ...event, messages: { count: event.messages.length, bytes } };
    }
    default:
      return event;
  }
}

/** Everything that the projections read of a record is what was put into it, each in its place. */
function expectProjected(record: EncodedRecord, events: readonly StoreEvent[]): void {
  const of = (prefix: string) => events.filter(({ type }) => type.startsWith(prefix)).map(asProjected);
  const [kv, queues, streams, answers, points] = projected(record);
  expect(kv.map(kvEventOf)).toEqual(of("kv."));
  expect(queues.map(queueEventOf)).toEqual(of("queue."));
  expect(streams.map(({ event }) => event)).toEqual(of("stream."));
  expect(answers).toEqual(of("idempotency."));
  expect(points).toEqual(of("point."));
  const places = events.map(({ type }, place) => ({ type, place }));
  const placesOf = (prefix: string) =>
    places.filter(({ type }) => type.startsWith(prefix)).map(({ place }) => place);
  expect(queues.map(({ place }) => place)).toEqual(placesOf("queue."));
  expect(streams.map(({ place }) => place)).toEqual(placesOf("stream."));
  const bodies = changesOf(record, isStreamKind, (reader, kind, version) => {
    const stored = readStreamMessages(reader, kind, version);
    let at = stored?.start ?? 0;
    return (stored?.lengths ?? []).map((length) => {
      at += length;
      return new Uint8Array(stored!.source.subarray(at - length, at));
    });
  });
  const messages = events.flatMap((event) =>
    event.type.startsWith("stream.") ? [("messages" in event && event.messages) || []] : [],
  );
  expect(bodies).toEqual(messages.map((each) => each.map(({ bytes }) => bytes)));
}

/** `several` with an event of this kind and version at this place among the others. */
function severalWith(record: EncodedRecord, place: number, others: readonly EncodedRecord[]): EncodedRecord {
  const all = others.toSpliced(place % (others.length + 1), 0, record);
  return {
    kind: SEVERAL_KIND,
    version: 1,
    body: encode([null, ...all.map(({ kind, version, body }) => [kind, version, body])]),
  };
}

describe("event codec", () => {
  // One for all runs, as in the store: what a body leaves behind must not show in the next.
  const writer = new BodyWriter();

  it("writes kv.set by hand exactly as the package does", () => {
    fc.assert(
      fc.property(keySet, fc.option(cause, { nil: undefined }), (e, c) => {
        writer.begin();
        writeKeySet(writer, e, c);
        const byHand = writer.finish();
        expect(Buffer.compare(byHand, encode(fieldsOf(e, c)))).toBe(0);
        if (e.key.length > 200) seen.longKeys++;
      }),
      runs(300) as fc.Parameters<[KeySet, Cause | undefined]>,
    );
  });

  it("reads every width of every MessagePack form that the package reads", () => {
    const wide: [string, (r: BodyReader) => unknown][] = [
      ["dd00000000", (r) => r.array()],
      ["dc0000", (r) => r.array()],
      ["cc05", (r) => r.uint()],
      ["cd0005", (r) => r.uint()],
      ["ce00000005", (r) => r.uint()],
      ["cf0000000000000005", (r) => r.uint()],
      ["d90161", (r) => r.str()],
      ["da000161", (r) => r.str()],
      ["db0000000161", (r) => r.str()],
      ["c40161", (r) => binOf(r)],
      ["c5000161", (r) => binOf(r)],
      ["c60000000161", (r) => binOf(r)],
    ];
    for (const [hex, read] of wide) {
      const reader = new BodyReader();
      reader.begin(Buffer.from(hex, "hex"));
      const byPackage = decode(Buffer.from(hex, "hex"));
      const byHand = read(reader);
      reader.atEnd();
      if (Array.isArray(byPackage)) expect(byHand).toBe(byPackage.length);
      else if (byPackage instanceof Uint8Array) expect(Buffer.compare(byHand as Buffer, byPackage)).toBe(0);
      else expect(byHand).toBe(byPackage);
    }
  });

  it("has a generator for every kind that the catalogue knows", () => {
    const generated = EVENT_TYPES.map((type) => {
      const [event] = fc.sample<StoreEvent>(eventsByType[type], 1);
      return encodeRecord([event!], { command: "test" }).kind;
    });
    const all = [EPOCH_STARTED, SEVERAL_KIND, ...generated];
    expect(knownKinds.toSorted((a, b) => a - b)).toEqual(all.sort((a, b) => a - b));
  });

  it("gives back the events and the cause of a record", () => {
    const one = fc.tuple(fc.array(anyEvent, { minLength: 1, maxLength: 5 }), cause);
    fc.assert(
      fc.property(one, ([events, c]) => {
        const { kind, version, body } = encodeRecord(events, c);
        // The body is borrowed, and whoever compares encodes again.
        const record = { kind, version, body: new Uint8Array(body) };
        const stored = events.map(asStored);
        expect(decodeEvents(record)).toEqual({ events: stored, cause: c });
        expectProjected(record, stored);
        if (events.length > 1) seen.severals++;
        if (new Set(events.map(({ type }) => type.split(".")[0])).size > 1) seen.mixed++;
        for (const { type } of events) seenTypes.set(type, (seenTypes.get(type) ?? 0) + 1);
      }),
      runs(200) as fc.Parameters<[[StoreEvent[], Cause]]>,
    );
  });

  it("gives back each kind of event alone, with its cause", () => {
    for (const type of EVENT_TYPES)
      fc.assert(
        fc.property(eventsByType[type] as fc.Arbitrary<StoreEvent>, cause, (event, c) => {
          const { kind, version, body } = encodeRecord([event], c);
          const record = { kind, version, body: new Uint8Array(body) };
          const stored = asStored(event);
          expect(decodeEvents(record)).toEqual({ events: [stored], cause: c });
          expectProjected(record, [stored]);
          seenTypes.set(type, (seenTypes.get(type) ?? 0) + 1);
        }),
        runs(15) as fc.Parameters<[StoreEvent, Cause]>,
      );
  });

  it("refuses a record whole when one of its events is of a kind or version that nobody knows", async () => {
    const strange = fc.oneof(
      fc.record({
        kind: fc.oneof(fc.constantFrom(EPOCH_STARTED, SEVERAL_KIND), fc.integer({ min: 64, max: 0xffff })),
        version: fc.integer({ min: 0, max: 3 }),
      }),
      fc.record({ kind: fc.constantFrom(3, 16, 32, 48), version: fc.integer({ min: 2, max: 255 }) }),
    );
    const others = fc.array(anyEvent, { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(strange, fc.nat(), others, cause, async (head, place, events, c) => {
        const encoded = events.map((event) => {
          const { body, ...rest } = encodeRecord([event], c);
          return { ...rest, body: new Uint8Array(body) };
        });
        const unknown = { ...head, body: new Uint8Array(0) };
        expect(bothDecode(severalWith(unknown, place, encoded))).toBe("PROJECTION_EVENT_UNKNOWN");
        // The store has nothing that other events could be of.
        const flushed = { kind: 20, version: 1, body: encode([null]) };
        const record = severalWith(unknown, place, [flushed, flushed]);
        const at = { offset: offset(1), timestamp: 1, epoch: epoch(1), crc: 0 };
        const opening = TestStore.open({ log: new MemoryLog({ records: [{ ...record, ...at }] }) });
        await expect(opening).rejects.toMatchObject({ code: "PROJECTION_EVENT_UNKNOWN" });
        seen.unknown++;
      }),
      runs(100) as fc.Parameters<[{ kind: number; version: number }, number, StoreEvent[], Cause]>,
    );
  });

  it("answers arbitrary bytes with a coded error or with events", () => {
    const kind = fc.oneof(
      fc.constant(SEVERAL_KIND),
      fc.constantFrom(...knownKinds.filter((each) => each !== EPOCH_STARTED)),
    );
    fc.assert(
      fc.property(kind, fc.uint8Array({ maxLength: 60 }), (k, body) => {
        count(bothDecode({ kind: k, version: 1, body }));
      }),
      runs(3_000) as fc.Parameters<[number, Uint8Array]>,
    );
  });

  it("answers a cut or damaged record with a coded error or with events", () => {
    const damage = fc.record({ at: fc.nat(), mask: fc.integer({ min: 0, max: 255 }), cut: fc.nat() });
    fc.assert(
      fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 3 }), cause, damage, (events, c, d) => {
        const { kind, version, body } = encodeRecord(events, c);
        const damaged = Uint8Array.prototype.slice.call(body, 0, body.length - (d.cut % 3));
        if (damaged.length > 0) damaged[d.at % damaged.length]! ^= d.mask;
        count(bothDecode({ kind, version, body: damaged }));
      }),
      runs(1_500) as fc.Parameters<[StoreEvent[], Cause, { at: number; mask: number; cut: number }]>,
    );
  });

  function count(outcome: string): void {
    if (outcome.startsWith("PROJECTION_")) seen.malformed++;
    else seen.decoded++;
  }

  afterAll(() => {
    for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(10);
    for (const [type, times] of seenTypes) expect(times, type).toBeGreaterThan(10);
  });
});
