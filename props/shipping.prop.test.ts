/**
 * Promise: a log that follows another one is that log, up to where it has come. Whatever the primary does (rolls, epochs, large records,
 * restarts that lose what was not durable, retention), and in whatever operation of its disk the follower is ended, by kill -9 or
 * with the power –
 *
 *   1. the segment files of both are equal, byte for byte, and so is the chain
 *   2. what the follower told committed (always: durable) is there after any end, and what is there is a prefix of the primary's
 *   3. `appended` shows each record once in a life, in order, as the primary has it; nothing is committed before it is synced in `always`
 *   4. a run that is damaged, cut, skipped, repeated, reordered, or of another lineage, cluster or segment is refused by name and
 *      changes nothing
 *   5. no crash of a follower looks like damage
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FsyncMode } from "../log/index.js";
import { factor, runs } from "./run-settings.js";
import {
  type BadRun,
  emptyFollowedChronicle,
  FollowedLog,
  type FollowedStep,
  type FollowerEnd,
} from "./world/followed-log.js";
import type { Ending } from "./world/operations.js";

const MODES: readonly FsyncMode[] = ["always", "periodic", "never"];
const BAD: readonly BadRun[] = [
  ...(["flipped", "cut", "skipped", "repeated", "reordered"] as const),
  ...(["lineage", "cluster", "segment"] as const),
];

const ending = fc.constantFrom<Ending>("power", "kill");
const how = fc.constantFrom<Ending | "close">("power", "kill", "close");

const endAt: fc.Arbitrary<FollowerEnd> = fc.record({ operation: fc.integer({ min: 1, max: 90 }), ending });

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 600 }) },
  { weight: 2, arbitrary: fc.integer({ min: 600, max: 2500 }) },
  { weight: 1, arbitrary: fc.integer({ min: 4000, max: 9000 }) },
);

const follow: fc.Arbitrary<FollowedStep> = fc.record(
  {
    type: fc.constant("follow" as const),
    runs: fc.integer({ min: 1, max: 6 }),
    awaited: fc.boolean(),
    endAt,
  },
  { requiredKeys: ["type", "runs", "awaited"] },
);

const step: fc.Arbitrary<FollowedStep> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      sizes: fc.array(size, { minLength: 1, maxLength: 6 }),
      awaited: fc.boolean(),
    }),
  },
  { weight: 9, arbitrary: follow },
  { weight: 2, arbitrary: fc.constant<FollowedStep>({ type: "epoch" }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("restart" as const), how }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("reopen" as const), how }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("refuse" as const), how: fc.constantFrom(...BAD) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("retain" as const),
      share: fc.double({ min: 0, max: 0.7, noNaN: true }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("retainFollower" as const),
      share: fc.double({ min: 0, max: 0.9, noNaN: true }),
    }),
  },
);

interface Plan {
  readonly world: number;
  readonly primary: FsyncMode;
  readonly follower: FsyncMode;
  readonly steps: readonly FollowedStep[];
}

const plan: fc.Arbitrary<Plan> = fc.record({
  world: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 })),
  primary: fc.constantFrom(...MODES),
  follower: fc.constantFrom(...MODES),
  steps: fc.array(step, { minLength: 4, maxLength: 24 }),
});

/** A power cut that was meant for one step, and takes until the next but one, in which a kill was meant. */
const KNOWN: Plan = {
  world: 567817016,
  primary: "never",
  follower: "periodic",
  steps: [
    { type: "append", sizes: [600, 0, 4000], awaited: true },
    { type: "restart", how: "power" },
    { type: "retainFollower", share: 0 },
    { type: "append", sizes: [229], awaited: false },
    { type: "append", sizes: [2340, 340, 529, 375], awaited: true },
    { type: "follow", runs: 1, awaited: false, endAt: { operation: 7, ending: "power" } },
    { type: "follow", runs: 1, awaited: false },
    { type: "follow", runs: 1, awaited: false, endAt: { operation: 1, ending: "kill" } },
    { type: "append", sizes: [0], awaited: false },
    { type: "append", sizes: [0], awaited: false },
  ],
};

describe("shipping", () => {
  test("a follower is a copy of its primary, whatever ends either of them", async () => {
    const met = emptyFollowedChronicle();
    await fc.assert(
      fc.asyncProperty(plan, async ({ world, primary, follower, steps }) => {
        const followed = new FollowedLog(world, { primary, follower }, met);
        await followed.run(steps).catch((error: unknown) => {
          throw followed.followerDisk.withTrace(error, "a followed log");
        });
      }),
      { ...(runs(50) as fc.Parameters<[Plan]>), examples: [[KNOWN]] },
    );
    const { tornEnds, ...others } = met;
    for (const [what, count] of Object.entries(others)) expect(count, what).toBeGreaterThan(0);
    if (factor >= 10) expect(tornEnds, "torn ends").toBeGreaterThan(0);
  });
});
