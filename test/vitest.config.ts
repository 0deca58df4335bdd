import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const report = process.env["ANNALS_TEST_REPORT"];

// The whole suite of `npm test`: examples in test/, and every property in props/ with a short run.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  test: {
    pool: "forks",
    // Most suites wait for processes, timers and disks: with three at a time two cores have something to do.
    maxWorkers: 3,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    // A limit ends what hangs; on a busy machine what takes 10 s may take six times as long.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Here, too: what is waited for comes, or never.
    expect: { poll: { timeout: 100_000, interval: 20 } },
    env: { UV_USE_IO_URING: "0" },
    projects: [
      // No example leaves a state of the process to the next one. Loading the sources is most of what they cost, so a worker does it
      // once for all that it runs.
      { extends: true, test: { name: "examples", include: ["test/**/*.test.ts"], isolate: false } },
      { extends: true, test: { name: "properties", include: ["props/**/*.prop.test.ts"] } },
    ],
  },
});
