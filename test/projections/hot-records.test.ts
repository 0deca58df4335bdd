import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { HotRecords } from "../../projections/stream/hot-records.js";
import { expectEqual } from "../support/expect-equal.js";

/** Records of every second offset. */
function kept(count: number, bodyBytes: number): HotRecords {
  const hot = new HotRecords();
  for (let each = 1; each <= count; each++) hot.keep(recordAt(each * 2, bodyBytes));
  return hot;
}

function recordAt(at: number, bodyBytes: number) {
  const body = Buffer.alloc(bodyBytes, at % 251);
  return {
    offset: offset(at),
    timestamp: 1_700_000_000_000 + at,
    kind: at % 3 === 0 ? 2 : 49,
    version: 1,
    body,
  };
}

describe("the newest stream records", () => {
  it("are given back as they were, over the borders of blocks, and none that is not there", () => {
    const hot = kept(3_000, 300);
    for (let at = 2; at <= 6_000; at += 2) {
      const found = hot.at(offset(at));
      expectEqual({ ...found, body: Buffer.from(found!.body) }, recordAt(at, 300));
      expectEqual(hot.at(offset(at + 1)), undefined);
    }
    expect(hot.at(offset(1))).toBeUndefined();
  });

  it.each([
    ["bytes", 10_000, 3_000],
    ["records", 200_000, 0],
  ])("are bounded in %s: the oldest go", (_what, count, bodyBytes) => {
    const hot = kept(count, bodyBytes);
    expect(hot.at(offset(2))).toBeUndefined();
    expect(hot.at(offset(count * 2))).toBeDefined();
    let held = 0;
    for (let at = 2; at <= count * 2; at += 2) if (hot.at(offset(at)) !== undefined) held += 1;
    expect(held).toBeLessThanOrEqual(32 * 2_048);
    expect(held * bodyBytes).toBeLessThanOrEqual(32 * 262_144);
    // And no fewer than that a block may be half empty.
    expect(Math.max(held / (32 * 2_048), (held * bodyBytes) / (32 * 262_144))).toBeGreaterThan(0.9);
  });

  it("stay as they were shown while others push them out", () => {
    const hot = kept(1, 1_000);
    const found = hot.at(offset(2))!;
    for (let each = 2; each <= 20_000; each++) hot.keep(recordAt(each * 2, 1_000));
    expect(hot.at(offset(2))).toBeUndefined();
    expect(Buffer.from(found.body)).toEqual(Buffer.alloc(1_000, 2));
  });

  it("do without one that is too large to be worth copying", () => {
    const hot = kept(1, 200_000);
    expect(hot.at(offset(2))).toBeUndefined();
    hot.keep(recordAt(4, 10));
    expect(hot.at(offset(4))).toBeDefined();
  });
});
