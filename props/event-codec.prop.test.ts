/**
 * Event bodies.
 *
 * 1. What is encoded by hand is byte for byte what `@msgpack/msgpack` encodes, and either reads what the other wrote.
 * 2. A record gives back exactly the events and the cause that were put into it.
 * 3. What the projection reads of a record is what the full decoder reads.
 * 4. Arbitrary, cut or damaged bytes end in a coded error or in events; nothing else is thrown.
 */
import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import { decodeKvChanges, encodeRecord } from "../projections/events.js";
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
import { writeKeySet } from "../projections/kv/codec.js";
import { BodyReader, BodyWriter } from "../projections/wire.js";
import { runs } from "./run-settings.js";

const seen = { longKeys: 0, severals: 0, malformed: 0, decoded: 0 };

const text = (maxLength: number) => fc.string({ unit: "binary", maxLength }).filter((s) => s.isWellFormed());
const key = fc.oneof(
  { weight: 8, arbitrary: text(40) },
  fc.constantFrom("__proto__", "\u0000", "\ufeff", "é", "\u{1f600}".repeat(20)),
  fc.integer({ min: 200, max: 70_000 }).map((length) => `\ufeff${"k".repeat(length)}`),
);
const bytes = fc.oneof(
  { weight: 20, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  fc.constantFrom(255, 256, 65_535, 65_536).map((length) => new Uint8Array(length).fill(0xab)),
);
const edges = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
const number = fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat());
const previous = number.map(offset);
const contentType = fc.constantFrom(TEXT_TYPE, JSON_TYPE, BYTES_TYPE, "image/png", "x".repeat(255));
const cause: fc.Arbitrary<Cause> = fc
  .tuple(text(20), fc.option(text(40), { nil: undefined }))
  .map(([command, requestId]) => (requestId === undefined ? { command } : { command, requestId }));

const keySet: fc.Arbitrary<KeySet> = fc.record({
  type: fc.constant("kv.set" as const),
  key,
  value: fc.oneof(text(200), bytes),
  contentType,
  expiresAt: number,
  previous,
});
const event: fc.Arbitrary<StoreEvent> = fc.oneof(
  keySet,
  fc.record({ type: fc.constantFrom("kv.deleted" as const, "kv.evicted" as const), key, previous }),
  fc.record({ type: fc.constant("kv.expiry_changed" as const), key, expiresAt: number, previous }),
  fc.constant({ type: "kv.flushed" as const }),
);

const asBytes = (e: StoreEvent): StoreEvent =>
  e.type === "kv.set" && typeof e.value === "string"
    ? { ...e, value: new Uint8Array(Buffer.from(e.value)) }
    : e;

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

/** Both decoders on one record: where both read it they read as many events, and neither throws anything uncoded. */
function bothDecode(record: { kind: number; version: number; body: Uint8Array }): string {
  const outcomes = [() => decodeEvents(record).events.length, () => decodeKvChanges(record).length].map(
    (read) => {
      try {
        return String(read());
      } catch (error) {
        if (!(error instanceof ProjectionError)) throw error;
        return error.code;
      }
    },
  );
  const [full = "", hot = ""] = outcomes;
  if (!full.startsWith("PROJECTION_") && !hot.startsWith("PROJECTION_")) expect(hot).toBe(full);
  return hot;
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

  it("gives back the events and the cause of a record", () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 5 }), cause, (events, c) => {
        const record = encodeRecord(events, c);
        expect(decodeEvents(record)).toEqual({ events: events.map(asBytes), cause: c });
        const changes = decodeKvChanges(record);
        expect(changes).toHaveLength(events.length);
        for (const [index, change] of changes.entries()) {
          const original = asBytes(events[index]!);
          if (change.type !== "kv.set" || original.type !== "kv.set") expect(change).toEqual(original);
          else {
            const { source, keyStart, keyEnd, valueStart, valueEnd } = change;
            expect(Buffer.from(source.subarray(keyStart, keyEnd)).toString()).toBe(original.key);
            expect(Buffer.compare(source.subarray(valueStart, valueEnd), original.value as Uint8Array)).toBe(
              0,
            );
            expect(change).toMatchObject({
              contentType: original.contentType,
              expiresAt: original.expiresAt,
            });
          }
        }
        if (events.length > 1) seen.severals++;
      }),
      runs(300) as fc.Parameters<[StoreEvent[], Cause]>,
    );
  });

  it("answers arbitrary bytes with a coded error or with events", () => {
    const kind = fc.constantFrom(2, 16, 17, 18, 19, 20, 21);
    fc.assert(
      fc.property(kind, fc.uint8Array({ maxLength: 60 }), (k, body) => {
        count(bothDecode({ kind: k, version: 1, body }));
      }),
      runs(1_500) as fc.Parameters<[number, Uint8Array]>,
    );
  });

  it("answers a cut or damaged record with a coded error or with events", () => {
    const damage = fc.record({ at: fc.nat(), mask: fc.integer({ min: 0, max: 255 }), cut: fc.nat() });
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 3 }), cause, damage, (events, c, d) => {
        const { kind, version, body } = encodeRecord(events, c);
        const damaged = Uint8Array.prototype.slice.call(body, 0, body.length - (d.cut % 3));
        if (damaged.length > 0) damaged[d.at % damaged.length]! ^= d.mask;
        count(bothDecode({ kind, version, body: damaged }));
      }),
      runs(1_000) as fc.Parameters<[StoreEvent[], Cause, { at: number; mask: number; cut: number }]>,
    );
  });

  function count(outcome: string): void {
    if (outcome.startsWith("PROJECTION_")) seen.malformed++;
    else seen.decoded++;
  }

  afterAll(() => {
    for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(10);
  });
});
