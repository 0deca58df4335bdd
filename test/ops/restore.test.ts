// Which backup a restore takes, what it refuses, and what it does with snapshots and damage.
import { beforeEach, describe, expect, it } from "vitest";
import { decodeEpochStart, encodeEpochStart } from "../../log/epoch-start.js";
import { type FileSystem, openLogView, readWholeFile, verifyDirectory } from "../../log/index.js";
import { ArchiveWriter } from "../../ops/backup/archive-writer.js";
import { segmentsOf } from "../../ops/backup/manifest.js";
import { foldTo, writeSnapshot } from "../../projections/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { BackupBench, DATA, REPOSITORY, RULES } from "../support/backup-bench.js";
import { lookInto, RestoreBench } from "../support/restore-bench.js";
import { appendMany, at } from "../support/test-log.js";

let files: FileSystem;
let bench: BackupBench;
let restorer: RestoreBench;

beforeEach(() => {
  files = new SimulatedDisk(3).mount();
  bench = new BackupBench(files, 3);
  restorer = new RestoreBench(files, bench, 3);
});

const crcOf = async (directory: string, offset: number): Promise<number> =>
  (await (await openLogView(files, directory)).markAt(at(offset))).crc;

/** Goes on in a restored directory as if it had become the live one. */
async function continueIn(directory: string, records: number): Promise<void> {
  const { log } = await restorer.open(directory);
  await bench.append(log, records);
  await log.close();
}

describe("restore", () => {
  it("takes the newest backup that reaches, of the history that it tells of", async () => {
    await bench.grow(50);
    const first = await bench.backup();
    await bench.grow(50);
    const lost = await bench.backup();
    expect([first.lastOffset, lost.lastOffset]).toEqual([51, 101]);
    // Back to 70, where another future begins, and a backup of that one.
    await restorer.restore({ type: "offset", offset: 70 }, "/second");
    await continueIn("/second", 10);
    const second = await bench.backup({ dataDirectory: "/second" });
    expect(second.lastOffset).toBe(81);

    const planned = async (offset: number, backup?: string) =>
      restorer.plan({ type: "offset", offset }, backup);
    expect(await planned(60)).toMatchObject({ backup: second.id, last: 60 });
    expect(await planned(81)).toMatchObject({ backup: second.id, last: 81 });
    // 90 was of the lost future: not silently taken from the older backup, but by its name.
    await expect(planned(90)).rejects.toMatchObject({ code: "RESTORE_TARGET_BEYOND" });
    expect(await planned(90, lost.id)).toMatchObject({ backup: lost.id, last: 90 });

    await restorer.restore({ type: "offset", offset: 75 }, "/third");
    expect(await crcOf("/third", 75)).toBe(await crcOf("/second", 75));
    expect(await lookInto(restorer, "/third")).toMatchObject({ epochs: 3, endOffset: 76 });
    // Above every epoch that the backup knows of, also those that began behind the target.
    expect((await restorer.restore({ type: "offset", offset: 60 }, "/early")).epoch).toBe(3);
    const old = await restorer.restore({ type: "offset", offset: 75 }, "/fourth", { backup: lost.id });
    expect(await crcOf("/fourth", 75)).toBe(await crcOf(DATA, 75));
    expect(old.lineageId).not.toBe((await openLogView(files, "/third")).epochs.at(-1)?.lineageId);
  });

  it("makes one segment of the pieces in which backups have it: the borders are those of the log that was saved", async () => {
    let end = 1;
    for (const records of [40, 2, 3, 30, 1, 1]) {
      await bench.grow(records);
      end += records;
      await bench.backup({ copy: true });
    }
    const { extents } = await openLogView(files, DATA);
    const { manifest } = await restorer.plan({ type: "latest" });
    expect(segmentsOf(manifest).length, "some came in pieces").toBeGreaterThan(extents.length);
    const bytesOf = (directory: string, file: string): Promise<Uint8Array> =>
      readWholeFile(files, `${directory}/${file}`, 1 << 20);
    for (const last of [end, end - 1, 44, 43]) {
      const directory = `/at-${last}`;
      await restorer.restore({ type: "offset", offset: last }, directory);
      // The last one is of the new epoch.
      const restored = (await openLogView(files, directory)).extents.slice(0, -1);
      const bases = extents.map(({ firstOffset }) => firstOffset).filter((base) => base <= last);
      expect(restored.map(({ firstOffset }) => firstOffset)).toEqual(bases);
      for (const { file, bytes } of restored) {
        const source = (await bytesOf(DATA, file)).subarray(0, bytes);
        expect(Buffer.compare(await bytesOf(directory, file), source), file).toBe(0);
      }
      await continueIn(directory, 3);
    }
  });

  it("leaves an index that a rebuild gives, wherever in a segment it cuts", async () => {
    const { log } = await bench.openLog({ segmentBytes: 1 << 20 });
    await appendMany(log, 8, 50_000);
    await log.close();
    await bench.backup();
    for (let last = 1; last <= 9; last++) {
      await restorer.restore({ type: "offset", offset: last }, `/at-${last}`);
      expect(await verifyDirectory(files, `/at-${last}`)).toMatchObject({ problems: [], notes: [] });
    }
  });

  it("needs a snapshot where the beginning of the log is gone, and goes to an older backup for what lies before", async () => {
    await bench.grow(60);
    const whole = await bench.backup();
    await bench.putSnapshot(50);
    const { log } = await bench.openLog();
    await log.retain(at(51));
    const first = log.firstOffset;
    expect(first).toBeGreaterThan(2);
    await bench.append(log, 20);
    await log.close();
    await bench.backup();
    const cut = await bench.backup({ store: new BackupBench(files, 4, "/short").store });
    expect(cut.firstOffset).toBe(first);

    const report = await restorer.restore({ type: "offset", offset: 55 }, "/after");
    expect(report).toMatchObject({ firstOffset: first, snapshotOffset: 50 });
    expect(await lookInto(restorer, "/after")).toMatchObject({ firstOffset: first, endOffset: 56 });
    expect(await restorer.plan({ type: "offset", offset: 40 })).toMatchObject({ backup: whole.id, last: 40 });

    const short = new RestoreBench(files, new BackupBench(files, 4, "/short"), 5);
    const early = short.plan({ type: "offset", offset: 49 });
    await expect(early).rejects.toMatchObject({ code: "RESTORE_TARGET_RETIRED", context: { earliest: 50 } });
    expect(await short.plan({ type: "offset", offset: 50 })).toMatchObject({ last: 50 });
  });

  it("does not fill what retention took from a history with records of a lost one", async () => {
    await bench.grow(100);
    const lost = await bench.backup();
    await restorer.restore({ type: "offset", offset: 70 }, "/second");
    await continueIn("/second", 60);
    const whole = await bench.backup({ dataDirectory: "/second" });
    const view = await openLogView(files, "/second");
    const { fold } = await foldTo(view, undefined, { rules: RULES, last: at(120) });
    await writeSnapshot(files, "/second/snapshots", fold, await view.markAt(at(120)), {
      now: () => bench.nowMs,
    });
    const { log } = await restorer.open("/second");
    await log.retain(at(120));
    await bench.append(log, 5);
    await log.close();
    const plan = (offset: number) => restorer.plan({ type: "offset", offset });
    expect((await plan(90)).backup).toBe(whole.id);
    await bench.backup({ dataDirectory: "/second" });
    expect((await plan(90)).backup).toBe(whole.id);
    await files.remove(`${REPOSITORY}/backups/${whole.id}.json`);
    const refused = { code: "RESTORE_TARGET_RETIRED", message: expect.stringContaining(lost.id) };
    await expect(plan(90)).rejects.toMatchObject(refused);
  });

  it("restores from an archive, and takes whichever of archive and backups is newer", async () => {
    const archive = async (): Promise<void> => {
      const { log } = await bench.openLog();
      const rules = { keepDays: 0, keepSnapshots: 0 };
      const options = { files, dataDirectory: DATA, store: bench.store, rules, now: () => bench.nowMs };
      await new ArchiveWriter(options).bringUpTo(log.durableOffset);
      await log.close();
    };
    const latest = () => restorer.plan({ type: "latest" });
    await bench.grow(40);
    await archive();
    expect(await latest()).toMatchObject({ last: 41, manifest: { kind: "archive" } });
    await bench.grow(10);
    const backup = await bench.backup();
    expect(await latest()).toMatchObject({ last: 51, backup: backup.id });
    await bench.grow(10);
    bench.nowMs += 60_000;
    await archive();
    expect(await latest()).toMatchObject({ last: 61, manifest: { kind: "archive" } });
    const { backup: id } = await restorer.restore({ type: "offset", offset: 55 }, "/restored");
    expect(await lookInto(restorer, "/restored")).toMatchObject({
      endOffset: 56,
      lastCrc: await crcOf(DATA, 55),
    });
    // By its name, too.
    expect(await restorer.plan({ type: "latest" }, id)).toMatchObject({ last: 61 });
  });

  it("refuses a directory that holds anything, and leaves it as it is", async () => {
    await bench.grow(10);
    await bench.backup();
    await files.makeDirectory("/mine/letters");
    const refused = restorer.restore({ type: "latest" }, "/mine");
    await expect(refused).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
      context: { found: "letters" },
    });
    expect(await files.list("/mine")).toEqual(["letters"]);
    await expect(restorer.restore({ type: "latest" }, DATA)).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
    });
    expect((await openLogView(files, DATA)).endOffset).toBe(11);
  });

  it("finds damage on the way and leaves nothing that opens", async () => {
    await bench.grow(120);
    await bench.backup();
    const names = await files.list(`${REPOSITORY}/segments`);
    const path = `${REPOSITORY}/segments/${names[1]}`;
    const bytes = await readWholeFile(files, path, 1 << 20);
    const handle = await files.open(path, "write");
    await handle.write(Uint8Array.of(bytes[bytes.length - 3]! ^ 1), bytes.length - 3);
    await handle.close();
    const failed = restorer.restore({ type: "latest" }, "/damaged");
    await expect(failed).rejects.toMatchObject({ code: "BACKUP_DAMAGED" });
    await expect(openLogView(files, "/damaged")).rejects.toMatchObject({ code: "LOG_RESTORE_UNFINISHED" });
    // What lies before the damage can still be had.
    await restorer.restore({ type: "offset", offset: 5 }, "/damaged");
    expect(await crcOf("/damaged", 5)).toBe(await crcOf(DATA, 5));
  });

  it("leaves out a snapshot that is not of the log, and says so", async () => {
    await bench.grow(60);
    const path = await bench.putSnapshot(40);
    const foreign = new BackupBench(new SimulatedDisk(9).mount(), 9);
    await foreign.grow(60);
    const other = await readWholeFile(foreign.files, await foreign.putSnapshot(40), 1 << 20);
    await files.remove(path);
    const handle = await files.open(path, "create");
    await handle.write(other, 0);
    await handle.close();
    const backup = await bench.backup();
    const { warnings, snapshotOffset } = await restorer.restore({ type: "latest" }, "/restored");
    // Either the backup has noticed already, or the restore does.
    if (backup.snapshotOffset !== null) expect(warnings).toEqual([expect.stringContaining("left out")]);
    expect(snapshotOffset).toBeNull();
    expect((await lookInto(restorer, "/restored")).endOffset).toBe(62);
  });

  it("locks the directory meanwhile", async () => {
    await bench.grow(10);
    await bench.backup();
    const lock = await (async () => {
      await files.makeDirectory("/held");
      return files.lock("/held/LOCK", "somebody");
    })();
    await expect(restorer.restore({ type: "latest" }, "/held")).rejects.toMatchObject({ code: "LOG_LOCKED" });
    await lock.release();
    expect((await restorer.restore({ type: "latest" }, "/held")).lastOffset).toBe(11);
  });
});

describe("the record of an epoch's start", () => {
  it("reads what it wrote, and nothing else", async () => {
    const { decode } = await import("@msgpack/msgpack");
    const restored = {
      reason: "restored",
      from: "f".repeat(300),
      offset: at(2 ** 40),
      lineage: "a".repeat(32),
    } as const;
    for (const start of [
      { reason: "created" } as const,
      { reason: "promoted" } as const,
      restored,
      { ...restored, reason: "migrated" } as const,
    ]) {
      const body = encodeEpochStart(start);
      expect(decode(body)).toEqual(start);
      expect(decodeEpochStart(2, body)).toEqual(start);
      for (let end = 0; end < body.length; end++)
        expect(decodeEpochStart(2, body.subarray(0, end))).toBeUndefined();
    }
    for (const offset of [1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32])
      expect(decode(encodeEpochStart({ ...restored, offset: at(offset) }))).toMatchObject({ offset });
    // What the empty body of version 1 meant.
    expect(decodeEpochStart(1, new Uint8Array(0))).toEqual({ reason: "created" });
    expect(decodeEpochStart(3, encodeEpochStart({ reason: "created" }))).toBeUndefined();
    expect(decodeEpochStart(2, Buffer.from("nothing of the kind"))).toBeUndefined();
  });
});

describe("a backup whose log does not begin at its first record", () => {
  it("gives the state before its first record for no time before that", async () => {
    await bench.grow(120, { segmentBytes: 4096 });
    const { extents } = await openLogView(files, DATA);
    const last = extents[1]!.lastOffset;
    await bench.putSnapshot(last);
    const { log } = await bench.openLog({ segmentBytes: 4096 });
    const { timestamp } = await log.markAt(last);
    expect(await log.retain(at(last + 1))).toBe(last + 1);
    await log.close();
    await bench.backup();
    const plan = (time: number) => restorer.plan({ type: "time", time });
    for (const time of [0, timestamp - 1])
      await expect(plan(time)).rejects.toMatchObject({
        code: "RESTORE_TARGET_RETIRED",
        context: { earliest: last },
      });
    expect(await plan(timestamp)).toMatchObject({ last });
  });

  it("reaches back to its oldest snapshot, and says so of what lies before", async () => {
    await bench.grow(120, { segmentBytes: 4096 });
    await bench.putSnapshot(70);
    const { log } = await bench.openLog({ segmentBytes: 4096 });
    const first = await log.retain(at(60));
    await log.close();
    expect(first).toBeGreaterThan(30);
    const { id } = await bench.backup();
    const plan = (offset: number) => restorer.plan({ type: "offset", offset });
    for (const tooEarly of [1, first, 69])
      await expect(plan(tooEarly)).rejects.toMatchObject({
        code: "RESTORE_TARGET_RETIRED",
        context: { earliest: 70 },
      });
    for (const last of [70, 71, 121]) expect(await plan(last)).toMatchObject({ backup: id, last });
    const { dataDirectory } = await restorer.restore({ type: "offset", offset: 70 });
    expect(await lookInto(restorer, dataDirectory)).toMatchObject({ firstOffset: first, endOffset: 71 });
  });
});
