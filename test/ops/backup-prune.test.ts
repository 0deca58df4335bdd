// Pruning: what stays, what goes, and that nothing goes which a backup or the archive still names.
import { beforeEach, describe, expect, it, vi } from "vitest";
import { BackupError } from "../../ops/backup/errors.js";
import { describeBackups } from "../../ops/backup/list.js";
import { type ManifestBody, readManifest, sealManifest } from "../../ops/backup/manifest.js";
import { type PruneOptions, type PruneReport, pruneBackups } from "../../ops/backup/prune.js";
import { listBackups, loadBackup, storeHead } from "../../ops/backup/repository.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { BackupBench, inMemory, REPOSITORY, recordsOfBackup } from "../support/backup-bench.js";
import { offsetsOf, span } from "../support/test-log.js";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let disk: SimulatedDisk;
let bench: BackupBench;
/** Five backups, a day apart. */
let ids: string[];
beforeEach(async () => {
  disk = new SimulatedDisk(1);
  bench = new BackupBench(disk.mount());
  ids = [];
  for (let i = 0; i < 5; i++) {
    await bench.grow(30);
    ids.push((await bench.backup()).id);
    bench.nowMs += DAY_MS;
  }
});

const prune = (options: Partial<PruneOptions>): Promise<PruneReport> =>
  pruneBackups(bench.store, {
    keep: undefined,
    keepDays: undefined,
    graceMs: DAY_MS,
    dryRun: false,
    now: () => bench.nowMs,
    holder: "a test",
    ...options,
  });
const left = async (): Promise<string[]> => (await listBackups(bench.store)).map(({ id }) => id);
const segmentNames = (): Promise<string[]> => bench.files.list(`${REPOSITORY}/segments`);

/** As an archive would name what it needs. */
async function archiveManifest(of: string): Promise<void> {
  const { sha256: _, ...body } = await loadBackup(bench.store, of);
  const { text } = sealManifest({ ...body, kind: "archive", previous: null } satisfies ManifestBody);
  await bench.store.put("archive/manifests/00000000000000000001.json", Buffer.from(text));
}

describe("prune", () => {
  it("keeps the newest so many, and each of them whole", async () => {
    const report = await prune({ keep: 2 });
    expect(report.removedBackups).toEqual(ids.slice(0, 3));
    expect(await left()).toEqual(ids.slice(3));
    expect(await bench.verify()).toMatchObject({ findings: [], notes: [] });
    for (const id of ids.slice(3)) {
      const records = offsetsOf(await recordsOfBackup(bench.store, id));
      expect(records).toEqual(span(1, records.length));
    }
  });

  it("keeps those younger than so many days, whatever their number, and always the newest", async () => {
    // The youngest is a day old, and some seconds lie between each of them and its day.
    expect((await prune({ keepDays: 3, dryRun: true })).keptBackups).toEqual(ids.slice(3));
    expect((await prune({ keepDays: 2, keep: 4, dryRun: true })).keptBackups).toEqual(ids.slice(1));
    bench.nowMs += 100 * DAY_MS;
    expect((await prune({ keepDays: 2 })).keptBackups).toEqual(ids.slice(4));
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("removes no backup when nobody says how many stay", async () => {
    const report = await prune({ graceMs: 0 });
    expect(report).toMatchObject({ removedBackups: [], removedObjects: [] });
    expect(await left()).toEqual(ids);
  });

  it("removes exactly what only the pruned backups named", async () => {
    for (let i = 0; i < 40; i++) {
      await bench.grow(1, { segmentBytes: 1 << 20 });
      ids.push((await bench.backup()).id);
    }
    const before = new Set(await segmentNames());
    const report = await prune({ keep: 1 });
    const named = (await loadBackup(bench.store, ids.at(-1) ?? "")).files.map(({ name }) => name);
    expect(report.removedObjects.length).toBeGreaterThan(0);
    expect(new Set((await segmentNames()).map((name) => `segments/${name}`))).toEqual(new Set(named));
    expect(before.size).toBe(named.length + report.removedObjects.length);
    expect((await bench.verify()).findings).toEqual([]);
  });

  it("leaves what an archive names, and removes nothing when its manifest cannot be read", async () => {
    for (let i = 0; i < 40; i++) {
      await bench.grow(1, { segmentBytes: 1 << 20 });
      ids.push((await bench.backup()).id);
    }
    const archived = ids[20] ?? "";
    await archiveManifest(archived);
    const needed = (await loadBackup(bench.store, archived)).files.map(({ name }) => name);
    const before = await inMemory(bench.files, REPOSITORY);
    disk.flip(`${REPOSITORY}/archive/manifests/00000000000000000001.json`, 40, 2);
    await expect(prune({ keep: 1 })).rejects.toMatchObject({ code: "BACKUP_DAMAGED" });
    disk.flip(`${REPOSITORY}/archive/manifests/00000000000000000001.json`, 40, 2);
    expect((await inMemory(bench.files, REPOSITORY)).paths).toEqual(before.paths);
    const { removedObjects } = await prune({ keep: 1 });
    expect(removedObjects.length).toBeGreaterThan(0);
    for (const name of needed) expect(await bench.store.head(name), name).toBeDefined();
  });

  it("gives what no backup ever named its time: it may be on its way into one", async () => {
    disk.clockMs = bench.nowMs;
    await bench.store.put("segments/half.log.0123abcd.tmp", Buffer.from("half"));
    const stray = `segments/${"0".repeat(19)}1-01234567-${"0".repeat(19)}2-0123456789abcdef.log`;
    await bench.store.put(stray, Buffer.from("x"));
    await bench.store.put("segments/foreign.txt", Buffer.from("somebody's"));
    bench.nowMs += HOUR_MS;
    expect((await prune({ keep: 5 })).removedObjects).toEqual([]);
    bench.nowMs += DAY_MS;
    expect((await prune({ keep: 5 })).removedObjects.toSorted()).toEqual([
      stray,
      "segments/half.log.0123abcd.tmp",
    ]);
    // What does not belong here is not ours to remove.
    expect(await bench.store.head("segments/foreign.txt")).toBeDefined();
  });

  it("changes nothing with a dry run, and says what it would do", async () => {
    const before = await inMemory(bench.files, REPOSITORY);
    const told = await prune({ keep: 2, dryRun: true });
    const after = await inMemory(bench.files, REPOSITORY);
    expect(after.paths.map((path) => [path, after.get(path)])).toEqual(
      before.paths.map((path) => [path, before.get(path)]),
    );
    const { dryRun: _, ...done } = await prune({ keep: 2 });
    expect({ dryRun: true, ...done }).toEqual(told);
  });

  it("goes on where one was killed, whatever is to be kept now", async () => {
    // The head was moved, and nothing removed yet.
    const [, , oldest = ""] = ids;
    const newest = { id: ids[4] ?? "", sha256: (await loadBackup(bench.store, ids[4] ?? "")).sha256 };
    await storeHead(bench.store, { oldest, newest });
    const { findings, notes } = await bench.verify();
    expect(findings).toEqual([]);
    expect(notes.map(({ name }) => name)).toEqual(ids.slice(0, 2).map((id) => `backups/${id}.json`));
    expect((await prune({})).removedBackups).toEqual(ids.slice(0, 2));
    expect(await bench.verify()).toMatchObject({ findings: [], notes: [] });
  });

  it("is refused while a backup is made, unless it has patience", async () => {
    const lock = await bench.store.lock("annals backup, pid 7");
    await expect(prune({ keep: 1 })).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    const told: string[] = [];
    const onWait = ({ message }: Error): void => {
      told.push(message);
      void lock.release();
    };
    const patient = await prune({ keep: 1, patience: { waitMs: 60_000, stopwatch: Date.now, onWait } });
    expect(patient.keptBackups).toHaveLength(1);
    expect(told).toEqual([expect.stringContaining("annals backup, pid 7")]);
  });

  it("waits as long as it is told, however long the first attempt took", async () => {
    const lock = await bench.store.lock("annals backup, pid 7");
    let nowMs = 0;
    const attempt = bench.store.lock.bind(bench.store);
    vi.spyOn(bench.store, "lock").mockImplementation((holder) => {
      nowMs += 5000;
      return attempt(holder);
    });
    const onWait = (): void => void lock.release();
    const patience = { waitMs: 1000, stopwatch: () => nowMs, onWait };
    expect((await prune({ keep: 1, patience })).keptBackups).toHaveLength(1);
    vi.restoreAllMocks();
  });

  it("goes on with the next backup: it follows the newest, and the first kept one may name a pruned one", async () => {
    await prune({ keep: 1 });
    await bench.grow(5);
    const { id } = await bench.backup();
    expect((await loadBackup(bench.store, id)).previous?.id).toBe(ids.at(-1));
    expect((await bench.verify()).findings).toEqual([]);
    await bench.store.remove(`backups/${ids.at(-1)}.json`);
    expect((await bench.verify()).findings.map(({ code }) => code)).toContain("missing");
  });
});

describe("list", () => {
  it("tells what each backup holds, and of one that cannot be read why", async () => {
    disk.flip(`${REPOSITORY}/backups/${ids[1]}.json`, 60, 1);
    const listed = await describeBackups(bench.store);
    expect(listed.map(({ id }) => id)).toEqual(ids);
    expect(listed[0]?.contents).toMatchObject({ firstOffset: 1, lastOffset: 31, snapshotOffset: null });
    expect(listed[1]?.problem).toContain("is damaged");
  });
});

describe("a manifest", () => {
  it("of a later format version is not damage but another release's", async () => {
    const { sha256: _, ...body } = await loadBackup(bench.store, ids[0] ?? "");
    const later = sealManifest({ ...body, formatVersion: 3 } as unknown as ManifestBody);
    expect(() => readManifest(Buffer.from(later.text), "m")).toThrow(BackupError);
    try {
      readManifest(Buffer.from(later.text), "m");
    } catch (error) {
      expect(error).toMatchObject({ code: "BACKUP_VERSION_UNKNOWN", context: { expected: 2, found: 3 } });
    }
  });

  it("is refused when any byte is another, white space included", async () => {
    const { text } = sealManifest(
      (({ sha256: _, ...body }) => body)(await loadBackup(bench.store, ids[0] ?? "")),
    );
    const bytes = Buffer.from(text);
    expect(readManifest(bytes, "m").lastOffset).toBe(31);
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes);
      changed[i]! ^= 1;
      expect(() => readManifest(changed, "m"), `byte ${i}`).toThrow(BackupError);
    }
    expect(() => readManifest(Buffer.from(` ${text}`), "m")).toThrow(BackupError);
    expect(() => readManifest(Buffer.from(`\uFEFF${text}`), "m")).toThrow(BackupError);
  });
});
