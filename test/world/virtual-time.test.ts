/** A simulated world that never comes to rest ends with a word, whatever keeps it going. */
import { describe, expect, it } from "vitest";
import { seededRandom } from "../../props/run-settings.js";
import { Restless, VirtualTime, type WorldBounds } from "../../props/world/virtual-time.js";

function timeWithin(bounds: Partial<WorldBounds>, isBusy = false): VirtualTime {
  const all = { turns: 1e9, turnsAtOneMoment: 1e9, ms: 1e9, ...bounds };
  return new VirtualTime({ random: seededRandom(1), isBusy: () => isBusy, bounds: all });
}

/** A timer that sets the next. */
function goesOn(time: VirtualTime, everyMs: number): void {
  time.after(everyMs, () => goesOn(time, everyMs));
}

const never = (): boolean => false;

describe("the time of a simulated world", () => {
  it("ends when work without end lets no time pass", async () => {
    const time = timeWithin({ turnsAtOneMoment: 200 });
    goesOn(time, 0);
    await expect(time.until(never, 1000)).rejects.toThrow(Restless);
    expect(time.ms).toBe(0);
  });

  it("ends when a disk is busy for ever", async () => {
    await expect(timeWithin({ turnsAtOneMoment: 200 }, true).until(never, 1000)).rejects.toThrow(Restless);
  });

  it("ends after so many turns, and after so much time", async () => {
    for (const bounds of [{ turns: 500 }, { ms: 3000 }]) {
      const time = timeWithin(bounds);
      goesOn(time, 10);
      await expect(time.until(never, 1e8)).rejects.toThrow(/does not come to rest: turn \d+/);
    }
  });

  it("goes on within its bounds", async () => {
    const time = timeWithin({ turns: 10_000, turnsAtOneMoment: 50, ms: 5000 });
    goesOn(time, 10);
    await time.pass(4000);
    expect(time.ms).toBe(4000);
  });
});
