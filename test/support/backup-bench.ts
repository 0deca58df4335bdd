/** Logs and backups of them for tests: on any file system, with a clock that moves when a backup is made. */
import {
  checkSegment,
  type EventLog,
  type FileSystem,
  type LogRecord,
  type OpenLogOptions,
  readWholeFile,
  snapshotName,
} from "../../log/index.js";
import { type BackupOptions, type BackupReport, makeBackup } from "../../ops/backup/backup.js";
import { DirectoryStore } from "../../ops/backup/directory-store.js";
import { segmentsOf } from "../../ops/backup/manifest.js";
import type { ObjectStore } from "../../ops/backup/object-store.js";
import { loadBackup } from "../../ops/backup/repository.js";
import { type VerifyBackupReport, verifyBackups } from "../../ops/backup/verify.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { MemoryFileSystem } from "./memory-file-system.js";
import { at, openTestLog, textRecord } from "./test-log.js";

export const DATA = "/data";
export const REPOSITORY = "/repository";
export const START_MS = Date.UTC(2026, 5, 1);

export class BackupBench {
  readonly files: FileSystem;
  readonly store: DirectoryStore;
  readonly #random: () => number;
  nowMs = START_MS;

  constructor(files: FileSystem, worldSeed = 1, repository = REPOSITORY) {
    this.files = files;
    this.#random = seededRandom(worldSeed);
    this.store = new DirectoryStore({ files, directory: repository, randomBytes: seededBytes(this.#random) });
  }

  openLog(overrides: Partial<OpenLogOptions> = {}): ReturnType<typeof openTestLog> {
    return openTestLog(DATA, {
      files: this.files,
      randomBytes: seededBytes(this.#random),
      now: () => this.nowMs,
      ...overrides,
    });
  }

  /** Opens the log, appends so many records of some 100 bytes, and closes it. */
  async grow(records: number, overrides: Partial<OpenLogOptions> = {}): Promise<void> {
    const { log } = await this.openLog(overrides);
    await this.append(log, records);
    await log.close();
  }

  async append(log: EventLog, records: number): Promise<void> {
    for (let i = 0; i < records; i++) {
      this.nowMs += 1;
      log.append(
        textRecord(`record ${log.endOffset + 1} `, 60 + Math.floor(this.#random() * 80), this.nowMs),
      );
    }
    await log.whenCommitted(log.endOffset);
  }

  /** A file with a snapshot's name in the data directory. */
  async putSnapshot(offset: number, bytes: number): Promise<void> {
    const directory = `${DATA}/snapshots`;
    await this.files.makeDirectory(directory);
    const named = snapshotName(this.nowMs, at(offset));
    const handle = await this.files.open(`${directory}/${named}`, "create");
    await handle.write(seededBytes(this.#random)(bytes), 0);
    await handle.sync();
    await handle.close();
    await this.files.syncDirectory(directory);
  }

  backup(overrides: Partial<BackupOptions> = {}): Promise<BackupReport> {
    this.nowMs += 60_000;
    return makeBackup({
      files: this.files,
      dataDirectory: DATA,
      store: this.store,
      now: () => this.nowMs,
      stopwatch: () => this.nowMs,
      holder: "a test",
      tool: "a test",
      ...overrides,
    });
  }

  verify(which: "all" | "newest" | { readonly id: string } = "all"): Promise<VerifyBackupReport> {
    return verifyBackups(this.store, { which });
  }
}

/** The records of a backup, read from its own segments. */
export async function recordsOfBackup(store: ObjectStore, id: string): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (const { name } of segmentsOf(await loadBackup(store, id)))
    await checkSegment(name, store.get(name), (batch) => records.push(...batch));
  return records;
}

/** Every file below a directory, as byte arrays that can be forked and damaged. */
export async function inMemory(files: FileSystem, directory: string): Promise<MemoryFileSystem> {
  const copy = new MemoryFileSystem();
  const walk = async (folder: string): Promise<void> => {
    await copy.makeDirectory(folder);
    for (const name of await files.list(folder)) {
      const path = `${folder}/${name}`;
      if ((await files.stat(path))?.type === "directory") await walk(path);
      else copy.put(path, await readWholeFile(files, path, 1 << 26));
    }
  };
  await walk(directory);
  return copy;
}
