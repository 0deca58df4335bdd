/** Everybody agrees which of two leaderships is the higher. */
import { describe, expect, it } from "vitest";
import { epoch } from "../../log/index.js";
import { compareLeaderships, isHigher, isSameLeadership } from "../../replication/leadership-order.js";

const of = (number: number, lineageId: string) => ({ epoch: epoch(number), lineageId });

describe("leaderships", () => {
  it("are ordered by epoch, then by lineage, and only the same one is the same", () => {
    const rising = [of(1, "ff"), of(2, "00"), of(2, "0a"), of(2, "a0"), of(10, "00")];
    rising.forEach((a, i) => {
      rising.forEach((b, j) => {
        expect(Math.sign(compareLeaderships(a, b))).toBe(Math.sign(i - j));
        expect(isHigher(a, b)).toBe(i > j);
        expect(isSameLeadership(a, { ...b })).toBe(i === j);
      });
      expect(isHigher(a, undefined)).toBe(true);
      expect(isHigher(undefined, a)).toBe(false);
      expect(isSameLeadership(a, undefined)).toBe(false);
    });
    expect(isHigher(undefined, undefined)).toBe(false);
    expect(isSameLeadership(undefined, undefined)).toBe(true);
  });
});
