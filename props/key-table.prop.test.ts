/**
 * The key table, its slabs and its hash index against a Map.
 *
 * 1. After any inserts, overwrites with other sizes, deletes and clears, every key is found with its value and no other is,
 *    whatever the hash: a keyed one, one of few values, or one value for all keys.
 * 2. The charge is the sum over the keys that are there, always; an empty table is charged nothing.
 * 3. No two blocks that are given out overlap, and the slabs' own sum is that of the blocks.
 * 4. After every step, the blocks that the table has from its slabs are those of its keys: none is left behind, none shared.
 * 5. Memory that one size of blocks gave back serves another.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import { TEXT_TYPE } from "../projections/index.js";
import type { KeyStored } from "../projections/kv/codec.js";
import { type KeyHash, keyHash } from "../projections/kv/key-hash.js";
import { KeyTable } from "../projections/kv/key-table.js";
import { type BlockRef, blockBytes, SlabStore } from "../projections/kv/slab-store.js";
import { expectEqual } from "../test/support/expect-equal.js";
import { runs } from "./run-settings.js";

const seen = { overwrites: 0, resizes: 0, deletes: 0, clears: 0, collisions: 0, reused: 0, own: 0 };

const keyed = keyHash(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
const hashes: readonly KeyHash[] = [
  keyed,
  () => 0,
  () => 0xffff_ffff,
  // Few values, far apart and beside each other, at the end of a bucket too.
  (bytes, start, end) => [14, 15, 0x8000_000f, 0xffff_ffff][keyed(bytes, start, end) & 3]!,
];

function stored(key: string, value: string, contentType = TEXT_TYPE): KeyStored {
  const source = Buffer.from(`##${key}#${value}#`);
  const keyEnd = 2 + Buffer.byteLength(key);
  const valueStart = keyEnd + 1;
  const valueEnd = source.length - 1;
  return {
    type: "kv.set",
    source,
    keyStart: 2,
    keyEnd,
    valueStart,
    valueEnd,
    contentType,
    expiresAt: 0,
    previous: 0,
  };
}

function put(table: KeyTable, change: KeyStored): number {
  const { source, keyStart, keyEnd } = change;
  const hash = table.hashOf(source, keyStart, keyEnd);
  const slot = table.findBytes(source, keyStart, keyEnd, hash);
  if (slot < 0) return table.add(change, hash, offset(1));
  table.replace(slot, change, offset(2));
  return slot;
}

/** The model: value and content type by key. */
type Model = Map<string, readonly [value: string, contentType: string]>;

/** A block for every key, and no other. */
function expectBlocks(blocks: SlabStore, model: Model): void {
  let bytes = 0;
  for (const [key, [value]] of model) bytes += blockBytes(Buffer.byteLength(key) + value.length);
  expectEqual(blocks.liveBytes, bytes);
}

function expectTable(table: KeyTable, model: Model): void {
  let charge = 0;
  for (const [key, [value, contentType]] of model) {
    const slot = table.find(key);
    expectEqual(table.keyAt(slot), key);
    expectEqual(table.valueAt(slot), value);
    expectEqual(table.contentTypeAt(slot), contentType);
    charge += table.chargeOf(key, value.length, contentType);
    expectEqual(table.chargeAt(slot), table.chargeOf(key, value.length, contentType));
  }
  expect(table.memoryBytes).toBe(charge);
  expect(table.size).toBe(model.size);
  expect([...table.slots()].map((slot) => table.keyAt(slot)).sort()).toEqual([...model.keys()].sort());
}

const step = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      do: fc.constant("put" as const),
      key: fc.integer({ min: 0, max: 60 }),
      length: fc.oneof({ weight: 9, arbitrary: fc.nat(300) }, fc.constantFrom(120_000, 140_000, 200_000)),
      contentType: fc.constantFrom(TEXT_TYPE, TEXT_TYPE, "image/png"),
    }),
  },
  {
    weight: 14,
    arbitrary: fc.record({ do: fc.constant("delete" as const), key: fc.integer({ min: 0, max: 60 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("clear" as const) }) },
);

describe("key table", () => {
  it("holds what a Map would, under any hash", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...hashes),
        fc.array(step, { maxLength: 150, size: "max" }),
        (hash, steps) => {
          const blocks = new SlabStore();
          const table = new KeyTable(hash, blocks);
          const model: Model = new Map();
          for (const [at, s] of steps.entries()) {
            if (s.do === "clear") {
              table.clear();
              model.clear();
              seen.clears++;
            } else if (s.do === "put") {
              // Alike but for their last characters.
              const key = `key-${s.key % 7 === 0 ? "é" : ""}${s.key}`;
              const value = String.fromCharCode(97 + (at % 26)).repeat(s.length);
              const before = model.get(key);
              if (before !== undefined) seen.overwrites++;
              if (before !== undefined && before[0].length !== s.length) seen.resizes++;
              if (before === undefined && hash !== keyed) seen.collisions++;
              if (s.length > 130_000) seen.own++;
              put(table, stored(key, value, s.contentType));
              model.set(key, [value, s.contentType]);
            } else {
              const key = `key-${s.key % 7 === 0 ? "é" : ""}${s.key}`;
              const slot = table.find(key);
              expectEqual(slot >= 0, model.delete(key));
              if (slot >= 0) {
                table.remove(slot);
                seen.deletes++;
              }
              expectEqual(table.find(key), -1);
            }
            expectBlocks(blocks, model);
          }
          expectTable(table, model);
        },
      ),
      runs(150) as fc.Parameters<[KeyHash, unknown[]]>,
    );
  });

  it("finds every key through growth, splits and shrinking, and stays charged for what is there", () => {
    const blocks = new SlabStore();
    const table = new KeyTable(keyed, blocks);
    const model: Model = new Map();
    for (let n = 0; n < 30_000; n++) {
      put(table, stored(`k${n}`, `v${n}`));
      model.set(`k${n}`, [`v${n}`, TEXT_TYPE]);
    }
    expectTable(table, model);
    expectBlocks(blocks, model);
    for (let n = 0; n < 30_000; n++) {
      if (n % 50 === 0) continue;
      table.remove(table.find(`k${n}`));
      model.delete(`k${n}`);
    }
    expectTable(table, model);
    expectBlocks(blocks, model);
    for (const key of model.keys()) table.remove(table.find(key));
    expect(table.memoryBytes).toBe(0);
    expect(table.slotEnd).toBe(0);
  });

  it("shows a value as it was read, whatever is written over it later", () => {
    const table = new KeyTable(keyed);
    const slot = put(table, stored("k", "before"));
    const value = table.valueAt(slot);
    put(table, stored("k", "after!"));
    expect([value, table.valueAt(slot)]).toEqual(["before", "after!"]);
  });

  it("finds no ill-formed key, not even the one that its encoding would be", () => {
    const table = new KeyTable(keyed);
    put(table, stored("\ufffd", "v"));
    expect(table.find("\ufffd")).toBe(0);
    expect(table.find("\ud800")).toBe(-1);
    expect(table.find("")).toBe(-1);
  });
});

describe("slab store", () => {
  it("gives out blocks that do not overlap and takes back exactly what it gave", () => {
    const length = fc.oneof(
      { weight: 6, arbitrary: fc.nat(2_000) },
      fc.integer({ min: 100_000, max: 300_000 }),
    );
    const action = fc.oneof(
      { weight: 3, arbitrary: length.map((bytes) => ({ bytes })) },
      { weight: 2, arbitrary: fc.nat().map((which) => ({ which })) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200, size: "max" }), (actions) => {
        const store = new SlabStore();
        const live: { ref: BlockRef; bytes: number; mark: number }[] = [];
        let mark = 0;
        for (const a of actions) {
          if ("bytes" in a) {
            const ref = store.allocate(a.bytes);
            mark = (mark + 1) & 0xff;
            const at = store.positionOf(ref);
            store.bytesOf(ref).fill(mark, at, at + a.bytes);
            live.push({ ref, bytes: a.bytes, mark });
          } else if (live.length > 0) {
            const [block] = live.splice(a.which % live.length, 1);
            store.free(block!.ref);
          }
        }
        for (const { ref, bytes, mark: itsMark } of live) {
          const at = store.positionOf(ref);
          const held = store.bytesOf(ref).subarray(at, at + bytes);
          expectEqual(held.length, bytes);
          expectEqual(
            held.every((byte) => byte === itsMark),
            true,
          );
        }
        expect(store.liveBytes).toBe(live.reduce((sum, { bytes }) => sum + blockBytes(bytes), 0));
      }),
      runs(100) as fc.Parameters<[unknown[]]>,
    );
  });

  it("serves another size from the memory that one size gave back", () => {
    const store = new SlabStore();
    const fill = (bytes: number): BlockRef[] =>
      Array.from({ length: Math.floor(6_000_000 / bytes) }, () => store.allocate(bytes));
    let held = fill(128);
    const full = store.slabBytes;
    for (const bytes of [96, 1_024, 40_000]) {
      for (const ref of held) store.free(ref);
      expect(store.liveBytes).toBe(0);
      held = fill(bytes);
      expect(store.slabBytes).toBeLessThanOrEqual(full + 2 * 1_048_576);
      seen.reused++;
    }
    // Past a few empty slabs memory goes back to the system.
    for (const ref of [...held, ...fill(100), ...fill(100), ...fill(100)]) store.free(ref);
    expect(store.slabBytes).toBeLessThanOrEqual(8 * 1_048_576);
  });

  it("has blocks of at least the size asked for, and at most an eighth larger than the size before", () => {
    for (let bytes = 129; bytes <= 131_072; bytes++) {
      const size = blockBytes(bytes);
      if (size < bytes || size % 16 !== 0 || size > bytes * 1.125 + 16) expect.fail(`${bytes} → ${size}`);
    }
  });
});

afterAll(() => {
  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(2);
});

describe("content types of keys", () => {
  it("stay what they are when more are in use than have numbers, and when a key gets another one", () => {
    const table = new KeyTable(keyed, new SlabStore());
    const model: Model = new Map();
    const set = (key: string, contentType: string): void => {
      put(table, stored(key, "value", contentType));
      model.set(key, ["value", contentType]);
    };
    for (let n = 0; n < 300; n++) set(`key ${n}`, `application/x-${n}`);
    expectTable(table, model);
    // To one with a number, to one without, to the other without, and back.
    for (const type of ["application/x-1", "application/x-299", "application/x-298", TEXT_TYPE])
      for (const key of ["key 2", "key 290"]) {
        set(key, type);
        expectTable(table, model);
      }
    table.clear();
    model.clear();
    for (let n = 0; n < 10; n++) set(`key ${n}`, `text/x-${n}`);
    expectTable(table, model);
  });
});
