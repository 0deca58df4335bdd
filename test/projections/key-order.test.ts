import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { TEXT_TYPE } from "../../projections/index.js";
import { keyHash } from "../../projections/kv/key-hash.js";
import { slotsInOrder } from "../../projections/kv/key-order.js";
import { KeyTable } from "../../projections/kv/key-table.js";
import { seededRandom } from "../../props/run-settings.js";

function tableOf(keys: readonly Buffer[], expiresAt = (_at: number) => 0): KeyTable {
  const table = new KeyTable(keyHash(new Uint8Array(8)));
  keys.forEach((key, at) => {
    const bytes = { source: key, keyStart: 0, keyEnd: key.length, valueStart: 0, valueEnd: 0 };
    const stored = { type: "kv.set", ...bytes, contentType: TEXT_TYPE, expiresAt: expiresAt(at) } as const;
    table.add(stored, table.hashOf(key, 0, key.length), offset(at + 1));
  });
  return table;
}

const keysInOrder = (table: KeyTable, at = 0): string[] =>
  Array.from(slotsInOrder(table, at), (slot) => Buffer.from(table.keyAt(slot) ?? "").toString("hex"));

const sorted = (keys: readonly Buffer[]): string[] =>
  [...keys].sort(Buffer.compare).map((key) => key.toString("hex"));

describe("keys in order", () => {
  it("come by their bytes, a shorter one before one that goes on with a zero", () => {
    const texts = [
      "b",
      "a",
      "a\u0000",
      "a\u0000\u0000b",
      "é",
      "\u{1f600}",
      "\uffee",
      "abcdef",
      "abcdefg",
      "abcdef\u0000",
    ];
    const keys = texts.map((text) => Buffer.from(text));
    expect(keysInOrder(tableOf(keys))).toEqual(sorted(keys));
  });

  it("come so however many there are and however long they agree", () => {
    const random = seededRandom(11);
    const prefixes = ["", "key:000000000000", "x".repeat(700), "ab"];
    const made = Array.from({ length: 5_000 }, () => {
      const prefix = prefixes[Math.floor(random() * prefixes.length)] ?? "";
      return `${prefix}${Math.floor(random() * 900)}${"\u0000z".repeat(Math.floor(random() * 3))}`;
    });
    const keys = [...new Set(made)].map((text) => Buffer.from(text));
    expect(keysInOrder(tableOf(keys))).toEqual(sorted(keys));
  });

  it("are those that are there at the time", () => {
    const keys = ["c", "a", "b", "d"].map((text) => Buffer.from(text));
    const table = tableOf(keys, (at) => (at % 2 === 0 ? 50 : 0));
    expect(keysInOrder(table, 50)).toEqual([keys[1], keys[3]].map((key) => key!.toString("hex")));
    expect(keysInOrder(table, 49)).toHaveLength(4);
    expect(keysInOrder(tableOf([]))).toEqual([]);
  });
});
