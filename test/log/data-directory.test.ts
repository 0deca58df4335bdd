import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { createIdentity, openDataDirectory, readIdentity } from "../../log/data-directory.js";
import { offset, realFileSystem } from "../../log/index.js";
import {
  decodeRecoveryPoint,
  encodeRecoveryPoint,
  readRecoveryPoint,
  writeRecoveryPoint,
} from "../../log/recovery-point.js";
import { realDirectory } from "../support/real-directory.js";
import { appendMany, openTestLog } from "../support/test-log.js";

const counted = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, i) => i + 1);

describe("data directory", () => {
  it("is made with its parents when it is missing", async () => {
    const path = `${await realDirectory()}/a/b/c`;
    const directory = await openDataDirectory(realFileSystem, path, "a test");
    expect(await realFileSystem.list(path)).toEqual(["LOCK", "log"]);
    await directory.lock.release();
  });

  it("says in the lock file who has it, and is free again after the release", async () => {
    const path = await realDirectory();
    const first = await openDataDirectory(realFileSystem, path, "annals serve, pid 42");
    expect(await readFile(`${path}/LOCK`, "utf8")).toContain("annals serve, pid 42");
    await expect(openDataDirectory(realFileSystem, path, "another")).rejects.toMatchObject({
      code: "LOG_LOCKED",
      context: { holder: "annals serve, pid 42" },
    });
    await first.lock.release();
    await (await openDataDirectory(realFileSystem, path, "another")).lock.release();
  });

  it("cannot be a file", async () => {
    const path = `${await realDirectory()}/file`;
    await writeFile(path, "not a directory");
    await expect(openDataDirectory(realFileSystem, path, "a test")).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
    });
  });

  it.skipIf(process.getuid?.() === 0)("must be writable (root may write anywhere)", async () => {
    const path = await realDirectory();
    await chmod(path, 0o500);
    await expect(openDataDirectory(realFileSystem, path, "a test")).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
    });
  });

  it("gets an identity once and keeps it", async () => {
    const path = await realDirectory();
    expect(await readIdentity(realFileSystem, path)).toBeUndefined();
    const identity = await createIdentity(realFileSystem, path, counted);
    expect(identity.clusterId).toBe("0102030405060708090a0b0c0d0e0f10");
    expect(await readIdentity(realFileSystem, path)).toEqual(identity);
  });

  it("is refused with a damaged identity", async () => {
    for (const text of [
      "",
      "{",
      "[]",
      '{"clusterId":"x"}',
      '{"clusterId":1,"nodeId":2}',
      "x".repeat(10_000),
    ]) {
      const path = await realDirectory();
      await writeFile(`${path}/identity.json`, text);
      await expect(readIdentity(realFileSystem, path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    }
  });

  it("is refused when its identity is missing or another cluster's", async () => {
    const path = await realDirectory();
    const { log } = await openTestLog(path);
    await appendMany(log, 3);
    await log.close();
    const kept = await readFile(`${path}/identity.json`, "utf8");
    await rm(`${path}/identity.json`);
    await expect(openTestLog(path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await createIdentity(realFileSystem, path, counted);
    await expect(openTestLog(path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await writeFile(`${path}/identity.json`, kept);
    await (await openTestLog(path)).log.close();
  });

  it("is refused when its segments are gone", async () => {
    const path = await realDirectory();
    const { log } = await openTestLog(path);
    await log.close();
    await rm(`${path}/log`, { recursive: true });
    await mkdir(`${path}/log`);
    await expect(openTestLog(path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
  });
});

describe("recovery point", () => {
  const point = { durable: offset(258), crc: 0x11223344, tail: offset(1), clean: true };

  it("has the layout that its file tells", async () => {
    const source = await readFile(new URL("../../log/recovery-point.ts", import.meta.url), "utf8");
    const example = /Example, durable = 258.*\n \* {3}([0-9a-f ]+)/.exec(source)?.[1] ?? "";
    expect(Buffer.from(encodeRecoveryPoint(point)).toString("hex")).toBe(example.replaceAll(" ", ""));
    expect(decodeRecoveryPoint(encodeRecoveryPoint(point))).toEqual(point);
  });

  it("is never believed when a single bit is wrong", () => {
    const bytes = encodeRecoveryPoint(point);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Uint8Array.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(typeof decodeRecoveryPoint(damaged)).toBe("string");
    }
    for (let length = 0; length < bytes.length; length++)
      expect(decodeRecoveryPoint(bytes.subarray(0, length))).toBe("length");
  });

  it("is read back, and a damaged or foreign one refused by its own code", async () => {
    const path = await realDirectory();
    expect(await readRecoveryPoint(realFileSystem, path)).toBeUndefined();
    await writeRecoveryPoint(realFileSystem, path, point);
    expect(await readRecoveryPoint(realFileSystem, path)).toEqual(point);
    await writeFile(`${path}/recovery-point`, Buffer.alloc(36));
    await expect(readRecoveryPoint(realFileSystem, path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await writeFile(`${path}/recovery-point`, Buffer.alloc(4_000));
    await expect(readRecoveryPoint(realFileSystem, path)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
  });
});
