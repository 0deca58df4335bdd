/** `npm run demo:replication`, a short one: its faults, its fail-over, and what it says that it has proven. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { factor, seed } from "../../props/run-settings.js";

const program = fileURLToPath(new URL("../../dist/ops/demo/replication.js", import.meta.url));
const sample = fileURLToPath(new URL("../../ops/demo/sample-commits.ndjson", import.meta.url));
const commits = 20 * Math.min(20, factor);
const seconds = Math.min(20, factor);

it("the demo of replication loses nothing, and its nodes end with equal digests and files", () => {
  const size = ["--limit", String(commits), "--seconds", String(seconds)];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, "--input", sample, ...size, "--seed", String(seed), "--json"],
    { encoding: "utf8", timeout: 170_000 },
  );
  expect(status, stderr).toBe(0);
  const summary = JSON.parse(stdout);
  expect(summary).toMatchObject({ commits, seed });
  const faults: number[] = Object.values(summary.faults);
  expect(faults.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  expect(new Set(Object.values(summary.digests)).size).toBe(1);
  expect(Object.keys(summary.digests).sort()).toEqual(["one", "three", "two"]);
  for (const { what, expected, found } of summary.facts) expect(found, what).toBe(expected);
  expect(summary.facts.length).toBeGreaterThan(5);
});
