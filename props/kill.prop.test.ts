/**
 * Promise: no kill -9 of the real process, at whatever moment and under 8 writers, loses an answered write, its value or
 * its revision, in any fsync mode: what is committed has been handed to the system, which outlives the process.
 *
 * The same while snapshots are made and retention removes what they replace (short form: `test/process/snapshots.test.ts`).
 *
 * The short form is `test/process/kill.test.ts` (20 kills in `always`) and a few kills in the other modes here; the long
 * one is 200 kills in `always` and 50 in each of the others. A kill proves nothing about syncs; `crash.prop.test.ts` does.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { FsyncMode } from "../log/index.js";
import { KillCycles } from "../test/support/kill-cycles.js";
import { factor, seed, seededRandom } from "./run-settings.js";

const long = factor > 1;
const CYCLES: readonly (readonly [FsyncMode, number])[] = long
  ? [
      ["always", 200],
      ["periodic", 50],
      ["never", 50],
    ]
  : [
      ["periodic", 3],
      ["never", 3],
    ];

describe("kill", () => {
  for (const [fsyncMode, cycles] of CYCLES)
    test(`${fsyncMode}: ${cycles} kills lose nothing`, async () => {
      const directory = await mkdtemp(join(tmpdir(), "annals-kill-"));
      try {
        const report = await new KillCycles(directory, seededRandom(seed), fsyncMode).run(cycles);
        expect(report.answered).toBeGreaterThan(5 * cycles);
        expect(report.unanswered).toBeGreaterThan(cycles);
        if (long) expect(report.happenedUnheard).toBeGreaterThan(0);
      } finally {
        await rm(directory, { recursive: true });
      }
    });

  test.runIf(long)(
    "60 kills while snapshots are made and the log before them goes lose nothing",
    async () => {
      const directory = await mkdtemp(join(tmpdir(), "annals-kill-"));
      try {
        const report = await new KillCycles(directory, seededRandom(seed), "always", true).run(60);
        expect(report.snapshots).toBeGreaterThan(40);
        expect(report.begunWithSnapshot).toBeGreaterThan(40);
        expect(report.retired).toBe(true);
      } finally {
        await rm(directory, { recursive: true });
      }
    },
  );
});
