// Which snapshots stay.
import { describe, expect, it } from "vitest";
import { offset } from "../../../log/index.js";
import { type Candidate, type KeepingRules, superfluous } from "../../../ops/state/keeping.js";

/** One for each time; its offset is ten times it. */
const at = (...times: number[]): Candidate[] =>
  times.map((time) => ({ name: `s${time}`, offset: offset(time * 10), timestamp: time, usable: true }));

const rules = (more: Partial<KeepingRules> = {}): KeepingRules => ({
  max: 2,
  anchors: new Set(),
  window: undefined,
  ...more,
});

describe("of the snapshots", () => {
  it("the newest stay, the oldest go first", () => {
    expect(superfluous(at(1, 2, 3, 4), rules())).toEqual(["s1", "s2"]);
    expect(superfluous(at(1, 2), rules())).toEqual([]);
    expect(superfluous([], rules())).toEqual([]);
  });

  it("those that something begins with stay, however old", () => {
    expect(superfluous(at(1, 2, 3, 4), rules({ anchors: new Set(["s1"]) }))).toEqual(["s2"]);
  });

  it("what cannot be used counts for nothing, and goes when all that stay are newer", () => {
    const damaged = (time: number): Candidate => ({ ...at(time)[0]!, usable: false });
    expect(superfluous([...at(1, 2), damaged(3)], rules())).toEqual([]);
    expect(superfluous([damaged(1), ...at(2, 3)], rules())).toEqual(["s1"]);
    expect(superfluous([damaged(1)], rules())).toEqual([]);
  });

  it("the last one before the window stays, and inside it they are thinned out", () => {
    const window = { beginsAt: 100, lengthMs: 100 };
    // Before: only 90 matters. Inside: every 50 ms, and the newest two.
    const going = superfluous(at(80, 90, 110, 130, 141, 160, 190, 195, 199), rules({ window }));
    expect(going).toEqual(["s80", "s110", "s130", "s160", "s190"]);
  });

  it("as the window moves on there is always one before it, not too far away", () => {
    let kept: Candidate[] = [];
    for (let now = 10; now <= 5000; now += 10) {
      kept = [...kept, ...at(now)];
      const window = { beginsAt: now - 1000, lengthMs: 1000 };
      const going = new Set(superfluous(kept, rules({ max: 4, window })));
      kept = kept.filter(({ name }) => !going.has(name));
      expect(kept.length).toBeLessThanOrEqual(4 + 4 + 2);
      if (now < 1500) continue;
      const before = kept
        .filter(({ timestamp }) => timestamp < window.beginsAt)
        .map(({ timestamp }) => timestamp);
      expect(window.beginsAt - Math.max(...before)).toBeLessThanOrEqual(1000 / 4 + 10);
    }
  });
});
