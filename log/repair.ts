/**
 * Makes a damaged log startable again by giving up everything from the first damage on. Offline, asked for by an
 * operator, never by itself: `planRepair` says what would be lost; `applyRepair` takes the lock, keeps the original files
 * in `repair-<ms>/`, then cuts. What is left is a verified prefix: nothing behind a damaged record is kept, because it was
 * decided upon a state that nobody can know any more.
 *
 * A repaired log has another history than its replicas and backups.
 */
import { copyReadable, type LostBytes } from "./copy-bytes.js";
import { CorruptionError, corruption, type Finding } from "./corruption.js";
import { openDataDirectory } from "./data-directory.js";
import {
  indexName,
  LOG_DIRECTORY,
  parseSnapshotName,
  RECOVERY_POINT_FILE,
  repairDirectoryName,
  SNAPSHOT_DIRECTORY,
  segmentName,
} from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import { inspectLog, type LogInspection } from "./inspection.js";
import { ownFile } from "./own-file.js";
import { type RecoveryPoint, writeRecoveryPoint } from "./recovery-point.js";
import { type SegmentFile, shownPath } from "./segment-chain.js";
import type { ReadPoint } from "./segment-reader.js";
import { offset as asOffset, type Offset } from "./units.js";
import { problemsOf } from "./verify.js";

export interface RepairPlan {
  /** Why; empty: nothing is wrong and nothing would be done. */
  readonly problems: readonly Finding[];
  /** Last offset that stays. */
  readonly lastKept: Offset;
  /** Highest offset that is known to have been there: `lastKept` + 1 up to here is lost. */
  readonly lastKnown: Offset;
  /** The segment that would be cut, and how much of it. */
  readonly cut: { readonly file: string; readonly position: number; readonly bytes: number } | undefined;
  /** Segments that would be removed. */
  readonly dropped: readonly { readonly file: string; readonly bytes: number }[];
  /** Snapshots of records that would not be there any more: put aside. */
  readonly snapshots: readonly string[];
  /** What the log would then say of itself. */
  readonly recoveryPoint: RecoveryPoint;
}

export interface RepairOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly now: () => number;
  /** Who holds the lock meanwhile, e.g. "annals repair, pid 42". */
  readonly holder: string;
  /** Called once the original files are kept and before anything is cut, when there is anything to do. Default: nothing. */
  readonly beforeCut?: () => Promise<void>;
}

export interface RepairReport {
  readonly plan: RepairPlan;
  /** Where the original files are, below the data directory; undefined when nothing was done. */
  readonly keptIn: string | undefined;
  /** What the disk did not give back of the original files: there are zeros in the kept ones. */
  readonly lost: readonly LostBytes[];
}

/**
 * What a repair would do. Changes nothing.
 * @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN when no repair can help: nothing would be left, or files are another log's.
 */
export async function planRepair(files: FileSystem, dataDirectory: string): Promise<RepairPlan> {
  const plan = planOf(await inspectLog(files, dataDirectory));
  return { ...plan, snapshots: await snapshotsBeyond(files, dataDirectory, plan.lastKept) };
}

/** @throws LogError LOG_LOCKED, and as `planRepair`. */
export async function applyRepair(options: RepairOptions): Promise<RepairReport> {
  const { files, dataDirectory, now, holder, beforeCut } = options;
  // Before the lock: a directory that no repair can help stays as it is.
  await planRepair(files, dataDirectory);
  const directory = await openDataDirectory(files, dataDirectory, holder);
  try {
    const plan = await planRepair(files, dataDirectory);
    if (plan.problems.length === 0) return { plan, keptIn: undefined, lost: [] };
    const kept = await keepOriginals(files, dataDirectory, plan, now());
    await beforeCut?.();
    await carryOut(files, dataDirectory, plan);
    const left = problemsOf(await inspectLog(files, dataDirectory))[0];
    if (left !== undefined) throw corruption(left);
    return { plan, ...kept };
  } finally {
    await directory.lock.release();
  }
}

async function snapshotsBeyond(files: FileSystem, dataDirectory: string, last: Offset): Promise<string[]> {
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  if (!(await files.exists(directory))) return [];
  const names = await files.list(directory);
  return names
    .filter((name) => (parseSnapshotName(name)?.offset ?? 0) > last)
    .map((name) => `${SNAPSHOT_DIRECTORY}/${name}`);
}

function planOf(inspection: LogInspection): Omit<RepairPlan, "snapshots"> {
  const problems = problemsOf(inspection);
  const hopeless = problems.find(({ code }) => code === "version" || code === "identity");
  const kept: SegmentFile[] = [];
  let end: ReadPoint | undefined;
  let isDamaged = false;
  for (const { segment, misplaced, damaged, scan } of inspection.segments) {
    if (segment === undefined || scan === undefined || misplaced !== undefined || isDamaged) break;
    kept.push(segment);
    end = scan.next;
    isDamaged = damaged !== undefined;
  }
  const last = kept[kept.length - 1];
  const beyondRepair = hopeless ?? (last === undefined ? problems[0] : undefined);
  if (beyondRepair !== undefined)
    throw new CorruptionError({
      ...beyondRepair,
      advice: "no repair can help; restore from a backup or a replica",
    });

  const lastKept = asOffset((end?.offset ?? 1) - 1);
  const dropped = inspection.segments
    .slice(kept.length)
    .map(({ name, segment }) => ({ file: shownPath(name), bytes: segment?.bytes ?? 0 }));
  const cut =
    isDamaged && last !== undefined && end !== undefined
      ? { file: shownPath(last.name), position: end.position, bytes: last.bytes - end.position }
      : undefined;
  return {
    problems,
    lastKept,
    lastKnown: lastKnown(inspection, lastKept),
    cut,
    dropped,
    recoveryPoint: {
      durable: lastKept,
      crc: end?.seed ?? 0,
      tail: last?.base ?? asOffset(1),
      clean: false,
    },
  };
}

function lastKnown(inspection: LogInspection, lastKept: Offset): Offset {
  let known = Math.max(lastKept, inspection.recoveryPoint?.durable ?? 0);
  for (const { segment, scan } of inspection.segments)
    known = Math.max(known, (segment?.base ?? 1) - 1, (scan?.next.offset ?? 1) - 1);
  return asOffset(known);
}

/** Copies every file that the plan changes or removes, as far as it can be read, durably, before anything is changed. */
async function keepOriginals(
  files: FileSystem,
  dataDirectory: string,
  plan: RepairPlan,
  nowMs: number,
): Promise<Omit<RepairReport, "plan">> {
  let ms = nowMs;
  while (await files.exists(`${dataDirectory}/${repairDirectoryName(ms)}`)) ms += 1;
  const keptIn = repairDirectoryName(ms);
  const directory = `${dataDirectory}/${keptIn}`;
  await files.makeDirectory(directory);
  const changed = [...touched(plan), ...touched(plan).map(indexOf), ...plan.snapshots, RECOVERY_POINT_FILE];
  const lost: LostBytes[] = [];
  for (const file of changed) {
    const path = `${dataDirectory}/${file}`;
    const kept = `${directory}/${file.slice(file.lastIndexOf("/") + 1)}`;
    const type = (await files.stat(path))?.type;
    // A directory in the place of a file is moved: the log is as damaged without it.
    if (type === "directory") await files.rename(path, kept);
    else if (type === "file")
      for (const range of await copyReadable(files, path, kept)) lost.push({ file, ...range });
  }
  await files.syncDirectory(directory);
  return { keptIn, lost };
}

/**
 * Newest first, the recovery point last: a crash in between leaves a log that still refuses to start, because the old
 * recovery point or the damage is still there, and the repair can be asked for again.
 */
async function carryOut(files: FileSystem, dataDirectory: string, plan: RepairPlan): Promise<void> {
  const remove = async (file: string): Promise<void> => {
    if (await files.exists(`${dataDirectory}/${file}`)) await files.remove(`${dataDirectory}/${file}`);
  };
  for (const { file } of plan.dropped.toReversed()) {
    await remove(file);
    await remove(indexOf(file));
    await files.syncDirectory(`${dataDirectory}/${LOG_DIRECTORY}`);
  }
  if (plan.cut !== undefined) {
    const name = segmentName(plan.recoveryPoint.tail);
    await ownFile(files, `${dataDirectory}/${LOG_DIRECTORY}`, name, plan.cut.position);
    const handle = await files.open(`${dataDirectory}/${plan.cut.file}`, "write");
    try {
      await handle.truncate(plan.cut.position);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  for (const snapshot of plan.snapshots) await remove(snapshot);
  if (plan.snapshots.length > 0) await files.syncDirectory(`${dataDirectory}/${SNAPSHOT_DIRECTORY}`);
  // The last segment is the tail now; a tail has no index file.
  await remove(shownPath(indexName(plan.recoveryPoint.tail)));
  await files.syncDirectory(`${dataDirectory}/${LOG_DIRECTORY}`);
  await writeRecoveryPoint(files, dataDirectory, plan.recoveryPoint);
}

function touched(plan: RepairPlan): string[] {
  return [...(plan.cut === undefined ? [] : [plan.cut.file]), ...plan.dropped.map(({ file }) => file)];
}

const indexOf = (segmentFile: string): string => segmentFile.replace(/\.log$/, ".index");
