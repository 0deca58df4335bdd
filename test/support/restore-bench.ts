/** Logs of whole histories, backups of them, and restores: on any file system, each restore into a directory of its own. */
import fc from "fast-check";
import {
  decodeEpochStart,
  EPOCH_STARTED,
  type FileSystem,
  type LogRecord,
  openLogView,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import { findRestorePoint } from "../../ops/backup/find-point.js";
import type { ObjectStore } from "../../ops/backup/object-store.js";
import { type RestoreOptions, type RestoreReport, restore } from "../../ops/backup/restore.js";
import { planRestore, type RestorePlan, type RestoreTarget } from "../../ops/backup/restore-plan.js";
import { type Digests, Fold, foldTo } from "../../projections/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { WholeHistory, wholeStep } from "../../props/world/whole-histories.js";
import { BackupBench, DATA, inMemory, onDisk, REPOSITORY, RULES } from "./backup-bench.js";
import { TestStore } from "./kv-store.js";
import { MemoryFileSystem } from "./memory-file-system.js";
import { MemoryLog } from "./memory-log.js";
import { at, openTestLog, readAll } from "./test-log.js";

/** Records of a history over all projections, as a log has them: the first begins its epoch. */
export async function wholeHistoryRecords(count: number, worldSeed: number): Promise<readonly LogRecord[]> {
  const log = new MemoryLog();
  log.append({ kind: EPOCH_STARTED, version: 1, timestamp: 1, body: new Uint8Array(0) });
  const t = await TestStore.open({ log });
  const history = new WholeHistory(t);
  await history.begin();
  for (let round = 0; log.records.length < count; round++)
    for (const step of fc.sample(wholeStep, { numRuns: 200, seed: worldSeed + round }))
      await history.run(step);
  return log.records.slice(0, count);
}

/** What the clock says while it is restored. */
export const RESTORED_AT_MS = Date.UTC(2027, 0, 1);

export interface RestoreWorld {
  readonly files: MemoryFileSystem;
  readonly bench: BackupBench;
  /** Of the live log, all of them. */
  readonly records: readonly LogRecord[];
  /** Last offsets of the segments of the live log. */
  readonly borders: readonly number[];
}

/** A live log with these records and `backups` backups on the way, the last one at the end; snapshots in between. */
export async function worldOf(
  records: readonly LogRecord[],
  { backups = 3, segmentBytes = 32 * 1024, worldSeed = 1 } = {},
): Promise<RestoreWorld> {
  const disk = new SimulatedDisk(worldSeed).mount();
  const bench = new BackupBench(disk, worldSeed);
  bench.nowMs = 0;
  const part = Math.ceil(records.length / backups);
  for (let from = 0; from < records.length; from += part) {
    const { log } = await bench.openLog({ segmentBytes });
    for (const record of records.slice(Math.max(1, from), from + part)) {
      log.append(record);
      if (log.endOffset % 64 === 0) await log.whenCommitted(log.endOffset);
    }
    await log.close();
    if (from > 0) await bench.putSnapshot(Math.max(2, from - Math.floor(part / 3)));
    bench.nowMs = records.at(-1)!.timestamp;
    await bench.backup();
  }
  const view = await openLogView(disk, DATA);
  const live: LogRecord[] = [];
  for await (const batch of view.read(at(1))) live.push(...batch);
  const files = new MemoryFileSystem();
  for (const directory of [DATA, REPOSITORY]) await onDisk(files, await inMemory(disk, directory));
  const inFiles = new BackupBench(files, worldSeed);
  return { files, bench: inFiles, records: live, borders: view.extents.map(({ lastOffset }) => lastOffset) };
}

export class RestoreBench {
  readonly files: FileSystem;
  readonly bench: { readonly store: ObjectStore };
  readonly #random: () => number;
  nowMs = RESTORED_AT_MS;
  #number = 0;

  /** `bench`: whose repository it restores from. */
  constructor(files: FileSystem, bench: { readonly store: ObjectStore }, worldSeed = 1) {
    this.files = files;
    this.bench = bench;
    // Not the numbers that the bench of this seed draws: a restored log's lineage would be the lost one's.
    this.#random = seededRandom(worldSeed + 1_000_000);
  }

  plan(target: RestoreTarget, backup?: string): Promise<RestorePlan> {
    return planRestore(this.bench.store, target, {
      findPoint: findRestorePoint,
      ...(backup === undefined ? {} : { backup }),
    });
  }

  async restore(
    target: RestoreTarget,
    dataDirectory = `/restored-${++this.#number}`,
    overrides: Partial<RestoreOptions> & { backup?: string } = {},
  ): Promise<RestoreReport> {
    return restore(await this.plan(target, overrides.backup), {
      store: this.bench.store,
      files: this.files,
      dataDirectory,
      parallel: 3,
      now: () => this.nowMs,
      stopwatch: () => this.nowMs,
      randomBytes: seededBytes(this.#random),
      holder: "a test",
      ...overrides,
    });
  }

  open(dataDirectory: string): ReturnType<typeof openTestLog> {
    return openTestLog(dataDirectory, {
      files: this.files,
      randomBytes: seededBytes(this.#random),
      now: () => this.nowMs,
    });
  }
}

/** What a restored directory holds, as a start sees it: everything that a test compares. */
export interface RestoredState {
  readonly firstOffset: number;
  readonly endOffset: number;
  /** Of the record before the one that begins the new epoch. */
  readonly lastCrc: number;
  /** What the new epoch's record says. */
  readonly start: ReturnType<typeof decodeEpochStart>;
  readonly epochs: number;
  /** At `at`, after the whole log. */
  readonly digests: Digests;
}

/** Opens it as a server does, reads it, and lets it go as it was but for what a start changes. */
export async function lookInto(
  bench: RestoreBench,
  dataDirectory: string,
  digestsAt = 0,
): Promise<RestoredState> {
  const { log } = await bench.open(dataDirectory);
  const { firstOffset, endOffset } = log;
  const records = await readAll(log, at(Math.max(firstOffset, endOffset - 1)));
  const last = records.at(-1)!;
  const state = {
    firstOffset,
    endOffset,
    lastCrc: (await log.markAt(at(endOffset - 1))).crc,
    start: last.kind === EPOCH_STARTED ? decodeEpochStart(last.version, last.body) : undefined,
    epochs: log.epochs.length,
  };
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  const { fold } = await foldTo(log, { files: bench.files, directory }, { rules: RULES });
  const digests = fold.digests(digestsAt);
  fold.close();
  await log.close();
  return { ...state, digests };
}

/** The digest of every prefix, by its last offset, each at the same late time. */
export function prefixDigests(
  records: readonly LogRecord[],
  wanted: ReadonlySet<number>,
  when: number,
): Map<number, Digests> {
  const fold = new Fold({ rules: RULES });
  const digests = new Map<number, Digests>();
  for (const record of records) {
    fold.take(record);
    if (wanted.has(record.offset)) digests.set(record.offset, fold.digests(when));
  }
  fold.close();
  return digests;
}
