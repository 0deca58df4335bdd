import { describe, expect, it } from "vitest";
import { seededRandom } from "../../props/run-settings.js";
import { type Placed, PlacedHeap } from "../../replication/placed-heap.js";

interface Entry extends Placed {
  readonly value: number;
}

describe("a heap whose entries know their place", () => {
  it("shows the lowest, whatever is added and taken out", () => {
    const random = seededRandom(7);
    const heap = new PlacedHeap<Entry>((a, b) => a.value < b.value);
    let held: Entry[] = [];
    for (let step = 0; step < 5_000; step++) {
      // Grows first, then empties.
      if (held.length === 0 || random() < (step < 2_500 ? 0.6 : 0.4)) {
        const entry = { value: Math.floor(random() * 1_000), place: -1 };
        heap.add(entry);
        held.push(entry);
      } else {
        const entry = held[Math.floor(random() * held.length)]!;
        heap.remove(entry);
        held = held.filter((each) => each !== entry);
        expect(entry.place).toBe(-1);
      }
      expect(heap.size).toBe(held.length);
      expect(heap.first?.value).toBe(held.length === 0 ? undefined : Math.min(...held.map((e) => e.value)));
    }
  });
});
