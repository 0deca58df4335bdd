import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { compiledSources } from "./support/compiled-sources.js";
import { STOOD_STILL } from "./support/stalls.js";
import { WaitingFirst } from "./support/waiting-first.js";

const report = process.env["ANNALS_TEST_REPORT"];

// The whole suite of `npm test`: examples in test/, and every property in props/ with a short run.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  plugins: [compiledSources()],
  test: {
    pool: "forks",
    // Most suites wait for processes, timers and disks: with three at a time two cores have something to do.
    maxWorkers: 3,
    // Threads of their own to collect garbage would only take those cores from each other.
    execArgv: ["--single-threaded-gc"],
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    // A limit ends what hangs; on a busy machine what takes 10 s may take six times as long.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Here, too: what is waited for comes, or never.
    expect: { poll: { timeout: 100_000, interval: 20 } },
    // What fails while the machine stands still is run again, and is told as such.
    globalSetup: "test/support/machine-watch.ts",
    setupFiles: "test/support/stood-still.ts",
    retry: { count: 2, condition: new RegExp(STOOD_STILL) },
    env: { UV_USE_IO_URING: "0" },
    include: ["test/**/*.test.ts", "props/**/*.prop.test.ts"],
    // Nothing leaves a state of the process to the next file. Loading the sources is much of what a file costs, so a worker does it once for
    // all that it runs.
    isolate: false,
    sequence: { sequencer: WaitingFirst },
  },
});
