// The arithmetic behind the bench's table, and the order in which it measures.
import { describe, expect, it } from "vitest";
import { interleave } from "../../ops/bench/row.js";
import { percentile, ratios, spreadOf } from "../../ops/bench/statistics.js";

describe("bench", () => {
  it("reports the median, the smallest and the largest round", () => {
    expect(spreadOf([5, 1, 3])).toMatchObject({ median: 3, min: 1, max: 5, rounds: [5, 1, 3] });
    expect(spreadOf([4, 1, 2, 3])).toMatchObject({ median: 2.5, min: 1, max: 4 });
    expect(() => spreadOf([])).toThrow(RangeError);
    expect(percentile([10, 20, 30, 40, 50], 0.99)).toBeCloseTo(49.6);
  });

  it("takes ratios inside a round, so that a slow round slows both sides of one ratio", () => {
    // The machine halves in the second round: medians of each side would still agree, a mix of rounds would not.
    expect(ratios([80, 40, 80], [100, 50, 100])).toMatchObject({ median: 0.8, min: 0.8, max: 0.8 });
    expect(ratios([80, 40, 90], [100, 80, 100]).rounds).toEqual([0.8, 0.5, 0.9]);
  });

  it("warms up each contestant once, then measures A B A B and keeps only the measured rounds", async () => {
    const order: string[] = [];
    const contestant = (name: string) => ({
      name,
      measure: async (warmUp: boolean) => order.push(warmUp ? name.toLowerCase() : name),
    });
    const values = await interleave(3, [contestant("A"), contestant("B")]);
    expect(order.join("")).toBe("abABABAB");
    expect(values.get("A")).toEqual([3, 5, 7]);
    expect(values.get("B")).toEqual([4, 6, 8]);
  });
});
