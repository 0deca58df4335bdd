/** Logs and backups of them for tests: on any file system, with a clock that moves when a backup is made. */
import {
  checkSegment,
  type EventLog,
  type FileSystem,
  type LogRecord,
  type OpenLogOptions,
  openLogView,
  readWholeFile,
} from "../../log/index.js";
import { type BackupOptions, type BackupReport, makeBackup } from "../../ops/backup/backup.js";
import { DirectoryStore } from "../../ops/backup/directory-store.js";
import { segmentsOf } from "../../ops/backup/manifest.js";
import type { ObjectStore } from "../../ops/backup/object-store.js";
import { loadBackup } from "../../ops/backup/repository.js";
import { type VerifyBackupReport, verifyBackups } from "../../ops/backup/verify.js";
import { type EncodedRecord, encodeRecord } from "../../projections/events.js";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  foldTo,
  type StoreRules,
  TEXT_TYPE,
  writeSnapshot,
} from "../../projections/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { TEST_RULES } from "./kv-store.js";
import { MemoryFileSystem } from "./memory-file-system.js";
import { at, openTestLog } from "./test-log.js";

export const DATA = "/data";
export const REPOSITORY = "/repository";
export const START_MS = Date.UTC(2026, 5, 1);

export const RULES: StoreRules = {
  kv: TEST_RULES,
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

export class BackupBench {
  readonly files: FileSystem;
  readonly store: DirectoryStore;
  readonly #random: () => number;
  nowMs = START_MS;
  /** How many different keys there are: with few, the state is much smaller than the log. */
  keys = 10;

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

  /** Opens the log, appends so many records of some 150 bytes, and closes it. */
  async grow(records: number, overrides: Partial<OpenLogOptions> = {}): Promise<void> {
    const { log } = await this.openLog(overrides);
    await this.append(log, records);
    await log.close();
  }

  /** Sets of keys, each another than the last few. */
  async append(log: EventLog, records: number): Promise<void> {
    for (let i = 0; i < records; i++) {
      this.nowMs += 1;
      log.append({ ...this.#set(log.endOffset + 1), timestamp: this.nowMs });
    }
    await log.whenCommitted(log.endOffset);
  }

  #set(number: number): EncodedRecord {
    const value = Buffer.alloc(60 + Math.floor(this.#random() * 80), `${number}.`);
    const key = `key-${number % this.keys}`;
    const event = {
      type: "kv.set",
      key,
      value,
      contentType: TEXT_TYPE,
      expiresAt: 0,
      previous: at(0),
    } as const;
    return encodeRecord([event], { command: "a test" });
  }

  /** The state at `last`, as a file among the snapshots. Returns its path. */
  async putSnapshot(last: number): Promise<string> {
    const view = await openLogView(this.files, DATA);
    const { fold } = await foldTo(view, undefined, { rules: RULES, last: at(last) });
    const directory = `${DATA}/snapshots`;
    const mark = await view.markAt(at(last));
    const { name } = await writeSnapshot(this.files, directory, fold, mark, { now: () => this.nowMs });
    fold.close();
    return `${directory}/${name}`;
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

/** Puts files from memory where they were, durably. */
export async function onDisk(files: FileSystem, from: MemoryFileSystem): Promise<void> {
  for (const path of from.paths) {
    const directory = path.slice(0, path.lastIndexOf("/"));
    await files.makeDirectory(directory);
    const handle = await files.open(path, "create");
    await handle.write(from.get(path), 0);
    await handle.sync();
    await handle.close();
    await files.syncDirectory(directory);
  }
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
