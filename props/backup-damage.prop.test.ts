/**
 * Promise: whatever happens to the files of a repository – a bit flips, a file is cut, grows, is filled with zeros, goes
 * missing, changes places with another or gets another's name, or one from elsewhere appears – `backup verify --all` says so,
 * without restoring anything, and without ever failing itself.
 *
 *   1. a repository that nobody touched has no finding
 *   2. one damage anywhere, at least one finding
 *   3. a finding names what was damaged, or what lacks because of it
 */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { openLogView } from "../log/index.js";
import { ArchiveWriter } from "../ops/backup/archive-writer.js";
import { parseObject } from "../ops/backup/layout.js";
import { BackupBench, DATA, inMemory, REPOSITORY } from "../test/support/backup-bench.js";
import type { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { runs } from "./run-settings.js";
import { share } from "./world/share.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";

let repository: MemoryFileSystem;
let foreign: MemoryFileSystem;
/** An object of the repository that no backup names. */
let unnamed = "";

async function archiveOf({ files, store, nowMs }: BackupBench): Promise<void> {
  const { endOffset } = await openLogView(files, DATA);
  const rules = { keepDays: 0, keepSnapshots: 0 };
  await new ArchiveWriter({ files, dataDirectory: DATA, store, rules, now: () => nowMs }).bringUpTo(
    endOffset,
  );
}

/** Backups of a log that grows, rolls and begins a new epoch, with snapshots, and an archive beside them; one backup was killed before its manifest. */
async function filled(worldSeed: number): Promise<{ files: MemoryFileSystem; left: string }> {
  const bench = new BackupBench(new SimulatedDisk(worldSeed).mount(), worldSeed);
  await bench.grow(70);
  await bench.backup();
  await bench.putSnapshot(60);
  await bench.grow(5);
  await bench.backup();
  const { log } = await bench.openLog();
  await log.startEpoch();
  await bench.append(log, 90);
  await log.close();
  await bench.putSnapshot(160);
  await bench.backup();
  await bench.grow(40);
  await bench.backup();
  await archiveOf(bench);
  await bench.grow(3);
  await bench.backup();
  await archiveOf(bench);
  await bench.grow(10);
  await bench.backup();
  const files = await inMemory(bench.files, REPOSITORY);
  await bench.grow(8);
  await bench.backup();
  const later = await inMemory(bench.files, REPOSITORY);
  const left = later.paths.find((path) => path.includes("/segments/") && !files.paths.includes(path))!;
  files.put(left, later.get(left));
  return { files, left };
}

beforeAll(async () => {
  ({ files: repository, left: unnamed } = await filled(7));
  ({ files: foreign } = await filled(8));
});

const pathsOf = (files: MemoryFileSystem): string[] =>
  files.paths.filter((path) => path.startsWith(`${REPOSITORY}/`) && !path.endsWith("/LOCK"));
const kindOf = (path: string): string | undefined => parseObject(nameOf(path))?.kind;
const nameOf = (path: string): string => path.slice(REPOSITORY.length + 1);

/** Each takes two draws in [0, 1) and does one damage; undefined when it would change nothing. */
const DAMAGES: Readonly<
  Record<string, (files: MemoryFileSystem, path: string, a: number, b: number) => boolean>
> = {
  flip(files, path, a, b) {
    const bytes = files.own(path);
    bytes[Math.floor(a * bytes.length)]! ^= 1 << Math.floor(b * 8);
    return true;
  },
  cut(files, path, a) {
    files.put(path, files.get(path).slice(0, Math.floor(a * files.get(path).length)));
    return true;
  },
  grow(files, path, a, b) {
    const bytes = files.get(path);
    const more = new Uint8Array(1 + Math.floor(a * 300)).fill(b < 0.5 ? 0 : Math.floor(b * 256));
    files.put(path, Buffer.concat([bytes, more]));
    return true;
  },
  zeros(files, path, a, b) {
    const bytes = files.own(path);
    const from = Math.floor(a * bytes.length);
    const part = bytes.subarray(from, from + 1 + Math.floor(b * 600));
    if (part.every((byte) => byte === 0)) return false;
    part.fill(0);
    return true;
  },
  missing(files, path) {
    // Nobody misses what nobody names, nor the oldest manifest of an archive: the newest says all, and the archive lets old ones go.
    if (path === unnamed || path.endsWith("/archive/manifests/00000000000000000001.json")) return false;
    void files.remove(path);
    return true;
  },
  swapped(files, path, a) {
    const paths = pathsOf(files);
    const other = paths[Math.floor(a * paths.length)]!;
    const [mine, its] = [files.get(path), files.get(other)];
    if (Buffer.compare(mine, its) === 0) return false;
    files.put(path, its);
    files.put(other, mine);
    return true;
  },
  renamed(files, path, a) {
    const paths = pathsOf(files);
    const other = paths[Math.floor(a * paths.length)]!;
    if (other === path) return false;
    files.put(other, files.get(path));
    void files.remove(path);
    return true;
  },
  replacedByForeign(files, path, a) {
    const others = pathsOf(foreign).filter((other) => kindOf(other) === kindOf(path));
    files.put(path, foreign.get(others[Math.floor(a * others.length)]!));
    return true;
  },
  foreignObject(files, _path, a) {
    const others = pathsOf(foreign).filter((path) => /\/(segments|backups)\/\d/.test(path));
    const other = others[Math.floor(a * others.length)]!;
    files.put(other, foreign.get(other));
    return true;
  },
  foreignName(files, path, a) {
    const names = [`${path}.bak`, `${REPOSITORY}/notes.txt`, `${path.replace(/\.\w+$/, "")}`, `${path}~`];
    files.put(names[Math.floor(a * names.length)]!, files.get(path));
    return true;
  },
};

/** Damages after which the file itself is told; of others it may be what lacks because of it. */
const NAMED: ReadonlySet<string> = new Set(["flip", "cut", "grow", "zeros"]);

describe("backup damage", () => {
  test("a repository that nobody touched has no finding", async () => {
    const bench = new BackupBench(repository.fork());
    const { findings, notes, verified } = await bench.verify();
    expect(findings).toEqual([]);
    expect(notes.map(({ name }) => name)).toEqual([nameOf(unnamed)]);
    expect(verified).toHaveLength(6 + 2);
    const kinds = new Set(pathsOf(repository).map(kindOf));
    expect(kinds).toEqual(
      new Set(["segment", "snapshot", "backup", "backupHead", "archiveManifest", "archiveHead"]),
    );
  });

  for (const [kind, damage] of Object.entries(DAMAGES))
    test(`${kind} is found`, async () => {
      const hit = new Set<string>();
      let done = 0;
      await fc.assert(
        fc.asyncProperty(fc.noBias(fc.nat()), share, share, async (at, a, b) => {
          const files = repository.fork();
          // Each kind of file as often as any other, however many there are of it.
          const kinds = [...new Set(pathsOf(files).map(kindOf))];
          const paths = pathsOf(files).filter((each) => kindOf(each) === kinds[at % kinds.length]);
          const path = paths[Math.floor(at / kinds.length) % paths.length]!;
          if (!damage(files, path, a, b)) return;
          done += 1;
          hit.add(kindOf(path) ?? "");
          const { findings } = await new BackupBench(files).verify();
          expect(findings, `${kind} of ${path}`).not.toEqual([]);
          if (NAMED.has(kind)) expect(findings.map(({ name }) => name)).toContain(nameOf(path));
        }),
        runs(12),
      );
      expect(done).toBeGreaterThan(2);
      expect(hit.size).toBeGreaterThan(1);
    });
});
