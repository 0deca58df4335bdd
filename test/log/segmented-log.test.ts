import { describe, expect, it } from "vitest";
import { RECORD_HEADER_BYTES, recordLength, recordUnsynced, SEGMENT_HEADER_BYTES } from "../../log/format.js";
import { type FileSystem, type FsyncMode, offset } from "../../log/index.js";
import { readFully } from "../../log/read-bytes.js";
import { viewOf } from "../../log/segment-reader.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { realDirectory } from "../support/real-directory.js";
import {
  appendMany,
  at,
  CREATED_BYTES,
  DISK,
  DISK_LOG,
  KIND,
  offsetsOf,
  openOn,
  openTestLog,
  readAll,
  segmentFile,
  span,
  textRecord,
} from "../support/test-log.js";

/** A file system in which each sync of a segment first goes through `gate`. */
function syncsThrough(files: FileSystem, gate: () => Promise<void>): FileSystem {
  const open: FileSystem["open"] = async (path, mode, options) => {
    const handle = await files.open(path, mode, options);
    if (!path.includes(".log")) return handle;
    const { sync } = handle;
    handle.sync = async () => {
      await gate();
      await sync.call(handle);
    };
    return handle;
  };
  return new Proxy(files, {
    get: (target, name) => {
      if (name === "open") return open;
      const found: unknown = Reflect.get(target, name);
      return typeof found === "function" ? found.bind(target) : found;
    },
  });
}

/** `unsynced` of every record in a segment file, as it stands on the disk. */
async function unsyncedIn(disk: SimulatedDisk, base: number): Promise<number[]> {
  const handle = await disk.mount().open(`${DISK_LOG}/${segmentFile(base)}`, "read");
  const view = viewOf(await readFully(handle, 0, await handle.size()));
  const found: number[] = [];
  for (let place = SEGMENT_HEADER_BYTES; place < view.byteLength; ) {
    found.push(recordUnsynced(view, place));
    place += RECORD_HEADER_BYTES + recordLength(view, place);
  }
  return found;
}

describe("segmented log › opening", () => {
  it("begins a new log with the first epoch's record, durable", async () => {
    const disk = new SimulatedDisk(1);
    const { log, recovery, identity } = await openOn(disk);
    expect(recovery).toMatchObject({
      created: true,
      clean: false,
      tornBytes: 0,
      firstOffset: 1,
      endOffset: 1,
    });
    expect(log.epochs).toMatchObject([{ epoch: 1, first: 1, nodeId: identity.nodeId }]);
    disk.losePower();
    const again = await openOn(disk);
    expect(again.recovery).toMatchObject({ created: false, endOffset: 1 });
    expect(again.identity).toEqual(identity);
    expect(again.log.epochs).toEqual(log.epochs);
    await again.log.close();
  });

  it("goes on after a restart where it ended, with every record in place", async () => {
    const directory = await realDirectory();
    for (const round of span(1, 4)) {
      const { log, recovery } = await openTestLog(directory);
      expect(recovery.endOffset).toBe(1 + (round - 1) * 100);
      await appendMany(log, 100);
      expect(offsetsOf(await readAll(log))).toEqual(span(1, 1 + round * 100));
      await log.close();
    }
  });

  it("says whether the last stop was clean, and takes the mark away before anything is appended", async () => {
    const disk = new SimulatedDisk(2);
    await (await openOn(disk)).log.close();
    expect((await openOn(disk)).recovery.clean).toBe(true);
    disk.kill();
    const third = await openOn(disk);
    expect(third.recovery.clean).toBe(false);
    await third.log.close();
  });

  it("is refused while another one has the directory, and told who", async () => {
    const directory = await realDirectory();
    const { log } = await openTestLog(directory, { holder: "the first one, pid 42" });
    await expect(openTestLog(directory)).rejects.toMatchObject({
      code: "LOG_LOCKED",
      context: { holder: "the first one, pid 42" },
    });
    await log.close();
    await (await openTestLog(directory)).log.close();
  });

  it("lets the directory go when it cannot be opened", async () => {
    const disk = new SimulatedDisk(3);
    const files = disk.mount();
    const { log } = await openTestLog(DISK, { files });
    await log.close();
    disk.flip(`${DISK_LOG}/${segmentFile(1)}`, 20, 0xff);
    await expect(openTestLog(DISK, { files })).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    expect(disk.locks.size).toBe(0);
  });
});

describe("segmented log › segments", () => {
  it("rolls when the tail is full: sealed segments end with their last record", async () => {
    const directory = await realDirectory();
    const { log, usage } = await openTestLog(directory);
    await appendMany(log, 200, 100);
    const { segments, bytes } = usage();
    expect(segments).toBeGreaterThan(5);
    expect(bytes).toBe(
      segments * SEGMENT_HEADER_BYTES +
        200 * (RECORD_HEADER_BYTES + 100) +
        RECORD_HEADER_BYTES +
        CREATED_BYTES,
    );
    await log.close();
  });

  it("after a close has only segments of exact size and the indexes of the sealed ones", async () => {
    const disk = new SimulatedDisk(4);
    const { log, usage, files } = await openOn(disk);
    await appendMany(log, 100, 100);
    await log.close();
    const names = await files.list(DISK_LOG);
    const segments = names.filter((name) => name.endsWith(".log"));
    expect(names.filter((name) => name.endsWith(".index"))).toHaveLength(segments.length - 1);
    expect(names).toHaveLength(segments.length * 2 - 1);
    let size = 0;
    for (const name of segments) size += await (await files.open(`${DISK_LOG}/${name}`, "read")).size();
    expect(size).toBe(usage().bytes);
  });

  it("gives a record larger than a segment a segment of its own", async () => {
    const { log, usage } = await openOn(new SimulatedDisk(5));
    const sizes = [10, 20_000, 10, 9_000, 10];
    for (const size of sizes) log.append(textRecord("x", size));
    await log.whenCommitted(log.endOffset);
    expect(usage().segments).toBe(5);
    expect((await readAll(log, at(2))).map(({ body }) => body.length)).toEqual(sizes);
    await log.close();
  });

  it("rolls in an order that a power cut can be read from", async () => {
    const disk = new SimulatedDisk(6);
    const { log } = await openOn(disk, { segmentBytes: 8192 });
    await appendMany(log, 30, 200);
    disk.operations.trace.length = 0;
    await appendMany(log, 10, 200);
    // A file that was renamed goes by the name under which it was opened.
    const trace = disk.trace.map((line) => line.replace(/^\d+ /, ""));
    const place = (pattern: RegExp): number => trace.findIndex((line) => pattern.test(line));
    const rename = place(/^rename .*\.log\.new → /);
    const cut = place(/^truncate .*0001\.log/);
    const cutSynced = trace.findIndex((line, i) => i > cut && /^sync .*0001\.log/.test(line));
    const header = place(new RegExp(`^syncedWrite .*0002\\.log\\.new 0\\+${SEGMENT_HEADER_BYTES}$`));
    const named = trace.findIndex((line, i) => i > rename && /^syncDirectory .*\/log$/.test(line));
    const firstRecord = trace.findIndex((line, i) => i > rename && /^syncedWrite /.test(line));
    expect(cut).toBeGreaterThan(-1);
    expect(cutSynced).toBeGreaterThan(cut);
    expect(header).toBeGreaterThan(cutSynced);
    expect(rename).toBeGreaterThan(header);
    expect(named).toBeGreaterThan(rename);
    expect(firstRecord).toBeGreaterThan(named);
    await log.close();
  });

  it("writes zeros ahead of its records and never over them", async () => {
    // With plenty of free space such large batches would go without zeros.
    const disk = new SimulatedDisk(29, { syncTurnsMax: 3, capacityBytes: 200 << 20 });
    const settings = { segmentBytes: 24 << 20, recordBytesMax: 1 << 20, pendingBytesMax: 4 << 20 };
    const { log } = await openOn(disk, settings);
    const body = 300_000;
    for (let i = 0; i < 60; i++) {
      await log.whenCommitted(offset(log.endOffset - 1));
      log.append(textRecord(`${log.endOffset + 1} `, body));
    }
    await log.whenCommitted(log.endOffset);
    const handle = await disk.mount().open(`${DISK_LOG}/${segmentFile(1)}`, "read");
    expect(await handle.size()).toBeGreaterThan(60 * body);
    expect(offsetsOf(await readAll(log))).toEqual(span(1, 61));
    await log.close();
  });

  it("lets the file grow with large batches instead of writing their bytes twice", async () => {
    const disk = new SimulatedDisk(32);
    const settings = { segmentBytes: 24 << 20, recordBytesMax: 1 << 20, pendingBytesMax: 4 << 20 };
    const { log } = await openOn(disk, settings);
    await appendMany(log, 10, 400_000);
    disk.operations.trace.length = 0;
    for (let i = 0; i < 40; i++) await appendMany(log, 1, 400_000);
    expect(disk.trace.filter((line) => / write .*\.log/.test(line))).toEqual([]);
    disk.losePower();
    const again = await openOn(disk, settings);
    expect(offsetsOf(await readAll(again.log))).toEqual(span(1, 51));
    await again.log.close();
  });

  it("seals a tail that got old, also while nothing is written", async () => {
    let nowMs = 1_000_000;
    const { log, usage } = await openOn(new SimulatedDisk(7), { segmentAgeMs: 20, now: () => nowMs });
    await appendMany(log, 1);
    nowMs += 1_000;
    await expect.poll(() => usage().segments).toBe(2);
    nowMs += 1_000;
    await appendMany(log, 1);
    await expect.poll(() => usage().segments).toBeGreaterThanOrEqual(2);
    expect(offsetsOf(await readAll(log))).toEqual([1, 2, 3]);
    await log.close();
  });

  it("never seals an empty tail because of its age", async () => {
    let nowMs = 1_000_000;
    const disk = new SimulatedDisk(8);
    const { log, usage } = await openOn(disk, { segmentAgeMs: 20, now: () => nowMs });
    nowMs += 1_000;
    await expect.poll(() => usage().segments).toBe(2);
    for (const _ of span(1, 5)) {
      nowMs += 1_000;
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    expect(usage().segments).toBe(2);
    await log.close();
  });
});

describe("segmented log › committing", () => {
  it("loses nothing committed to a power cut in always", async () => {
    const disk = new SimulatedDisk(9);
    const { log } = await openOn(disk);
    await appendMany(log, 120);
    for (let i = 0; i < 40; i++) log.append(textRecord(`not waited for ${i}`));
    const committed = log.committedOffset;
    disk.losePower();
    const again = await openOn(disk);
    expect(again.log.endOffset).toBeGreaterThanOrEqual(committed);
    expect(offsetsOf(await readAll(again.log))).toEqual(span(1, again.log.endOffset));
    await again.log.close();
  });

  it("commits in periodic before it syncs, and syncs by itself soon after", async () => {
    const disk = new SimulatedDisk(10);
    const { log } = await openOn(disk, { fsyncMode: "periodic", fsyncIntervalMs: 20, segmentBytes: 1 << 20 });
    const syncs = disk.counts.begun.get("sync");
    await appendMany(log, 10);
    expect(log.committedOffset).toBe(11);
    expect(log.durableOffset).toBe(1);
    expect(disk.counts.begun.get("sync")).toBe(syncs);
    await expect.poll(() => log.durableOffset).toBe(11);
    await log.close();
  });

  it("calls durable what was written before a sync began, not what came while it ran", async () => {
    const held: (() => void)[] = [];
    let holds = false;
    const files = syncsThrough(new SimulatedDisk(28).mount(), () =>
      holds ? new Promise((resolve) => held.push(resolve)) : Promise.resolve(),
    );
    const settings = { fsyncMode: "periodic", fsyncIntervalMs: 5, segmentBytes: 1 << 20 } as const;
    const { log } = await openTestLog(DISK, { files, ...settings });
    holds = true;
    await appendMany(log, 10);
    await expect.poll(() => held.length).toBe(1);
    await appendMany(log, 10);
    held[0]?.();
    // The next sync is held too, so this is what the first one proved.
    await expect.poll(() => held.length).toBe(2);
    expect(log.durableOffset).toBe(11);
    holds = false;
    held[1]?.();
    await expect.poll(() => log.durableOffset).toBe(21);
    await log.close();
  });

  it("syncs in never only what it seals", async () => {
    const disk = new SimulatedDisk(11);
    const { log } = await openOn(disk, { fsyncMode: "never" });
    await appendMany(log, 10);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([log.committedOffset, log.durableOffset]).toEqual([11, 1]);
    await appendMany(log, 60);
    expect(log.durableOffset).toBeGreaterThan(20);
    expect(log.durableOffset).toBeLessThan(71);
    await log.close();
    expect(log.durableOffset).toBe(71);
  });

  it("stamps on each record how many before it were not known to be durable", async () => {
    const always = new SimulatedDisk(12);
    const first = await openOn(always, { segmentBytes: 1 << 20 });
    await appendMany(first.log, 3);
    await appendMany(first.log, 2);
    await first.log.close();
    expect(await unsyncedIn(always, 1)).toEqual([0, 0, 1, 2, 0, 1]);

    const never = new SimulatedDisk(13);
    const second = await openOn(never, { fsyncMode: "never", segmentBytes: 1 << 20 });
    await appendMany(second.log, 3);
    await appendMany(second.log, 2);
    await second.log.close();
    expect(await unsyncedIn(never, 1)).toEqual([0, 0, 1, 2, 3, 4]);
  });

  it("writes what came in one turn of the event loop together", async () => {
    const batches: number[] = [];
    const observer = { batchWritten: (records: number) => batches.push(records) };
    const { log } = await openOn(new SimulatedDisk(14), { observer, segmentBytes: 1 << 20 });
    batches.length = 0;
    await appendMany(log, 25);
    await appendMany(log, 4);
    expect(batches).toEqual([25, 4]);
    await log.close();
  });

  it("refuses what would not fit into memory, and takes it when the disk has caught up", async () => {
    const { log } = await openOn(new SimulatedDisk(15), { pendingBytesMax: 10_000 });
    const refused = (): boolean => {
      try {
        log.append(textRecord("x", 1_000));
        return false;
      } catch (error) {
        expect(error).toMatchObject({ code: "LOG_BUSY" });
        return true;
      }
    };
    const accepted = span(1, 20).findIndex(refused);
    expect(accepted).toBe(9);
    expect(log.endOffset).toBe(10);
    await log.whenCommitted(log.endOffset);
    expect(refused()).toBe(false);
    await log.close();
    expect(log.committedOffset).toBe(11);
  });

  it("takes a record larger than the limit of what may wait when nothing waits", async () => {
    const { log } = await openOn(new SimulatedDisk(16), { pendingBytesMax: 1_000 });
    await log.whenCommitted(log.append(textRecord("x", 5_000)));
    expect(log.committedOffset).toBe(2);
    await log.close();
  });

  it("commits everything that waits before it closes", async () => {
    for (const fsyncMode of ["always", "periodic", "never"] satisfies FsyncMode[]) {
      const disk = new SimulatedDisk(17);
      const { log } = await openOn(disk, { fsyncMode });
      const last = span(1, 90)
        .map((i) => log.append(textRecord(`record ${i}`)))
        .at(-1);
      const waiting = log.whenCommitted(offset(91));
      await log.close();
      await waiting;
      disk.losePower();
      const again = await openOn(disk);
      expect(again.recovery).toMatchObject({ clean: true, endOffset: last });
      await again.log.close();
    }
  });
});

describe("segmented log › epochs", () => {
  it("begins an epoch with a segment and a record of its own, durable in every mode", async () => {
    for (const fsyncMode of ["always", "periodic", "never"] satisfies FsyncMode[]) {
      const disk = new SimulatedDisk(18);
      const { log, usage } = await openOn(disk, { fsyncMode });
      log.append(textRecord("old epoch"));
      const kinds: number[] = [];
      log.appended.subscribe(({ kind, epoch }) => kinds.push(kind, epoch));
      const started = log.startEpoch();
      log.append(textRecord("new epoch"));
      const entry = await started;
      expect(entry).toMatchObject({ epoch: 2, first: 3 });
      expect(entry.lineageId).not.toBe(log.epochs[0]?.lineageId);
      expect(kinds).toEqual([1, 2, KIND, 2]);
      expect(log.durableOffset).toBeGreaterThanOrEqual(3);
      await log.whenCommitted(log.endOffset);
      expect(usage().segments).toBe(2);
      expect((await readAll(log)).map(({ kind, epoch }) => [kind, epoch])).toEqual([
        [1, 1],
        [KIND, 1],
        [1, 2],
        [KIND, 2],
      ]);
      disk.losePower();
      const again = await openOn(disk);
      expect(again.log.epochs).toEqual(log.epochs);
      await again.log.close();
    }
  });

  it("begins an epoch in the place of a tail that is empty", async () => {
    let nowMs = 1_000_000;
    const disk = new SimulatedDisk(19);
    const { log, usage } = await openOn(disk, { segmentAgeMs: 20, now: () => nowMs });
    nowMs += 1_000;
    await expect.poll(() => usage().segments).toBe(2);
    await log.startEpoch();
    expect(usage().segments).toBe(2);
    await appendMany(log, 3);
    disk.losePower();
    const again = await openOn(disk);
    expect(again.log.epochs.map(({ first }) => first)).toEqual([1, 2]);
    expect(offsetsOf(await readAll(again.log))).toEqual(span(1, 5));
    await again.log.close();
  });
});
