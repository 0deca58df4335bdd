/** Setting, counting and editing values: the promises of each operation at its edges. */
import { describe, expect, it } from "vitest";
import {
  BYTES_TYPE,
  type ByteString,
  bytesOf,
  JSON_TYPE,
  kv,
  TEXT_TYPE,
  textOf,
} from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";

const text = (key: string, value: string) => ({ key, value, contentType: TEXT_TYPE });

async function textAt(t: TestStore, key: string): Promise<string | undefined> {
  const entry = await t.answer(kv.get, { key });
  return entry === undefined ? undefined : textOf(entry.bytes);
}

describe("set", () => {
  it.each([
    "__proto__",
    "constructor",
    "a/b:c.d%2F",
    "\u0000",
    "\ufeffx",
    "😀".repeat(250),
    "x".repeat(1_000),
  ])("takes the key %j", async (key) => {
    const t = await TestStore.open();
    await t.ok(kv.set, text(key, "v"));
    expect(await textAt(t, key)).toBe("v");
    expect(await t.answer(kv.scan, { limit: 9 })).toEqual({ keys: [key] });
    expect(await t.ok(kv.delete, { key })).toEqual({ deleted: true });
  });

  it.each([
    ["empty", ""],
    ["too long", "é".repeat(513)],
    ["a lone surrogate", "a\ud800"],
  ])("refuses a key that is %s and appends nothing", async (_what, key) => {
    const t = await TestStore.open();
    expect(await t.refused(kv.set, text(key, "v"))).toBe("KV_KEY_INVALID");
    expect(await t.refused(kv.rename, { key: "a", destination: key })).toBe("KV_KEY_INVALID");
    expect(t.log.endOffset).toBe(0);
  });

  it("counts the limit of a key in UTF-8 bytes and takes one that just fits", async () => {
    const t = await TestStore.open();
    expect(await t.ok(kv.set, text("é".repeat(512), "v"))).toMatchObject({ written: true });
  });

  it("gives back every byte of a value, and its content type", async () => {
    const t = await TestStore.open();
    const value = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await t.ok(kv.set, { key: "raw", value, contentType: "image/png; q=1" });
    const entry = await t.answer(kv.get, { key: "raw" });
    expect(bytesOf(entry!.bytes)).toEqual(Buffer.from(value));
    expect(entry!.contentType).toBe("image/png; q=1");
    expect(textOf(entry!.bytes)).toBeUndefined();
  });

  it("keeps text as UTF-8, a byte order mark included", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("k", "\ufeffé😀"));
    expect(await textAt(t, "k")).toBe("\ufeffé😀");
    expect(await t.answer(kv.length, { key: "k" })).toEqual({ length: 9 });
  });

  it("refuses a value past the limit, and text that UTF-8 cannot hold", async () => {
    const t = await TestStore.open({ rules: { valueBytesMax: 4 } });
    expect(await t.ok(kv.set, text("k", "éé"))).toMatchObject({ written: true });
    expect(await t.refused(kv.set, text("k", "ééx"))).toBe("KV_VALUE_TOO_LARGE");
    expect(await t.refused(kv.set, text("k", "\udc00"))).toBe("KV_VALUE_NOT_TEXT");
    expect(await t.refused(kv.append, { key: "k", value: "x" })).toBe("KV_VALUE_TOO_LARGE");
    expect(await t.refused(kv.setRange, { key: "k", offset: 4, value: "x" })).toBe("KV_VALUE_TOO_LARGE");
    expect(await t.refused(kv.setRange, { key: "new", offset: 2 ** 40, value: "x" })).toBe(
      "KV_VALUE_TOO_LARGE",
    );
  });

  it.each(["", "x".repeat(256), "text/\nplain", "é"])("refuses the content type %j", async (contentType) => {
    const t = await TestStore.open();
    expect(await t.refused(kv.set, { key: "k", value: "", contentType })).toBe("KV_CONTENT_TYPE_INVALID");
  });

  it("drops the expiry unless told to keep it", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, { ...text("k", "1"), expiry: { type: "seconds", value: 10 } });
    await t.ok(kv.set, { ...text("k", "2"), keepTtl: true });
    expect(await t.answer(kv.ttl, { key: "k" })).toEqual({ ttlMs: 10_000 });
    await t.ok(kv.set, text("k", "3"));
    expect(await t.answer(kv.ttl, { key: "k" })).toEqual({ ttlMs: null });
  });

  it("lets a key live until its last millisecond and not a moment longer", async () => {
    const t = await TestStore.open({ now: 5_000 });
    await t.ok(kv.set, { ...text("k", "1"), expiry: { type: "unix_milliseconds", value: 6_000 } });
    t.now = 5_999;
    expect(await textAt(t, "k")).toBe("1");
    t.now = 6_000;
    expect(await textAt(t, "k")).toBeUndefined();
    expect(await t.answer(kv.size, {})).toEqual({ size: 0 });
    expect(await t.answer(kv.scan, { limit: 9 })).toEqual({ keys: [] });
    expect(await t.answer(kv.randomKey, {})).toEqual({ key: undefined });
  });

  it.each([
    ["zero", "seconds", 0],
    ["a fraction", "seconds", 1.5],
    ["not a number", "milliseconds", Number.NaN],
    ["the past", "unix_seconds", 999],
    ["this very moment", "unix_milliseconds", 1_000_000],
    ["beyond any date", "seconds", 9e15],
  ] as const)("refuses an expiry that is %s", async (_what, type, value) => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("k", "1"));
    expect(await t.refused(kv.set, { ...text("k", "2"), expiry: { type, value } })).toBe("KV_EXPIRY_INVALID");
    expect(await t.refused(kv.expire, { key: "k", expiry: { type, value } })).toBe("KV_EXPIRY_INVALID");
  });

  it("writes only at the revision asked for, 0 meaning that the key is not there", async () => {
    const t = await TestStore.open();
    expect(await t.ok(kv.set, { ...text("k", "1"), ifRevision: 0 })).toMatchObject({
      revision: 1,
      created: true,
    });
    expect(await t.refused(kv.set, { ...text("k", "2"), ifRevision: 0 })).toBe("KV_REVISION_MISMATCH");
    expect(await t.ok(kv.set, { ...text("k", "2"), ifRevision: 1 })).toMatchObject({
      revision: 2,
      created: false,
    });
    expect(await t.refused(kv.delete, { key: "k", ifRevision: 1 })).toBe("KV_REVISION_MISMATCH");
    expect(await t.ok(kv.delete, { key: "k", ifRevision: 2 })).toEqual({ deleted: true });
  });
});

describe("many keys", () => {
  it("are one record, and of a key named twice the last wins", async () => {
    const t = await TestStore.open();
    expect(await t.ok(kv.setMany, { pairs: [text("a", "1"), text("b", "2"), text("a", "3")] })).toEqual({
      written: 2,
    });
    expect(t.log.endOffset).toBe(1);
    const entries = await t.answer(kv.getMany, { keys: ["a", "gone", "b"] });
    expect(entries.map((entry) => entry?.bytes)).toEqual(["3", undefined, "2"]);
  });

  it("are refused together when one of them is wrong", async () => {
    const t = await TestStore.open();
    expect(await t.refused(kv.setMany, { pairs: [text("a", "1"), text("", "2")] })).toBe("KV_KEY_INVALID");
    expect(await textAt(t, "a")).toBeUndefined();
  });

  it("count a key named twice once when they are deleted", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("a", "1"));
    expect(await t.ok(kv.deleteMany, { keys: ["a", "a", "b"] })).toEqual({ deleted: 1 });
    expect(t.log.endOffset).toBe(2);
  });
});

describe("counters", () => {
  it("are exact to the ends of 64 bits and refuse to pass them", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("n", "9223372036854775806"));
    expect(await t.ok(kv.increment, { key: "n", amount: 1n })).toEqual({ value: 2n ** 63n - 1n });
    expect(await t.refused(kv.increment, { key: "n", amount: 1n })).toBe("KV_INTEGER_OVERFLOW");
    expect(await textAt(t, "n")).toBe("9223372036854775807");
    await t.ok(kv.set, text("n", "-9223372036854775807"));
    expect(await t.ok(kv.increment, { key: "n", amount: -1n })).toEqual({ value: -(2n ** 63n) });
    expect(await t.refused(kv.increment, { key: "n", amount: -1n })).toBe("KV_INTEGER_OVERFLOW");
    expect(await t.refused(kv.increment, { key: "new", amount: 2n ** 63n })).toBe("KV_INTEGER_OVERFLOW");
  });

  it.each(["", " 1", "1 ", "+1", "01", "-0", "1.0", "1e3", "0x1", "9223372036854775808", "1".repeat(400)])(
    "refuse the value %j",
    async (value) => {
      const t = await TestStore.open();
      await t.ok(kv.set, text("n", value));
      expect(await t.refused(kv.increment, { key: "n", amount: 1n })).toBe("KV_NOT_AN_INTEGER");
    },
  );

  it("keep the expiry and leave text, of whatever type the integer was", async () => {
    const t = await TestStore.open();
    const expiry = { type: "seconds", value: 10 } as const;
    await t.ok(kv.set, { key: "n", value: "41", contentType: JSON_TYPE, expiry });
    await t.ok(kv.increment, { key: "n", amount: 1n });
    expect(await t.answer(kv.get, { key: "n" })).toMatchObject({
      bytes: "42",
      contentType: TEXT_TYPE,
      expiresAt: t.now + 10_000,
    });
  });
});

describe("ranges", () => {
  it.each([
    [0, 4, "Hello"],
    [-5, -1, "World"],
    [0, -1, "Hello World"],
    [6, 99, "World"],
    [-99, 0, "H"],
    [4, 4, "o"],
    [5, 4, ""],
    [11, 20, ""],
    [-3, -20, ""],
  ])("from %i to %i of 'Hello World' are %j", async (start, end, expected) => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("k", "Hello World"));
    expect(await t.answer(kv.getRange, { key: "k", start, end })).toEqual({
      bytes: expected,
      contentType: TEXT_TYPE,
    });
  });

  it("count bytes, so that half a character is no text", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, text("k", "é"));
    const half = await t.answer(kv.getRange, { key: "k", start: 0, end: 0 });
    expect(textOf(half!.bytes)).toBeUndefined();
  });

  it("refuse positions that are not whole numbers", async () => {
    const t = await TestStore.open();
    expect(await t.askRefused(kv.getRange, { key: "k", start: 0.5, end: 1 })).toBe("KV_RANGE_INVALID");
    expect(await t.refused(kv.setRange, { key: "k", offset: -1, value: "x" })).toBe("KV_RANGE_INVALID");
  });

  it("fill a gap with zero bytes, and nothing written creates nothing", async () => {
    const t = await TestStore.open();
    expect(await t.ok(kv.setRange, { key: "k", offset: 2, value: "x" })).toEqual({ length: 3 });
    expect(await textAt(t, "k")).toBe("\0\0x");
    expect(await t.ok(kv.setRange, { key: "new", offset: 9, value: "" })).toEqual({ length: 0 });
    expect(await textAt(t, "new")).toBeUndefined();
  });

  it("and appends keep the expiry; edited JSON becomes text, other types stay", async () => {
    const t = await TestStore.open();
    const expiry = { type: "seconds", value: 10 } as const;
    await t.ok(kv.set, { key: "j", value: "[1]", contentType: JSON_TYPE, expiry });
    await t.ok(kv.append, { key: "j", value: "2" });
    expect(await t.answer(kv.get, { key: "j" })).toMatchObject({
      contentType: TEXT_TYPE,
      expiresAt: t.now + 10_000,
    });
    await t.ok(kv.set, { key: "b", value: Uint8Array.of(1), contentType: BYTES_TYPE });
    await t.ok(kv.setRange, { key: "b", offset: 1, value: "2" });
    expect(await t.answer(kv.get, { key: "b" })).toMatchObject({ bytes: "\u00012", contentType: BYTES_TYPE });
  });
});

describe("values", () => {
  it("keep nothing alive of the buffer that they were cut from", async () => {
    const t = await TestStore.open();
    const value = Buffer.from("first");
    await t.ok(kv.set, { key: "k", value, contentType: BYTES_TYPE });
    value.fill("x");
    expect(await textAt(t, "k")).toBe("first");
  });

  it("are text exactly when they are UTF-8", () => {
    expect(textOf("plain\u0000" as ByteString)).toBe("plain\u0000");
    expect(textOf(Buffer.from("é😀").toString("latin1") as ByteString)).toBe("é😀");
    expect(textOf("\u00ff" as ByteString)).toBeUndefined();
    expect(textOf("\u00ed\u00a0\u0080" as ByteString)).toBeUndefined();
  });
});
