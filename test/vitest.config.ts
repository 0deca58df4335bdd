import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const report = process.env["ANNALS_TEST_REPORT"];

// The whole suite of `npm test`: examples in test/, and every property in props/ with a short run.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  test: {
    include: ["test/**/*.test.ts", "props/**/*.prop.test.ts"],
    pool: "forks",
    // Most suites wait for processes, timers and disks: with three at a time two cores have something to do.
    maxWorkers: 3,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    env: { UV_USE_IO_URING: "0" },
  },
});
