/**
 * Promise: no kill -9 of the real process, at whatever moment and under 8 writers, loses an answered write, its value or
 * its revision.
 *
 * `npm test` runs 20 cycles (`test/process/kill.test.ts`); here, with the factor of `npm run props`, it is 200.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KillCycles } from "../test/support/kill-cycles.js";
import { factor, seed, seededRandom } from "./run-settings.js";

const CYCLES = 200;

describe("kill", () => {
  test.skipIf(factor === 1)("200 kills lose nothing (short form: test/process/kill.test.ts)", async () => {
    const directory = await mkdtemp(join(tmpdir(), "annals-kill-"));
    try {
      const report = await new KillCycles(directory, seededRandom(seed)).run(CYCLES);
      expect(report.answered).toBeGreaterThan(10 * CYCLES);
      expect(report.unanswered).toBeGreaterThan(CYCLES);
      expect(report.happenedUnheard).toBeGreaterThan(0);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
