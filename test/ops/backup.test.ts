// What a backup contains and sends, what it refuses, and what its repository survives.
import { beforeEach, describe, expect, it } from "vitest";
import { applyRepair, FORMAT_FILE, LogError, readWholeFile, replaceFile } from "../../log/index.js";
import { BackupError } from "../../ops/backup/errors.js";
import { parseObject } from "../../ops/backup/layout.js";
import { segmentsOf } from "../../ops/backup/manifest.js";
import type { ObjectStore } from "../../ops/backup/object-store.js";
import { PIECES_MAX } from "../../ops/backup/plan.js";
import { loadBackup } from "../../ops/backup/repository.js";
import { makeSnapshot } from "../../ops/state/perform.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import {
  BackupBench,
  DATA,
  inMemory,
  onDisk,
  REPOSITORY,
  RULES,
  recordsOfBackup,
} from "../support/backup-bench.js";
import { at, offsetsOf, readAll, segmentFile, span } from "../support/test-log.js";

let disk: SimulatedDisk;
let bench: BackupBench;
beforeEach(() => {
  disk = new SimulatedDisk(1);
  bench = new BackupBench(disk.mount());
});

const refusalOf = async (call: Promise<unknown>): Promise<string> => {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof BackupError || error instanceof LogError) return error.code;
  throw new Error(`not refused, but ${String(error)}`);
};
const namesIn = (folder: string): Promise<string[]> => bench.files.list(`${REPOSITORY}/${folder}`);
const offsetsIn = async (id: string): Promise<number[]> => offsetsOf(await recordsOfBackup(bench.store, id));

describe("backup", () => {
  it("knows its own manifest where an answer was lost and the name is taken at the second attempt", async () => {
    await bench.grow(20);
    const { store } = bench;
    const put: ObjectStore["put"] = async (name, bytes, options) => {
      const done = await store.put(name, bytes, options);
      return parseObject(name)?.kind === "backup" ? store.put(name, bytes, options) : done;
    };
    const losing: ObjectStore = {
      url: store.url,
      put,
      get: (name, range) => store.get(name, range),
      head: (name) => store.head(name),
      list: (prefix) => store.list(prefix),
      remove: (name) => store.remove(name),
      lock: (holder) => store.lock(holder),
    };
    expect(await bench.backup({ store: losing })).toMatchObject({ lastOffset: 21, warnings: [] });
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("contains every record up to the last whole one, and says so", async () => {
    await bench.grow(100);
    const report = await bench.backup();
    expect(report).toMatchObject({ firstOffset: 1, lastOffset: 101, snapshotOffset: null, warnings: [] });
    expect(await offsetsIn(report.id)).toEqual(span(1, 101));
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("takes a break after each piece, told how long that took, and does nothing meanwhile", async () => {
    await bench.grow(100);
    await bench.putSnapshot(90);
    let nowMs = 0;
    let total = 0;
    let isResting = false;
    const workedMs: number[] = [];
    const { sentBytes, files } = await bench.backup({
      copy: true,
      breaks: {
        // Each look at the clock is 4 ms after the one before.
        stopwatch: () => (nowMs += 4),
        take: async (worked) => {
          expect(isResting).toBe(false);
          isResting = true;
          workedMs.push(worked);
          total = disk.counts.total;
          await new Promise((resolve) => setTimeout(resolve, 5));
          expect(disk.counts.total, "while it rests").toBe(total);
          isResting = false;
        },
      },
    });
    expect(sentBytes).toBeGreaterThan(0);
    expect(workedMs.length, "each file is read twice").toBeGreaterThanOrEqual(2 * files);
    expect(new Set(workedMs)).toEqual(new Set([4]));
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("tells how far it is, up to the end, whether it copies or links", async () => {
    await bench.grow(100);
    await bench.putSnapshot(90);
    const elsewhere = new BackupBench(bench.files, 9, "/elsewhere");
    for (const [maker, copy] of [
      [bench, false],
      [elsewhere, true],
    ] as const) {
      const told: [number, number][] = [];
      const { sentBytes } = await maker.backup({ copy, onProgress: (done, all) => told.push([done, all]) });
      expect(told.at(-1)).toEqual([sentBytes, sentBytes]);
      for (const [i, [done, all]] of told.entries()) {
        expect(done).toBeLessThanOrEqual(all);
        expect(done).toBeGreaterThanOrEqual(told[i - 1]?.[0] ?? 0);
      }
    }
  });

  it("works beside an open log, and takes what was appended until it began", async () => {
    const { log } = await bench.openLog();
    await bench.append(log, 37);
    const report = await bench.backup();
    await bench.append(log, 10);
    expect(report.lastOffset).toBe(38);
    expect((await bench.backup()).lastOffset).toBe(48);
    await log.close();
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("sends after 1 % change at most 5 % of what the first one sent, in bytes and with a newer snapshot there", async () => {
    bench.keys = 1_000_000;
    await bench.grow(3_000);
    await bench.putSnapshot(2_900);
    const first = await bench.backup();
    await bench.grow(30);
    // Each key once: the state is as large as the log, and a newer snapshot saves nothing.
    await bench.putSnapshot(3_020);
    const second = await bench.backup();
    expect(first.sentBytes).toBeGreaterThan(300_000);
    expect(second.lastOffset).toBe(first.lastOffset + 30);
    expect(second.sentBytes).toBeLessThanOrEqual(0.05 * first.bytes);
    expect(await offsetsIn(second.id)).toEqual(span(1, second.lastOffset));
    const third = await bench.backup();
    expect(third).toMatchObject({ sentFiles: 0, sentBytes: 0, bytes: second.bytes });
  });

  it("sends a segment anew as one when it would lie in too many pieces", async () => {
    const large = { segmentBytes: 1 << 20 };
    await bench.grow(1, large);
    const counts: number[] = [];
    for (let i = 0; i < PIECES_MAX + 8; i++) {
      await bench.grow(1, large);
      counts.push(segmentsOf(await loadBackup(bench.store, (await bench.backup()).id)).length);
    }
    expect(Math.max(...counts)).toBe(PIECES_MAX);
    expect(counts.at(-1)).toBe(8);
    const { findings, verified } = await bench.verify();
    expect(findings).toEqual([]);
    expect(verified).toHaveLength(PIECES_MAX + 8);
  });

  it("parts from the pieces of records that were lost with the power and written anew", async () => {
    await bench.grow(40);
    await bench.backup();
    const before = await inMemory(bench.files, DATA);
    await bench.grow(10);
    await bench.putSnapshot(46);
    const lost = await bench.backup();
    expect(lost.snapshotOffset).toBe(46);
    const after = new SimulatedDisk(2);
    const other = new BackupBench(after.mount(), 5);
    await onDisk(other.files, await inMemory(bench.files, REPOSITORY));
    await onDisk(other.files, before);
    other.nowMs = bench.nowMs;
    await other.grow(15);
    const report = await other.backup();
    expect(report).toMatchObject({ snapshotOffset: null, lastOffset: 56 });
    const { log } = await other.openLog();
    const records = await recordsOfBackup(other.store, report.id);
    expect(records.map(({ crc }) => crc)).toEqual((await readAll(log)).map(({ crc }) => crc));
    await log.close();
    expect(records[45]?.crc).not.toBe((await recordsOfBackup(other.store, lost.id))[45]?.crc);
    expect((await other.verify()).findings).toEqual([]);
  });

  it("begins anew when retention removes what it was about to send", async () => {
    const { log } = await bench.openLog();
    await bench.append(log, 150);
    await bench.putSnapshot(140);
    const link = bench.store.link.bind(bench.store);
    let links = 0;
    bench.store.link = async (path, name) => {
      links += 1;
      if (links === 2) await log.retain(at(130));
      return link(path, name);
    };
    const report = await bench.backup();
    expect(report.firstOffset).toBe(log.firstOffset);
    expect(report.firstOffset).toBeGreaterThan(60);
    expect(report.snapshotOffset).toBe(140);
    await log.close();
    const { findings, notes } = await bench.verify();
    expect(findings).toEqual([]);
    // What was sent before is the next prune's.
    expect(notes.length).toBeGreaterThan(0);
  });

  it("begins anew when newer snapshots have replaced all that it could have taken along", async () => {
    const { log } = await bench.openLog();
    await bench.append(log, 150);
    const old = await bench.putSnapshot(140);
    await log.retain(at(130));
    const link = bench.store.link.bind(bench.store);
    let isFirst = true;
    bench.store.link = async (path, name) => {
      if (isFirst) {
        isFirst = false;
        await bench.append(log, 50);
        await makeSnapshot({ dataDirectory: DATA }, RULES, {
          files: bench.files,
          now: () => bench.nowMs,
          stopwatch: () => bench.nowMs,
        });
        await bench.files.remove(old);
      }
      return link(path, name);
    };
    const { firstOffset, lastOffset, snapshotOffset } = await bench.backup();
    expect(firstOffset).toBeGreaterThan(1);
    expect(snapshotOffset).toBe(lastOffset);
    await log.close();
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("leaves no damage to tell of when it is killed before its head again and again", async () => {
    const put = bench.store.put.bind(bench.store);
    for (let round = 0; round < 3; round++) {
      await bench.grow(5);
      let isNamed = false;
      bench.store.put = async (name, ...rest) => {
        if (isNamed) throw new Error("killed");
        isNamed = parseObject(name)?.kind === "backup";
        return put(name, ...rest);
      };
      await expect(bench.backup()).rejects.toThrow("killed");
      expect((await bench.verify()).findings).toEqual([]);
    }
    expect(await namesIn("backups")).toHaveLength(4);
  });

  it("follows the log through a new epoch", async () => {
    await bench.grow(10);
    await bench.backup();
    const { log } = await bench.openLog();
    await log.startEpoch();
    await bench.append(log, 5);
    await log.close();
    const { id } = await bench.backup();
    const manifest = await loadBackup(bench.store, id);
    expect(manifest.epochs.map(({ epoch, first }) => [epoch, first])).toEqual([
      [1, 1],
      [2, 12],
    ]);
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("sends again what is gone, or of a wrong size, and nothing else", async () => {
    await bench.grow(100);
    await bench.backup({ copy: true });
    const names = await namesIn("segments");
    const [gone = "", cut = ""] = names;
    expect(names.length).toBeGreaterThan(2);
    await bench.files.remove(`${REPOSITORY}/segments/${gone}`);
    const handle = await bench.files.open(`${REPOSITORY}/segments/${cut}`, "write");
    await handle.truncate(200);
    await handle.close();
    const codes = (await bench.verify()).findings.map(({ code }) => code);
    expect(codes.sort()).toEqual(["damaged", "missing"]);
    expect((await bench.backup({ copy: true })).sentFiles).toBe(2);
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("goes on when the newest manifest cannot be read, and says so; the checker finds it", async () => {
    await bench.grow(30);
    await bench.backup();
    await bench.grow(5);
    const { id } = await bench.backup();
    disk.flip(`${REPOSITORY}/backups/${id}.json`, 50, 1);
    await bench.grow(5);
    const report = await bench.backup();
    expect(report.warnings).toEqual([expect.stringContaining(`backup ${id} cannot be read`)]);
    const { findings } = await bench.verify();
    expect(findings.map(({ name, code }) => [name, code])).toEqual([[`backups/${id}.json`, "damaged"]]);
  });

  it("has an id later than all before, also when the clock was set back", async () => {
    await bench.grow(3);
    const first = await bench.backup();
    bench.nowMs -= 3_600_000;
    const second = await bench.backup();
    expect(second.id > first.id).toBe(true);
    expect((await bench.verify()).findings).toEqual([]);
  });
});

describe("backup refuses", () => {
  it("a directory without a record", async () => {
    await bench.files.makeDirectory(`${DATA}/log`);
    expect(await refusalOf(bench.backup())).toBe("BACKUP_NOTHING");
  });

  it("a directory of a later release, and begins no repository", async () => {
    await bench.grow(3);
    await replaceFile(bench.files, DATA, FORMAT_FILE, Buffer.from('{"formatVersion":99}'));
    expect(await refusalOf(bench.backup())).toBe("LOG_VERSION_UNKNOWN");
    expect(await bench.files.exists(REPOSITORY)).toBe(false);
  });

  it("the repository of another cluster", async () => {
    await bench.grow(3);
    await bench.backup();
    const stranger = new BackupBench(new SimulatedDisk(3).mount(), 77);
    await onDisk(stranger.files, await inMemory(bench.files, REPOSITORY));
    await stranger.grow(3);
    expect(await refusalOf(stranger.backup())).toBe("BACKUP_REPOSITORY_FOREIGN");
  });

  it("a repository that somebody writes to, naming who", async () => {
    await bench.grow(3);
    const lock = await bench.store.lock("annals backup, pid 7");
    await expect(bench.backup()).rejects.toThrow("annals backup, pid 7");
    await lock.release();
    await bench.backup();
  });

  it("a damaged log: damage never becomes a backup", async () => {
    await bench.grow(100);
    const names = (await bench.files.list(`${DATA}/log`)).filter((name) => name.endsWith(".log"));
    expect(names.length).toBeGreaterThan(2);
    for (const name of names) {
      disk.flip(`${DATA}/log/${name}`, 700, 4);
      expect(await refusalOf(bench.backup()), name).toBe("LOG_CORRUPT");
      disk.flip(`${DATA}/log/${name}`, 700, 4);
    }
    expect(await bench.files.exists(`${REPOSITORY}/backups`)).toBe(false);
    await bench.backup();
  });

  it("a log whose beginning is gone when no snapshot stands in for it", async () => {
    const { log } = await bench.openLog();
    await bench.append(log, 200);
    await log.retain(at(120));
    const { firstOffset } = log;
    await log.close();
    expect(firstOffset).toBeGreaterThan(1);
    expect(await refusalOf(bench.backup())).toBe("BACKUP_SNAPSHOT_MISSING");
  });
});

describe("a backup's snapshot", () => {
  it("is the newest that is whole and of this log; others are passed over with a warning", async () => {
    await bench.grow(100);
    await bench.putSnapshot(40);
    const newest = await bench.putSnapshot(80);
    disk.flip(newest, 300, 1);
    const report = await bench.backup();
    expect(report.snapshotOffset).toBe(40);
    expect(report.warnings).toEqual([expect.stringContaining("_80.snap was passed over")]);
    const { snapshot } = await loadBackup(bench.store, report.id);
    expect(Object.keys(snapshot?.digests ?? {}).sort()).toEqual([
      "all",
      "idempotency",
      "kv",
      "queue",
      "stream",
    ]);
  });

  it("is renewed when that costs no more than the records that it saves to read", async () => {
    bench.keys = 3;
    await bench.grow(200);
    await bench.putSnapshot(100);
    expect((await bench.backup()).snapshotOffset).toBe(100);
    await bench.grow(2);
    await bench.putSnapshot(102);
    expect((await bench.backup()).snapshotOffset).toBe(100);
    await bench.grow(100);
    await bench.putSnapshot(250);
    expect((await bench.backup()).snapshotOffset).toBe(250);
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("stands in for records that the log has retired", async () => {
    await bench.grow(150);
    await bench.putSnapshot(60);
    await bench.backup();
    await bench.putSnapshot(140);
    const { log } = await bench.openLog();
    await log.retain(at(130));
    const { firstOffset } = log;
    await log.close();
    expect(firstOffset).toBeGreaterThan(61);
    const { id, snapshotOffset } = await bench.backup();
    expect(snapshotOffset).toBe(140);
    expect(await offsetsIn(id)).toEqual(span(firstOffset, 151));
    expect((await bench.verify()).findings).toEqual([]);
  });
});

describe("segments that a backup shares with the log", () => {
  it("stay as they are when the log is cut back into one and goes on", async () => {
    await bench.grow(100);
    const { linkedBytes, id } = await bench.backup();
    expect(linkedBytes).toBeGreaterThan(0);
    const { log } = await bench.openLog();
    await log.truncate(at(20));
    await bench.append(log, 60);
    await log.close();
    expect((await bench.verify()).findings).toEqual([]);
    expect(await offsetsIn(id)).toEqual(span(1, 101));
  });

  it("stay as they are when the newest segment's name is lost and a sealed one is the tail again", async () => {
    await bench.grow(100);
    const { id } = await bench.backup();
    const names = (await bench.files.list(`${DATA}/log`)).filter((name) => name.endsWith(".log"));
    expect(names.length).toBeGreaterThan(2);
    await bench.files.remove(`${DATA}/log/${names.at(-1)}`);
    // Nothing proves what was in it: as if the power had gone in `never`.
    await bench.files.remove(`${DATA}/recovery-point`);
    await bench.grow(40);
    expect((await bench.verify()).findings).toEqual([]);
    expect(await offsetsIn(id)).toEqual(span(1, 101));
  });

  it("keep what a repair of the log cuts off", async () => {
    await bench.grow(100);
    const { id } = await bench.backup();
    const damaged = `${DATA}/log/${segmentFile(1)}`;
    disk.flip(damaged, 2_000, 4);
    const { keptIn } = await applyRepair({
      files: bench.files,
      dataDirectory: DATA,
      now: () => bench.nowMs,
      holder: "a test",
    });
    expect(keptIn).toBeDefined();
    await bench.grow(20);
    // The damage is the repository's, too, and nothing but the damage.
    const shared = (await namesIn("segments"))[0] ?? "";
    expect((await bench.verify()).findings.map(({ name }) => name)).toEqual([`segments/${shared}`]);
    disk.flip(`${REPOSITORY}/segments/${shared}`, 2_000, 4);
    expect((await bench.verify()).findings).toEqual([]);
    expect(await offsetsIn(id)).toEqual(span(1, 101));
  });

  it("are copies when that is asked for", async () => {
    await bench.grow(100);
    expect(await bench.backup({ copy: true })).toMatchObject({ linkedBytes: 0, lastOffset: 101 });
    const [name = ""] = await namesIn("segments");
    expect((await bench.files.stat(`${REPOSITORY}/segments/${name}`))?.links).toBe(1);
    const bytes = await readWholeFile(bench.files, `${REPOSITORY}/segments/${name}`, 1 << 20);
    expect(bytes).toEqual(await readWholeFile(bench.files, `${DATA}/log/${segmentFile(1)}`, 1 << 20));
  });
});
