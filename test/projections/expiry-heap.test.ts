/** The heap of deadlines against a plain Map, over thousands of random moves. */
import { describe, expect, it } from "vitest";
import { ExpiryHeap } from "../../projections/kv/expiry-heap.js";
import { seededRandom } from "../../props/run-settings.js";

describe("expiry heap", () => {
  it.each([1, 2, 3])("agrees with a sorted list after every move (seed %i)", (seed) => {
    const random = seededRandom(seed);
    const heap = new ExpiryHeap();
    const model = new Map<number, number>();
    for (let move = 0; move < 2_000; move++) {
      const slot = Math.floor(random() * 60);
      const deadline = random() < 0.3 ? 0 : 1 + Math.floor(random() * 100);
      heap.set(slot, deadline);
      if (deadline === 0) model.delete(slot);
      else model.set(slot, deadline);

      const deadlines = [...model.values()].sort((a, b) => a - b);
      expect([...heap.soonest()].map((each) => model.get(each))).toEqual(deadlines);
      const now = Math.floor(random() * 110);
      expect(heap.countDue(now)).toBe(deadlines.filter((each) => each <= now).length);
      const due = heap.due(now);
      expect(due < 0 ? undefined : model.get(due)).toBe(deadlines.find((each) => each <= now));
    }
    expect(heap.size).toBe(model.size);
  });
});
