/** Keys as such: scanning, patterns, renaming, statistics, and the memory that they take. */
import { describe, expect, it, vi } from "vitest";
import { offset } from "../../log/index.js";
import {
  batch,
  type Decider,
  type EvictionPolicy,
  type KvRules,
  kv,
  type ScanQuery,
  type SetAnswer,
  type Step,
  TEXT_TYPE,
} from "../../projections/index.js";
import type { Evictions, HiddenKeys } from "../../projections/kv/contract.js";
import { unchanged } from "../../projections/kv/decisions.js";
import { ExpiryHeap } from "../../projections/kv/expiry-heap.js";
import { parseGlob } from "../../projections/kv/glob.js";
import { KeyTable } from "../../projections/kv/key-table.js";
import { KvOverlay } from "../../projections/kv/overlay.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryLog } from "../support/memory-log.js";

const text = (key: string, value = "v") => ({ key, value, contentType: TEXT_TYPE });

async function scanAll(
  t: TestStore,
  query: Omit<ScanQuery, "cursor">,
): Promise<{ keys: string[]; pages: number }> {
  const keys: string[] = [];
  let pages = 0;
  let cursor: string | undefined;
  do {
    const page = await t.answer(kv.scan, { ...query, ...(cursor === undefined ? {} : { cursor }) });
    keys.push(...page.keys);
    cursor = page.cursor;
    pages++;
  } while (cursor !== undefined);
  return { keys, pages };
}

describe("a batch that evicts for each of its sets", () => {
  it("has what it changed itself asked for key by key, however much that is", () => {
    const asked: unknown[] = [];
    const below = {
      ...{ memoryBytes: 0, keysHeld: 0, lastOffset: offset(1), chargeOf: () => 1, chargedFor: () => 0 },
      evictions: (hidden?: HiddenKeys): Evictions => ({
        candidates: (...[, , , spare]) => {
          asked.push(spare.size, hidden?.has("k7"), hidden?.has("k999"), hidden?.has("other"));
          return [];
        },
      }),
    };
    const overlay = new KvOverlay(below as never, offset(2));
    for (let n = 0; n < 1_000; n++) overlay.apply({ type: "kv.evicted", key: `k${n}`, previous: offset(1) });
    overlay.evictions().candidates("allkeys-lru", 1, 0.5, new Set(["a"]));
    expect(asked).toEqual([1, true, true, false]);
  });

  it.each<EvictionPolicy>(["allkeys-lru", "volatile-lru", "volatile-ttl"])(
    "does not look at what it has evicted again, %s",
    async (evictionPolicy) => {
      const t = await TestStore.open();
      const expiry = { type: "seconds", value: 1_000 } as const;
      for (let n = 0; n < 1_000; n++) await t.ok(kv.set, { ...text(`old${n}`), expiry });
      Object.assign(t.rules, { evictionPolicy, maxMemoryBytes: t.store.kvStats(t.now).memoryBytes });
      const steps = Array.from({ length: 1_000 }, (_, n): { name: string; step: Step<SetAnswer> } => ({
        name: "kv.set",
        step: { decide: (state, context, rules) => kv.set(state, text(`new${n}`), context, rules) },
      }));
      const looks = [vi.spyOn(KeyTable.prototype, "keyAt"), vi.spyOn(ExpiryHeap.prototype, "slotAt")];
      await t.ok(batch<SetAnswer>, { preconditions: [], steps });
      const looked = looks.reduce((sum, { mock }) => sum + mock.calls.length, 0);
      vi.restoreAllMocks();
      expect(t.store.kvStats(t.now)).toMatchObject({ totalKeys: 1_000, evictedTotal: 1_000 });
      expect(looked).toBeLessThan(200 * 1_000);
    },
  );

  it.each<EvictionPolicy>(["allkeys-random", "volatile-ttl"])(
    "may evict for one what it had to spare for another, %s",
    async (policy) => {
      const t = await TestStore.open();
      const expiry = { type: "seconds", value: 1_000 } as const;
      for (const key of ["a", "b", "c"]) await t.ok(kv.set, { ...text(key), expiry });
      const found: (readonly string[])[] = [];
      const look: Decider<object, object> = (state) => {
        const evictions = state.kv.evictions({ has: (key) => key === "b" });
        for (const spare of [["a"], ["c"], []]) {
          found.push(evictions.candidates(policy, 1_000_000, 0.5, new Set(spare)));
        }
        return unchanged({}, offset(0));
      };
      await t.ok(look, {});
      expect(found.map((keys) => [...keys].sort())).toEqual([["c"], ["a"], ["a", "c"]]);
    },
  );
});

describe("scan", () => {
  it("lists a key that is there throughout exactly once, whatever else comes and goes", async () => {
    const t = await TestStore.open();
    for (let n = 0; n < 300; n++) await t.ok(kv.set, text(`${n % 3 === 0 ? "stays" : "goes"}:${n}`));
    const seen: string[] = [];
    let cursor: string | undefined;
    for (let turn = 0; turn === 0 || cursor !== undefined; turn++) {
      const page = await t.answer(kv.scan, { limit: 7, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.keys);
      cursor = page.cursor;
      await t.ok(kv.delete, { key: `goes:${(turn * 7) % 300}` });
      await t.ok(kv.set, text(`new:${turn}`));
      await t.ok(kv.set, text(`stays:${(turn * 3) % 300}`, "overwritten"));
    }
    const stayed = seen.filter((key) => key.startsWith("stays"));
    expect(new Set(stayed).size).toBe(100);
    expect(stayed).toHaveLength(100);
  });

  it("bounds the work of a page, so that a page may be empty and still go on", async () => {
    const t = await TestStore.open();
    for (let from = 0; from < 120_000; from += 2_000) {
      const pairs = Array.from({ length: 2_000 }, (_, n) => text(`k${from + n}`));
      await t.ok(kv.setMany, { pairs });
    }
    const first = await t.answer(kv.scan, { limit: 10, prefix: "k119999" });
    expect(first).toEqual({ keys: [], cursor: expect.any(String) });
    expect(await scanAll(t, { limit: 10, prefix: "k119999" })).toEqual({ keys: ["k119999"], pages: 3 });
  });

  it("bounds the bytes of a page, and lists them all on more", async () => {
    const t = await TestStore.open({ rules: { keyBytesMax: 32_768 } });
    const long = (n: number) => text(`${n}:`.padEnd(32_768, "k"));
    for (let n = 0; n < 300; n++) await t.ok(kv.set, long(n));
    const first = await t.answer(kv.scan, { limit: 10_000 });
    expect(first.keys).toHaveLength((4 << 20) / 32_768);
    const { keys, pages } = await scanAll(t, { limit: 10_000 });
    expect([new Set(keys).size, keys.length, pages]).toEqual([300, 300, 3]);
    const page = await t.answer(kv.entries, { of: { limit: 1_000 }, bytesMax: 1 << 30 });
    expect(page.entries.length).toBe(first.keys.length);
  });

  it("refuses a cursor of another run, and one that it never gave", async () => {
    const t = await TestStore.open();
    t.random = 0.25;
    await t.ok(kv.setMany, { pairs: [text("a"), text("b")] });
    const { cursor } = await t.answer(kv.scan, { limit: 1 });
    const again = await TestStore.open({ log: new MemoryLog({ records: t.log.records }) });
    again.random = 0.75;
    expect(await again.askRefused(kv.scan, { limit: 1, cursor: cursor! })).toBe("KV_CURSOR_INVALID");
    for (const made of ["", "0", "x.1", `${cursor}9999999999`]) {
      expect(await t.askRefused(kv.scan, { limit: 1, cursor: made })).toBe("KV_CURSOR_INVALID");
    }
  });

  it("ends quietly for a cursor past a table that shrank", async () => {
    const t = await TestStore.open();
    await t.ok(kv.setMany, { pairs: [text("a"), text("b"), text("c")] });
    const { cursor } = await t.answer(kv.scan, { limit: 2 });
    await t.ok(kv.flush, {});
    expect(await t.answer(kv.scan, { limit: 2, cursor: cursor! })).toEqual({ keys: [] });
  });

  it("refuses a limit below 1 and a broken pattern", async () => {
    const t = await TestStore.open();
    expect(await t.askRefused(kv.scan, { limit: 0 })).toBe("KV_RANGE_INVALID");
    expect(await t.askRefused(kv.scan, { limit: 1, pattern: "[a" })).toBe("KV_PATTERN_INVALID");
    expect(await t.askRefused(kv.scan, { limit: 1, pattern: "*".repeat(1_025) })).toBe("KV_PATTERN_INVALID");
  });

  it("finds by prefix and by pattern together", async () => {
    const t = await TestStore.open();
    await t.ok(kv.setMany, { pairs: ["user:1", "user:22", "item:1"].map((key) => text(key)) });
    expect((await scanAll(t, { limit: 1, prefix: "user:", pattern: "*:?" })).keys).toEqual(["user:1"]);
  });
});

describe("a pattern", () => {
  it.each([
    ["*", "", true],
    ["", "", true],
    ["", "a", false],
    ["a*c", "abbbc", true],
    ["a*c", "abbbcd", false],
    ["*a*b*", "xxaxxbxx", true],
    ["a?c", "abc", true],
    ["a?c", "a😀c", true],
    ["a?c", "ac", false],
    ["[abc]", "b", true],
    ["[^abc]", "b", false],
    ["[^abc]", "é", true],
    ["[a-c]x", "cx", true],
    ["[c-a]x", "bx", true],
    ["[a-]", "-", true],
    ["[]a", "a", false],
    ["[\\]]", "]", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["user:*:name", "user:17:name", true],
    ["**", "anything", true],
  ])("%j and %j match: %s", (pattern, key, expected) => {
    expect(parseGlob(pattern)?.matches(key)).toBe(expected);
  });

  it.each(["[", "[a", "[a-", "[^", "a\\", "[\\"])("%j is refused", (pattern) => {
    expect(parseGlob(pattern)).toBeUndefined();
  });

  it("never takes more steps than its length times the key's", () => {
    const glob = parseGlob(`${"*a".repeat(200)}b`);
    expect(glob?.matches("a".repeat(1_000))).toBe(false);
    expect(glob?.steps).toBeLessThan(401 * 1_000);
  });
});

describe("rename and copy", () => {
  it("move and copy value, type and expiry over what was there", async () => {
    const t = await TestStore.open();
    const expiry = { type: "seconds", value: 5 } as const;
    await t.ok(kv.set, { key: "a", value: "1", contentType: "x/y", expiry });
    await t.ok(kv.set, text("b"));
    await t.ok(kv.copy, { key: "a", destination: "c", replace: false });
    await t.ok(kv.rename, { key: "a", destination: "b" });
    const [a, b, c] = await t.answer(kv.getMany, { keys: ["a", "b", "c"] });
    expect(a).toBeUndefined();
    expect(b).toMatchObject({ bytes: "1", contentType: "x/y", expiresAt: t.now + 5_000 });
    expect(c).toMatchObject({ bytes: "1", contentType: "x/y", expiresAt: t.now + 5_000 });
  });

  it("refuse a source that is not there, and leave a destination that is", async () => {
    const t = await TestStore.open();
    expect(await t.refused(kv.rename, { key: "a", destination: "a" })).toBe("KV_KEY_NOT_FOUND");
    await t.ok(kv.setMany, { pairs: [text("a"), text("b")] });
    expect(await t.ok(kv.renameIfAbsent, { key: "a", destination: "b" })).toEqual({ renamed: false });
    expect(await t.ok(kv.copy, { key: "a", destination: "b", replace: false })).toEqual({ copied: false });
    expect(await t.ok(kv.rename, { key: "a", destination: "a" })).toEqual({ renamed: true });
    expect(t.log.endOffset).toBe(1);
  });
});

describe("flush", () => {
  it("is refused where the rules forbid it", async () => {
    const t = await TestStore.open({ rules: { allowFlush: false } });
    await t.ok(kv.set, text("a"));
    expect(await t.refused(kv.flush, {})).toBe("KV_FLUSH_NOT_ALLOWED");
    expect(await t.answer(kv.size, {})).toEqual({ size: 1 });
  });

  it("removes every key and gives all memory back", async () => {
    const t = await TestStore.open();
    await t.ok(kv.setMany, { pairs: [text("a"), text("b")] });
    expect(await t.ok(kv.flush, {})).toEqual({ flushed: 2 });
    expect(t.store.kvStats(t.now)).toMatchObject({ totalKeys: 0, memoryBytes: 0, expiringKeys: 0 });
  });
});

describe("statistics", () => {
  it("count what is there, and what the process did since it started", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, { ...text("a"), expiry: { type: "seconds", value: 1 } });
    await t.ok(kv.setMany, { pairs: [text("b"), text("c")] });
    await t.ok(kv.delete, { key: "c" });
    await t.answer(kv.get, { key: "b" });
    await t.answer(kv.get, { key: "c" });
    t.now += 1_000;
    expect(t.store.kvStats(t.now)).toMatchObject({
      totalKeys: 1,
      expiringKeys: 0,
      expiredTotal: 1,
      operations: { gets: 2, sets: 3, dels: 1, hits: 1, misses: 1 },
    });
    t.store.reclaimExpired(t.now, 10);
    expect(t.store.kvStats(t.now)).toMatchObject({ totalKeys: 1, expiredTotal: 1 });
    const again = await TestStore.open({ log: new MemoryLog({ records: t.log.records }) });
    expect(again.store.kvStats(t.now).operations).toEqual({ gets: 0, sets: 0, dels: 0, hits: 0, misses: 0 });
  });

  it("draws a random key among those that are there, even in a table that is mostly free", async () => {
    const t = await TestStore.open();
    await t.ok(kv.setMany, { pairs: Array.from({ length: 500 }, (_, n) => text(`k${n}`)) });
    await t.ok(kv.deleteMany, { keys: Array.from({ length: 499 }, (_, n) => `k${n}`) });
    for (const random of [0, 0.3, 0.999]) {
      t.random = random;
      expect(await t.answer(kv.randomKey, {})).toEqual({ key: "k499" });
    }
  });
});

const full = (evictionPolicy: EvictionPolicy): Partial<KvRules> => ({
  evictionPolicy,
  maxMemoryBytes: 40_000,
});

/** Sets keys of the same size until the next one would not fit; returns how many fit. */
async function fill(t: TestStore, expiring: (n: number) => boolean = () => false): Promise<number> {
  const one = (n: number) => ({
    ...text(`k${String(n).padStart(4, "0")}`, "v".repeat(100)),
    ...(expiring(n) ? { expiry: { type: "seconds", value: 1_000 - n } as const } : {}),
  });
  await t.ok(kv.set, one(0));
  const fits = Math.floor(40_000 / t.store.kvStats(t.now).memoryBytes);
  for (let n = 1; n < fits; n++) await t.ok(kv.set, one(n));
  return fits;
}

describe("memory", () => {
  it("is refused past the limit when nothing may be evicted, and freed room is usable", async () => {
    const t = await TestStore.open({ rules: full("noeviction") });
    await fill(t);
    const before = t.store.kvStats(t.now);
    expect(await t.refused(kv.set, text("more", "v".repeat(1_000)))).toBe("KV_MEMORY_FULL");
    expect(t.store.kvStats(t.now)).toEqual(before);
    expect(await t.ok(kv.set, text("k0001", "short"))).toMatchObject({ written: true });
    await t.ok(kv.deleteMany, { keys: ["k0002", "k0003", "k0004", "k0005", "k0006", "k0007"] });
    expect(await t.ok(kv.set, text("more", "v".repeat(1_000)))).toMatchObject({ written: true });
  });

  it("does not run full of overwrites, deletes or expiries", async () => {
    const t = await TestStore.open({ rules: full("noeviction") });
    for (let n = 0; n < 2_000; n++) {
      t.now += 10;
      await t.ok(kv.set, { ...text(`e${n}`), expiry: { type: "milliseconds", value: 5 } });
      await t.ok(kv.set, text("same", "v".repeat(n % 900)));
      await t.ok(kv.set, text("gone"));
      await t.ok(kv.delete, { key: "gone" });
    }
  });

  it.each<EvictionPolicy>(["allkeys-lru", "allkeys-lfu", "allkeys-random"])(
    "%s makes room in the same record",
    async (policy) => {
      const t = await TestStore.open({ rules: full(policy) });
      const fits = await fill(t);
      const records = t.log.endOffset;
      await t.ok(kv.set, text("more", "v".repeat(1_000)));
      expect(t.log.endOffset).toBe(records + 1);
      const stats = t.store.kvStats(t.now);
      expect(stats.memoryBytes).toBeLessThanOrEqual(40_000);
      expect(stats.evictedTotal).toBeGreaterThan(0);
      expect(stats.totalKeys).toBe(fits + 1 - stats.evictedTotal);
      const again = await TestStore.open({
        log: new MemoryLog({ records: t.log.records }),
        rules: full(policy),
      });
      expect(again.store.digest()).toBe(t.store.digest());
    },
  );

  it.each<[EvictionPolicy, number]>([
    ["allkeys-lru", 1],
    ["allkeys-lfu", 5],
  ])("%s keeps what is used (%i reads each)", async (policy, reads) => {
    const t = await TestStore.open({ rules: full(policy) });
    const fits = await fill(t);
    const used = Array.from({ length: 20 }, (_, n) => `k${String(n).padStart(4, "0")}`);
    for (let n = 0; n < reads; n++) await t.answer(kv.getMany, { keys: used });
    for (let n = 0; n < fits / 3; n++) {
      t.random = (n % 97) / 97;
      await t.ok(kv.set, text(`new${n}`, "v".repeat(100)));
    }
    const left = (await t.answer(kv.getMany, { keys: used })).filter((entry) => entry !== undefined);
    expect(left.length).toBeGreaterThanOrEqual(19);
  });

  it("volatile-ttl gives up the soonest to expire, in order", async () => {
    const t = await TestStore.open({ rules: full("volatile-ttl") });
    const fits = await fill(t, (n) => n >= 10 && n % 2 === 0);
    await t.ok(kv.set, text("x", "v".repeat(100)));
    await t.ok(kv.set, text("y", "v".repeat(100)));
    const soonest = [0, 1].map((n) => (fits % 2 === 0 ? fits - 2 : fits - 1) - 2 * n);
    for (const n of soonest) {
      expect(await t.answer(kv.exists, { key: `k${String(n).padStart(4, "0")}` })).toEqual({ exists: false });
    }
    expect(t.store.kvStats(t.now).evictedTotal).toBe(2);
  });

  it.each<EvictionPolicy>(["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])(
    "%s touches no key without an expiry and refuses when none is left",
    async (policy) => {
      const t = await TestStore.open({ rules: full(policy) });
      await fill(t, (n) => n < 3);
      for (let n = 0; n < 3; n++) await t.ok(kv.set, text(`new${n}`, "v".repeat(100)));
      expect(await t.refused(kv.set, text("more", "v".repeat(100)))).toBe("KV_MEMORY_FULL");
      expect(t.store.kvStats(t.now).evictedTotal).toBe(3);
    },
  );

  it("never evicts a key that the command itself sets or moves", async () => {
    const t = await TestStore.open({ rules: full("allkeys-random") });
    await fill(t);
    for (let n = 0; n < 50; n++) {
      t.random = n / 50;
      await t.ok(kv.append, { key: "k0003", value: "v".repeat(50) });
      await t.ok(kv.setMany, { pairs: [text("k0003", "w".repeat(2_000)), text("k0004", "w".repeat(2_000))] });
      await t.ok(kv.rename, { key: "k0003", destination: "a much longer name than before" });
      await t.ok(kv.rename, { key: "a much longer name than before", destination: "k0003" });
    }
    expect(await t.answer(kv.length, { key: "k0003" })).toEqual({ length: 2_000 });
  });

  it("finds the few that may go in a table that is mostly free", async () => {
    // The new value fills whole pages, and beside it there is room for no other key.
    const pages = 318 * 4096;
    const limit = pages + 100;
    const t = await TestStore.open({
      rules: { evictionPolicy: "allkeys-random", maxMemoryBytes: limit, valueBytesMax: limit },
    });
    const keys = Array.from({ length: 5_000 }, (_, n) => `k${n}`);
    await t.ok(kv.setMany, { pairs: keys.map((key) => text(key)) });
    await t.ok(kv.deleteMany, { keys: keys.slice(1, -2) });
    expect(await t.ok(kv.set, text("k0", "v".repeat(pages - "k0".length)))).toMatchObject({ written: true });
    expect(t.store.kvStats(t.now)).toMatchObject({ totalKeys: 1, evictedTotal: 2 });
  });

  it("shrinks below a lowered limit by records that are never too large, however long the keys", async () => {
    const roomy = await TestStore.open();
    for (let i = 0; i < 600; i++) await roomy.ok(kv.set, text(`${i}`.padEnd(200, "x")));
    const rules = { evictionPolicy: "allkeys-lru", maxMemoryBytes: 20_000 } as const;
    const t = await TestStore.open({ rules, log: new MemoryLog({ records: roomy.log.records }) });
    const records = t.log.records.length;
    for (let i = 0; t.store.kvStats(t.now).memoryBytes > 20_000; i++) {
      expect(i).toBeLessThan(20);
      await t.ok(kv.set, text(`new ${i}`));
    }
    const sizes = t.log.records.slice(records).map(({ body }) => body.length);
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThan(32_768);
  });

  it("shrinks, write by write, below a limit that was lowered", async () => {
    const log = new MemoryLog();
    const t = await TestStore.open({ log });
    await t.ok(kv.setMany, { pairs: Array.from({ length: 5_000 }, (_, n) => text(`k${n}`)) });
    const small = await TestStore.open({
      log: new MemoryLog({ records: log.records }),
      rules: { evictionPolicy: "allkeys-lru", maxMemoryBytes: 100_000 },
    });
    for (let n = 0; n < 6; n++) await small.ok(kv.set, text(`new${n}`));
    expect(small.store.kvStats(0).memoryBytes).toBeLessThanOrEqual(100_000);
  });

  it("is not held by keys that have expired, however many", async () => {
    const t = await TestStore.open({ rules: full("noeviction") });
    await fill(t, () => true);
    expect(await t.refused(kv.set, text("large", "v".repeat(20_000)))).toBe("KV_MEMORY_FULL");
    t.now += 2_000_000;
    await t.ok(kv.set, text("large", "v".repeat(20_000)));
    expect(t.store.kvStats(t.now).totalKeys).toBe(1);
  });

  it("follows a limit that changes while the store runs, in what it says and in what it refuses", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("k", "v".repeat(100)));
    const used = t.store.kvStats(t.now).memoryBytes;
    t.rules.maxMemoryBytes = used;
    expect(t.store.kvStats(t.now).maxMemoryBytes).toBe(used);
    expect(await t.refused(kv.set, text("l", "v".repeat(100)))).toBe("KV_MEMORY_FULL");
    t.rules.maxMemoryBytes = 2 * used;
    expect(t.store.kvStats(t.now).maxMemoryBytes).toBe(2 * used);
    await t.ok(kv.set, text("l", "v".repeat(100)));
    expect(await t.refused(kv.set, text("m", "v".repeat(100)))).toBe("KV_MEMORY_FULL");
  });
});
