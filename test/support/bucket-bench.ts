/** A log on a disk and its repository in a bucket: what a server, a command or a timer does with the two, one at a time. */
import type { EventLog, FileSystem, LogRecord } from "../../log/index.js";
import { ArchiveSweep } from "../../ops/backup/archive-sweep.js";
import { ArchiveWriter } from "../../ops/backup/archive-writer.js";
import { BackupError } from "../../ops/backup/errors.js";
import { ARCHIVE_HEAD, BACKUP_HEAD, LOCK_OBJECT } from "../../ops/backup/layout.js";
import { type PruneReport, pruneBackups } from "../../ops/backup/prune.js";
import type { S3Limits } from "../../ops/backup/s3-client.js";
import { S3Store } from "../../ops/backup/s3-store.js";
import { seededRandom } from "../../props/run-settings.js";
import { LATE_MS_MAX } from "../../props/world/any-bucket-fault.js";
import { BackupBench, DATA } from "./backup-bench.js";
import { MemoryFileSystem } from "./memory-file-system.js";
import { RestoreBench } from "./restore-bench.js";
import type { S3Server } from "./s3-server.js";
import { readAll } from "./test-log.js";

/** So impatient that a service in trouble is soon given up. */
export const IMPATIENT = { attempts: 2, firstPauseMs: 1, pauseMsMax: 3, timeoutMs: 50 };
/** Never gives up a service that means well, however busy the machine is. */
export const PATIENT = { attempts: 5, firstPauseMs: 1, pauseMsMax: 3, timeoutMs: 10_000 };

/** One process. The next one has a bench of its own on the same disk and prefix. */
export class BucketBench extends BackupBench {
  readonly bucket: S3Store;
  readonly #archive: ArchiveWriter;
  readonly #worldSeed: number;

  constructor(
    server: S3Server,
    prefix: string,
    files: FileSystem,
    options: { worldSeed: number; limits?: S3Limits; partBytes?: number },
  ) {
    super(files, options.worldSeed);
    this.#worldSeed = options.worldSeed;
    this.bucket = new S3Store(server.address(prefix), {
      random: seededRandom(options.worldSeed),
      limits: options.limits ?? IMPATIENT,
      partBytes: options.partBytes ?? 1500,
      // Who held the lock before is known to be gone: nothing is waited for.
      lease: { renewMs: 20_000, expireMs: 0 },
    });
    this.#archive = new ArchiveWriter({
      files,
      dataDirectory: DATA,
      store: this.bucket,
      rules: { keepDays: 0, keepSnapshots: 0 },
      now: () => this.nowMs,
    });
  }

  /** Everything that is durable. Last offset of the archive. */
  async archive(log: Pick<EventLog, "durableOffset">): Promise<number> {
    return (await this.#archive.bringUpTo(log.durableOffset))?.lastOffset ?? 0;
  }

  /** Of what no manifest names. */
  sweep(): Promise<number> {
    return new ArchiveSweep(this.bucket, { holder: "a test", stopwatch: () => 1, graceMs: 0 }).run();
  }

  prune(keep: number): Promise<PruneReport> {
    return pruneBackups(this.bucket, {
      keep,
      keepDays: undefined,
      graceMs: 0,
      dryRun: false,
      // What the service has been given just now is old enough, also beside an archive.
      now: () => Date.now() + 2 * 3_600_000,
      holder: "a test",
    });
  }

  /** Restores from the bucket into memory. */
  restorer(files: FileSystem = new MemoryFileSystem()): RestoreBench {
    return new RestoreBench(files, { store: this.bucket }, this.#worldSeed);
  }

  async records(): Promise<readonly LogRecord[]> {
    const { log } = await this.openLog();
    const records = await readAll(log);
    await log.close();
    return records;
  }
}

/** The only objects whose content may ever be replaced. */
export const isReplaceable = (key: string): boolean =>
  [LOCK_OBJECT, BACKUP_HEAD, ARCHIVE_HEAD].some((name) => key.endsWith(`/${name}`));

/** What a service that does not answer may lead to. */
export function isServiceFailure(error: unknown): error is BackupError {
  return (
    error instanceof BackupError && (error.code === "BACKUP_STORE_FAILED" || error.code === "BACKUP_LOCKED")
  );
}

/** Until what was given up has been done, or never will be. A lease outlasts it. */
export const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, LATE_MS_MAX + 5));
