// Histories by example: what the properties meet too rarely.
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { keyAtRevision, kv, TEXT_TYPE } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";

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
});
