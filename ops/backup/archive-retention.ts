/**
 * How far back an archive reaches. It begins at a snapshot: what lies before the oldest one that has to stay can go. Without a
 * rule, and without a snapshot that is old enough, nothing goes.
 */
import { parseSnapshotName } from "../../log/index.js";
import { parseObject } from "./layout.js";
import type { SegmentEntry, SnapshotEntry } from "./manifest.js";

export interface ArchiveRules {
  /** Every moment of the last so many days stays restorable; 0: of all days. */
  readonly keepDays: number;
  /** At least so many snapshots stay, and everything since the oldest of them; 0: no such rule. */
  readonly keepSnapshots: number;
}

export interface ArchivedFiles {
  /** In the order of offsets, without a gap. */
  readonly segments: readonly SegmentEntry[];
  readonly snapshots: readonly SnapshotEntry[];
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** What stays of `files`; the same object when all does. */
export function retainedFiles(files: ArchivedFiles, rules: ArchiveRules, now: number): ArchivedFiles {
  const { segments, snapshots } = files;
  const at = Math.min(oldestByDays(snapshots, rules, now), oldestByCount(snapshots, rules));
  const oldest = snapshots[at];
  if (oldest === undefined) return files;
  const kept = segments.filter(({ endOffset }, i) => endOffset > oldest.offset || i === segments.length - 1);
  if (kept.length === segments.length && at === 0) return files;
  return { segments: kept, snapshots: snapshots.slice(at) };
}

/** The newest snapshot that the beginning of the window can be reached from; -1 when it takes the records before all of them. */
function oldestByDays(snapshots: readonly SnapshotEntry[], { keepDays }: ArchiveRules, now: number): number {
  if (keepDays === 0) return Number.POSITIVE_INFINITY;
  const begin = now - keepDays * DAY_MS;
  return snapshots.findLastIndex((snapshot) => timestampOf(snapshot) <= begin);
}

function oldestByCount(snapshots: readonly SnapshotEntry[], { keepSnapshots }: ArchiveRules): number {
  return keepSnapshots === 0 ? Number.POSITIVE_INFINITY : snapshots.length - keepSnapshots;
}

/** Ms since 1970, of the record at its offset. */
function timestampOf({ name }: SnapshotEntry): number {
  const parsed = parseObject(name);
  if (parsed?.kind !== "snapshot") return Number.POSITIVE_INFINITY;
  return parseSnapshotName(parsed.fileName)?.timestamp ?? Number.POSITIVE_INFINITY;
}
