/** The real process under 8 writers, killed at random moments. The long run is `props/kill.prop.test.ts`. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { seed, seededRandom } from "../../props/run-settings.js";
import { KillCycles } from "../support/kill-cycles.js";

describe("kill -9", () => {
  test("20 kills under 8 writers lose no answered write, value or revision", async () => {
    const directory = await mkdtemp(join(tmpdir(), "annals-kill-"));
    try {
      const report = await new KillCycles(directory, seededRandom(seed), "always").run(20);
      expect(report.answered).toBeGreaterThan(100);
      expect(report.unanswered).toBeGreaterThan(20);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
