import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LogError, RestoringDirectory, realFileSystem } from "../../log/index.js";
import { realDirectory } from "../support/real-directory.js";

const begin = (dataDirectory: string, holder: string): Promise<RestoringDirectory> =>
  RestoringDirectory.begin(
    { files: realFileSystem, dataDirectory, holder, now: Date.now, randomBytes },
    { from: "elsewhere" },
  );

const codeOf = (error: unknown): string => (error instanceof LogError ? error.code : String(error));

/** What a killed restore may leave. */
function leaveUnfinished(directory: string): void {
  mkdirSync(join(directory, "log"), { recursive: true });
  writeFileSync(join(directory, "restoring.json"), "{}\n");
  writeFileSync(join(directory, "log", "00000000000000000001.log.new"), "half of it");
}

describe("a directory that is restored", () => {
  const places: readonly [string, (directory: string) => void][] = [
    ["is not there", () => undefined],
    ["is empty", (directory) => mkdirSync(directory)],
    ["was restored halfway", leaveUnfinished],
  ];

  for (const [words, prepare] of places)
    it(`and ${words} is had by one of two restores that begin at once, and held against the other`, async () => {
      const parent = await realDirectory();
      for (let round = 0; round < 40; round++) {
        const directory = join(parent, `${round}`);
        prepare(directory);
        const both = await Promise.allSettled([begin(directory, "one"), begin(directory, "other")]);
        const codes = both.map((each) => (each.status === "fulfilled" ? "begun" : codeOf(each.reason)));
        expect(codes.sort()).toEqual(["LOG_LOCKED", "begun"]);
        const winner = both[0]?.status === "fulfilled" ? "one" : "other";
        const mark: unknown = JSON.parse(readFileSync(join(directory, "restoring.json"), "utf8"));
        expect(mark).toEqual({ from: "elsewhere", by: winner });
        expect(readdirSync(join(directory, "log"))).toEqual([]);
        for (const each of both) if (each.status === "fulfilled") await each.value.close();
        rmSync(directory, { recursive: true });
      }
    });

  it("and was restored halfway is held against whoever looks just as the other clears it away", async () => {
    const directory = await realDirectory();
    leaveUnfinished(directory);
    const format = join(directory, "format.json");
    writeFileSync(format, '{"formatVersion":3}\n');
    const lock = await realFileSystem.lock(join(directory, "LOCK"), "the other restore");
    const files = Object.create(realFileSystem);
    files.open = (path: string, mode: "read" | "write" | "create") => {
      if (path === format) rmSync(format);
      return realFileSystem.open(path, mode);
    };
    const options = { files, dataDirectory: directory, holder: "restore", now: Date.now, randomBytes };
    await expect(RestoringDirectory.begin(options, {})).rejects.toMatchObject({ code: "LOG_LOCKED" });
    await lock.release();
  });

  it("is not marked where somebody has the lock, who would find the mark when it starts again", async () => {
    for (const isThere of [true, false]) {
      const directory = await realDirectory();
      // A server that is about to begin its log: it has looked for the mark already.
      const take = () => realFileSystem.lock(join(directory, "LOCK"), "a server");
      const early = isThere ? await take() : undefined;
      const files = Object.create(realFileSystem);
      let lock = early;
      files.open = async (path: string, mode: "read" | "write" | "create") => {
        // It came between the look and the mark.
        lock ??= await take();
        return realFileSystem.open(path, mode);
      };
      const options = { files, dataDirectory: directory, holder: "restore", now: Date.now, randomBytes };
      const refused = RestoringDirectory.begin(options, {});
      await expect(refused).rejects.toMatchObject({ code: "LOG_LOCKED" });
      expect(readdirSync(directory)).toEqual(["LOCK"]);
      await lock?.release();
    }
  });
});
