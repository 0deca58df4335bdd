/** What the demo of replication means by equal segment files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { compareSegments } from "../../ops/demo/same-files.js";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

/** The bytes of each segment by the offset that it begins with. */
function logOf(segments: Readonly<Record<number, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "annals-same-"));
  directories.push(directory);
  mkdirSync(join(directory, "log"));
  for (const [first, bytes] of Object.entries(segments))
    writeFileSync(join(directory, "log", `${first.padStart(20, "0")}.log`), bytes);
  return directory;
}

describe("segment files", () => {
  it("are the same when all logs have them, whatever is prepared behind the last record", () => {
    const logs = [logOf({ 1: "a", 10: "b\0\0" }), logOf({ 1: "a", 10: "b" }), logOf({ 1: "a", 10: "b\0" })];
    expect(compareSegments(logs)).toEqual({ files: 2, same: 2 });
  });

  it("are not when bytes differ, or when a log lacks the newest, or one in between", () => {
    const whole = { 1: "a", 10: "b", 20: "c" };
    expect(compareSegments([logOf(whole), logOf({ ...whole, 10: "x" })])).toEqual({ files: 3, same: 2 });
    for (const part of [{ 1: "a", 10: "b" }, { 1: "a", 20: "c" }, {}]) {
      const missing = 3 - Object.keys(part).length;
      for (const logs of [[whole, part].map(logOf), [part, whole].map(logOf)])
        expect(compareSegments(logs)).toEqual({ files: 3, same: 3 - missing });
    }
  });

  it("that lie before the first of a log are not missing there", () => {
    const whole = { 1: "a", 10: "b", 20: "c" };
    for (const logs of [[whole, { 20: "c" }].map(logOf), [{ 20: "c" }, whole].map(logOf)])
      expect(compareSegments(logs)).toEqual({ files: 3, same: 3 });
    expect(compareSegments([logOf(whole), logOf({ 20: "x" })])).toEqual({ files: 3, same: 2 });
  });
});
