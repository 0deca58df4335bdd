// Histories by example: what the properties meet too rarely.
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { Fold, keyAtRevision, kv, TEXT_TYPE, writeSnapshot } from "../../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../support/kv-store.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";

describe("a key at a revision", () => {
  it("that moved the expiry again has the newest expiry, and the value from before", async () => {
    const t = await TestStore.open({ now: 1_000 });
    await t.ok(kv.set, { key: "a", value: "v", contentType: TEXT_TYPE });
    await t.ok(kv.expire, { key: "a", expiry: { type: "unix_milliseconds", value: 5_000 } });
    await t.ok(kv.expire, { key: "a", expiry: { type: "unix_milliseconds", value: 9_000 } });
    const at = (revision: number) => keyAtRevision(t.store, "a", offset(revision), 10);
    expect(await at(3)).toMatchObject({ type: "value", value: Buffer.from("v"), expiresAt: 9_000 });
    expect(await at(2)).toMatchObject({ type: "value", expiresAt: 5_000 });
    expect(await at(1)).toMatchObject({ type: "value", expiresAt: 0 });
    expect(await keyAtRevision(t.store, "a", offset(3), 2)).toEqual({ type: "too_long" });
  });
});

describe("removed keys", () => {
  it("are forgotten past the bound, the one removed longest ago first", async () => {
    const t = await TestStore.open({ rules: { removedKeysBytesMax: 2 * 98 } });
    for (const key of ["a", "b", "c"]) await t.ok(kv.set, { key, value: key, contentType: TEXT_TYPE });
    for (const key of ["b", "a", "c"]) await t.ok(kv.delete, { key });
    const ends = await Promise.all(["a", "b", "c", "never"].map((key) => t.answer(kv.chain, { key })));
    expect(ends).toEqual([
      { offset: 5, isWhole: true, isThere: false },
      { offset: 0, isWhole: false, isThere: false },
      { offset: 6, isWhole: true, isThere: false },
      { offset: 0, isWhole: false, isThere: false },
    ]);
  });

  it("are known to be missing also by a start from a snapshot, when what was forgotten had expired", async () => {
    const rules = { removedKeysBytesMax: 0 };
    const t = await TestStore.open({ now: 1_000, rules });
    const set = { key: "a", value: "v", contentType: TEXT_TYPE };
    await t.ok(kv.set, { ...set, expiry: { type: "unix_milliseconds", value: 2_000 } });
    t.now = 2_000;
    expect(t.store.reclaimExpired(t.now, 10)).toBe(1);
    await t.ok(kv.set, set);
    const files = new MemoryFileSystem();
    const fold = new Fold({ rules: { ...TEST_STORE_RULES, kv: { ...TEST_STORE_RULES.kv, ...rules } } });
    for (const record of t.log.records) fold.take(record);
    const mark = await t.log.markAt(fold.offset);
    await writeSnapshot(files, "/snapshots", fold, mark, { now: () => t.now });
    const { log, now } = t;
    const again = await TestStore.open({ log, now, snapshots: { files, directory: "/snapshots" } });
    for (const store of [t, again])
      expect(await store.answer(kv.chain, { key: "a" })).toEqual({
        offset: 2,
        isWhole: false,
        isThere: true,
      });
  });
});
