/** The last common record of two logs, by asking for positions. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { epoch, type Offset, offset } from "../../log/index.js";
import { runs } from "../../props/run-settings.js";
import { type ComparedLog, lastCommon, PROBES_MAX } from "../../replication/comparison.js";
import type { Position } from "../../replication/position.js";

/** A log whose crc tells which branch it took after `common` records. */
function logOf(
  first: number,
  last: number,
  common: number,
  branch: number,
  asked: number[] = [],
): ComparedLog {
  const positionAt = async (at: Offset): Promise<Position> => {
    expect(at).toBeGreaterThanOrEqual(first);
    expect(at).toBeLessThanOrEqual(last);
    asked.push(at);
    return {
      offset: at,
      crc: at <= common ? at : at + branch * 1_000_000,
      epoch: epoch(1),
      lineageId: "0".repeat(32),
    };
  };
  return { firstOffset: offset(first), last: offset(last), positionAt };
}

describe("the last common record", () => {
  it("is found exactly, with few questions, and only where both logs have records", async () => {
    const size = fc.integer({ min: 0, max: 400 });
    await fc.assert(
      fc.asyncProperty(
        size,
        size,
        size,
        size,
        size,
        async (common, ownFirst, otherFirst, ownMore, otherMore) => {
          const own = { first: 1 + ownFirst, last: Math.max(ownFirst, common) + ownMore };
          const other = { first: 1 + otherFirst, last: Math.max(otherFirst, common) + otherMore };
          const asked: number[] = [];
          const found = await lastCommon(
            logOf(own.first, own.last, common, 1),
            logOf(other.first, other.last, common, 2, asked),
          );
          const end = Math.min(own.last, other.last);
          const expected = Math.min(common, end);
          const isKept = expected >= Math.max(own.first, other.first);
          expect(found?.offset).toBe(isKept ? expected : undefined);
          expect(asked.length).toBeLessThanOrEqual(2 + Math.log2(1_024));
        },
      ),
      runs(300),
    );
  });

  it("is not one that has the same crc by chance, under another leadership", async () => {
    const own = logOf(1, 20, 20, 0);
    for (const other of [{ lineageId: "1".repeat(32) }, { epoch: epoch(2) }]) {
      const alike: ComparedLog = {
        ...own,
        positionAt: async (at) => ({ ...(await own.positionAt(at)), ...(at > 7 ? other : {}) }),
      };
      expect((await lastCommon(own, alike))?.offset).toBe(7);
    }
  });

  it("of logs as long as offsets can be takes no more questions than are allowed", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    for (const common of [1, 2, 12_345, most - 1]) {
      const asked: number[] = [];
      const other: ComparedLog = {
        ...logOf(1, most, 0, 0),
        positionAt: async (at) => {
          asked.push(at);
          return { offset: at, crc: at <= common ? 1 : 2, epoch: epoch(1), lineageId: "" };
        },
      };
      const own: ComparedLog = {
        ...other,
        positionAt: async (at) => ({ offset: at, crc: 1, epoch: epoch(1), lineageId: "" }),
      };
      expect((await lastCommon(own, other))?.offset).toBe(common);
      expect(asked.length).toBeLessThanOrEqual(PROBES_MAX);
    }
  });
});
