/**
 * Promise: a snapshot that is being made can be cut short at any operation of the disk and harms nothing.
 *
 *   1. after the crash the store is what it was after some record, and not less than was answered (`store-lives.ts` compares it
 *      with its model and its digest), whether it began with a snapshot or without one
 *   2. a file that has a snapshot's name is whole, to its last byte: no half snapshot is ever there to be believed
 *   3. a snapshot that was said to be made is there after the power cut, and the next start begins with it or a newer one
 *   4. the same when the disk fails instead, at any operation: the making fails with a coded error, the store goes on
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FsyncMode } from "../log/index.js";
import { factor, runs, seed } from "./run-settings.js";
import { anyFault } from "./world/any-fault.js";
import { CHANGES } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { type LifeStep, type StoreLife, StoreLives } from "./world/store-lives.js";

const change: fc.Arbitrary<LifeStep> = fc.record({
  type: fc.constantFrom("setKeys", "publish", "consume", "ack", "append"),
  count: fc.integer({ min: 1, max: 3 }),
});
const step: fc.Arbitrary<LifeStep> = fc.oneof(
  { weight: 3, arbitrary: change },
  {
    weight: 1,
    arbitrary: fc.constantFrom<LifeStep>(
      { type: "nack" },
      { type: "trim" },
      { type: "batch" },
      { type: "wait" },
    ),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("snapshot") }) },
);

const life: fc.Arbitrary<StoreLife> = fc.record({
  steps: fc.array(step, { minLength: 5, maxLength: 30, size: "max" }),
  fault: anyFault(260),
  ending: fc.constantFrom("power", "kill"),
});

const fsyncMode = fc.constantFrom<FsyncMode>("always", "always", "periodic", "never");
const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 }));

const script: LifeStep[] = [
  { type: "publish", count: 3 },
  { type: "append", count: 2 },
  { type: "consume", count: 2 },
  { type: "wait" },
  { type: "snapshot" },
  { type: "nack" },
  { type: "setKeys", count: 3 },
  { type: "snapshot" },
  { type: "ack", count: 1 },
  { type: "append", count: 3 },
  { type: "snapshot" },
];

describe("a snapshot cut short", () => {
  test("leaves the store as it was after some record, and no file that is half a snapshot", async () => {
    const happened: Record<string, number> = {};
    await fc.assert(
      fc.asyncProperty(
        world,
        fc.array(life, { minLength: 1, maxLength: 3 }),
        fsyncMode,
        async (worldSeed, all, mode) => {
          const disk = new SimulatedDisk(worldSeed);
          const lives = new StoreLives(disk, mode);
          try {
            for (const one of all) await lives.live(one);
            await lives.look();
          } catch (error) {
            throw disk.withTrace(error, "lives of a store with snapshots");
          }
          for (const [what, count] of Object.entries({ ...lives.happened, ...lives.snapshots }))
            happened[what] = (happened[what] ?? 0) + count;
        },
      ),
      runs(150),
    );
    for (const what of ["ends", "failures", "recovered", "made", "cut", "begunWith"])
      expect(happened[what], what).toBeGreaterThan(3);
  });

  test("does so whichever operation of a fixed script it falls into", async () => {
    const kinds = factor > 1 ? {} : { kinds: CHANGES };
    let cut = 0;
    const mode = "always";
    for (const ending of ["power", "kill"] as const)
      for (let at = 1; ; at += 1) {
        const disk = new SimulatedDisk(seed + at);
        const lives = new StoreLives(disk, mode);
        try {
          await lives.live({ steps: script, fault: { type: "end", at, ending, ...kinds }, ending });
          await lives.look();
          await lives.look();
        } catch (error) {
          throw disk.withTrace(error, `${ending} in operation ${at}`);
        }
        cut += lives.snapshots.cut;
        if (lives.happened.ends > 0) continue;
        expect(at, "operations of the script").toBeGreaterThan(factor > 1 ? 60 : 40);
        break;
      }
    expect(cut, "snapshots cut short").toBeGreaterThan(20);
  });
});
