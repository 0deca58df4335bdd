// CI reads one line; it must never look better than the run.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const program = fileURLToPath(new URL("../../.ci/count.mjs", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "annals-ci-"));
afterAll(() => rmSync(directory, { recursive: true }));

function report(name: string, passed: number, failed = 0, skipped = 0): string {
  const path = join(directory, name);
  const counts = {
    numPassedTests: passed,
    numFailedTests: failed,
    numPendingTests: skipped,
    numTodoTests: 0,
  };
  writeFileSync(path, JSON.stringify({ ...counts, testResults: [] }));
  return path;
}

function count(...args: string[]): { code: number | null; line: string | undefined } {
  const { status, stdout } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  return { code: status, line: stdout.trimEnd().split("\n").at(-1) };
}

describe("the last line of CI", () => {
  it("adds up all reports", () => {
    const [tests, props] = [report("a.json", 40, 0, 2), report("b.json", 3)];
    expect(count("0", tests, props)).toEqual({ code: 0, line: "43 passed, 0 failed, 2 skipped" });
  });

  it("counts failed tests, and exits with 1", () => {
    expect(count("1", report("a.json", 40, 2))).toEqual({ code: 1, line: "40 passed, 2 failed, 0 skipped" });
  });

  it("counts one failure when a command failed and no test did", () => {
    expect(count("1", report("a.json", 40))).toEqual({ code: 1, line: "40 passed, 1 failed, 0 skipped" });
    expect(count("1", join(directory, "none.json"))).toEqual({
      code: 1,
      line: "0 passed, 1 failed, 0 skipped",
    });
  });

  it("does not call nothing a success", () => {
    expect(count("0", join(directory, "none.json"))).toEqual({
      code: 1,
      line: "0 passed, 1 failed, 0 skipped",
    });
    const cut = join(directory, "cut.json");
    writeFileSync(cut, '{"numPassedTests": 4');
    expect(count("0", report("a.json", 40), cut)).toEqual({
      code: 1,
      line: "40 passed, 1 failed, 0 skipped",
    });
  });
});
