/**
 * Promise: whatever operation of the disk a crash falls into, and whatever the disk keeps of what was not synced –
 *
 *   1. every write that was answered (always mode) and everything the log called durable (all modes) is still there
 *   2. what remains is a prefix of what was appended: byte-equal, offsets dense, ending at a record boundary
 *   3. the log opens again by itself: no crash looks like corruption, in the log, in its rolls or in recovery itself
 *   4. what a reopened log showed once is not taken back by the next crash; a second opening finds the same
 *   5. `annals verify` sees no damage in what a crash left, and the same end as recovery
 *   6. after kill -9 nothing that was committed is missing, in any mode
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
    { weight: 3, arbitrary: fc.integer({ min: 300, max: 2000 }) },
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
  { weight: 4, arbitrary: fc.record({ type: fc.constant("retain"), back: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 1, arbitrary: fc.constant({ type: "startEpoch" }) },
);

const ending: fc.Arbitrary<Ending> = fc.oneof(
  { weight: 3, arbitrary: fc.constant("power") },
  { weight: 1, arbitrary: fc.constant("kill") },
);

/** More than a page that nobody waits for, perhaps behind a roll: what a power cut tears. */
const unheard: fc.Arbitrary<Step[]> = fc
  .tuple(
    fc.record({
      type: fc.constant("append" as const),
      count: fc.integer({ min: 1, max: 2 }),
      size: fc.integer({ min: 5000, max: 9000 }),
      awaited: fc.constant(false),
    }),
    fc.integer({ min: 12, max: 40 }),
  )
  .map(([append, turns]) => [append, { type: "idle", turns }]);

const anyLife: fc.Arbitrary<Life> = fc.record(
  {
    steps: fc.array(step, { maxLength: 12 }),
    ending: fc.oneof({ weight: 3, arbitrary: ending }, { weight: 1, arbitrary: fc.constant("close") }),
    endAt: fc.oneof(
      fc.record({ operation: fc.integer({ min: 1, max: 160 }), ending }),
      fc.record({
        operation: fc.integer({ min: 1, max: 60 }),
        ending,
        counting: fc.constant("changes" as const),
      }),
    ),
  },
  { requiredKeys: ["steps", "ending"] },
);

/** The power goes while they are on their way to the disk. */
const tearing: fc.Arbitrary<Life> = unheard.map((steps) => ({
  steps: [{ type: "append", count: 1, size: 100, awaited: true }, ...steps],
  ending: "power",
}));

const life: fc.Arbitrary<Life> = fc.oneof(
  { weight: 3, arbitrary: anyLife },
  { weight: 1, arbitrary: tearing },
);

type EndAt = NonNullable<Life["endAt"]>;

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 }));

const LOOK: Life = { steps: [], ending: "power" };

const SCRIPT: readonly Step[] = [
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

/**
 * The script, ended in this operation (in the short form, in this one of those that change the disk); then a life that makes
 * the most of it. After a power cut one that ends early, so that recovery from the crash is crashed too. After a kill one that
 * answers a write and loses power: what the killed process had left in the cache only must have been made durable before.
 */
async function liveScript(disk: SimulatedDisk, log: LogLives, endAt: EndAt): Promise<boolean> {
  const counting = factor > 1 ? "all" : "changes";
  const script: Life = { steps: SCRIPT, ending: "close", endAt: { ...endAt, counting } };
  await log.live(script).catch((error: unknown) => {
    throw disk.withTrace(error, `the script, ended at ${JSON.stringify(endAt)}`);
  });
  if (disk.counts.ends === 0) return false;
  const early: EndAt = { operation: 1 + (endAt.operation % 40), ending: "power" };
  const next: Life =
    endAt.ending === "kill"
      ? { steps: SCRIPT.slice(0, 1), ending: "power" }
      : { steps: SCRIPT.slice(0, 4), ending: "power", endAt: early };
  await liveAll(disk, log, [next]);
  return true;
}

/** One life after the other, then a look at what is there, twice: the second must find what the first showed. */
async function liveAll(disk: SimulatedDisk, log: LogLives, lives: readonly Life[]): Promise<void> {
  try {
    for (const one of lives) await log.live(one);
    await log.live(LOOK);
    await log.live({ ...LOOK, ending: "close" });
  } catch (error) {
    throw disk.withTrace(error, "lives of a log");
  }
}

/** Scripts that once found a bug, run on many worlds. */
const FOUND: Readonly<Record<string, readonly Step[]>> = {
  "zeros filled behind the cut of a segment that is being sealed": [
    { type: "append", count: 6, size: 110, awaited: false },
    { type: "append", count: 1, size: 1942, awaited: false },
    { type: "idle", turns: 1 },
    { type: "append", count: 3, size: 1067, awaited: false },
    { type: "append", count: 4, size: 135, awaited: true },
    { type: "append", count: 1, size: 0, awaited: false },
  ],
  "a prepared segment created again before its roll has renamed it": [
    { type: "append", count: 3, size: 300, awaited: false },
    { type: "append", count: 6, size: 300, awaited: false },
    { type: "append", count: 2, size: 3900, awaited: false },
    { type: "append", count: 2, size: 300, awaited: true },
    { type: "retain", back: 0 },
  ],
};

describe("crash", () => {
  for (const [what, steps] of Object.entries(FOUND))
    test(`found before: ${what}`, async () => {
      const chronicle = emptyChronicle();
      for (let world = 1; world <= 40 * factor; world += 1)
        for (const fsyncMode of MODES) {
          const disk = new SimulatedDisk(seed + world);
          const log = new LogLives(disk, fsyncMode, chronicle);
          await liveAll(disk, log, [
            { steps, ending: "power" },
            { steps, ending: "kill" },
          ]);
        }
      expect(chronicle.rolls).toBeGreaterThan(100);
    });

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
        runs(150),
      );
      // Torn ends are rare in `always`: a cut must fall into a write and tear it. A short run may be without one.
      const { tornEnds, ...others } = chronicle;
      const { refused: _, ...happened } = { ...losses, ...others };
      for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(0);
      if (factor > 1 || fsyncMode !== "always") expect(tornEnds, "torn ends").toBeGreaterThan(0);
    });

  for (const fsyncMode of MODES)
    test(`${fsyncMode}: a crash in each single operation of a fixed script`, async () => {
      const met = new Set<OperationKind>();
      const chronicle = emptyChronicle();
      for (let round = 0; round < factor; round += 1)
        for (const how of ["power", "kill"] as const)
          for (let operation = 1; ; operation += 1) {
            const disk = new SimulatedDisk(seed + 1000 * round + operation);
            const log = new LogLives(disk, fsyncMode, chronicle);
            if (!(await liveScript(disk, log, { operation, ending: how }))) break;
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
