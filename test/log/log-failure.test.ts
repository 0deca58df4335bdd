import { describe, expect, it, vi } from "vitest";
import { type LogError, type OpenLogOptions, offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, offsetsOf, openTestLog, readAll, span, textRecord } from "../support/test-log.js";

const DIRECTORY = "/disk";
const KIB = 1024;

async function openOn(disk: SimulatedDisk, overrides: Partial<OpenLogOptions> = {}) {
  return openTestLog(DIRECTORY, { files: disk.mount(), ...overrides });
}

/** What a call is refused with; fails the test if it is not. */
function refusal(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

describe("log failure › a write or a sync fails", () => {
  it("tells everyone who waits, refuses everything after, and says so once", async () => {
    const disk = new SimulatedDisk(1);
    const { log } = await openOn(disk, { segmentBytes: 64 * KIB });
    const seen: Error[] = [];
    log.failed.subscribe((error) => seen.push(error));
    await appendMany(log, 5);
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set(["syncedWrite"]) });
    const inFlight = log.whenCommitted(log.append(textRecord("in flight")));
    await new Promise((resolve) => setImmediate(resolve));
    const gathering = log.whenCommitted(log.append(textRecord("gathering")));
    await expect(inFlight).rejects.toMatchObject({ code: "LOG_FAILED", context: { errno: "EIO" } });
    await expect(gathering).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(refusal(() => log.append(textRecord("after")))).toMatchObject({ code: "LOG_FAILED" });
    await expect(log.whenCommitted(log.endOffset)).rejects.toMatchObject({ code: "LOG_FAILED" });
    await expect(log.startEpoch()).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(seen).toHaveLength(1);
    const late: Error[] = [];
    log.failed.subscribe((error) => late.push(error));
    expect(late).toEqual(seen);
    await log.close();
  });

  it("never tries again: after the failure nothing changes on the disk", async () => {
    const disk = new SimulatedDisk(2);
    const { log } = await openOn(disk, { segmentBytes: 64 * KIB });
    await appendMany(log, 5);
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set(["syncedWrite"]) });
    await expect(log.whenCommitted(log.append(textRecord("fails")))).rejects.toThrow();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const changes = (): number =>
      ["write", "syncedWrite", "writeNow", "sync", "truncate", "rename"].reduce(
        (sum, kind) => sum + (disk.counts.begun.get(kind as "write") ?? 0),
        0,
      );
    const before = changes();
    await new Promise((resolve) => setTimeout(resolve, 150));
    await log.close();
    expect(changes()).toBe(before);
  });

  it("still reads what was committed, then lets the directory go without the mark of a clean stop", async () => {
    const disk = new SimulatedDisk(3);
    const { log } = await openOn(disk);
    await appendMany(log, 60);
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: true, kinds: new Set(["syncedWrite"]) });
    await expect(log.whenCommitted(log.append(textRecord("fails")))).rejects.toThrow();
    expect(offsetsOf(await readAll(log))).toEqual(span(1, 61));
    await log.close();
    disk.disarm();
    const again = await openOn(disk);
    expect(again.recovery.clean).toBe(false);
    expect(offsetsOf(await readAll(again.log, offset(1), offset(61)))).toEqual(span(1, 61));
    await again.log.close();
  });

  it("ends followers with the failure once they have read what is durable", async () => {
    const disk = new SimulatedDisk(4);
    const { log } = await openOn(disk);
    await appendMany(log, 20);
    const seen: number[] = [];
    const followed = (async () => {
      for await (const batch of log.follow(offset(1))) seen.push(...offsetsOf(batch));
    })();
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set(["syncedWrite"]) });
    await expect(log.whenCommitted(log.append(textRecord("fails")))).rejects.toThrow();
    await expect(followed).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(seen).toEqual(span(1, 21));
    await log.close();
  });

  it("fails when the timer's sync fails, though everything was committed", async () => {
    const disk = new SimulatedDisk(5);
    const { log } = await openOn(disk, { fsyncMode: "periodic", segmentBytes: 64 * KIB });
    const failed = new Promise<Error>((resolve) => log.failed.subscribe(resolve));
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set(["sync"]) });
    await appendMany(log, 3);
    await expect(failed).resolves.toMatchObject({ code: "LOG_FAILED" });
    expect(log.durableOffset).toBe(1);
    await log.close();
  });

  it("fails when writing space ahead meets a broken disk", async () => {
    const disk = new SimulatedDisk(6);
    const { log } = await openOn(disk);
    const failed = new Promise<Error>((resolve) => log.failed.subscribe(resolve));
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set(["write"]) });
    for (let i = 0; i < 60; i++) log.append(textRecord("x", 100));
    await expect(failed).resolves.toMatchObject({ code: "LOG_FAILED" });
    await log.close();
  });

  it("does not end the process when nobody waits for what failed", async () => {
    const disk = new SimulatedDisk(7);
    const { log } = await openOn(disk);
    const unhandled = vi.fn();
    process.on("unhandledRejection", unhandled);
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: true, kinds: new Set(["syncedWrite"]) });
    void log.whenCommitted(log.append(textRecord("asked once, and forgotten")));
    log.append(textRecord("never asked"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await log.close();
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it("reports a failure while it closes to whoever closes it", async () => {
    const disk = new SimulatedDisk(8);
    const { log } = await openOn(disk);
    log.append(textRecord("waits"));
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: true, kinds: new Set(["sync"]) });
    await expect(log.close()).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(disk.locks.size).toBe(0);
  });
});

describe("log failure › the disk fills up", () => {
  const settings = { segmentBytes: 16 * KIB, reserveBytes: 64 * KIB } as const;

  /** Appends one record after the other, each committed, until one is refused. Returns the refusal. */
  async function fillUp(log: Awaited<ReturnType<typeof openOn>>["log"]): Promise<LogError> {
    for (let i = 0; i < 10_000; i++) {
      try {
        await log.whenCommitted(log.append(textRecord("x", 500)));
      } catch (error) {
        return error as LogError;
      }
    }
    throw new Error("the disk never filled up");
  }

  it("refuses appends before the reserve is touched, keeps reading, and resumes by itself", async () => {
    const disk = new SimulatedDisk(10, { capacityBytes: 260 * KIB });
    const full: boolean[] = [];
    const { log } = await openOn(disk, { ...settings, observer: { diskFull: (is) => full.push(is) } });
    expect(await fillUp(log)).toMatchObject({ code: "LOG_DISK_FULL" });
    expect(full).toEqual([true]);
    const end = log.endOffset;
    expect(disk.capacityBytes - disk.usedBytes).toBeGreaterThanOrEqual(64 * KIB);
    expect(log.committedOffset).toBe(end);
    expect(offsetsOf(await readAll(log))).toEqual(span(1, end));

    disk.capacityBytes = 1024 * KIB;
    await expect.poll(() => full).toEqual([true, false]);
    await appendMany(log, 50, 500);
    await log.close();
    const again = await openOn(disk, settings);
    expect(offsetsOf(await readAll(again.log))).toEqual(span(1, end + 50));
    await again.log.close();
  });

  it("lets records that were accepted use the reserve", async () => {
    const disk = new SimulatedDisk(11, { capacityBytes: 192 * KIB });
    const { log } = await openOn(disk, settings);
    for (let i = 0; i < 240; i++) log.append(textRecord("x", 500));
    await log.whenCommitted(log.endOffset);
    expect(refusal(() => log.append(textRecord("one more")))).toMatchObject({ code: "LOG_DISK_FULL" });
    expect(disk.capacityBytes - disk.usedBytes).toBeLessThan(64 * KIB);
    await log.close();
    disk.capacityBytes *= 2;
    const again = await openOn(disk, settings);
    expect(again.log.endOffset).toBe(241);
    await again.log.close();
  });

  it("waits with accepted records for space when even the reserve is gone, and loses none", async () => {
    const disk = new SimulatedDisk(12, { capacityBytes: 128 * KIB });
    const full: boolean[] = [];
    const observer = { diskFull: (is: boolean) => full.push(is) };
    const { log } = await openOn(disk, { ...settings, reserveBytes: 0, observer });
    const offsets = span(1, 400).map(() => log.append(textRecord("x", 500)));
    const committed = log.whenCommitted(offsets.at(-1)!);
    await expect.poll(() => full).toEqual([true]);
    expect(log.committedOffset).toBeGreaterThan(100);
    expect(refusal(() => log.append(textRecord("one more")))).toMatchObject({ code: "LOG_DISK_FULL" });
    disk.capacityBytes = 1024 * KIB;
    await committed;
    expect(offsetsOf(await readAll(log))).toEqual(span(1, 401));
    await log.close();
  });

  it("leaves a segment that is past its age where it is, and stops as on any other day", async () => {
    const disk = new SimulatedDisk(16);
    const full: boolean[] = [];
    const aged = { segmentAgeMs: 40, observer: { diskFull: (is: boolean) => full.push(is) } };
    const { log, segments } = await openOn(disk, { ...aged, segmentBytes: 64 * 1024 * KIB });
    await appendMany(log, 3);
    const room = 8 * 1024 * KIB;
    disk.capacityBytes = disk.usedBytes;
    await expect.poll(() => full).toEqual([true]);
    expect(refusal(() => log.append(textRecord("late")))).toMatchObject({ code: "LOG_DISK_FULL" });
    const before = segments?.usage().segments ?? 0;
    disk.capacityBytes += room;
    await expect.poll(() => full, { timeout: 3_000 }).toEqual([true, false]);
    await expect.poll(() => segments?.usage().segments).toBe(before + 1);
    await appendMany(log, 1);
    disk.capacityBytes = disk.usedBytes;
    await expect.poll(() => full).toEqual([true, false, true]);
    await log.close();
    disk.capacityBytes += room;
    const again = await openOn(disk);
    expect(again.recovery.clean).toBe(true);
    expect(again.log.endOffset).toBe(5);
    await again.log.close();
  });

  it("takes ENOSPC while writing ahead for a full disk, not for a failure", async () => {
    const disk = new SimulatedDisk(13);
    const full: boolean[] = [];
    const { log } = await openOn(disk, { observer: { diskFull: (is) => full.push(is) } });
    const failed = vi.fn();
    log.failed.subscribe(failed);
    disk.arm({ type: "fail", at: 1, errno: "ENOSPC", sticky: true, kinds: new Set(["write"]) });
    for (let i = 0; i < 100; i++) log.append(textRecord("x", 100));
    await expect.poll(() => full).toEqual([true]);
    expect(log.committedOffset).toBeLessThan(101);
    disk.disarm();
    await log.whenCommitted(log.endOffset);
    expect(full).toEqual([true, false]);
    expect(failed).not.toHaveBeenCalled();
    expect(offsetsOf(await readAll(log))).toEqual(span(1, 101));
    await log.close();
  });

  it("takes ENOSPC while writing records for a failure: nobody knows what the disk holds", async () => {
    const disk = new SimulatedDisk(14);
    const { log } = await openOn(disk);
    disk.arm({ type: "fail", at: 1, errno: "ENOSPC", sticky: false, kinds: new Set(["syncedWrite"]) });
    await expect(log.whenCommitted(log.append(textRecord("x")))).rejects.toMatchObject({
      code: "LOG_FAILED",
      context: { errno: "ENOSPC" },
    });
    await log.close();
  });

  it("refuses to begin a log on a full disk and opens an existing one for reading", async () => {
    const empty = new SimulatedDisk(15, { capacityBytes: 48 * KIB });
    await expect(openOn(empty, settings)).rejects.toMatchObject({ code: "LOG_DISK_FULL" });
    expect(empty.locks.size).toBe(0);

    const disk = new SimulatedDisk(16, { capacityBytes: 256 * KIB });
    const first = await openOn(disk, settings);
    await appendMany(first.log, 50);
    await first.log.close();
    disk.capacityBytes = disk.usedBytes + 20 * KIB;
    const again = await openOn(disk, settings);
    expect(offsetsOf(await readAll(again.log))).toEqual(span(1, 51));
    expect(refusal(() => again.log.append(textRecord("x")))).toMatchObject({ code: "LOG_DISK_FULL" });
    await again.log.close();
  });

  it("gives up on records that wait for space when it is closed, and says so", async () => {
    const disk = new SimulatedDisk(17, { capacityBytes: 128 * KIB });
    const full: boolean[] = [];
    const observer = { diskFull: (is: boolean) => full.push(is) };
    const { log } = await openOn(disk, { ...settings, reserveBytes: 0, observer });
    for (let i = 0; i < 400; i++) log.append(textRecord("x", 500));
    await expect.poll(() => full).toEqual([true]);
    const committed = log.committedOffset;
    await expect(log.close()).rejects.toMatchObject({ code: "LOG_FAILED", context: { errno: "ENOSPC" } });
    disk.capacityBytes = 1024 * KIB;
    const again = await openOn(disk, settings);
    expect(again.log.endOffset).toBeGreaterThanOrEqual(committed);
    await again.log.close();
  });
});
