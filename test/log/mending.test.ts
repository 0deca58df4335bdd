import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  listQuarantined,
  offset,
  realFileSystem,
  SEGMENT_HEADER_BYTES,
  verifyDirectory,
} from "../../log/index.js";
import { quarantineSegment } from "../../log/quarantine.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { shipped } from "../support/shipping.js";
import { appendMany, DISK, DISK_LOG, openOn, segmentFile, span } from "../support/test-log.js";

const LARGE = { segmentBytes: 3 * 1024 * 1024, pendingBytesMax: 16 * 1024 * 1024 };

/** A log with one sealed segment of three reads, and a tail. */
async function largeLog() {
  const disk = new SimulatedDisk(7);
  const opened = await openOn(disk, LARGE);
  await appendMany(opened.log, 80, 60_000);
  const [sealed] = opened.segments!.list();
  return { disk, ...opened, segments: opened.segments!, sealed: sealed! };
}

describe("mending an open log", () => {
  it("lets a reader that stands in the damaged segment go on in the new one", async () => {
    const { disk, log, segments, sealed } = await largeLog();
    const runs = await shipped(log, sealed.first, sealed.last);
    const reader = log.read(offset(1))[Symbol.asyncIterator]();
    const first = await reader.next();
    const read: number[] = first.done === true ? [] : first.value.map((record) => Number(record.offset));
    disk.flip(`${DISK_LOG}/${segmentFile(1)}`, 2_500_000, 1);
    const found = await segments.check(sealed.first);
    if (found.type !== "damaged") throw new Error("it is damaged");
    const mending = segments.mend(sealed.first, found.finding);
    for (const run of runs) await mending.receive(run);
    expect(await mending.finish()).toMatchObject({ first: 1, last: sealed.last, quarantined: [{ base: 1 }] });
    for (let next = await reader.next(); next.done !== true; next = await reader.next())
      read.push(...next.value.map((record) => Number(record.offset)));
    expect(read).toEqual(span(1, log.endOffset));
    await log.close();
  });

  it("takes no end for damage that is cut while it is looked at, however far the cut has come", async () => {
    const outcomes = new Set<unknown>();
    for (let turns = 0; turns < 40; turns += 2) {
      const { log, segments } = await largeLog();
      const end = log.endOffset;
      let cutting: Promise<void> | undefined;
      const looking = segments.checkTail(end, async () => {
        cutting ??= log.truncate(offset(end - 8));
        for (let turn = 0; turn < turns; turn += 1) await setImmediate();
      });
      outcomes.add(await looking.catch((error: unknown) => (error as { code: string }).code));
      await cutting;
      expect(await segments.checkTail(log.endOffset, () => Promise.resolve())).toBeUndefined();
      await log.close();
    }
    // Undefined: it had read all of it before.
    expect(outcomes).toContain("LOG_OFFSET_RETIRED");
    outcomes.delete("LOG_OFFSET_RETIRED");
    outcomes.delete(undefined);
    expect([...outcomes]).toEqual([]);
  });

  it("takes no segment for damage that retention takes while all are looked at, however far it has come", async () => {
    let taken = 0;
    for (let turns = 0; turns < 40; turns += 1) {
      const { log, segments } = await openOn(new SimulatedDisk(7), { segmentBytes: 64 * 1024 });
      for (let i = 0; i < 4; i += 1) await appendMany(log, 2, 60_000);
      const retaining = log.retain(segments!.tail);
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      const before = log.firstOffset;
      const found = await segments!.checkNewest(() => false);
      if (log.firstOffset > before) taken += 1;
      await retaining;
      expect(found).toMatchObject({ type: "sound" });
      expect(log.firstOffset).toBe(segments!.tail);
      await log.close();
    }
    expect(taken).toBeGreaterThan(0);
  });

  it("takes a sound header that is another one for damage", async () => {
    const { files, log, segments, sealed } = await largeLog();
    const file = await files.open(`${DISK_LOG}/${segmentFile(1)}`, "write");
    const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
    await file.read(bytes, 0);
    const header = decodeSegmentHeader(bytes);
    if (typeof header === "string") throw new Error(header);
    await file.write(encodeSegmentHeader({ ...header, createdAt: header.createdAt + 1 }), 0);
    await file.close();
    expect(await segments.check(sealed.first)).toMatchObject({
      type: "damaged",
      finding: { code: "header" },
    });
    await log.close();
  });

  it("keeps nothing when only reading had failed: the file is the same", async () => {
    const { disk, files, log, segments, sealed } = await largeLog();
    const runs = await shipped(log, sealed.first, sealed.last);
    const path = `${DISK_LOG}/${segmentFile(1)}`;
    disk.flip(path, 2_500_000, 1);
    const found = await segments.check(sealed.first);
    disk.flip(path, 2_500_000, 1);
    if (found.type !== "damaged") throw new Error("it was damaged");
    const mending = segments.mend(sealed.first, found.finding);
    for (const run of runs) await mending.receive(run);
    expect((await mending.finish()).quarantined).toEqual([]);
    await log.close();
    const { problems, notes } = await verifyDirectory(files, DISK);
    expect([problems, notes]).toEqual([[], []]);
  });

  it("replaces a file that cannot even be opened, and leaves nothing open", async () => {
    const { disk, files, log, segments, sealed } = await largeLog();
    const runs = await shipped(log, sealed.first, sealed.last);
    const path = `${DISK_LOG}/${segmentFile(1)}`;
    disk.flip(path, 2_500_000, 1);
    const found = await segments.check(sealed.first);
    if (found.type !== "damaged") throw new Error("it is damaged");
    const mending = segments.mend(sealed.first, found.finding);
    for (const run of runs) await mending.receive(run);
    const open = files.open.bind(files);
    const left = new Set<string>();
    let isReadable = false;
    vi.spyOn(files, "open").mockImplementation(async (name, mode, options) => {
      if (name === path && !isReadable) {
        isReadable = true;
        throw Object.assign(new Error("permission denied"), { code: "EACCES" });
      }
      const handle = await open(name, mode, options);
      if (!isReadable) left.add(name);
      const close = handle.close.bind(handle);
      return Object.assign(handle, { close: () => close().finally(() => left.delete(name)) });
    });
    expect(await mending.finish()).toMatchObject({ quarantined: [{ base: 1 }] });
    expect([isReadable, ...left]).toEqual([true]);
    await log.close();
  });

  it("refuses the newest segment, and one that retention took meanwhile", async () => {
    const { files, log, segments, sealed } = await largeLog();
    const finding = { code: "record", file: "log", expected: "a", found: "b", advice: "c" } as const;
    expect(() => segments.mend(segments.tail, finding)).toThrow(/no sealed segment/);
    const runs = await shipped(log, sealed.first, sealed.last);
    const mending = segments.mend(sealed.first, finding);
    for (const run of runs) await mending.receive(run);
    await log.retain(segments.tail);
    await expect(mending.finish()).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    const left = (await files.list(DISK_LOG)).filter((name) => name.startsWith(segmentFile(1).slice(0, 20)));
    expect(left).toEqual([]);
    expect(await listQuarantined(files, DISK)).toEqual([]);
    expect(await log.positionAt(log.endOffset)).toMatchObject({ offset: 81 });
    await log.close();
  });
});

describe("what is quarantined", () => {
  it("is the newest, and bounded", async () => {
    const { disk, files, log, segments, sealed } = await largeLog();
    const runs = await shipped(log, sealed.first, sealed.last);
    for (let i = 0; i < 18; i++) {
      disk.flip(`${DISK_LOG}/${segmentFile(1)}`, 2_500_000 + i, 1);
      const found = await segments.check(sealed.first);
      if (found.type !== "damaged") throw new Error("it is damaged");
      const mending = segments.mend(sealed.first, found.finding);
      for (const run of runs) await mending.receive(run);
      await mending.finish();
    }
    const kept = await listQuarantined(files, DISK);
    expect(kept).toHaveLength(16);
    // Each with its note.
    expect(await files.list(`${DISK}/quarantine`)).toHaveLength(32);
    await log.close();
  });

  it("is a directory, too, that stood in the place of the file; nothing ever removes that", async () => {
    const root = mkdtempSync(join(tmpdir(), "annals-quarantine-"));
    const place = join(root, "log", segmentFile(1));
    mkdirSync(join(place, "kept"), { recursive: true });
    const finding = { code: "header", file: "log", expected: "a", found: "b", advice: "c" } as const;
    const put = await quarantineSegment(realFileSystem, root, offset(1), finding, 42);
    expect(existsSync(place)).toBe(false);
    expect(existsSync(join(root, put!.file, "kept"))).toBe(true);
    expect(await listQuarantined(realFileSystem, root)).toEqual([]);
    rmSync(root, { recursive: true });
  });
});
