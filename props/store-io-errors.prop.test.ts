/**
 * Promise: whichever operation of the disk fails under a store that works on keys, queues, streams and all of them in one
 * record – once or from then on, with EIO or for want of space, in every mode of syncing –
 *
 *   1. the store on the healed disk is what it was after some record: the model and the digest say so
 *   2. nothing that the mode promises is lost
 *   3. after a failed write or sync of records nothing behind it is answered, and every failure is a coded one
 *
 * The n-th operation fails, for n = 1, 2, 3, … until a run meets no failure.
 */
import { describe, expect, test } from "vitest";
import type { FsyncMode } from "../log/index.js";
import { factor, seed } from "./run-settings.js";
import { type Fault, TAKING_SPACE } from "./world/operations.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { type LifeStep, StoreLives } from "./world/store-lives.js";
import type { Errno } from "./world/system-error.js";

/** What was there before the failure. */
const PRELUDE: readonly LifeStep[] = [
  { type: "setKeys", count: 3 },
  { type: "publish", count: 3 },
  { type: "append", count: 3 },
  { type: "consume", count: 2 },
  { type: "wait" },
];

/** Long enough to roll into a second segment. */
const SCRIPT: readonly LifeStep[] = [
  { type: "batch" },
  { type: "consume", count: 1 },
  { type: "wait" },
  { type: "nack" },
  { type: "append", count: 3 },
  { type: "publish", count: 3 },
  { type: "ack", count: 1 },
  { type: "rest" },
  ...Array.from({ length: 8 }, (): LifeStep[] => [
    { type: "batch" },
    { type: "append", count: 3 },
    { type: "wait" },
  ]).flat(),
  { type: "trim" },
  { type: "deleteKeys" },
  { type: "ack", count: 2 },
  { type: "wait" },
  { type: "batch" },
];

interface Case {
  readonly fsyncMode: FsyncMode;
  readonly errno: Errno;
  readonly sticky: boolean;
  readonly at: number;
  readonly ending: "power" | "kill";
}

async function liveThrough({ fsyncMode, errno, sticky, at, ending }: Case): Promise<StoreLives["happened"]> {
  const disk = new SimulatedDisk(seed + at);
  const lives = new StoreLives(disk, fsyncMode);
  try {
    await lives.live({ steps: PRELUDE, ending: "kill" });
    const kinds = errno === "ENOSPC" ? { kinds: TAKING_SPACE } : {};
    const fault: Fault = { type: "fail", at, errno, sticky, ...kinds };
    await lives.live({ steps: SCRIPT, fault, ending });
    await lives.live({ steps: PRELUDE, ending: "kill" });
    await lives.look();
  } catch (error) {
    throw disk.withTrace(
      error,
      `${fsyncMode}, ${errno}${sticky ? " for good" : ""} in operation ${at}, ${ending}`,
    );
  }
  return lives.happened;
}

describe("the store on a failing disk", () => {
  for (const fsyncMode of ["always", "periodic", "never"] as const)
    for (const errno of ["EIO", "ENOSPC"] as const)
      for (const sticky of [false, true])
        test(`${fsyncMode}: the n-th operation fails with ${errno} ${sticky ? "for good" : "once"}`, async () => {
          // The short form looks at every seventh n; which ones, the seed says.
          const stride = factor > 1 ? 1 : 7;
          const happened = { met: 0, answered: 0, recovered: 0, severalEvents: 0 };
          for (let round = 0; round < Math.ceil(factor / 10); round += 1)
            for (let at = 1 + ((seed + round) % stride); ; at += stride) {
              const ending = (Math.floor(at / stride) + round) % 2 === 0 ? "power" : "kill";
              const one = await liveThrough({ fsyncMode, errno, sticky, at, ending });
              if (one.failures === 0) break;
              happened.met += 1;
              happened.answered += one.answered;
              happened.recovered += one.recovered;
              happened.severalEvents += one.severalEvents;
            }
          for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(4);
        });
});
