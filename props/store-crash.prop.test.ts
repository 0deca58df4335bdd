/**
 * Promise: whatever operation of the disk a crash falls into, the store – keys, queues, streams and kept answers – comes back as
 * it was after some record, never between two, in every mode of syncing.
 *
 *   1. what was answered is there: in `always` after any end; in `periodic` and `never` after a kill, and after a power cut
 *      whatever the log had called durable
 *   2. the state after recovery has the digest that the live state had at the offset where the log now ends
 *   3. it equals the model at that offset: every key, every waiting message in order with its attempts, every count, every
 *      message of the stream that is kept, read from the disk, and what is answered again for an idempotency key
 *   4. a record of several events (two keys, several messages published, consumed or acked, several appended, a batch of all
 *      of them with its answer) is there whole or not at all
 *   5. the same when the disk fails instead, at any operation, and is healed: what fails is a coded error
 *   6. a flipped byte in what is left is reported, or the state is one that was there before
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FsyncMode, LOG_DIRECTORY } from "../log/index.js";
import { runs, seed } from "./run-settings.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";
import type { Fault, OperationKind } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { type LifeStep, type StoreLife, StoreLives } from "./world/store-lives.js";

const step: fc.Arbitrary<LifeStep> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constantFrom("setKeys", "publish", "consume", "ack", "append"),
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom("nack", "nack", "deleteKeys", "trim") }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant("batch") }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("wait") }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("rest") }) },
);

/** Rare among single steps: somebody has a message, and says that it failed. */
const failedDelivery = fc.constant<LifeStep[]>([
  { type: "publish", count: 2 },
  { type: "consume", count: 3 },
  { type: "wait" },
  { type: "nack" },
  { type: "wait" },
]);
const steps: fc.Arbitrary<LifeStep[]> = fc
  .array(
    fc.oneof({ weight: 6, arbitrary: step.map((one) => [one]) }, { weight: 1, arbitrary: failedDelivery }),
    { minLength: 5, maxLength: 25, size: "max" },
  )
  .map((parts) => parts.flat());

/** What records go to the disk by: an end in one of these is seldom while the store opens. */
const RECORDS: ReadonlySet<OperationKind> = new Set(["syncedWrite", "writeNow"]);

const fault: fc.Arbitrary<Fault> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("end"),
      at: fc.integer({ min: 1, max: 12 }),
      kinds: fc.constant(RECORDS),
      ending: fc.constantFrom("power", "power", "kill"),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("end"),
      at: fc.integer({ min: 1, max: 110 }),
      ending: fc.constantFrom("power", "kill"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("fail"),
      at: fc.integer({ min: 1, max: 110 }),
      errno: fc.constant("EIO"),
      sticky: fc.boolean(),
    }),
  },
);

const life: fc.Arbitrary<StoreLife> = fc.record({
  steps,
  fault,
  ending: fc.constantFrom("power", "kill"),
});

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 }));

/** Flips one byte of some segment, anywhere in it. */
async function damage(disk: SimulatedDisk, lives: StoreLives): Promise<void> {
  const files = disk.mount();
  const directory = `${DATA_DIRECTORY}/${LOG_DIRECTORY}`;
  const names = (await files.list(directory)).filter((name) => name.endsWith(".log"));
  const name = names[Math.floor(disk.random() * names.length)];
  if (name === undefined) return;
  const path = `${directory}/${name}`;
  const file = await files.open(path, "read");
  const size = await file.size();
  disk.kill();
  await lives.damage(path, Math.floor(disk.random() * size), 1 + Math.floor(disk.random() * 255));
}

const script: LifeStep[] = [
  { type: "publish", count: 3 },
  { type: "append", count: 2 },
  { type: "consume", count: 2 },
  { type: "wait" },
  { type: "nack" },
  { type: "setKeys", count: 3 },
  { type: "ack", count: 2 },
  { type: "consume", count: 1 },
  { type: "append", count: 3 },
  { type: "batch" },
  { type: "wait" },
  { type: "trim" },
  { type: "ack", count: 1 },
  { type: "batch" },
  { type: "deleteKeys" },
];

const MODES: readonly FsyncMode[] = ["always", "periodic", "never"];

describe("the store after a crash", () => {
  for (const fsyncMode of MODES)
    test(`${fsyncMode}: is what it was after some record, never less than the mode promises`, async () => {
      const happened: Record<string, number> = {};
      await fc.assert(
        fc.asyncProperty(world, fc.array(life, { minLength: 1, maxLength: 3 }), async (worldSeed, all) => {
          const disk = new SimulatedDisk(worldSeed);
          const lives = new StoreLives(disk, fsyncMode);
          try {
            for (const one of all) await lives.live(one);
            await lives.look();
            await damage(disk, lives);
          } catch (error) {
            throw disk.withTrace(error, "lives of a store");
          }
          for (const [what, count] of Object.entries(lives.happened))
            happened[what] = (happened[what] ?? 0) + count;
        }),
        runs(fsyncMode === "always" ? 90 : 75),
      );
      for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(3);
    });

  for (const fsyncMode of MODES)
    test(`${fsyncMode}: is so whichever operation of a fixed script it falls into`, async () => {
      for (const ending of ["power", "kill"] as const)
        for (let at = 1; ; at += 1) {
          const disk = new SimulatedDisk(seed + at);
          const lives = new StoreLives(disk, fsyncMode);
          try {
            await lives.live({ steps: script, fault: { type: "end", at, ending }, ending });
            await lives.look();
          } catch (error) {
            throw disk.withTrace(error, `${ending} in operation ${at}`);
          }
          if (lives.happened.ends > 0) continue;
          expect(at, "operations of the script").toBeGreaterThan(30);
          break;
        }
    });
});
