import { describe, expect, it } from "vitest";
import {
  BEFORE_FIRST,
  EMPTY_LOG,
  type EventLog,
  type FileSystem,
  type LogMark,
  type LogPosition,
  type LogReader,
  openLogView,
} from "../../log/index.js";
import { continues } from "../../log/log-mark.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, at, openTestLog, readAll } from "../support/test-log.js";

const DATA = "/data";

async function aLog(records = 120): Promise<{ files: FileSystem; log: EventLog }> {
  const files = new SimulatedDisk(1).mount();
  const { log } = await openTestLog(DATA, { files });
  await appendMany(log, records);
  return { files, log };
}

/** The log itself, and a view of its files. */
async function readersOf(files: FileSystem, log: EventLog): Promise<LogReader[]> {
  return [log, await openLogView(files, DATA)];
}

describe("a mark", () => {
  it("names cluster, lineage, epoch, time and chained crc of a record, whoever reads the log", async () => {
    const { files, log } = await aLog();
    await log.startEpoch();
    await appendMany(log, 3);
    const second = log.epochs[1]!;
    for (const reader of await readersOf(files, log)) {
      for (const offset of [at(1), at(2), at(60), second.first, log.endOffset]) {
        const mark = await reader.markAt(offset);
        const [record] = await readAll(log, offset, offset);
        const epoch = log.epochs[offset < second.first ? 0 : 1]!;
        expect(mark).toMatchObject({
          offset,
          crc: record!.crc,
          epoch: epoch.epoch,
          lineageId: epoch.lineageId,
        });
        expect(mark.clusterId).toMatch(/^[0-9a-f]{32}$/);
        expect(await reader.agrees(mark)).toBe(true);
      }
      await expect(reader.markAt(at(log.endOffset + 1))).rejects.toMatchObject({
        code: "LOG_OFFSET_BEYOND_END",
      });
      await expect(reader.markAt(at(log.endOffset + 5))).rejects.toMatchObject({
        code: "LOG_OFFSET_BEYOND_END",
      });
    }
    await log.close();
  });

  it("agrees with no other log, in whatever the other differs", async () => {
    const { files, log } = await aLog();
    const mark = await log.markAt(at(50));
    const other = await aLog();
    const others: LogMark[] = [
      { ...mark, crc: mark.crc ^ 1 },
      { ...mark, timestamp: mark.timestamp + 1 },
      { ...mark, offset: at(51) },
      { ...mark, offset: BEFORE_FIRST },
      { ...mark, offset: at(log.endOffset + 1) },
      { ...mark, lineageId: "0".repeat(32) },
      { ...mark, clusterId: "0".repeat(32) },
      { ...mark, epoch: (mark.epoch + 1) as typeof mark.epoch },
      await other.log.markAt(at(50)),
    ];
    for (const reader of await readersOf(files, log)) {
      for (const foreign of others) expect(await reader.agrees(foreign)).toBe(false);
    }
    await Promise.all([log.close(), other.log.close()]);
  });

  it("of the record before the oldest that is kept still agrees, earlier ones do not any more", async () => {
    const { files, log } = await aLog();
    const marks = new Map<number, LogMark>();
    for (let offset = 1; offset <= log.endOffset; offset++) marks.set(offset, await log.markAt(at(offset)));
    const first = await log.retain(at(80));
    expect(first).toBeGreaterThan(30);
    for (const reader of await readersOf(files, log)) {
      expect(reader.firstOffset).toBe(first);
      for (const [offset, mark] of marks)
        expect(await reader.agrees(mark), `${offset}`).toBe(offset >= first - 1);
      const before = marks.get(first - 1)!;
      expect(await reader.agrees({ ...before, crc: before.crc ^ 1 })).toBe(false);
      expect(await reader.agrees({ ...before, lineageId: "0".repeat(32) })).toBe(false);
      await expect(reader.markAt(at(first - 1))).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    }
    await log.close();
  });

  it("of the last record of an epoch agrees when only the next epoch is kept", async () => {
    const { files, log } = await aLog(20);
    const last = await log.markAt(log.endOffset);
    await log.startEpoch();
    await appendMany(log, 100);
    const { first } = log.epochs[1]!;
    expect(await log.retain(first)).toBe(first);
    for (const reader of await readersOf(files, log)) {
      expect(await reader.agrees(last)).toBe(true);
      expect(await reader.agrees({ ...last, epoch: log.epochs[1]!.epoch })).toBe(false);
    }
    await log.close();
  });

  it("where another log ends proves that it is a beginning of this one, or nothing", async () => {
    const { files, log } = await aLog(20);
    const earlier = await log.positionAt(at(10));
    await log.startEpoch();
    await appendMany(log, 120);
    const ends = new Map<number, LogPosition>();
    for (let offset = 22; offset <= log.endOffset; offset++)
      ends.set(offset, await log.positionAt(at(offset)));
    const first = await log.retain(at(80));
    expect(first).toBeGreaterThan(40);
    const epoch = log.epochs.at(-1)!;
    const endAt = (offset: number): LogPosition => ends.get(offset)!;
    // The view alone does not know of earlier epochs, as a log that was brought does not.
    const view = await openLogView(files, DATA);
    expect(view.epochs).toEqual([epoch]);
    for (const offset of [22, 30, first - 1, first, first + 20, log.endOffset])
      expect(await continues(view, endAt(offset)), `${offset}`).toBe(true);
    expect(await continues(view, EMPTY_LOG)).toBe(true);
    const others: LogPosition[] = [
      earlier,
      { ...endAt(30), lineageId: earlier.lineageId },
      { ...endAt(30), epoch: earlier.epoch },
      { ...endAt(30), offset: earlier.offset },
      ...[first - 1, first, log.endOffset].map((offset) => ({
        ...endAt(offset),
        crc: endAt(offset).crc ^ 1,
      })),
      { ...endAt(log.endOffset), offset: at(log.endOffset + 1) },
    ];
    for (const end of others) expect(await continues(view, end), JSON.stringify(end)).toBe(false);
    await log.close();
  });

  it("of what was cut off agrees no more, also when something else is there now", async () => {
    const { log } = await aLog(20);
    const mark = await log.markAt(at(15));
    await log.truncate(at(10));
    expect(await log.agrees(mark)).toBe(false);
    await log.startEpoch();
    await appendMany(log, 20, 90);
    expect(await log.agrees(mark)).toBe(false);
    await log.close();
  });
});
