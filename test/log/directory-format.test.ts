import { describe, expect, it } from "vitest";
import { DIRECTORY_FORMAT_VERSION, raiseDirectoryFormat } from "../../log/directory-format.js";
import { readDirectory } from "../../log/directory-reader.js";
import { readDirectoryFormat, verifyDirectory } from "../../log/index.js";
import { openLogView } from "../../log/log-view.js";
import { applyRepair, planRepair } from "../../log/repair.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { appendMany, DISK, logOptions, openOn, openTestLog } from "../support/test-log.js";

const DIRECTORY = "/data";
const FORMAT = `${DIRECTORY}/format.json`;

async function aDirectory(format?: string): Promise<MemoryFileSystem> {
  const files = new MemoryFileSystem();
  const { log } = await openTestLog(DIRECTORY, { files });
  await appendMany(log, 3);
  await log.close();
  if (format !== undefined) files.put(FORMAT, Buffer.from(format));
  return files;
}

/** Every byte that there is, by name. */
async function contentOf(files: MemoryFileSystem, directory = DIRECTORY): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await files.list(directory)) {
    const path = `${directory}/${name}`;
    const status = await files.stat(path);
    if (status?.type === "directory")
      for (const [at, text] of await contentOf(files, path)) found.set(at, text);
    else found.set(path, Buffer.from(files.get(path)).toString("base64"));
  }
  return found;
}

describe("the format of a data directory", () => {
  it("is the newest where a directory is new, and 1 where no file tells it", async () => {
    const files = await aDirectory();
    expect(await readDirectoryFormat(files, DIRECTORY)).toBe(DIRECTORY_FORMAT_VERSION);
    await files.remove(FORMAT);
    expect(await readDirectoryFormat(files, DIRECTORY)).toBe(1);
    expect(await readDirectoryFormat(files, "/nowhere")).toBe(1);
  });

  it("stays as it is when an older directory is opened, written and closed", async () => {
    const files = await aDirectory();
    await files.remove(FORMAT);
    const opened = await openTestLog(DIRECTORY, { files });
    expect(opened.formatVersion).toBe(1);
    await appendMany(opened.log, 3);
    await opened.log.close();
    expect(await files.exists(FORMAT)).toBe(false);
    await raiseDirectoryFormat(files, DIRECTORY);
    await raiseDirectoryFormat(files, DIRECTORY);
    const again = await openTestLog(DIRECTORY, { files });
    expect(again.formatVersion).toBe(DIRECTORY_FORMAT_VERSION);
    await again.log.close();
  });

  it("of a later release is refused before anything is written, the lock too, and says what it has and what is read", async () => {
    const later = DIRECTORY_FORMAT_VERSION + 1;
    const files = await aDirectory(`{"formatVersion": ${later}, "and": "more"}`);
    await files.remove(`${DIRECTORY}/LOCK`);
    const before = await contentOf(files);
    const refusal = {
      code: "LOG_VERSION_UNKNOWN",
      message: expect.stringContaining(
        `has format version ${later}, this release reads 1 to ${DIRECTORY_FORMAT_VERSION}`,
      ),
      context: { expected: DIRECTORY_FORMAT_VERSION, found: later },
    };
    await expect(openTestLog(DIRECTORY, { files })).rejects.toMatchObject(refusal);
    await expect(openLogView(files, DIRECTORY)).rejects.toMatchObject(refusal);
    await expect(verifyDirectory(files, DIRECTORY)).rejects.toMatchObject(refusal);
    await expect(planRepair(files, DIRECTORY)).rejects.toMatchObject(refusal);
    await expect(applyRepair(logOptions(DIRECTORY, { files }))).rejects.toMatchObject(refusal);
    await expect(readDirectory(files, DIRECTORY).next()).rejects.toMatchObject(refusal);
    await expect(raiseDirectoryFormat(files, DIRECTORY)).rejects.toMatchObject(refusal);
    expect(await contentOf(files)).toEqual(before);
  });

  it("that cannot be read is damage, and nothing is written either", async () => {
    for (const text of [
      "",
      "{",
      "[2]",
      "null",
      '{"formatVersion":"2"}',
      '{"formatVersion":0}',
      '{"formatVersion":1.5}',
      "x".repeat(9_000),
    ]) {
      const files = await aDirectory(text);
      const before = await contentOf(files);
      await expect(openTestLog(DIRECTORY, { files })).rejects.toMatchObject({
        code: "LOG_CORRUPT",
        context: { file: FORMAT },
      });
      expect(await contentOf(files)).toEqual(before);
    }
  });

  it("is durable before anything else of a new directory is", async () => {
    let known = 0;
    for (let at = 1; at < 80; at++) {
      const disk = new SimulatedDisk(at);
      disk.arm({ type: "end", at, ending: "power" });
      const opening = openOn(disk).then(({ log }) => log.close());
      await Promise.race([opening, disk.ended()]);
      disk.losePower();
      disk.disarm();
      const files = disk.mount();
      if (!(await files.exists(`${DISK}/identity.json`))) continue;
      known++;
      expect(await readDirectoryFormat(files, DISK)).toBe(DIRECTORY_FORMAT_VERSION);
    }
    expect(known).toBeGreaterThan(3);
  });
});
