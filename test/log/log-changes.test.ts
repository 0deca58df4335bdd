import { describe, expect, it } from "vitest";
import type { FileSystem } from "../../log/file-system.js";
import { RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../../log/format.js";
import { offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import {
  appendMany,
  at,
  CREATED_BYTES,
  DISK,
  DISK_LOG,
  offsetsOf,
  openOn,
  openTestLog,
  readAll,
  segmentFile,
  span,
  textOf,
  textRecord,
} from "../support/test-log.js";

describe("log › cutting and retention", () => {
  it("is cut in any segment and survives a power cut right after", async () => {
    for (const last of [1, 2, 29, 30, 59, 99, 100]) {
      const disk = new SimulatedDisk(20 + last);
      const { log } = await openOn(disk);
      await appendMany(log, 100);
      await log.truncate(offset(last));
      expect(log.endOffset).toBe(last);
      disk.losePower();
      const again = await openOn(disk);
      expect(again.log.endOffset).toBe(last);
      await appendMany(again.log, 5);
      expect(offsetsOf(await readAll(again.log))).toEqual(span(1, last + 5));
      await again.log.close();
    }
  });

  it("forgets the epochs that began after the cut", async () => {
    const { log } = await openOn(new SimulatedDisk(21));
    await appendMany(log, 3);
    await log.startEpoch();
    await appendMany(log, 3);
    await log.truncate(offset(4));
    expect(log.epochs.map(({ epoch }) => epoch)).toEqual([1]);
    await appendMany(log, 2);
    expect((await readAll(log)).map(({ epoch }) => epoch)).toEqual([1, 1, 1, 1, 1, 1]);
    await log.close();
  });

  it("refuses to be cut while records wait, before its first record and behind its end", async () => {
    const { log } = await openOn(new SimulatedDisk(22));
    await appendMany(log, 3);
    log.append(textRecord("waiting"));
    await expect(log.truncate(offset(2))).rejects.toMatchObject({ code: "LOG_BUSY" });
    await log.whenCommitted(log.endOffset);
    await expect(log.truncate(offset(0))).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    await expect(log.truncate(offset(6))).rejects.toMatchObject({ code: "LOG_OFFSET_BEYOND_END" });
    expect(log.append(textRecord("goes on"))).toBe(6);
    await log.close();
  });

  it("shows what will be left while its end is being cut off, and tells who read more", async () => {
    const { files, hold, goOn } = heldBack(new SimulatedDisk(26), "truncate");
    const { log } = await openTestLog(DISK, { files });
    await appendMany(log, 100);
    const [behind, ahead] = [log.follow(offset(1)), log.follow(offset(50))];
    const range = log.read(offset(1))[Symbol.asyncIterator]();
    await Promise.all([behind.next(), ahead.next(), range.next()]);
    const begun = hold(`${DISK_LOG}/${segmentFile(log.segmentStart(offset(40)))}`);
    const cutting = log.truncate(offset(40));
    await begun;
    expect(log).toMatchObject({ committedOffset: 40, durableOffset: 40 });
    expect(offsetsOf(await readAll(log))).toEqual(span(1, 40));
    const waiting = ahead.next();
    goOn();
    await cutting;
    const refused = { code: "LOG_OFFSET_RETIRED", context: { end: 40 } };
    await expect(range.next()).rejects.toMatchObject(refused);
    await expect(waiting).rejects.toMatchObject(refused);
    await appendMany(log, 1);
    const rest: number[] = [];
    while (rest.at(-1) !== 41) rest.push(...offsetsOf((await behind.next()).value));
    expect(rest).toEqual(span(rest[0]!, 41));
    await behind.return?.();
    await log.close();
  });

  it("does not give for records that were cut off those that came into their places while they were read", async () => {
    const { files, hold, goOn } = heldBack(new SimulatedDisk(27), "read");
    const { log } = await openTestLog(DISK, { files });
    await appendMany(log, 20);
    const begun = hold(`${DISK_LOG}/${segmentFile(1)}`);
    const reading = readAll(log, at(1), at(20));
    const refused = expect(reading).rejects.toMatchObject({
      code: "LOG_OFFSET_RETIRED",
      context: { end: 5 },
    });
    await begun;
    await log.truncate(offset(5));
    await appendMany(log, 15);
    goOn();
    await refused;
    await log.close();
  });

  it("removes whole sealed segments with their indexes, never the tail", async () => {
    const disk = new SimulatedDisk(23);
    const { log, usage, files } = await openOn(disk);
    await appendMany(log, 100);
    const first = await log.retain(offset(60));
    expect(first).toBeGreaterThan(1);
    expect(first).toBeLessThanOrEqual(60);
    await expect(readAll(log, offset(1))).rejects.toMatchObject({
      code: "LOG_OFFSET_RETIRED",
      context: { first },
    });
    expect(await log.retain(offset(1_000))).toBe(log.firstOffset);
    expect(usage().segments).toBe(1);
    await log.close();
    expect(await files.list(DISK_LOG)).toEqual([segmentFile(log.firstOffset)]);
    disk.losePower();
    const again = await openOn(disk);
    expect(again.log.firstOffset).toBe(log.firstOffset);
    await again.log.close();
  });

  it("makes each removal durable before the next, oldest first", async () => {
    const disk = new SimulatedDisk(30);
    const { log } = await openOn(disk);
    await appendMany(log, 150);
    disk.operations.trace.length = 0;
    await log.retain(offset(140));
    const steps = disk.trace.filter((line) => /remove .*\.log$|syncDirectory .*\/log$/.test(line));
    const removals = steps.filter((line) => line.includes(" remove "));
    const bases = removals.map((line) => Number(/(\d{20})\.log$/.exec(line)?.[1]));
    expect(bases.length).toBeGreaterThan(3);
    expect(bases).toEqual([...bases].sort((a, b) => a - b));
    for (const removal of removals) expect(steps[steps.indexOf(removal) + 1]).toContain("syncDirectory");
    await log.close();
  });

  it("never leaves a hole when the power goes during retention", async () => {
    for (const operation of span(1, 12)) {
      const disk = new SimulatedDisk(300 + operation);
      const { log } = await openOn(disk);
      await appendMany(log, 150);
      disk.arm({ type: "end", at: operation, ending: "power" });
      await Promise.race([log.retain(offset(140)), disk.ended()]);
      disk.losePower();
      disk.disarm();
      const again = await openOn(disk);
      expect(offsetsOf(await readAll(again.log))).toEqual(span(again.log.firstOffset, 151));
      await again.log.close();
    }
  });

  it("lets a reader finish the segment that retention removes under it", async () => {
    const { log } = await openOn(new SimulatedDisk(24));
    await appendMany(log, 100);
    const reader = log.read(offset(1))[Symbol.asyncIterator]();
    const batch = await reader.next();
    await log.retain(offset(90));
    expect(offsetsOf(batch.value ?? [])[0]).toBe(1);
    await expect(reader.next()).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    await log.close();
  });
});

describe("log › reading", () => {
  it("reports a damaged record with its place and gives out nothing of it", async () => {
    const disk = new SimulatedDisk(25);
    const { log } = await openOn(disk);
    await appendMany(log, 100);
    const position = SEGMENT_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + CREATED_BYTES + 20;
    disk.flip(`${DISK_LOG}/${segmentFile(1)}`, position, 1);
    await expect(readAll(log, at(2))).rejects.toMatchObject({
      code: "LOG_CORRUPT",
      context: {
        file: `log/${segmentFile(1)}`,
        offset: 2,
        position: SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + CREATED_BYTES,
      },
    });
    await log.close();
  });

  it("reads the same without the index files", async () => {
    const disk = new SimulatedDisk(26);
    const { log, files } = await openOn(disk);
    await appendMany(log, 100);
    await log.close();
    for (const name of await files.list(DISK_LOG))
      if (name.endsWith(".index")) await files.remove(`${DISK_LOG}/${name}`);
    const again = await openOn(disk);
    expect(offsetsOf(await readAll(again.log, at(40), at(70)))).toEqual(span(40, 70));
    await again.log.close();
  });

  it("finds any record and any time in large segments, in the tail and in sealed ones", async () => {
    const { log, usage } = await openOn(new SimulatedDisk(31), {
      fsyncMode: "never",
      segmentBytes: 512 * 1024,
    });
    const base = 1_800_000_000_000_000;
    for (let i = 2; i <= 3_000; i++) log.append(textRecord(`${i} `, 300, base + i * 10));
    await log.whenCommitted(log.endOffset);
    expect(usage().segments).toBe(2);
    for (let wanted = 2; wanted <= 3_000; wanted += 61) {
      const [record] = await readAll(log, at(wanted), at(wanted));
      expect(Number.parseInt(textOf(record!), 10)).toBe(wanted);
      expect(await log.offsetAt(base + wanted * 10 - 5)).toBe(wanted);
    }
    await log.close();
  });

  it("keeps what it reads apart from what is in memory only", async () => {
    const { log } = await openOn(new SimulatedDisk(27));
    await appendMany(log, 2);
    log.append(textRecord("in memory only"));
    expect((await readAll(log)).map(textOf).filter((text) => text.startsWith("in memory"))).toEqual([]);
    await log.close();
  });
});

/** Once `hold` was called the next such call on the file at that path waits for `goOn`; `hold` resolves when one does. */
function heldBack(disk: SimulatedDisk, call: "truncate" | "read") {
  const files: FileSystem = disk.mount();
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let wanted: { readonly path: string; begun(): void } | undefined;
  const wait = async (path: string): Promise<void> => {
    if (path !== wanted?.path) return;
    const { begun } = wanted;
    wanted = undefined;
    begun();
    await held;
  };
  const open = files.open.bind(files);
  files.open = async (path, ...mode) => {
    const handle = await open(path, ...mode);
    const done: (...args: never[]) => Promise<unknown> = handle[call].bind(handle);
    Object.assign(handle, {
      [call]: async (...args: never[]) => {
        await wait(path);
        return await done(...args);
      },
    });
    return handle;
  };
  const hold = (path: string): Promise<void> =>
    new Promise((begun) => {
      wanted = { path, begun };
    });
  return { files, hold, goOn };
}
