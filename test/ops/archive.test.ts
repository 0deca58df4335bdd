// What an archive holds, whose it is, and how far back it reaches: by example, in a directory in memory.
import { beforeEach, describe, expect, it } from "vitest";
import { checkSegment, type LogRecord } from "../../log/index.js";
import { type Archive, listArchive, loadArchive } from "../../ops/backup/archive-chain.js";
import { type ArchivedFiles, retainedFiles } from "../../ops/backup/archive-retention.js";
import { ArchiveSweep } from "../../ops/backup/archive-sweep.js";
import { ArchiveWriter, type ArchiveWriterOptions } from "../../ops/backup/archive-writer.js";
import { parseObject } from "../../ops/backup/layout.js";
import { type Manifest, segmentsOf } from "../../ops/backup/manifest.js";
import { type ObjectStore, readObject } from "../../ops/backup/object-store.js";
import { pruneBackups } from "../../ops/backup/prune.js";
import { BackupBench, DATA, inMemory, REPOSITORY } from "../support/backup-bench.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { at, offsetsOf, span } from "../support/test-log.js";

const ALL = { keepDays: 0, keepSnapshots: 0 };

let disk: MemoryFileSystem;
let bench: BackupBench;
beforeEach(() => {
  disk = new MemoryFileSystem();
  bench = new BackupBench(disk);
});

const writerOf = (of = bench, overrides: Partial<ArchiveWriterOptions> = {}): ArchiveWriter =>
  new ArchiveWriter({
    files: of.files,
    dataDirectory: DATA,
    store: bench.store,
    rules: ALL,
    now: () => of.nowMs,
    ...overrides,
  });

async function archive(): Promise<Archive> {
  const loaded = await loadArchive(bench.store);
  if (loaded === undefined) throw new Error("there is no archive");
  return loaded;
}

const manifest = async (): Promise<Manifest> => (await archive()).manifest;

async function records(): Promise<LogRecord[]> {
  const found: LogRecord[] = [];
  for (const { name } of segmentsOf(await manifest()))
    await checkSegment(name, bench.store.get(name), (batch) => found.push(...batch));
  return found;
}

/** Grows the log by so many records, epoch's included, and archives all. */
async function growAndArchive(count: number, writer = writerOf(), segmentBytes = 4096): Promise<number> {
  const { log } = await bench.openLog({ segmentBytes });
  try {
    await bench.append(log, count);
    return (await writer.bringUpTo(log.durableOffset))?.lastOffset ?? 0;
  } finally {
    await log.close();
  }
}

const namesOf = async (prefix: string): Promise<string[]> => {
  const names: string[] = [];
  for await (const { name } of bench.store.list(prefix)) names.push(name);
  return names;
};

describe("an archive", () => {
  it("holds the log up to the offset that was asked for, and not a record more", async () => {
    const { log } = await bench.openLog();
    await bench.append(log, 80);
    for (const last of [1, 2, 30, 31, 70, 81]) {
      expect(await writerOf().bringUpTo(at(last))).toMatchObject({ firstOffset: 1, lastOffset: last });
      expect(offsetsOf(await records())).toEqual(span(1, last));
      expect((await bench.verify()).findings).toEqual([]);
    }
    await log.close();
  });

  it("grows by pieces of the tail, and has a sealed segment as one object", async () => {
    const writer = writerOf();
    for (let i = 0; i < 8; i++) await growAndArchive(2, writer, 1 << 20);
    expect(segmentsOf(await manifest())).toHaveLength(8);
    await growAndArchive(60, writer, 4096);
    const { log } = await bench.openLog();
    const segments = segmentsOf(await manifest());
    expect(segments.length).toBeLessThan(60);
    expect(segments[0]).toMatchObject({ baseOffset: 1 });
    expect(segments[0]?.endOffset).toBeGreaterThanOrEqual(17);
    await log.close();
    const last = (await manifest()).lastOffset;
    expect(offsetsOf(await records())).toEqual(span(1, last));
  });

  it("sends each record of the tail once, until it lies in too many pieces", async () => {
    let bytes = 0;
    const writer = writerOf(bench, { onUpload: (kind, sent) => (bytes += kind === "segment" ? sent : 0) });
    for (let i = 0; i < 30; i++) await growAndArchive(3, writer, 1 << 20);
    const total = segmentsOf(await manifest()).reduce((sum, segment) => sum + segment.bytes, 0);
    expect(bytes).toBe(total);
    for (let i = 0; i < 5; i++) await growAndArchive(3, writer, 1 << 20);
    expect(segmentsOf(await manifest()).length).toBeLessThan(10);
  });

  it("takes breaks between the pieces of what it sends, when it is given any", async () => {
    await bench.grow(40);
    const worked: number[] = [];
    const take = async (workedMs: number): Promise<void> => void worked.push(workedMs);
    let nowMs = 0;
    await writerOf().bringUpTo(at(41), { stopwatch: () => nowMs++, take });
    expect(new Set(worked)).toEqual(new Set([1]));
    const breaks = worked.length;
    await bench.grow(40);
    await writerOf().bringUpTo(at(81));
    expect(worked).toHaveLength(breaks);
  });

  it("is not written to when there is nothing new", async () => {
    const writer = writerOf();
    const last = await growAndArchive(10, writer);
    const before = (await inMemory(disk, REPOSITORY)).paths;
    for (const each of [writer, writerOf()]) await each.bringUpTo(at(last));
    expect((await inMemory(disk, REPOSITORY)).paths).toEqual(before);
  });

  it("sends again what it had sent, when that was swept before it had a name", async () => {
    const { store } = bench;
    const writer = writerOf();
    await growAndArchive(30, writer);
    const put = store.put.bind(store);
    store.put = async (name, bytes, options) => {
      if (name.startsWith("archive/")) throw new Error("no answer");
      return put(name, bytes, options);
    };
    await expect(growAndArchive(60, writer)).rejects.toThrow("no answer");
    store.put = put;
    let nowMs = 0;
    const sweep = new ArchiveSweep(store, { holder: "a test", stopwatch: () => nowMs++, graceMs: 1 });
    expect((await sweep.run()) + (await sweep.run())).toBeGreaterThan(0);
    const last = await growAndArchive(1, writer);
    expect(offsetsOf(await records())).toEqual(span(1, last));
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("keeps a few manifests, for whoever reads them", async () => {
    for (let i = 0; i < 7; i++) await growAndArchive(1);
    expect(await listArchive(bench.store)).toEqual([5, 6, 7]);
    expect((await archive()).sequence).toBe(7);
  });

  it("is whole when each server is killed before it could move the head", async () => {
    const put = bench.store.put.bind(bench.store);
    for (let round = 0; round < 3; round++) {
      let isNamed = false;
      bench.store.put = async (name, ...rest) => {
        if (isNamed) throw new Error("killed");
        isNamed = parseObject(name)?.kind === "archiveManifest";
        return put(name, ...rest);
      };
      await expect(growAndArchive(3)).rejects.toThrow("killed");
      expect((await bench.verify()).findings).toEqual([]);
    }
  });

  it("has the snapshots, and reaches further back than a log whose beginning is gone", async () => {
    const writer = writerOf();
    await growAndArchive(60, writer);
    await bench.putSnapshot(50);
    await growAndArchive(40, writer);
    const { log } = await bench.openLog();
    expect(await log.retain(at(50))).toBeGreaterThan(20);
    await bench.append(log, 5);
    await writer.bringUpTo(log.durableOffset);
    expect(await manifest()).toMatchObject({ firstOffset: 1, snapshot: { offset: 50 } });
    expect(offsetsOf(await records())).toEqual(span(1, log.endOffset));
    expect((await bench.verify()).findings).toEqual([]);
    await log.close();
  });

  it("begins with a snapshot where the log has lost its beginning, and not without", async () => {
    await bench.grow(100);
    const { log } = await bench.openLog();
    await log.retain(at(60));
    await expect(writerOf().bringUpTo(log.durableOffset)).rejects.toMatchObject({
      code: "BACKUP_SNAPSHOT_MISSING",
    });
    expect(await listArchive(bench.store)).toEqual([]);
    await log.close();
  });

  it("shares a repository with backups, whose pruning leaves it whole", async () => {
    await growAndArchive(30);
    await bench.backup();
    await growAndArchive(30);
    expect(await bench.verify()).toMatchObject({ findings: [], backups: 1 });
    expect((await bench.verify({ id: "archive" })).verified).toEqual(["0".repeat(19).concat("2")]);
  });
});

describe("whose an archive is", () => {
  const refusal = (writer: ArchiveWriter, last: number): Promise<string> =>
    writer.bringUpTo(at(last)).then(
      () => "none",
      (error: { code: string }) => error.code,
    );

  it("another cluster's is refused, also when it ends at the same offset, and is left as it is", async () => {
    const last = await growAndArchive(10);
    const before = (await inMemory(disk, REPOSITORY)).paths;
    const other = new BackupBench(new MemoryFileSystem(), 7);
    await other.grow(10);
    expect(await refusal(writerOf(other), last)).toBe("BACKUP_REPOSITORY_FOREIGN");
    expect((await inMemory(disk, REPOSITORY)).paths).toEqual(before);
  });

  it("backups of another cluster are refused, too", async () => {
    const other = new BackupBench(disk, 7);
    await other.grow(5);
    await other.backup();
    const own = new BackupBench(new MemoryFileSystem(), 9);
    await own.grow(5);
    expect(await refusal(writerOf(own), 5)).toBe("BACKUP_REPOSITORY_FOREIGN");
  });

  it("that of a copy of this directory, or of what it was before it lost its end, is refused", async () => {
    await growAndArchive(10);
    const copy = new BackupBench(await inMemory(disk, DATA), 11);
    copy.nowMs = bench.nowMs;
    await growAndArchive(10);
    expect(await refusal(writerOf(copy), 11)).toBe("BACKUP_ARCHIVE_DIVERGED");
    await copy.grow(10);
    expect(await refusal(writerOf(copy), 21)).toBe("BACKUP_ARCHIVE_DIVERGED");
  });

  it("one that ends before the log begins is refused", async () => {
    await growAndArchive(10);
    await bench.grow(150);
    const { log } = await bench.openLog();
    await log.retain(at(100));
    expect(await refusal(writerOf(), log.endOffset)).toBe("BACKUP_ARCHIVE_GAP");
    await log.close();
  });

  it("of two servers that continue one archive the one that comes second stops for good", async () => {
    const first = writerOf();
    await growAndArchive(10, first);
    const copy = new BackupBench(await inMemory(disk, DATA), 11);
    copy.nowMs = bench.nowMs + 1;
    const second = writerOf(copy);
    await copy.grow(5);
    await second.bringUpTo(at(16));
    const before = await manifest();
    const { log } = await bench.openLog();
    await bench.append(log, 20);
    for (let i = 0; i < 2; i++) expect(await refusal(first, log.endOffset)).toBe("BACKUP_ARCHIVE_TAKEN");
    expect(await manifest()).toEqual(before);
    expect((await bench.verify()).findings).toEqual([]);
    await log.close();
  });

  it("a server finds its own last manifest, though nobody told it that it was stored", async () => {
    const { store } = bench;
    let lose = false;
    const losing: ObjectStore = {
      url: store.url,
      get: (name) => store.get(name),
      head: (name) => store.head(name),
      list: (prefix) => store.list(prefix),
      remove: (name) => store.remove(name),
      lock: (holder) => store.lock(holder),
      put: async (name, bytes, options) => {
        const done = await store.put(name, bytes, options);
        if (lose && name.startsWith("archive/manifests/")) throw new Error("no answer");
        return done;
      },
    };
    const writer = writerOf(bench, { store: losing });
    await growAndArchive(10, writer);
    lose = true;
    await expect(growAndArchive(5, writer)).rejects.toThrow("no answer");
    lose = false;
    await growAndArchive(5, writer);
    const last = await growAndArchive(5, writer);
    expect(offsetsOf(await records())).toEqual(span(1, last));
    expect((await bench.verify()).findings).toEqual([]);
  });
});

describe("how far back an archive reaches", () => {
  const DAY_MS = 86_400_000;
  const files = (): ArchivedFiles => ({
    segments: [1, 11, 21, 31, 41].map((base) => ({ baseOffset: base, endOffset: base + 9 }) as never),
    snapshots: [10, 25, 40].map(
      (offset, i) =>
        ({ offset, name: `snapshots/snapshot_${i * DAY_MS}_${offset}-${"0".repeat(16)}.snap` }) as never,
    ),
  });
  const kept = (rules: { keepDays: number; keepSnapshots: number }, days: number) => {
    const { segments, snapshots } = retainedFiles(files(), rules, days * DAY_MS);
    return [segments[0]?.baseOffset, ...snapshots.map(({ offset }) => offset)];
  };

  it.each([
    ["everything without a rule", { keepDays: 0, keepSnapshots: 0 }, 99, [1, 10, 25, 40]],
    ["to the snapshot before the days begin", { keepDays: 2, keepSnapshots: 0 }, 3, [21, 25, 40]],
    ["to the snapshot with which the days begin exactly", { keepDays: 1, keepSnapshots: 0 }, 3, [41, 40]],
    ["everything while no snapshot is old enough", { keepDays: 9, keepSnapshots: 0 }, 3, [1, 10, 25, 40]],
    ["so many snapshots", { keepDays: 0, keepSnapshots: 2 }, 99, [21, 25, 40]],
    ["everything while there are fewer", { keepDays: 0, keepSnapshots: 4 }, 99, [1, 10, 25, 40]],
    ["as far as either rule says", { keepDays: 1, keepSnapshots: 3 }, 99, [11, 10, 25, 40]],
    ["as far as the other rule says", { keepDays: 2, keepSnapshots: 1 }, 3, [21, 25, 40]],
  ])("%s", (_, rules, days, expected) => {
    expect(kept(rules, days)).toEqual(expected);
  });

  it("whatever goes, what stays is whole, is not sent again, and its objects go when nothing names them", async () => {
    let sent = 0;
    const rules = { keepDays: 0, keepSnapshots: 1 };
    const writer = writerOf(bench, { rules, onUpload: (kind) => (sent += kind === "segment" ? 1 : 0) });
    for (let i = 1; i <= 3; i++) {
      await growAndArchive(60, writer);
      await bench.putSnapshot(60 * i);
    }
    const last = await growAndArchive(3, writer);
    const { firstOffset, firstTimestamp } = await manifest();
    expect(firstOffset).toBeGreaterThan(100);
    const found = await records();
    expect(offsetsOf(found)).toEqual(span(firstOffset, last));
    expect(found[0]?.timestamp).toBe(firstTimestamp);
    let nowMs = 0;
    const sweep = new ArchiveSweep(bench.store, { holder: "a test", stopwatch: () => nowMs, graceMs: 1000 });
    expect(await sweep.run()).toBe(0);
    nowMs = 999;
    expect(await sweep.run()).toBe(0);
    nowMs = 1000;
    expect(await sweep.run()).toBeGreaterThan(2);
    expect(await bench.verify()).toMatchObject({ findings: [], notes: [] });
    const before = sent;
    await growAndArchive(1, writer);
    expect(sent - before).toBeLessThan(3);
  });

  it("a sweep removes what a killed server left half written, once nobody can be writing it any more", async () => {
    await growAndArchive(20);
    const left = [
      "segments/x.log.0123abcd.tmp",
      "snapshots/x.snap.0123abcd.tmp",
      "archive/head.json.0123abcd.tmp",
    ];
    for (const name of left) disk.put(`${REPOSITORY}/${name}`, Buffer.from("half"));
    expect((await bench.verify()).notes.map(({ name }) => name).sort()).toEqual([...left].sort());
    let nowMs = 0;
    const sweep = new ArchiveSweep(bench.store, { holder: "a test", stopwatch: () => nowMs, graceMs: 1000 });
    expect(await sweep.run()).toBe(0);
    nowMs = 1000;
    expect(await sweep.run()).toBe(left.length);
    expect(await bench.verify()).toMatchObject({ findings: [], notes: [] });
  });

  it("a sweep leaves what a backup names, waits for who makes one, and removes nothing while a manifest is damaged", async () => {
    const writer = writerOf(bench, { rules: { keepDays: 0, keepSnapshots: 1 } });
    await growAndArchive(60, writer);
    await bench.backup();
    await bench.putSnapshot(60);
    await growAndArchive(60, writer);
    const sweep = new ArchiveSweep(bench.store, { holder: "a test", stopwatch: () => 0, graceMs: 0 });
    const lock = await bench.store.lock("annals backup, pid 1");
    await expect(sweep.run()).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    await lock.release();
    const [backup = ""] = (await namesOf("backups/")).filter((name) => !name.includes("head"));
    const whole = await readObject(bench.store, backup, 1 << 20);
    await bench.store.put(
      backup,
      whole.map((byte, i) => (i === 40 ? byte ^ 2 : byte)),
    );
    await expect(sweep.run()).rejects.toMatchObject({ code: "BACKUP_DAMAGED" });
    await bench.store.put(backup, whole);
    await sweep.run();
    expect(await bench.verify()).toMatchObject({ findings: [], backups: 1 });
  });
});

describe("an archive beside backups that are pruned", () => {
  const DAYS_MS = 2 * 24 * 3_600_000;
  const prune = (graceMs = DAYS_MS / 2, nowMs = bench.nowMs) =>
    pruneBackups(bench.store, {
      keep: 1,
      keepDays: undefined,
      graceMs,
      dryRun: false,
      now: () => nowMs,
      holder: "prune",
    });

  /** A store of which one method does something else first. */
  const preceding = (method: "lock" | "put", act: (name: string) => Promise<void>): ObjectStore =>
    new Proxy<ObjectStore>(bench.store, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== "function") return value;
        if (property !== method) return value.bind(target);
        return async (name: string, ...others: unknown[]) => {
          await act(name);
          return value.call(target, name, ...others);
        };
      },
    });

  /** What an archiver that died had sent lies there without a name, older than any grace. */
  async function leftovers(): Promise<void> {
    await bench.grow(60);
    await bench.backup({ copy: true });
    await bench.grow(60);
    const dying = preceding("put", async (name) => {
      if (name.startsWith("archive/")) throw new Error("killed");
    });
    await expect(writerOf(bench, { store: dying }).bringUpTo(at(121))).rejects.toThrow("killed");
    bench.nowMs += DAYS_MS;
    bench.keys += 1;
  }

  it("holds the lock while it names what it found there", async () => {
    await leftovers();
    const outcomes: unknown[] = [];
    const store = preceding("put", async (name) => {
      if (!name.startsWith("archive/manifests/")) return;
      outcomes.push(
        await prune().then(
          ({ removedObjects }) => removedObjects.length,
          (error) => error.code,
        ),
      );
    });
    await writerOf(bench, { store }).bringUpTo(at(121));
    expect(outcomes).toEqual(["BACKUP_LOCKED"]);
    expect(offsetsOf(await records())).toEqual(span(1, 121));
    expect((await prune()).removedObjects).toEqual([]);
    expect(offsetsOf(await records())).toEqual(span(1, 121));
  });

  it("is whole when somebody prunes without a grace what it has sent and not yet named", async () => {
    await growAndArchive(30);
    await bench.backup();
    const removed: string[] = [];
    const store = preceding("put", async (name) => {
      if (!name.startsWith("archive/manifests/")) return;
      const sentAt = (await bench.files.stat(`${REPOSITORY}/segments`))?.changedAt ?? 0;
      removed.push(...(await prune(0, sentAt + 60_000)).removedObjects);
    });
    await growAndArchive(30, writerOf(bench, { store }));
    expect((await bench.verify()).findings).toEqual([]);
    expect(removed).toEqual([]);
  });

  it("sends anew what was removed after it was found", async () => {
    await leftovers();
    let removed = 0;
    const store = preceding("lock", async () => {
      // Once: the disk of this world gives every file the same age, and what was just sent is too young to be pruned.
      if (removed === 0) removed += (await prune()).removedObjects.length;
    });
    const writer = writerOf(bench, { store });
    await expect(writer.bringUpTo(at(121))).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    expect(removed).toBeGreaterThan(0);
    await writer.bringUpTo(at(121));
    expect(offsetsOf(await records())).toEqual(span(1, 121));
  });
});
