/**
 * What a restore takes out of a repository: which backup, up to which record, and the files that it needs. Reads manifests, and
 * for a target in time the one segment that holds it. Changes nothing.
 *
 * A target means the history that the newest backup tells of. A repository also holds what was lost by an earlier restore; an older
 * backup is used only for what the newer ones no longer reach, and only when it is of the same history there. Whoever wants the
 * lost one names the backup.
 */
import { checkSegment, type LogRecord, type Offset, offset, segmentHeaderOf } from "../../log/index.js";
import { listArchive, loadArchiveManifest } from "./archive-chain.js";
import { BackupError } from "./errors.js";
import { archiveManifestId, archiveManifestObject, backupObject } from "./layout.js";
import { type Manifest, type SegmentEntry, type SnapshotEntry, segmentsOf, snapshotsOf } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { type LoadedManifest, listBackups, loadBackup, orError } from "./repository.js";

export type RestoreTarget =
  | { readonly type: "latest" }
  | { readonly type: "offset"; readonly offset: number }
  /** Everything with a timestamp up to and with this, ms since 1970. */
  | { readonly type: "time"; readonly time: number }
  /** A named restore point. */
  | { readonly type: "name"; readonly name: string };

export interface RestorePlan {
  /** Id of the backup, or the object of the archive's manifest. */
  readonly backup: string;
  readonly manifest: Manifest;
  /** The last record that will be there, before the one that begins the new epoch. */
  readonly last: Offset;
  /** In order; the last of them may hold more than `last`. */
  readonly segments: readonly SegmentEntry[];
  /** At most the ones that cover `last` or less. */
  readonly snapshots: readonly SnapshotEntry[];
  readonly bytes: number;
  readonly warnings: readonly string[];
}

/** The offset of a named point in a backup, or undefined when it holds none of that name. */
export type FindPoint = (store: ObjectStore, manifest: Manifest, name: string) => Promise<Offset | undefined>;

interface Candidate extends LoadedManifest {
  readonly read: Manifest;
}

type Found =
  | { readonly type: "found"; readonly last: Offset; readonly warnings?: readonly string[] }
  /** An older backup may reach it. */
  | { readonly type: "before"; readonly earliest: Offset }
  | { readonly type: "refused"; readonly error: BackupError };

/** @throws BackupError BACKUP_NOT_FOUND, BACKUP_DAMAGED, RESTORE_TARGET_BEYOND, RESTORE_TARGET_RETIRED, RESTORE_POINT_UNKNOWN. */
export async function planRestore(
  store: ObjectStore,
  target: RestoreTarget,
  options: { readonly backup?: string; readonly findPoint: FindPoint },
): Promise<RestorePlan> {
  const warnings: string[] = [];
  let earliest: Offset | undefined;
  let newest: Manifest | undefined;
  for await (const candidate of candidatesOf(store, target, options.backup, warnings)) {
    newest ??= candidate.read;
    const found = await findIn(store, candidate, target, options.findPoint);
    if (found.type === "refused") throw withWarnings(found.error, warnings);
    if (found.type === "before") {
      earliest ??= found.earliest;
      continue;
    }
    if (!isOneHistory(candidate.read, newest, found.last)) {
      warnings.push(
        `${candidate.id} holds it, but of another history; name it with --backup to have that one`,
      );
      continue;
    }
    return planOf(candidate, found.last, [...warnings, ...(found.warnings ?? [])]);
  }
  if (newest === undefined)
    throw new BackupError("BACKUP_NOT_FOUND", `${store.url} holds no backup`, { url: store.url });
  const retired = new BackupError(
    "RESTORE_TARGET_RETIRED",
    `nothing in ${store.url} reaches back to ${describeTarget(target)}; the earliest that can be had is offset ${earliest ?? 1}`,
    { url: store.url, earliest: earliest ?? 1 },
  );
  throw withWarnings(retired, warnings);
}

/** What could not be read may be what was asked for. */
function withWarnings({ code, message, context }: BackupError, warnings: readonly string[]): BackupError {
  return new BackupError(code, [message, ...warnings].join("; "), context);
}

function describeTarget(target: RestoreTarget): string {
  switch (target.type) {
    case "latest":
      return "the end";
    case "offset":
      return `offset ${target.offset}`;
    case "time":
      return timeText(target.time);
    case "name":
      return `the restore point ${target.name}`;
  }
}

/** What there is, newest first, one at a time: all manifests at once may be more than fits into memory. */
async function* newestFirst(store: ObjectStore): AsyncGenerator<LoadedManifest, void> {
  // The newest manifest of an archive is the archive: the ones before it name less of the same.
  const sequence = (await listArchive(store)).at(-1);
  let archive: LoadedManifest | undefined;
  if (sequence !== undefined) {
    const read = await orError(() => loadArchiveManifest(store, sequence));
    archive = { name: archiveManifestObject(sequence), id: archiveManifestId(sequence), read };
  }
  const archivedAt =
    archive?.read instanceof BackupError ? Number.POSITIVE_INFINITY : archive?.read.createdAt;
  for (const { id, createdAt } of (await listBackups(store)).toReversed()) {
    if (archive !== undefined && archivedAt !== undefined && archivedAt >= createdAt) {
      yield archive;
      archive = undefined;
    }
    yield { name: backupObject(id), id, read: await orError(() => loadBackup(store, id)) };
  }
  if (archive !== undefined) yield archive;
}

async function* chosen(store: ObjectStore, wanted: string): AsyncGenerator<LoadedManifest, void> {
  for (const sequence of await listArchive(store)) {
    if (archiveManifestId(sequence) !== wanted) continue;
    yield {
      name: archiveManifestObject(sequence),
      id: wanted,
      read: await loadArchiveManifest(store, sequence),
    };
    return;
  }
  yield { name: backupObject(wanted), id: wanted, read: await loadBackup(store, wanted) };
}

/** One that cannot be read is passed over for an older one, unless what is asked for is the newest, or there is no other. */
async function* candidatesOf(
  store: ObjectStore,
  target: RestoreTarget,
  wanted: string | undefined,
  warnings: string[],
): AsyncGenerator<Candidate, void> {
  let isAny = false;
  let failure: BackupError | undefined;
  for await (const { read, ...rest } of wanted === undefined ? newestFirst(store) : chosen(store, wanted))
    if (read instanceof BackupError) {
      if (target.type === "latest") throw read;
      failure ??= read;
      warnings.push(`${rest.name} cannot be read: ${read.message}`);
    } else {
      isAny = true;
      yield { ...rest, read };
    }
  if (!isAny && failure !== undefined) throw failure;
}

async function findIn(
  store: ObjectStore,
  { read: manifest, id }: Candidate,
  target: RestoreTarget,
  findPoint: FindPoint,
): Promise<Found> {
  const earliest = earliestOf(manifest);
  const reach = (last: number): Found =>
    last < earliest ? { type: "before", earliest } : { type: "found", last: offset(last) };
  switch (target.type) {
    case "latest":
      return reach(manifest.lastOffset);
    case "offset":
      return target.offset > manifest.lastOffset ? beyond(target, id, manifest) : reach(target.offset);
    case "time":
      return findTime(store, manifest, id, target.time, reach);
    case "name": {
      const at = await findPoint(store, manifest, target.name);
      if (at !== undefined) return reach(at);
      if (manifest.firstOffset > 1) return { type: "before", earliest };
      const message = `${id} holds no restore point ${target.name}`;
      return {
        type: "refused",
        error: new BackupError("RESTORE_POINT_UNKNOWN", message, { id, point: target.name }),
      };
    }
  }
}

/** The first offset at which a state can be had: with the oldest records gone, that of the oldest snapshot that bridges them. */
function earliestOf(manifest: Manifest): Offset {
  if (manifest.firstOffset === 1) return offset(1);
  const bridges = snapshotsOf(manifest).filter(({ offset: at }) => at >= manifest.firstOffset - 1);
  return offset(Math.min(manifest.lastOffset + 1, ...bridges.map(({ offset: at }) => at)));
}

function beyond(target: RestoreTarget, id: string, { lastOffset, lastTimestamp }: Manifest): Found {
  const message = `${id} ends at offset ${lastOffset}, ${timeText(lastTimestamp)}, before ${describeTarget(target)}`;
  return {
    type: "refused",
    error: new BackupError("RESTORE_TARGET_BEYOND", message, { id, last: lastOffset }),
  };
}

async function findTime(
  store: ObjectStore,
  manifest: Manifest,
  id: string,
  time: number,
  reach: (last: number) => Found,
): Promise<Found> {
  if (time > manifest.lastTimestamp) return beyond({ type: "time", time }, id, manifest);
  if (time === manifest.lastTimestamp) {
    const found = reach(manifest.lastOffset);
    const warning = `${id} ends in that very millisecond; whether more was written in it, it cannot say`;
    return found.type === "found" ? { ...found, warnings: [warning] } : found;
  }
  return reach(await lastUpTo(store, segmentsOf(manifest), time));
}

/** The last offset whose timestamp is ≤ `time`; 0 when that lies before the record that the first one follows. Timestamps never fall. */
async function lastUpTo(
  store: ObjectStore,
  segments: readonly SegmentEntry[],
  time: number,
): Promise<number> {
  // The last segment before which everything is up to `time`; the first always counts as one.
  let [low, high] = [0, segments.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((await timeBefore(store, segments[middle])) <= time) low = middle;
    else high = middle - 1;
  }
  const segment = segments[low];
  if (segment === undefined || (low === 0 && (await timeBefore(store, segment)) > time)) return 0;
  let last = segment.baseOffset - 1;
  await readSegment(store, segment, (records) => {
    for (const record of records) if (record.timestamp <= time) last = record.offset;
  });
  return last;
}

/** Timestamp of the record before a segment's first. */
async function timeBefore(store: ObjectStore, segment: SegmentEntry | undefined): Promise<number> {
  if (segment === undefined) return 0;
  const parts: Uint8Array[] = [];
  for await (const part of store.get(segment.name, { from: 0, end: 4096 })) parts.push(part);
  return segmentHeaderOf(Buffer.concat(parts), segment.name).chainTimestamp;
}

/** @throws BackupError BACKUP_DAMAGED. */
export async function readSegment(
  store: ObjectStore,
  segment: SegmentEntry,
  onRecords: (records: readonly LogRecord[]) => void,
): Promise<void> {
  const checked = await checkSegment(segment.name, store.get(segment.name), onRecords);
  if (!("code" in checked) && checked.lastOffset === segment.endOffset && checked.lastCrc === segment.endCrc)
    return;
  throw new BackupError("BACKUP_DAMAGED", `${segment.name} is damaged: it is not what the manifest says`, {
    name: segment.name,
  });
}

/** Whether what `older` holds up to `at` is what came before the newest backup's records. */
function isOneHistory(older: Manifest, newest: Manifest, at: Offset): boolean {
  if (older === newest) return true;
  const [oldestKnown] = newest.epochs;
  if (older.clusterId !== newest.clusterId || oldestKnown === undefined) return false;
  // Of the newest backup's epochs that began before its first record only the last is known.
  const place = Math.max(at, oldestKnown.first);
  return place <= older.lastOffset && lineageAt(older, place) === lineageAt(newest, place);
}

function lineageAt({ epochs }: Manifest, at: number): string | undefined {
  return epochs.findLast(({ first }) => first <= at)?.lineageId;
}

function planOf({ id, read: manifest }: Candidate, last: Offset, warnings: readonly string[]): RestorePlan {
  const segments = segmentsOf(manifest).filter(({ baseOffset }) => baseOffset <= last);
  const snapshots = snapshotsOf(manifest).filter(({ offset: at }) => at <= last);
  const bytes = [...segments, ...snapshots].reduce((sum, file) => sum + file.bytes, 0);
  return { backup: id, manifest, last, segments, snapshots, bytes, warnings };
}

const timeText = (ms: number): string => new Date(ms).toISOString();
