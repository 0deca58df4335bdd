/** What was just written is shipped from memory: the same bytes as on the disk, of what is durable, and only while somebody ships. */
import { describe, expect, it } from "vitest";
import type { OpenLogOptions, RecordRun } from "../../log/index.js";
import { NewestRecords } from "../../log/newest-records.js";
import { logSegment, SegmentList } from "../../log/segment-list.js";
import { seededRandom } from "../../props/run-settings.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { bodyOf, composeLog } from "../support/log-bytes.js";
import { shipped } from "../support/shipping.js";
import { appendMany, at, DISK, DISK_LOG, openTestLog, segmentFile, textRecord } from "../support/test-log.js";

/** A log whose disk counts how often it is read. */
async function watchedLog(overrides: Partial<OpenLogOptions> = {}) {
  const disk = new SimulatedDisk(1);
  const files = disk.mount();
  const seen = { reads: 0 };
  const open = files.open.bind(files);
  files.open = async (...args) => {
    const handle = await open(...args);
    const read = handle.read.bind(handle);
    handle.read = (into, position) => {
      seen.reads += 1;
      return read(into, position);
    };
    return handle;
  };
  const { log } = await openTestLog(DISK, { files, ...overrides });
  return { log, disk, seen };
}

async function next(runs: AsyncIterableIterator<RecordRun>): Promise<RecordRun> {
  const { value } = await runs.next();
  return { ...value, bytes: Uint8Array.from(value.bytes) };
}

const joined = (runs: readonly RecordRun[]): Buffer => Buffer.concat(runs.map(({ bytes }) => bytes));

describe("shipping from memory", () => {
  it("reads nothing from the disk for who has come to the end, and gives one run for what has gathered", async () => {
    const { log, seen } = await watchedLog({ segmentBytes: 1 << 20 });
    await appendMany(log, 20);
    const runs = log.ship(at(1));
    expect(await next(runs)).toMatchObject({ first: 1, last: 21 });
    seen.reads = 0;
    for (let each = 0; each < 5; each += 1) await appendMany(log, 10);
    expect(await next(runs)).toMatchObject({ first: 22, last: 71 });
    expect(seen.reads).toBe(0);
    await runs.return?.();
  });

  it("gives the bytes that lie on the disk, whatever is written and whenever it is asked for", async () => {
    const random = seededRandom(4711);
    const { log, seen } = await watchedLog({
      segmentBytes: 600_000,
      recordBytesMax: 1 << 20,
      pendingBytesMax: 1 << 24,
    });
    const ends: number[] = [];
    const runs = log.ship(at(1));
    const live: RecordRun[] = [];
    let fromDisk = 0;
    for (let step = 0; step < 120; step += 1) {
      const bytes = random() < 0.05 ? 300_000 : Math.floor(random() * 9_000);
      for (let n = Math.floor(random() * 6); n >= 0; n -= 1) log.append(textRecord(`${step} ${n}`, bytes));
      await log.whenCommitted(log.endOffset);
      if (random() < 0.03) await log.startEpoch();
      const until = random() < 0.1 ? 0 : log.endOffset;
      while ((live.at(-1)?.last ?? 0) < until) {
        seen.reads = 0;
        live.push(await next(runs));
        if (seen.reads > 0) fromDisk += 1;
      }
      ends.push(live.length);
    }
    while (live.at(-1)?.last !== log.endOffset) live.push(await next(runs));
    await runs.return?.();

    const again = await shipped(log, at(1));
    expect(joined(live).equals(joined(again))).toBe(true);
    expect(live.at(-1)).toMatchObject({ lastCrc: (await log.markAt(log.endOffset)).crc });
    const begins = (of: readonly RecordRun[]) =>
      of.filter((run) => run.startsSegment).map((run) => run.header);
    expect(begins(live)).toEqual(begins(again));
    expect(begins(live).length).toBeGreaterThan(3);
    expect(fromDisk).toBeGreaterThan(3);
    expect(live.length - fromDisk).toBeGreaterThan(30);
  });

  it("gives nothing that is written but not durable", async () => {
    const { log } = await watchedLog({ fsyncMode: "periodic", fsyncIntervalMs: 20, segmentBytes: 1 << 20 });
    const runs = log.ship(at(1));
    await next(runs);
    let waits = 0;
    for (let each = 0; each < 8; each += 1) {
      await appendMany(log, 3);
      if (log.committedOffset > log.durableOffset) waits += 1;
      const { last } = await next(runs);
      expect(last).toBeLessThanOrEqual(log.durableOffset);
      while (log.durableOffset < log.endOffset) await next(runs);
    }
    expect(waits).toBeGreaterThan(0);
    await runs.return?.();
  });

  it("gives what took the place of what was cut off", async () => {
    const { log } = await watchedLog();
    const runs = log.ship(at(1));
    await next(runs);
    const behind = log.ship(at(2));
    for (let each = 0; each < 10; each += 1) await appendMany(log, 1);
    await log.truncate(at(5));
    await log.startEpoch();
    await appendMany(log, 3);
    const got: RecordRun[] = [];
    while (got.at(-1)?.last !== log.endOffset) got.push(await next(behind));
    await Promise.all([runs.return?.(), behind.return?.()]);
    expect(joined(got).equals(joined(await shipped(log, at(2))))).toBe(true);
  });

  it("reads from the disk, and finds its damage, for who comes when nobody has shipped", async () => {
    const { log, disk } = await watchedLog({ segmentBytes: 1 << 20 });
    const runs = log.ship(at(1));
    await next(runs);
    await appendMany(log, 10);
    disk.flip(`${DISK_LOG}/${segmentFile(1)}`, 400, 4);
    expect(await next(runs)).toMatchObject({ first: 2, last: 11 });
    await runs.return?.();
    await expect(shipped(log, at(2))).rejects.toMatchObject({ code: "LOG_CORRUPT" });
  });
});

describe("newest records", () => {
  const composed = composeLog({ batches: [[bodyOf(10, 1)]] }).segments[0]!;
  const segment = logSegment(composed.header, 96, false);
  const point = (offset: number) =>
    ({ offset: at(offset), position: 0, seed: offset, timestamp: 0 }) as never;

  function kept() {
    const segments = new SegmentList();
    segments.push(segment);
    const newest = new NewestRecords(segments);
    return { newest, letGo: newest.keep() };
  }

  it("are no more than a MiB", () => {
    const { newest } = kept();
    const batch = new Uint8Array(50_000);
    for (let offset = 1; offset <= 100; offset += 1)
      newest.written(segment, at(offset), batch, point(offset + 1));
    const held = Array.from({ length: 100 }, (_, n) => newest.from(at(n + 1), at(n + 1))).filter(Boolean);
    expect(held.length).toBeGreaterThan(10);
    expect(held.length * batch.length).toBeLessThanOrEqual(1 << 20);
    expect(newest.from(at(100), at(100))?.bytes.length).toBe(50_000);
  });

  it("are given from the beginning of what was written at once, up to the end of what is asked for", () => {
    const { newest } = kept();
    newest.written(segment, at(1), new Uint8Array(30), point(4));
    newest.written(segment, at(4), new Uint8Array(20), point(6));
    newest.written(segment, at(6), new Uint8Array(10), point(7));
    const bytesOf = (from: number, last: number) => newest.from(at(from), at(last))?.bytes.length;
    expect([bytesOf(1, 6), bytesOf(1, 5), bytesOf(4, 6), bytesOf(1, 4), bytesOf(1, 3)]).toEqual([
      60, 50, 30, 30, 30,
    ]);
    const within = (from: number, bytesMax: number) => newest.from(at(from), at(6), bytesMax)?.bytes.length;
    expect([within(1, 60), within(1, 59), within(1, 49), within(1, 29)]).toEqual([60, 50, 30, undefined]);
    expect([bytesOf(1, 2), bytesOf(2, 6), bytesOf(7, 9)]).toEqual([undefined, undefined, undefined]);
  });

  it("are kept only while somebody reads them", () => {
    const { newest, letGo } = kept();
    const letGoToo = newest.keep();
    newest.written(segment, at(1), new Uint8Array(30), point(2));
    letGo();
    letGo();
    expect(newest.from(at(1), at(1))).toBeDefined();
    letGoToo();
    expect(newest.from(at(1), at(1))).toBeUndefined();
    newest.written(segment, at(2), new Uint8Array(30), point(3));
    expect(newest.from(at(2), at(2))).toBeUndefined();
  });
});
