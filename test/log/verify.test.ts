import { describe, expect, test } from "vitest";
import { describeFinding } from "../../log/corruption.js";
import { encodeRecoveryPoint } from "../../log/recovery-point.js";
import { offset } from "../../log/units.js";
import { verifyDirectory } from "../../log/verify.js";
import { bodyOf, CLUSTER, type ComposedLog, composeLog, DIRECTORY, LOG, NODE } from "../support/log-bytes.js";
import type { MemoryFileSystem } from "../support/memory-file-system.js";

const POINT = `${DIRECTORY}/recovery-point`;
const batches = [0, 1, 2, 3, 4, 5].map((b) => [bodyOf(60, 2 * b + 1), bodyOf(60, 2 * b + 2)]);

/** Twelve records in three segments, with everything that a data directory holds. */
function directory(): { log: ComposedLog; files: MemoryFileSystem } {
  const log = composeLog({ batches, rollBefore: [2, 4], zerosAhead: 100 });
  const files = log.files({ recoveryPoint: log.recoveryPoint(10) });
  files.put(`${DIRECTORY}/identity.json`, Buffer.from(JSON.stringify({ clusterId: CLUSTER, nodeId: NODE })));
  files.put(`${DIRECTORY}/LOCK`, Buffer.from("somebody"));
  return { log, files };
}

describe("verify", () => {
  test("finds nothing wrong with a whole log and counts it", async () => {
    const { log, files } = directory();
    const progress: number[] = [];
    const report = await verifyDirectory(files, DIRECTORY, {
      onProgress: (done, all) => progress.push(done / all),
    });
    expect(report).toEqual({
      segments: 3,
      records: 12,
      firstOffset: 1,
      endOffset: 12,
      bytes: log.segments.reduce((sum, { bytes }) => sum + bytes.length, 0),
      problems: [],
      notes: [],
    });
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress[progress.length - 1]).toBeGreaterThan(0.8);
  });

  test("changes nothing, not even a lost index or a torn end", async () => {
    const { log, files } = directory();
    await files.remove(`${LOG}/00000000000000000001.index`);
    files.own(log.tail.path)[log.tail.contentEnd + 3] = 9;
    const before = files.fork();
    await verifyDirectory(files, DIRECTORY);
    expect(files.paths).toEqual(before.paths);
    for (const path of files.paths) expect(files.get(path)).toEqual(before.get(path));
  });

  test("finds every flipped byte of every segment, and of the small files", async () => {
    const { log, files } = directory();
    const checked = [...log.segments.map(({ path }) => path), `${DIRECTORY}/recovery-point`];
    for (const path of checked) {
      for (let at = 0; at < files.get(path).length; at++) {
        const damaged = files.fork();
        damaged.own(path)[at]! ^= 0x10;
        const { problems, torn } = await verifyDirectory(damaged, DIRECTORY);
        // In the last batch, and in the zeros after it, nothing proves that the byte was ever durable.
        const isLast = path === log.tail.path && at >= log.records[10]!.position;
        expect(isLast ? torn !== undefined : problems.length > 0, `${path} byte ${at}`).toBe(true);
      }
    }
  });

  test("reports all damage, not only the first, each with its place", async () => {
    const { log, files } = directory();
    const flip = (at: number): void => {
      const record = log.records[at - 1]!;
      files.own(log.segments[record.segment]!.path)[record.end - 1]! ^= 1;
    };
    flip(2);
    flip(7);
    const { problems, records, endOffset } = await verifyDirectory(files, DIRECTORY);
    expect(problems.map(({ code, file, offset }) => [code, file, offset])).toEqual([
      ["record", "log/00000000000000000001.log", 2],
      ["record", "log/00000000000000000005.log", 7],
    ]);
    expect(problems.map(({ position }) => position)).toEqual([
      log.records[1]!.position,
      log.records[6]!.position,
    ]);
    expect([records, endOffset]).toEqual([1 + 2 + 4, 12]);
    expect(describeFinding(problems[0]!)).toMatch(
      /^log\/0+1\.log at position \d+ \(offset 2\): expected crc 0x/,
    );
  });

  test("finds a missing segment, a foreign one, and a lost tail", async () => {
    const middle = directory();
    await middle.files.remove(middle.log.segments[1]!.path);
    expect((await verifyDirectory(middle.files, DIRECTORY)).problems).toMatchObject([
      { code: "missing", offset: 5 },
    ]);

    const foreign = directory();
    const other = composeLog({ batches, rollBefore: [2, 4], lineageId: "99".repeat(16) });
    foreign.files.put(foreign.log.segments[1]!.path, other.segments[1]!.bytes);
    const codes = (await verifyDirectory(foreign.files, DIRECTORY)).problems.map(({ code }) => code);
    expect(codes).toContain("lineage");

    const tail = directory();
    await tail.files.remove(tail.log.tail.path);
    const { problems } = await verifyDirectory(tail.files, DIRECTORY);
    expect(problems).toContainEqual(expect.objectContaining({ code: "missing", offset: 9 }));
  });

  test("finds an identity that is lost, damaged or another cluster's", async () => {
    for (const content of [undefined, "{", JSON.stringify({ clusterId: "ee".repeat(16), nodeId: NODE })]) {
      const { files } = directory();
      await files.remove(`${DIRECTORY}/identity.json`);
      if (content !== undefined) files.put(`${DIRECTORY}/identity.json`, Buffer.from(content));
      const { problems } = await verifyDirectory(files, DIRECTORY);
      expect(problems.map(({ code }) => code)).toEqual([content?.startsWith('{"') ? "lineage" : "identity"]);
    }
  });

  test("notes what harms nothing: a wrong index, files it does not know, what crashes left, kept torn bytes", async () => {
    const { log, files } = directory();
    const shorter = composeLog({ batches: [batches[0]!, [bodyOf(1, 1)]], rollBefore: [1] });
    files.put(`${LOG}/00000000000000000001.index`, shorter.files().get(`${LOG}/00000000000000000001.index`));
    files.put(`${DIRECTORY}/notes.txt`, new Uint8Array(1));
    files.put(`${LOG}/core`, new Uint8Array(1));
    files.put(`${LOG}/00000000000000000013.log.new`, new Uint8Array(1));
    files.put(`${LOG}/00000000000000000009.index`, new Uint8Array(1));
    files.put(`${DIRECTORY}/torn/00000000000000000001-500-1.torn`, new Uint8Array(1));
    files.put(`${DIRECTORY}/repair-17/00000000000000000001.log`, new Uint8Array(1));
    files.own(log.tail.path)[log.tail.contentEnd + 3] = 9;
    const { problems, notes, torn } = await verifyDirectory(files, DIRECTORY);
    expect(problems).toEqual([]);
    expect(torn).toEqual({ file: "log/00000000000000000009.log", position: log.tail.contentEnd, bytes: 4 });
    expect(notes.map(({ code, file }) => [code, file])).toEqual([
      ["torn", "log/00000000000000000009.log"],
      ["index", "log/00000000000000000001.index"],
      ["unknown-file", "notes.txt"],
      ["unknown-file", "log/00000000000000000009.index"],
      ["unknown-file", "log/00000000000000000013.log.new"],
      ["unknown-file", "log/core"],
      ["torn", "torn/00000000000000000001-500-1.torn"],
    ]);
  });

  test("on a live directory waits for a write that is under way before it calls it damage", async () => {
    const { log, files } = directory();
    const twelfth = log.records[11]!;
    const whole = files.get(log.tail.path).slice(twelfth.position, twelfth.end);
    files.own(log.tail.path).fill(0, twelfth.position + 10, twelfth.end);
    const finish = setTimeout(() => files.own(log.tail.path).set(whole, twelfth.position), 120);
    const report = await verifyDirectory(files, DIRECTORY, { live: true });
    clearTimeout(finish);
    expect([report.problems, report.torn, report.endOffset]).toEqual([[], undefined, offset(12)]);
  });

  test("on a live directory what a start would refuse behind a clean stop is damage, unless somebody opened it since", async () => {
    const behindItsEnd = directory();
    behindItsEnd.files.put(POINT, encodeRecoveryPoint(behindItsEnd.log.recoveryPoint(12, true)));
    behindItsEnd.files.own(behindItsEnd.log.tail.path)[behindItsEnd.log.tail.contentEnd + 3] = 9;
    const found = await verifyDirectory(behindItsEnd.files, DIRECTORY, { live: true });
    expect(found.problems.map(describeFinding)).toEqual([
      expect.stringContaining("closed cleanly at offset 12"),
    ]);
    expect(found.torn).toBeUndefined();

    const beyondTheMark = directory();
    beyondTheMark.files.put(POINT, encodeRecoveryPoint(beyondTheMark.log.recoveryPoint(10, true)));
    const { problems } = await verifyDirectory(beyondTheMark.files, DIRECTORY, { live: true });
    expect(problems).toMatchObject([{ file: "recovery-point" }]);

    const openedSince = await verifyDirectory(behindItsEnd.files, DIRECTORY, {
      live: true,
      onProgress: () =>
        behindItsEnd.files.put(POINT, encodeRecoveryPoint(behindItsEnd.log.recoveryPoint(12))),
    });
    expect(openedSince).toMatchObject({ problems: [], torn: { bytes: 4 } });
  });

  test("an empty directory is a clean log without records", async () => {
    const { files } = directory();
    for (const path of files.paths) await files.remove(path);
    expect(await verifyDirectory(files, DIRECTORY)).toMatchObject({
      segments: 0,
      records: 0,
      endOffset: 0,
      problems: [],
    });
  });
});
