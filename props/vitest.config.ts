import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { compiledSources } from "../test/support/compiled-sources.js";

const report = process.env["ANNALS_TEST_REPORT"];

// The properties alone, with long runs. ANNALS_PROPS_SEED and ANNALS_PROPS_FACTOR choose where and how long to look.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  plugins: [compiledSources()],
  test: {
    include: ["props/**/*.prop.test.ts"],
    pool: "forks",
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    testTimeout: 1_800_000,
    hookTimeout: 120_000,
    env: {
      UV_USE_IO_URING: "0",
      ANNALS_PROPS_FACTOR: process.env["ANNALS_PROPS_FACTOR"] ?? "20",
    },
  },
});
