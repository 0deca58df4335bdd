import { describe, expect, test } from "vitest";
import { recoverLog } from "../../log/recovery.js";
import { readRecoveryPoint } from "../../log/recovery-point.js";
import { applyRepair, planRepair } from "../../log/repair.js";
import { verifyDirectory } from "../../log/verify.js";
import { bodyOf, CLUSTER, type ComposedLog, composeLog, DIRECTORY, LOG, NODE } from "../support/log-bytes.js";
import type { MemoryFileSystem } from "../support/memory-file-system.js";

const batches = [0, 1, 2, 3, 4, 5].map((b) => [bodyOf(60, 2 * b + 1), bodyOf(60, 2 * b + 2)]);

/** Twelve records in three segments of four. */
function directory(damagedOffset?: number): { log: ComposedLog; files: MemoryFileSystem } {
  const log = composeLog({ batches, rollBefore: [2, 4], zerosAhead: 100 });
  const files = log.files({ recoveryPoint: log.recoveryPoint(12) });
  files.put(`${DIRECTORY}/identity.json`, Buffer.from(JSON.stringify({ clusterId: CLUSTER, nodeId: NODE })));
  const record = log.records.find(({ offset }) => offset === damagedOffset);
  if (record !== undefined) files.own(log.segments[record.segment]!.path)[record.end - 1]! ^= 1;
  return { log, files };
}

const repair = (files: MemoryFileSystem) =>
  applyRepair({ files, dataDirectory: DIRECTORY, now: () => 77, holder: "a test" });

async function start(files: MemoryFileSystem): Promise<number> {
  const recoveryPoint = await readRecoveryPoint(files, DIRECTORY);
  const recovered = await recoverLog({ files, dataDirectory: DIRECTORY, now: () => 1, recoveryPoint });
  return recovered.next.offset - 1;
}

describe("repair", () => {
  test("does nothing to a log that is sound", async () => {
    const { files } = directory();
    const before = files.paths;
    expect((await planRepair(files, DIRECTORY)).problems).toEqual([]);
    expect((await repair(files)).keptIn).toBeUndefined();
    expect(files.paths.filter((path) => !path.endsWith("LOCK"))).toEqual(before);
  });

  test("says what would be lost and changes nothing", async () => {
    const { log, files } = directory(6);
    const before = files.paths;
    const plan = await planRepair(files, DIRECTORY);
    const sixth = log.records[5]!;
    expect(plan).toMatchObject({
      problems: [{ code: "record", offset: 6 }],
      lastKept: 5,
      lastKnown: 12,
      cut: {
        file: "log/00000000000000000005.log",
        position: sixth.position,
        bytes: log.segments[1]!.contentEnd - sixth.position,
      },
      dropped: [{ file: "log/00000000000000000009.log", bytes: log.tail.bytes.length }],
      recoveryPoint: { durable: 5, crc: log.records[4]!.crc, tail: 5, clean: false },
    });
    expect(files.paths).toEqual(before);
    await expect(start(files)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
  });

  test("keeps the originals, cuts at the last good record, and the log starts again", async () => {
    const { files } = directory(6);
    const before = files.fork();
    const { keptIn, plan } = await repair(files);
    expect(keptIn).toBe("repair-77");
    const names = ["00000000000000000005.log", "00000000000000000009.log"];
    for (const name of names)
      expect(Buffer.from(files.get(`${DIRECTORY}/repair-77/${name}`))).toEqual(
        Buffer.from(before.get(`${LOG}/${name}`)),
      );
    expect(files.get(`${DIRECTORY}/repair-77/recovery-point`)).toBeDefined();
    expect(plan.lastKept).toBe(5);
    expect(await start(files)).toBe(5);
    const report = await verifyDirectory(files, DIRECTORY);
    expect([report.problems, report.records, report.segments]).toEqual([[], 5, 2]);
    expect(files.paths).not.toContain(`${LOG}/00000000000000000005.index`);
  });

  test("works for damage anywhere, and a second repair finds nothing to do", async () => {
    for (let at = 1; at <= 12; at++) {
      const { files } = directory(at);
      await repair(files);
      expect(await start(files), `damaged at ${at}`).toBe(at - 1);
      expect((await repair(files)).keptIn).toBeUndefined();
    }
  });

  test("accepts a missing segment or lost end as lost", async () => {
    const middle = directory();
    await middle.files.remove(middle.log.segments[1]!.path);
    expect((await repair(middle.files)).plan).toMatchObject({ lastKept: 4, lastKnown: 12 });
    expect(await start(middle.files)).toBe(4);

    const end = directory();
    end.files.put(end.log.tail.path, end.log.tail.bytes.subarray(0, end.log.records[9]!.end));
    expect((await repair(end.files)).plan).toMatchObject({ lastKept: 10, lastKnown: 12, dropped: [] });
    expect(await start(end.files)).toBe(10);
  });

  test("writes a damaged recovery point anew from a whole log", async () => {
    const { files } = directory();
    files.own(`${DIRECTORY}/recovery-point`)[17]! ^= 1;
    const { plan } = await repair(files);
    expect(plan).toMatchObject({ lastKept: 12, cut: undefined, dropped: [], recoveryPoint: { durable: 12 } });
    expect(await start(files)).toBe(12);
  });

  test("refuses where it cannot help: nothing would be left, another release's file, another cluster's log", async () => {
    const header = directory();
    header.files.own(header.log.segments[0]!.path)[20]! ^= 1;
    const foreign = directory();
    foreign.files.put(
      `${DIRECTORY}/identity.json`,
      Buffer.from(JSON.stringify({ clusterId: "ee".repeat(16), nodeId: NODE })),
    );
    const lost = directory();
    await lost.files.remove(`${DIRECTORY}/identity.json`);
    for (const { files } of [header, foreign, lost]) {
      const before = files.paths;
      await expect(repair(files)).rejects.toMatchObject({
        code: "LOG_CORRUPT",
        context: { advice: expect.stringContaining("no repair can help") },
      });
      expect(files.paths).toEqual(before);
    }
  });

  test("does not touch a directory that somebody holds", async () => {
    const { files } = directory(6);
    await files.lock(`${DIRECTORY}/LOCK`, "annals serve, pid 42");
    await expect(repair(files)).rejects.toMatchObject({
      code: "LOG_LOCKED",
      context: { holder: "annals serve, pid 42" },
    });
    expect(files.paths.some((path) => path.includes("repair-"))).toBe(false);
  });

  test("interrupted anywhere, it leaves a log that refuses to start or is repaired", async () => {
    const operations = ["rename", "remove", "syncDirectory", "open"] as const;
    let interrupted = 0;
    for (const operation of operations) {
      for (let nth = 1; nth < 60; nth++) {
        const { files } = directory(6);
        let count = 0;
        const original = files[operation].bind(files) as (...args: unknown[]) => Promise<unknown>;
        const failing = async (...args: unknown[]): Promise<unknown> => {
          count += 1;
          // No EIO: that is a file which cannot be read, and a repair is made for those.
          if (count === nth) throw Object.assign(new Error("power"), { code: "EINTR" });
          return original(...args);
        };
        Object.assign(files, { [operation]: failing });
        const outcome = await repair(files).then(
          () => "done",
          () => "interrupted",
        );
        Object.assign(files, { [operation]: original });
        if (outcome === "done") break;
        interrupted += 1;
        const end = await start(files.fork()).catch(() => undefined);
        expect([undefined, 5]).toContain(end);
        await repair(files);
        expect(await start(files)).toBe(5);
      }
    }
    expect(interrupted).toBeGreaterThan(20);
  });
});
