/**
 * Promise: retention never takes what somebody still needs, whenever the process or the power ends.
 *
 *   1. a start is possible after every round and every crash, and its state is what the state was at that offset
 *   2. as long as the log's beginning is gone, a start is possible without the newest snapshot too
 *   3. every moment of the window can be gone back to, and is what it was
 *   4. every message that a stream shows can be read, now and at the moments that can be gone back to
 *   5. who registered an offset finds it in the log
 *   6. nothing that was answered is lost
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { factor, runs, seed } from "./run-settings.js";
import { anyFault } from "./world/any-fault.js";
import { CHANGES, type Fault } from "./world/operations.js";
import { type RetentionLife, RetentionLives, type RetentionStep } from "./world/retention-lives.js";
import { share } from "./world/share.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";

const count = fc.integer({ min: 1, max: 12 });
const step: fc.Arbitrary<RetentionStep> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom("set", "appendShort"), count }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("append"), count: fc.constant(1) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("forget") }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("snapshot") }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant("tidy") }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("rest"), ms: fc.integer({ min: 1, max: 400 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("hold"), back: fc.constantFrom(0, 0, 0, 0.3) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("decay"),
      back: fc.constantFrom(0, 1),
      at: share,
    }),
  },
);

const life: fc.Arbitrary<RetentionLife> = fc.record({
  steps: fc.array(step, { minLength: 30, maxLength: 80, size: "max" }),
  fault: anyFault(2500),
  ending: fc.constantFrom("power", "kill"),
});

const rules = fc.record({
  bytes: fc.constantFrom(1, 1, 10_000, 0),
  windowMs: fc.constantFrom(0, 0, 200, 800),
  snapshotsMax: fc.integer({ min: 2, max: 4 }),
});

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 }));

/** One life in which everything happens, so that a short run has seen it all. */
const script: RetentionStep[] = [
  // Nothing reaches back to before the window but the log.
  { type: "set", count: 12 },
  { type: "rest", ms: 500 },
  { type: "set", count: 12 },
  { type: "rest", ms: 400 },
  { type: "snapshot" },
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "tidy" },
  { type: "append", count: 2 },
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "hold", back: 0.9 },
  { type: "set", count: 12 },
  { type: "rest", ms: 150 },
  { type: "snapshot" },
  { type: "forget" },
  { type: "set", count: 12 },
  { type: "rest", ms: 150 },
  { type: "snapshot" },
  { type: "tidy" },
  { type: "hold", back: 0 },
  { type: "rest", ms: 150 },
  { type: "appendShort", count: 12 },
  { type: "snapshot" },
  { type: "tidy" },
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "set", count: 4 },
  { type: "snapshot" },
  { type: "decay", back: 0, at: 0.5 },
  { type: "decay", back: 1, at: 0.5 },
  { type: "rest", ms: 400 },
  { type: "tidy" },
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "tidy" },
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "rest", ms: 400 },
  { type: "tidy" },
];

/** What there is to be let go of, and two rounds in which it is. */
const beginning: RetentionStep[] = [
  { type: "set", count: 12 },
  { type: "snapshot" },
  { type: "set", count: 12 },
  { type: "rest", ms: 200 },
  { type: "snapshot" },
  { type: "set", count: 12 },
  { type: "rest", ms: 200 },
];
const rounds: RetentionStep[] = [
  { type: "snapshot" },
  { type: "tidy" },
  { type: "set", count: 4 },
  { type: "rest", ms: 300 },
  { type: "snapshot" },
  { type: "tidy" },
];

const NEVER: Fault = { type: "fail", at: Number.MAX_SAFE_INTEGER, errno: "EIO", sticky: false };

describe("retention", () => {
  test("takes nothing that a start, the window, a stream or somebody who registered needs", async () => {
    const happened: Record<string, number> = {};
    await fc.assert(
      fc.asyncProperty(
        world,
        rules,
        fc.array(life, { minLength: 2, maxLength: 4 }),
        async (worldSeed, given, all) => {
          const disk = new SimulatedDisk(worldSeed);
          const lives = new RetentionLives(disk, given);
          try {
            if (all.length === 2) await lives.live({ steps: script, fault: NEVER, ending: "power" });
            for (const one of all) await lives.live(one);
            await lives.look();
          } catch (error) {
            throw disk.withTrace(error, "lives of a store with retention");
          }
          for (const [what, times] of Object.entries(lives.happened))
            happened[what] = (happened[what] ?? 0) + times;
        },
      ),
      runs(24),
    );
    for (const what of [
      "ends",
      "snapshots",
      "retired",
      "pruned",
      "decayed",
      "distrusted",
      "begunWithSnapshot",
      "begunWithoutBeginning",
      "wentBack",
      "heldBy snapshots",
      "heldBy window",
      "heldBy somebody",
    ])
      expect(happened[what], `${what} of ${JSON.stringify(happened)}`).toBeGreaterThan(0);
  });

  test("can go back to a moment before the first record of the window, whose snapshot is no help", async () => {
    const disk = new SimulatedDisk(seed);
    const lives = new RetentionLives(disk, { bytes: 1, windowMs: 20_000, snapshotsMax: 2 });
    const steps: RetentionStep[] = [
      ...beginning,
      { type: "rest", ms: 50_000 },
      { type: "set", count: 1 },
      { type: "snapshot" },
      { type: "set", count: 12 },
      { type: "snapshot" },
      { type: "rest", ms: 5_000 },
      { type: "tidy" },
      { type: "set", count: 12 },
      { type: "snapshot" },
      { type: "tidy" },
    ];
    await lives.live({ steps, fault: NEVER, ending: "power" });
    await lives.look();
    for (const what of ["retired", "wentBack"]) expect(lives.happened[what], what).toBeGreaterThan(0);
  });

  for (const ending of ["power", "kill"] as const)
    test(`does so whichever operation ends by ${ending}`, { timeout: 900_000 }, async () => {
      const kinds = factor > 1 ? {} : { kinds: CHANGES };
      const stride = factor > 1 ? 1 : 9;
      const happened: Record<string, number> = {};
      let met = 0;
      for (let at = 1 + (seed % stride); ; at += stride) {
        const disk = new SimulatedDisk(seed + at);
        const lives = new RetentionLives(disk, { bytes: 1, windowMs: 100, snapshotsMax: 2 });
        try {
          await lives.live({ steps: beginning, fault: NEVER, ending });
          await lives.live({ steps: rounds, fault: { type: "end", at, ending, ...kinds }, ending });
          await lives.look();
          await lives.live({ steps: [{ type: "tidy" }], fault: NEVER, ending });
          await lives.look();
        } catch (error) {
          throw disk.withTrace(error, `${ending} in operation ${at}`);
        }
        for (const [what, times] of Object.entries(lives.happened))
          happened[what] = (happened[what] ?? 0) + times;
        if (disk.counts.ends === 0) break;
        met += 1;
      }
      expect(met).toBeGreaterThan(100 / stride / (factor > 1 ? 1 : 3));
      for (const what of ["retired", "pruned", "begunWithoutBeginning"])
        expect(happened[what], what).toBeGreaterThan(0);
    });
});
