// Repositories of other releases: what an older one wrote is read and continued, what a newer one wrote is refused by its name,
// and nothing of it is touched.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { DIRECTORY_FORMAT_VERSION, realFileSystem } from "../../log/index.js";
import { loadArchive } from "../../ops/backup/archive-chain.js";
import { ArchiveWriter } from "../../ops/backup/archive-writer.js";
import { describeBackups } from "../../ops/backup/list.js";
import { type Manifest, type ManifestBody, sealManifest } from "../../ops/backup/manifest.js";
import { pruneBackups } from "../../ops/backup/prune.js";
import { listBackups, loadBackup } from "../../ops/backup/repository.js";
import { runAnnals } from "../support/annals-command.js";
import { BackupBench, DATA, inMemory, REPOSITORY } from "../support/backup-bench.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { lookInto, RestoreBench } from "../support/restore-bench.js";
import { at } from "../support/test-log.js";

const fixture = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;

/** Fixtures as they would lie on a disk, in memory. */
async function benchOf(fixtures: Readonly<Record<string, string>>): Promise<BackupBench> {
  const files = new MemoryFileSystem();
  for (const [name, path] of Object.entries(fixtures)) {
    const copy = await inMemory(realFileSystem, fixture(name));
    for (const each of copy.paths) files.put(each.replace(fixture(name), path), copy.get(each));
  }
  const bench = new BackupBench(files);
  bench.nowMs = Date.UTC(2026, 11, 1);
  return bench;
}

/** A repository of manifests 1, and the directory that it was made of. */
const older = (): Promise<BackupBench> => benchOf({ "repository-v1": REPOSITORY, "data-directory-v2": DATA });

const whole = async (bench: BackupBench): Promise<unknown> => (await bench.verify()).findings;
const idsOf = async ({ store }: BackupBench): Promise<string[]> =>
  (await listBackups(store)).map(({ id }) => id);

describe("a repository of manifests of format 1", () => {
  let bench: BackupBench;
  let ids: string[];
  beforeEach(async () => {
    bench = await older();
    ids = await idsOf(bench);
  });

  it("is whole, lists, and is as new as a directory could be while such manifests were written", async () => {
    expect(await whole(bench)).toEqual([]);
    expect((await describeBackups(bench.store)).map(({ contents }) => contents?.lastOffset)).toEqual([
      259, 263,
    ]);
    const manifest = await loadBackup(bench.store, ids[0] ?? "");
    expect(manifest).toMatchObject({ formatVersion: 2, directoryFormat: 3, annalsVersion: "0.1.0" });
  });

  it("is restored from, to the state that its release had", async () => {
    const manifest = await loadBackup(bench.store, ids[0] ?? "");
    const restorer = new RestoreBench(bench.files, bench);
    // At that time: kept answers have expired since.
    restorer.nowMs = manifest.snapshot?.clock ?? Number.NaN;
    const digestOf = async (backup: string): Promise<unknown> => {
      await restorer.restore({ type: "latest" }, `/new-${backup}`, { backup });
      return (await lookInto(restorer, `/new-${backup}`)).digests;
    };
    expect(manifest.snapshot).toMatchObject({ offset: 259, digests: await digestOf(ids[0] ?? "") });
    expect(await digestOf(ids[1] ?? "")).toEqual(await digestOf("00000000000000000002"));
  });

  it("is continued by a backup, which sends nothing anew and says of which version the directory is", async () => {
    const { id, sentBytes } = await bench.backup();
    expect(sentBytes).toBe(0);
    expect(await loadBackup(bench.store, id)).toMatchObject({ directoryFormat: 3, previous: { id: ids[1] } });
    expect(await whole(bench)).toEqual([]);
  });

  it("is continued by the archive of a server that was restored from it", async () => {
    const restorer = new RestoreBench(bench.files, bench);
    const { lastOffset } = await restorer.restore({ type: "latest" }, "/new");
    const writer = new ArchiveWriter({
      files: bench.files,
      dataDirectory: "/new",
      store: bench.store,
      rules: { keepDays: 0, keepSnapshots: 0 },
      now: () => bench.nowMs,
    });
    await writer.bringUpTo(at(lastOffset + 1));
    expect(await loadArchive(bench.store)).toMatchObject({
      sequence: 3,
      manifest: { formatVersion: 2, directoryFormat: DIRECTORY_FORMAT_VERSION, lastOffset: lastOffset + 1 },
    });
    expect(await whole(bench)).toEqual([]);
  });
});

describe("what a backup says of the directory", () => {
  it("is the version that it has, an early one's too", async () => {
    const bench = await benchOf({ "data-directory-v1": DATA });
    expect(await loadBackup(bench.store, (await bench.backup()).id)).toMatchObject({ directoryFormat: 1 });
  });

  it("is raised by what came while it was made", async () => {
    const bench = await benchOf({ "data-directory-v2": DATA });
    // As a server does before it writes its first snapshot of a newer format.
    const raise = (): void =>
      (bench.files as MemoryFileSystem).put(`${DATA}/format.json`, Buffer.from('{"formatVersion":3}\n'));
    const { id } = await bench.backup({ copy: true, onProgress: raise });
    expect(await loadBackup(bench.store, id)).toMatchObject({ directoryFormat: 3 });
  });
});

/** As a later release would have put it there, after the backups that are there. */
async function putLater(
  bench: BackupBench,
  change: Partial<Record<keyof Manifest, unknown>>,
): Promise<string> {
  const newest = (await idsOf(bench)).at(-1) ?? "";
  const { sha256, ...body } = await loadBackup(bench.store, newest);
  const later = { ...body, createdAt: body.createdAt + 1000, previous: { id: newest, sha256 } };
  const text = sealManifest({ ...later, annalsVersion: "9.8.7", ...change } as ManifestBody).text;
  const id = `${new Date(later.createdAt).toISOString().replaceAll(/[-:.]/g, "")}-${newest.slice(-20)}`;
  await bench.store.put(`backups/${id}.json`, Buffer.from(text));
  // Of a format that nobody knows here.
  const segment = `segments/${"0".repeat(17)}264-e7c370e3-${"0".repeat(17)}264-0123456789abcdef.log`;
  await bench.store.put(segment, Buffer.from("a later format"));
  return id;
}

describe.each([
  ["manifest", { formatVersion: 3 }, 2, 3],
  ["data directory", { directoryFormat: 4 }, DIRECTORY_FORMAT_VERSION, 4],
  ["segments", { segmentFormat: 2 }, 1, 2],
] as const)("a backup of a later format of the %s", (_what, change, expected, found) => {
  let bench: BackupBench;
  let id: string;
  const unknown = {
    code: "BACKUP_VERSION_UNKNOWN",
    message: expect.stringContaining("Annals 9.8.7 wrote it"),
    context: { expected, found },
  };
  beforeEach(async () => {
    bench = await older();
    id = await putLater(bench, change);
  });

  it("is no damage to verify, and nothing of it is called left over", async () => {
    const { findings, notes } = await bench.verify();
    expect(findings).toMatchObject([{ code: "version", name: `backups/${id}.json` }]);
    expect(notes).toEqual([]);
    expect((await describeBackups(bench.store)).at(-1)).toMatchObject({ id, isOfOtherRelease: true });
  });

  it("is not restored; an older one is, and says what was passed over", async () => {
    const restorer = new RestoreBench(bench.files, bench);
    await restorer.plan({ type: "latest" }).then(
      () => expect.unreachable(),
      (error) => expect(error).toMatchObject(unknown),
    );
    await expect(restorer.plan({ type: "offset", offset: 5 }, id)).rejects.toMatchObject(unknown);
    expect(await restorer.plan({ type: "offset", offset: 5 })).toMatchObject({
      warnings: [expect.stringContaining("Annals 9.8.7")],
    });
    await expect(restorer.plan({ type: "offset", offset: 500 })).rejects.toMatchObject({
      code: "RESTORE_TARGET_BEYOND",
      message: expect.stringContaining("Annals 9.8.7"),
    });
    for (const name of ["backups", "archive/manifests"])
      for (const each of await bench.files.list(`${REPOSITORY}/${name}`))
        if (!each.startsWith(id)) await bench.store.remove(`${name}/${each}`);
    await expect(restorer.plan({ type: "offset", offset: 5 })).rejects.toMatchObject(unknown);
  });

  it("lets nobody prune, and a backup goes on from the newest that can be read", async () => {
    const options = {
      keep: 1,
      keepDays: undefined,
      graceMs: 0,
      dryRun: false,
      now: () => bench.nowMs,
      holder: "x",
    };
    await expect(pruneBackups(bench.store, options)).rejects.toMatchObject(unknown);
    expect(await idsOf(bench)).toHaveLength(3);
    const { warnings, sentBytes } = await bench.backup();
    expect(sentBytes).toBe(0);
    expect(warnings).toEqual([expect.stringContaining("Annals 9.8.7")]);
    expect((await bench.verify()).findings).toMatchObject([{ code: "version", name: `backups/${id}.json` }]);
  });
});

describe("on the command line", () => {
  const root = mkdtempSync(join(tmpdir(), "annals-repository-formats-"));
  afterAll(() => rmSync(root, { recursive: true }));

  it("another release is named, not damage", async () => {
    const repository = join(root, "repository");
    for (const folder of ["backups", "segments", "snapshots", "archive/manifests"]) {
      mkdirSync(join(repository, folder), { recursive: true });
      for (const name of readdirSync(fixture(`repository-v1/${folder}`)))
        copyFileSync(fixture(`repository-v1/${folder}/${name}`), join(repository, folder, name));
    }
    copyFileSync(fixture("repository-v1/archive/head.json"), join(repository, "archive/head.json"));
    const bench = new BackupBench(realFileSystem, 1, repository);
    await putLater(bench, { directoryFormat: 4 });
    const [verified, listed] = await Promise.all([
      runAnnals(["backup", "verify", repository, "--all"]),
      runAnnals(["backup", "list", repository]),
    ]);
    expect(verified.stdout).toMatch(/: 2 of 3 backups and the archive checked, /);
    expect(verified.stderr).toMatch(
      /holds what this release does not read: .*format version 4.*use the release/,
    );
    expect([verified.code, verified.stderr + verified.stdout]).toEqual([
      3,
      expect.not.stringMatching(/damage/),
    ]);
    expect(listed.stdout).toMatch(/^\S+ {2}of another release {2}.*Annals 9\.8\.7 wrote it$/m);
  });
});
