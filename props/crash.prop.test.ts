/**
 * Promise: whatever operation of the disk a crash falls into, and whatever the disk keeps of what was not synced –
 *
 *   1. every write that was answered (always mode) and everything the log called durable (all modes) is still there
 *   2. what remains is a prefix of what was appended: byte-equal, offsets dense, ending at a record boundary
 *   3. the log opens again by itself: no crash looks like corruption, in the log, in its rolls or in recovery itself
 *   4. what a reopened log showed once is not taken back by the next crash; a second opening finds the same
 *   5. after kill -9 nothing that was committed is missing, in any mode
 *
 * The world is `props/world/`: each un-synced page survives, is lost or is torn at a sector; names likewise.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FsyncMode } from "../log/index.js";
import { factor, runs, seed } from "./run-settings.js";
import { emptyChronicle, type Life, LogLives, type Step } from "./world/log-lives.js";
import type { Ending, OperationKind } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";

const MODES: readonly FsyncMode[] = ["always", "periodic", "never"];

const append: fc.Arbitrary<Step> = fc.record({
  type: fc.constant("append"),
  count: fc.integer({ min: 1, max: 6 }),
  size: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0, max: 300 }) },
    { weight: 2, arbitrary: fc.integer({ min: 300, max: 2000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 3900, max: 9000 }) },
  ),
  awaited: fc.boolean(),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: append },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("idle"), turns: fc.integer({ min: 1, max: 25 }) }) },
  { weight: 1, arbitrary: fc.constant({ type: "rest" }) },
  { weight: 1, arbitrary: fc.constant({ type: "read" }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("truncate"), back: fc.integer({ min: 0, max: 8 }) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("retain"), back: fc.integer({ min: 0, max: 20 }) }) },
  { weight: 1, arbitrary: fc.constant({ type: "startEpoch" }) },
);

const ending: fc.Arbitrary<Ending> = fc.oneof(
  { weight: 3, arbitrary: fc.constant("power") },
  { weight: 1, arbitrary: fc.constant("kill") },
);

const life: fc.Arbitrary<Life> = fc.record(
  {
    steps: fc.array(step, { maxLength: 12 }),
    ending: fc.oneof({ weight: 3, arbitrary: ending }, { weight: 1, arbitrary: fc.constant("close") }),
    endAt: fc.record({ operation: fc.integer({ min: 1, max: 160 }), ending }),
  },
  { requiredKeys: ["steps", "ending"] },
);

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 }));

const LOOK: Life = { steps: [], ending: "power" };

/** One life after the other, then a look at what is there, twice: the second must find what the first showed. */
async function liveAll(disk: SimulatedDisk, log: LogLives, lives: readonly Life[]): Promise<void> {
  try {
    for (const one of lives) await log.live(one);
    await log.live(LOOK);
    await log.live({ ...LOOK, ending: "close" });
  } catch (error) {
    throw new Error(`${String(error)}\n${disk.trace.slice(-60).join("\n")}`, { cause: error });
  }
}

describe("crash", () => {
  for (const fsyncMode of MODES)
    test(`${fsyncMode}: what was promised survives any lives of a log`, async () => {
      const chronicle = emptyChronicle();
      const losses = { torn: 0, lost: 0, names: 0, ends: 0 };
      await fc.assert(
        fc.asyncProperty(world, fc.array(life, { minLength: 1, maxLength: 4 }), async (worldSeed, lives) => {
          const disk = new SimulatedDisk(worldSeed);
          await liveAll(disk, new LogLives(disk, fsyncMode, chronicle), lives);
          losses.torn += disk.losses.pagesTorn;
          losses.lost += disk.losses.pagesLost;
          losses.names += disk.losses.namesLost;
          losses.ends += disk.counts.ends;
        }),
        runs(200),
      );
      const { rolls, openInterrupted, tornEnds, truncated, retired, epochs, answered } = chronicle;
      const happened = { ...losses, rolls, openInterrupted, truncated, retired, epochs, answered };
      for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(0);
      if (fsyncMode !== "never") expect(tornEnds, "torn ends").toBeGreaterThan(0);
    });

  for (const fsyncMode of MODES)
    test(`${fsyncMode}: a crash in each single operation of a fixed script`, async () => {
      const script: Step[] = [
        { type: "append", count: 3, size: 100, awaited: true },
        { type: "append", count: 2, size: 1700, awaited: false },
        { type: "idle", turns: 3 },
        { type: "append", count: 3, size: 900, awaited: true },
        { type: "rest" },
        { type: "append", count: 1, size: 6000, awaited: true },
        { type: "truncate", back: 2 },
        { type: "append", count: 2, size: 50, awaited: true },
        { type: "retain", back: 3 },
        { type: "startEpoch" },
        { type: "append", count: 1, size: 10, awaited: true },
      ];
      const met = new Set<OperationKind>();
      const chronicle = emptyChronicle();
      for (const how of ["power", "kill"] as const)
        for (let round = 0; round < factor; round += 1)
          for (let operation = 1; ; operation += 1) {
            const disk = new SimulatedDisk(seed + 1000 * round + operation);
            const log = new LogLives(disk, fsyncMode, chronicle);
            await log.live({ steps: script, ending: "close", endAt: { operation, ending: how } });
            if (disk.counts.ends === 0) break;
            // The next life ends early, so that recovery from this crash is crashed too.
            const endAt = { operation: 1 + (operation % 40), ending: "power" } as const;
            await liveAll(disk, log, [{ steps: script.slice(0, 4), ending: "power", endAt }]);
            for (const kind of disk.counts.endedIn.keys()) met.add(kind);
          }
      const wanted: OperationKind[] = [
        "create",
        "write",
        "sync",
        "rename",
        "syncDirectory",
        "truncate",
        "remove",
      ];
      for (const kind of wanted) expect(met, `a crash in ${kind}`).toContain(kind);
      expect(chronicle.openInterrupted).toBeGreaterThan(10);
    });
});
