/** `npm run demo:replication`, a short one: its faults, its fail-over, and what it says that it has proven. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { factor, seed } from "../../props/run-settings.js";

const program = fileURLToPath(new URL("../../dist/ops/demo/replication.js", import.meta.url));
const sample = fileURLToPath(new URL("../../ops/demo/sample-commits.ndjson", import.meta.url));
/** The sample has no more than 200. */
const commits = 20 * Math.min(10, factor);
const seconds = Math.min(20, factor);

/** Counted from the file: each file of each of the first commits is one. */
function jobsOf(count: number): number {
  const lines = readFileSync(sample, "utf8").split("\n").slice(0, count);
  return lines.reduce((sum, line) => sum + (JSON.parse(line) as { files: unknown[] }).files.length, 0);
}

it("the demo of replication loses nothing, has every job acked once, and its nodes end with equal digests and files", () => {
  const size = ["--limit", String(commits), "--seconds", String(seconds)];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, "--input", sample, ...size, "--seed", String(seed), "--json"],
    { encoding: "utf8", timeout: 170_000 },
  );
  expect(status, stderr).toBe(0);
  const summary = JSON.parse(stdout);
  expect(summary).toMatchObject({ commits, seed });
  const faults = ["killed", "stopped", "cut off alone", "cut off together"];
  expect(Object.keys(summary.faults)).toEqual(faults);
  for (const fault of faults) expect(summary.faults[fault], fault).toBeGreaterThan(0);
  expect(new Set(Object.values(summary.digests)).size).toBe(1);
  expect(Object.keys(summary.digests).sort()).toEqual(["one", "three", "two"]);
  for (const { what, expected, found } of summary.facts) expect(found, what).toBe(expected);
  const expectations = new Map(
    summary.facts.map(({ what, expected }: { what: string; expected: number }) => [what, expected]),
  );
  const jobs = jobsOf(commits);
  for (const [what, expected] of [
    ...[["commits written, by the log", commits] as const, ["jobs acknowledged, by the log", jobs] as const],
    ...[["different jobs acknowledged", jobs] as const, ["jobs left in the queue", 0] as const],
    ...[["events of the stream on three, in order", commits] as const, ["answered writes lost", 0] as const],
  ])
    expect(expectations.get(what), what).toBe(expected);
  expect(summary).toMatchObject({ jobs, consumersKilled: 4 });
  // The load went on at the one that was promoted.
  expect(summary.commitsAfterPromotion).toBeGreaterThan(0);
  expect(summary.jobsAfterPromotion).toBeGreaterThan(0);
});
