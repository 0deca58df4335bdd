// The bench and the demo, asked for help or wrongly: neither starts anything.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

function run(tool: string, args: readonly string[]) {
  const path = fileURLToPath(new URL(`../../dist/ops/${tool}.js`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe.each([
  ["bench/bench", ["--rounds", "0"], "--rounds: expected a whole number from 1"],
  ["bench/bench", ["--only", "nothing"], "no row nothing"],
  ["demo/demo", ["--kills", "-1"], "Option '--kills' argument is ambiguous"],
  ["demo/demo", ["--kills", "many"], "--kills: expected a whole number from 0 to 1000"],
  ["demo/demo", ["--kills", ""], "--kills: expected a whole number from 0 to 1000"],
  ["demo/demo", ["--directory", fileURLToPath(import.meta.url)], "is no directory"],
  ["demo/demo", ["--consumer-kills", "1001"], "--consumer-kills: expected a whole number from 0 to 1000"],
  ["demo/demo", ["--limit", "0"], "--limit: expected a whole number from 1"],
  ["demo/demo", ["--input", "/nowhere/at-all"], "no file /nowhere/at-all"],
  ["demo/demo", ["--input", "/"], "no file /"],
  ["demo/replication", ["--limit", "0"], "--limit: expected a whole number from 1"],
])("%s", (tool, wrong, says) => {
  it(`refuses ${wrong.join(" ")} in one line, with code 2`, () => {
    const { status, stdout, stderr } = run(tool, wrong);
    expect(stderr).toMatch(/^[^\n]+; see --help\n$/);
    expect(stderr).toContain(says);
    expect([status, stdout]).toEqual([2, ""]);
  });
});

describe.each(["bench/bench", "demo/demo", "demo/replication"])("%s", (tool) => {
  it("refuses an unknown option in one line, with code 2", () => {
    const { status, stdout, stderr } = run(tool, ["--nothing"]);
    expect([status, stdout, stderr]).toEqual([2, "", "Unknown option '--nothing'; see --help\n"]);
  });

  it("explains every option with --help, and starts nothing", () => {
    const { status, stdout, stderr } = run(tool, ["--help"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^npm run /);
    for (const name of ["--directory", "--json"]) expect(stdout).toContain(`\n  ${name} `);
  });
});

describe("demo/demo", () => {
  it("refuses a file that holds no commits in one line, with code 2", () => {
    const { status, stdout, stderr } = run("demo/demo", ["--input", fileURLToPath(import.meta.url)]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^line 1 is not a commit[^\n]*\n$/);
  });
});
