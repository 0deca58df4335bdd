/**
 * The two structures that the queues stand on, against the plainest ones.
 *
 * 1. A heap of slots has exactly the slots that were added and not removed; its top and its walk are in order, wherever it was
 *    changed.
 * 2. The index finds exactly the messages that are in it, through growth, shrinking and removals that leave holes.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { MessageIndex } from "../projections/queue/message-index.js";
import { MessageRows, OFFSET, PLACE } from "../projections/queue/message-rows.js";
import { SlotHeap } from "../projections/queue/slot-heap.js";
import { expectEqual } from "../test/support/expect-equal.js";
import { runs, seededRandom } from "./run-settings.js";

const happened = { removedInside: 0, cleared: 0, walked: 0, removed: 0, grown: 0 };

describe("a heap of slots", () => {
  it("is a sorted list", async () => {
    const change = fc.record({ slot: fc.nat({ max: 40 }), key: fc.nat({ max: 5 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 20, maxLength: 200, size: "max" }), (changes) => {
        const keys = new Map<number, number>();
        const places = new Map<number, number>();
        const before = (a: number, b: number) => (keys.get(a)! - keys.get(b)! || a - b) < 0;
        const heap = new SlotHeap(before, {
          get: (slot) => places.get(slot) ?? 0,
          set: (slot, place) => places.set(slot, place),
        });
        for (const { slot, key } of changes) {
          if (key === 0 && slot === 0) {
            expect([...heap.take()].sort()).toEqual([...keys.keys()].sort());
            places.clear();
            keys.clear();
            happened.cleared++;
          } else if (heap.has(slot)) {
            if (heap.top !== slot) happened.removedInside++;
            heap.remove(slot);
            keys.delete(slot);
          } else {
            keys.set(slot, key);
            heap.add(slot);
          }
          const sorted = [...keys.keys()].sort((a, b) => (before(a, b) ? -1 : 1));
          expectEqual(heap.top, sorted[0] ?? -1);
          expectEqual([...heap.inOrder()], sorted);
          expectEqual([...heap.slots].sort(), [...sorted].sort());
          happened.walked += sorted.length;
        }
      }),
      runs(60) as fc.Parameters<[{ slot: number; key: number }[]]>,
    );
  });
});

describe("the index of messages", () => {
  it("is a map", () => {
    fc.assert(
      fc.property(fc.nat(), (start) => {
        const random = seededRandom(start);
        const upTo = (end: number): number => Math.floor(random() * end);
        const rows = new MessageRows();
        const index = new MessageIndex(rows);
        const there = new Map<string, { slot: number; offset: number; place: number }>();
        const scale = [1, 2 ** 20, 2 ** 33][upTo(3)] ?? 1;
        // It grows to some hundred or thousand messages, then shrinks to none.
        const most = 300 + upTo(1_500);
        for (let slot = 0, grows = true; grows || there.size > 0; grows &&= there.size < most) {
          const [offset, place] = [1 + scale * upTo(3_000), upTo(3)];
          const name = `${offset}-${place}`;
          const found = there.get(name);
          expectEqual(index.find(offset, place), found?.slot ?? -1);
          if (found === undefined && random() < (grows ? 1 : 0.2)) {
            rows.reserve(slot);
            rows.setDouble(slot, OFFSET, offset);
            rows.setWord(slot, PLACE, place);
            index.add(slot);
            there.set(name, { slot: slot++, offset, place });
          } else {
            const [oldest] = there.keys();
            const gone = found === undefined ? (oldest ?? "") : name;
            index.remove(there.get(gone)?.slot ?? -1);
            there.delete(gone);
            happened.removed++;
          }
          if (there.size === 850) happened.grown++;
          if (there.size % 100 === 0) {
            for (const message of there.values()) {
              expectEqual(index.find(message.offset, message.place), message.slot);
            }
          }
        }
      }),
      runs(20) as fc.Parameters<[number]>,
    );
  });
});

afterAll(() => {
  for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
});
