import { describe, expect, test } from "vitest";
import { LogError } from "../../log/errors.js";
import { SEGMENT_HEADER_BYTES } from "../../log/format.js";
import { type RecoveredLog, type RecoverOptions, recoverLog } from "../../log/recovery.js";
import type { RecoveryPoint } from "../../log/recovery-point.js";
import { offset } from "../../log/units.js";
import { bodyOf, CLUSTER, type ComposedLog, composeLog, DIRECTORY, LOG, NODE } from "../support/log-bytes.js";
import type { MemoryFileSystem } from "../support/memory-file-system.js";

const body = (mark: number): Uint8Array => bodyOf(50, mark);

/** Ten records in five batches of two, in two segments: offsets 1..4 are sealed, 5..10 are in the tail. */
function tenRecords(
  options: { lineageId?: string; nodeId?: string; epochBefore?: number[] } = {},
): ComposedLog {
  const batches = [0, 1, 2, 3, 4].map((b) => [body(2 * b + 1), body(2 * b + 2)]);
  return composeLog({ batches, rollBefore: [2], zerosAhead: 300, ...options });
}

function recover(
  files: MemoryFileSystem,
  recoveryPoint?: RecoveryPoint,
  more: Partial<RecoverOptions> = {},
): Promise<RecoveredLog> {
  return recoverLog({ files, dataDirectory: DIRECTORY, now: () => 1234, recoveryPoint, ...more });
}

/** Flips a bit in the body of the record at `at`. */
function damage(log: ComposedLog, files: MemoryFileSystem, at: number): void {
  const record = log.records.find((r) => r.offset === at)!;
  files.own(log.segments[record.segment]!.path)[record.end - 1]! ^= 1;
}

async function refusal(promise: Promise<unknown>): Promise<LogError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LogError);
  return error as LogError;
}

describe("recovery", () => {
  test("finds no log in an empty directory", async () => {
    const log = composeLog({ batches: [] });
    const files = log.files();
    await files.remove(log.tail.path);
    expect(await recover(files)).toMatchObject({ segments: [], epochs: [], next: { offset: 1, seed: 0 } });
  });

  test("refuses to begin a new log beside snapshots of another", async () => {
    const log = composeLog({ batches: [] });
    const files = log.files();
    await files.remove(log.tail.path);
    await files.makeDirectory(`${DIRECTORY}/snapshots`);
    await (await files.open(`${DIRECTORY}/snapshots/snapshot_1_1.snap.tmp`, "create")).close();
    expect((await recover(files)).segments).toEqual([]);
    await (await files.open(`${DIRECTORY}/snapshots/snapshot_17_5.snap`, "create")).close();
    const error = await refusal(recover(files));
    expect([error.code, error.message]).toEqual([
      "LOG_CORRUPT",
      expect.stringContaining("snapshot_17_5.snap"),
    ]);
  });

  test("finds the end of a whole log, its epochs and where the next record goes", async () => {
    const log = tenRecords({ epochBefore: [2] });
    const recovered = await recover(log.files(), log.recoveryPoint(10));
    expect(recovered.torn).toBeUndefined();
    expect(recovered.next).toMatchObject({
      offset: 11,
      position: log.tail.contentEnd,
      seed: log.records[9]!.crc,
    });
    expect(recovered.segments.map(({ base, bytes }) => [base, bytes])).toEqual([
      [1, log.segments[0]!.contentEnd],
      [5, log.tail.contentEnd],
    ]);
    expect(recovered.epochs.map(({ epoch, first }) => [epoch, first])).toEqual([
      [1, 1],
      [2, 5],
    ]);
    expect(recovered.index.floor(offset(7)).offset).toBe(5);
  });

  test("an empty tail continues after the segment before", async () => {
    const log = composeLog({ batches: [[body(1)], []], rollBefore: [1], zerosAhead: 50 });
    const { next } = await recover(log.files());
    expect(next).toMatchObject({
      offset: 2,
      seed: log.records[0]!.crc,
      timestamp: log.records[0]!.timestamp,
    });
  });

  test("keeps the bytes of a torn write aside, then cuts it", async () => {
    const log = tenRecords();
    const files = log.files();
    const [ninth, tenth] = [log.records[8]!, log.records[9]!];
    damage(log, files, 9);
    const torn = Uint8Array.from(files.get(log.tail.path).subarray(ninth.position, tenth.end));
    const recovered = await recover(files, log.recoveryPoint(8));
    expect(recovered.next.offset).toBe(9);
    expect(recovered.torn).toEqual({
      bytes: torn.length,
      file: `torn/00000000000000000005-${ninth.position}-1234.torn`,
    });
    expect(files.get(`${DIRECTORY}/${recovered.torn!.file}`)).toEqual(torn);
    expect(files.get(log.tail.path).length).toBe(ninth.position);
    // Once more: nothing is left to cut.
    expect((await recover(files, log.recoveryPoint(8))).torn).toBeUndefined();
  });

  test("does not overwrite the bytes kept by an earlier recovery in the same millisecond", async () => {
    const log = tenRecords();
    const files = log.files();
    damage(log, files, 10);
    const before = files.fork();
    await recover(files);
    const kept = files.paths.filter((path) => path.endsWith(".torn"));
    before.put(kept[0]!, files.get(kept[0]!));
    const again = await recover(before);
    expect(again.torn!.file).not.toBe(kept[0]!.slice(DIRECTORY.length + 1));
  });

  test("refuses to start when a sealed segment is damaged", async () => {
    const log = tenRecords();
    const files = log.files({ indexes: false });
    damage(log, files, 2);
    const error = await refusal(recover(files));
    expect(error).toMatchObject({
      code: "LOG_CORRUPT",
      context: {
        finding: "record",
        file: "log/00000000000000000001.log",
        position: log.records[1]!.position,
        offset: 2,
      },
    });
    expect(error.message).toMatch(/expected crc 0x[0-9a-f]{8}, found crc 0x[0-9a-f]{8}; .*annals repair/);
  });

  test("refuses to start when a later record proves that the damaged one was synced", async () => {
    const log = tenRecords();
    const files = log.files();
    damage(log, files, 7);
    const error = await refusal(recover(files));
    expect(error).toMatchObject({ code: "LOG_CORRUPT", context: { offset: 7 } });
    expect(error.message).toContain("prove that everything up to offset 8 was durable");
  });

  test("one record directly behind is proof enough, whichever byte of the damaged one is hit", async () => {
    const log = composeLog({ batches: [[body(1)], [body(2)]], zerosAhead: 50 });
    const [first] = log.records;
    for (let at = first!.position; at < first!.end; at++) {
      const files = log.files();
      files.own(log.tail.path)[at]! ^= 1;
      expect(await refusal(recover(files)), `byte ${at}`).toMatchObject({
        code: "LOG_CORRUPT",
        context: { offset: 1 },
      });
    }
  });

  test("finds that proof in a record that ends in zeros, too", async () => {
    const log = composeLog({ batches: [[body(1)], [new Uint8Array(80)]], zerosAhead: 50 });
    const files = log.files();
    damage(log, files, 1);
    expect(await refusal(recover(files))).toMatchObject({ code: "LOG_CORRUPT", context: { offset: 1 } });
  });

  test("a damaged record of the last batch is torn, whatever follows it in the batch", async () => {
    const log = tenRecords();
    const files = log.files();
    damage(log, files, 9);
    expect((await recover(files)).next.offset).toBe(9);
  });

  test("refuses to start when the recovery point says that the damaged record was durable", async () => {
    const log = tenRecords();
    for (const [durable, isRefused] of [
      [8, false],
      [9, true],
      [10, true],
    ] as const) {
      const files = log.files();
      damage(log, files, 9);
      const recovered = recover(files, log.recoveryPoint(durable));
      if (isRefused)
        expect(await refusal(recovered)).toMatchObject({ code: "LOG_CORRUPT", context: { offset: 9 } });
      else expect((await recovered).next.offset).toBe(9);
    }
  });

  test("refuses to start when records below the durable offset are zeros or gone", async () => {
    const log = tenRecords();
    const tenth = log.records[9]!;
    const zeros = log.files();
    zeros.own(log.tail.path).fill(0, tenth.position, tenth.end);
    const gone = log.files();
    gone.put(log.tail.path, log.tail.bytes.subarray(0, tenth.position));
    for (const files of [zeros, gone]) {
      const error = await refusal(recover(files.fork(), log.recoveryPoint(10)));
      expect(error).toMatchObject({ code: "LOG_CORRUPT", context: { finding: "missing", offset: 10 } });
      expect((await recover(files, log.recoveryPoint(9))).next.offset).toBe(10);
    }
  });

  test("after a clean stop the log must end exactly where it was closed", async () => {
    const log = tenRecords();
    expect((await recover(log.files(), log.recoveryPoint(10, true))).next.offset).toBe(11);
    const more = await refusal(recover(log.files(), log.recoveryPoint(9, true)));
    expect(more.context).toMatchObject({ finding: "recovery-point", offset: 9 });
    const files = log.files();
    files.own(log.tail.path)[log.tail.contentEnd + 5] = 1;
    expect((await refusal(recover(files.fork(), log.recoveryPoint(10, true)))).code).toBe("LOG_CORRUPT");
    // The same bytes without the mark are an unfinished write.
    expect((await recover(files, log.recoveryPoint(10))).torn?.bytes).toBe(6);
  });

  test("on a replica, what the primary says of its own disk proves nothing", async () => {
    const log = tenRecords({ nodeId: "ab".repeat(16) });
    const files = log.files();
    damage(log, files, 7);
    const identity = { clusterId: CLUSTER, nodeId: NODE };
    expect((await refusal(recover(files.fork()))).code).toBe("LOG_CORRUPT");
    expect((await recover(files.fork(), log.recoveryPoint(6), { identity })).next.offset).toBe(7);
    expect((await refusal(recover(files, log.recoveryPoint(7), { identity }))).context).toMatchObject({
      offset: 7,
    });
  });

  test("a missing segment is named by the offsets that are missing", async () => {
    const log = composeLog({
      batches: [1, 2, 3, 4, 5].map((mark) => [body(mark), body(mark)]),
      rollBefore: [1, 3],
    });
    const files = log.files();
    await files.remove(log.segments[1]!.path);
    const error = await refusal(recover(files));
    expect(error.context).toMatchObject({ finding: "missing", offset: 3 });
    expect(error.message).toContain("the records 3 to 6");
  });

  test("a lost tail file is noticed by the recovery point", async () => {
    const log = tenRecords();
    const files = log.files();
    await files.remove(log.tail.path);
    expect((await refusal(recover(files, log.recoveryPoint(4)))).context).toMatchObject({
      finding: "missing",
      offset: 5,
    });
  });

  test("a segment that was put back from another time does not fit the chain", async () => {
    const log = tenRecords();
    const other = composeLog({
      batches: [0, 1, 2, 3, 4].map((b) => [body(90 + b), body(80 + b)]),
      rollBefore: [2],
    });
    const files = log.files();
    files.put(log.segments[0]!.path, other.segments[0]!.bytes);
    expect((await refusal(recover(files))).context).toMatchObject({ finding: "chain", position: 96 });
  });

  test("a segment of another lineage or cluster is refused", async () => {
    const log = tenRecords();
    const lineage = log.files();
    lineage.put(log.tail.path, tenRecords({ lineageId: "77".repeat(16) }).tail.bytes);
    expect((await refusal(recover(lineage))).context).toMatchObject({ finding: "lineage", position: 64 });
    const identity = { clusterId: "ff".repeat(16), nodeId: NODE };
    expect((await refusal(recover(log.files(), undefined, { identity }))).context).toMatchObject({
      finding: "lineage",
    });
  });

  test("a recovery point of another log is refused", async () => {
    const log = tenRecords();
    for (const durable of [2, 4, 6, 10]) {
      const point = { ...log.recoveryPoint(durable), crc: 1 };
      expect((await refusal(recover(log.files(), point))).context).toMatchObject({
        finding: "recovery-point",
      });
    }
  });

  test("damage that only the recovery point's record leads to is named as what it is", async () => {
    const large = (mark: number): Uint8Array[] => [bodyOf(40_000, mark)];
    const log = composeLog({ batches: [1, 2, 3, 4, 5, 6].map(large), rollBefore: [5] });
    const files = log.files();
    damage(log, files, 3);
    const error = await refusal(recover(files, log.recoveryPoint(3)));
    expect(error.context).toMatchObject({ finding: "record", offset: 3 });
    expect(error.message).toContain("restore the file from a backup or a replica");
  });

  test("a segment under another name is refused", async () => {
    const log = tenRecords();
    const files = log.files();
    await files.rename(log.tail.path, `${LOG}/00000000000000000006.log`);
    expect((await refusal(recover(files))).context).toMatchObject({ finding: "header", position: 16 });
  });

  test("lost, damaged and foreign index files change nothing", async () => {
    const log = tenRecords();
    const index = `${LOG}/00000000000000000001.index`;
    const whole = await recover(log.files(), log.recoveryPoint(3));
    for (const spoil of [
      (files: MemoryFileSystem) => files.remove(index),
      async (files: MemoryFileSystem) => files.own(index).fill(7, 30, 31),
      async (files: MemoryFileSystem) => files.put(index, new Uint8Array(3)),
      async (files: MemoryFileSystem) => {
        const shorter = composeLog({ batches: [[body(1)], [body(2)]], rollBefore: [1] });
        files.put(index, shorter.files().get(index));
      },
    ]) {
      const files = log.files();
      await spoil(files);
      expect(await recover(files, log.recoveryPoint(3))).toEqual(whole);
      expect(Buffer.from(files.get(index))).toEqual(Buffer.from(log.files().get(index)));
    }
  });

  test("removes what a crash left half made, and only from a log that is sound", async () => {
    const log = tenRecords();
    const files = log.files();
    files.put(`${LOG}/00000000000000000011.log.new`, new Uint8Array(20));
    files.put(`${LOG}/00000000000000000005.index.tmp`, new Uint8Array(20));
    files.put(`${LOG}/00000000000000000003.index`, new Uint8Array(20));
    files.put(`${LOG}/00000000000000000005.index`, new Uint8Array(20));
    files.put(`${LOG}/notes.txt`, new Uint8Array(1));
    const broken = files.fork();
    damage(log, broken, 6);
    await refusal(recover(broken));
    expect(broken.paths).toEqual(files.paths);
    await recover(files);
    expect((await files.list(LOG)).filter((name) => !name.endsWith(".log"))).toEqual([
      "00000000000000000001.index",
      "notes.txt",
    ]);
  });

  test("changes no byte of a log that it refuses", async () => {
    const log = tenRecords();
    for (let at = SEGMENT_HEADER_BYTES; at < log.tail.contentEnd; at += 7) {
      const files = log.files();
      files.own(log.tail.path)[at]! ^= 0x40;
      const before = Uint8Array.from(files.get(log.tail.path));
      const refused = await recover(files, log.recoveryPoint(10)).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(LogError);
      expect(files.get(log.tail.path)).toEqual(before);
    }
  });

  test("writes again, and syncs, what nothing proves durable", async () => {
    const log = tenRecords();
    const written: [number, number][] = [];
    let synced = 0;
    const directories: string[] = [];
    const spied = (files: MemoryFileSystem): MemoryFileSystem => {
      const open = files.open.bind(files);
      files.syncDirectory = async (path) => {
        directories.push(path);
      };
      files.open = async (path, mode) => {
        const handle = await open(path, mode);
        return {
          read: (into, position) => handle.read(into, position),
          write: async (bytes, position) => {
            written.push([position, bytes.length]);
            await handle.write(bytes, position);
          },
          writeNow: (bytes, position) => handle.writeNow(bytes, position),
          sync: async () => {
            synced += 1;
          },
          truncate: (size) => handle.truncate(size),
          size: () => handle.size(),
          close: () => handle.close(),
        };
      };
      return files;
    };
    // The ninth and tenth record are of the last batch: only they may stand in the page cache alone.
    await recover(spied(log.files()));
    expect(written).toEqual([[log.records[8]!.position, log.records[9]!.end - log.records[8]!.position]]);
    expect(synced).toBe(1);
    // The tail may have got its name without the directory being synced.
    expect(directories).toContain(LOG);
    written.length = 0;
    await recover(spied(log.files()), log.recoveryPoint(10));
    await recover(spied(log.files()), log.recoveryPoint(10, true));
    expect(written).toEqual([]);
  });
});
