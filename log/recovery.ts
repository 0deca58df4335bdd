/**
 * Makes the log trustworthy after whatever happened: finds its segments, verifies that they are one log, finds the end,
 * decides whether what follows the end is nothing, an unfinished write, or damage, and makes durable what it keeps. Follows the
 * numbered steps of `log/README.md`. Can be interrupted anywhere and run again.
 *
 * It cuts only a torn end, after its bytes were kept aside; on anything else that is wrong it fails and has changed nothing
 * (but perhaps built a lost index file again).
 */
import { copyBytes } from "./copy-bytes.js";
import { corruption, type Finding } from "./corruption.js";
import type { EpochEntry } from "./event-log.js";
import {
  indexName,
  isLeftover,
  LOG_DIRECTORY,
  parseIndexName,
  parseSnapshotName,
  SNAPSHOT_DIRECTORY,
  TORN_DIRECTORY,
  tornName,
} from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { OffsetIndex, readIndexFile } from "./offset-index.js";
import type { RecoveryPoint } from "./recovery-point.js";
import {
  borderFinding,
  epochsOf,
  firstFinding,
  lineageFinding,
  listSegments,
  readSegmentFile,
  type SegmentFile,
  shownPath,
} from "./segment-chain.js";
import { LOG_START, type ReadPoint, readBatch } from "./segment-reader.js";
import {
  type LoadedIndex,
  loadIndex,
  pointAt,
  rebuildIndex,
  type SegmentScan,
  scanSegment,
} from "./segment-scan.js";
import type { Identity } from "./settings.js";
import { type AfterEnd, readAfterEnd } from "./tail-evidence.js";
import { fingerprintFinding, isOwnWriter, judgeTail, lostTailFinding } from "./torn-or-corrupt.js";
import { offset as asOffset, type Offset } from "./units.js";

export type { RecoveryPoint } from "./recovery-point.js";

export interface RecoverOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly now: () => number;
  readonly recoveryPoint: RecoveryPoint | undefined;
  /** Whose directory this is. Without it nothing is compared with it, and the segments count as this node's own. */
  readonly identity?: Identity;
  /** Its last records came from another node, so that their `unsynced` proves nothing. */
  readonly isFollowing?: boolean;
}

export interface RecoveredLog {
  /** Oldest first; the last is the tail. Empty: there is no log yet. `bytes` is where a segment's records end. */
  readonly segments: readonly SegmentFile[];
  /** The end of the tail: where the next record goes. */
  readonly next: ReadPoint;
  /** The tail's index. */
  readonly index: OffsetIndex;
  readonly epochs: readonly EpochEntry[];
  /** The unfinished end that was cut, and the file that keeps it. */
  readonly torn?: { readonly bytes: number; readonly file: string };
}

/** @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN; what the file system throws. */
export async function recoverLog(options: RecoverOptions): Promise<RecoveredLog> {
  const { files, dataDirectory, recoveryPoint, identity } = options;
  const logDirectory = `${dataDirectory}/${LOG_DIRECTORY}`;

  const segments = await readSegments(files, logDirectory);
  const tail = segments[segments.length - 1];
  throwIfFound(lostTailFinding(tail, recoveryPoint));
  if (tail === undefined) {
    throwIfFound(await lostLogFinding(files, dataDirectory));
    await removeLeftovers(files, logDirectory, segments);
    return { segments, next: LOG_START, index: OffsetIndex.empty(LOG_START), epochs: [] };
  }
  await checkSegments(files, logDirectory, segments, identity);

  const handle = await files.open(`${logDirectory}/${tail.name}`, "write");
  try {
    const scan = await scanSegment(handle, tail.header, tail.bytes);
    const after = await readAfterEnd(handle, tail.header, scan.next, tail.bytes);
    const isOwn = isOwnWriter(tail.header, identity, options.isFollowing === true);
    const verdict = judgeTail({
      file: shownPath(tail.name),
      next: scan.next,
      bad: scan.bad,
      ...after,
      recoveryPoint,
      isOwnWriter: isOwn,
    });
    if (verdict.type === "corrupt") throw corruption(verdict.finding);
    if (recoveryPoint !== undefined) {
      const crc = await crcAt(files, logDirectory, segments, scan, handle, recoveryPoint.durable);
      throwIfFound(fingerprintFinding(recoveryPoint, crc));
    }

    // From here on the log is known to be sound, and only now is anything changed.
    await removeLeftovers(files, logDirectory, segments);
    const torn =
      verdict.type === "torn" ? await cutTornEnd(options, tail, handle, scan.next, after) : undefined;
    if (recoveryPoint?.clean !== true)
      await makeDurable(handle, tail, scan, knownDurable(scan, recoveryPoint, isOwn, tail.base));
    // A rename whose directory was not synced may still be undone by a power cut: the tail's name must not be.
    await files.syncDirectory(logDirectory);

    const recovered = {
      segments: [...segments.slice(0, -1), { ...tail, bytes: scan.next.position }],
      next: scan.next,
      index: scan.index,
      epochs: epochsOf(segments),
    };
    return torn === undefined ? recovered : { ...recovered, torn };
  } finally {
    await handle.close();
  }
}

/** What a crash left half made was never part of the log; an index without a sealed segment speaks of what is no more. */
async function removeLeftovers(
  files: FileSystem,
  logDirectory: string,
  segments: readonly SegmentFile[],
): Promise<void> {
  if (!(await files.exists(logDirectory))) return;
  const indexes = new Set(segments.slice(0, -1).map(({ base }) => indexName(base)));
  const isLost = (name: string): boolean => parseIndexName(name) !== undefined && !indexes.has(name);
  const leftovers = (await files.list(logDirectory)).filter((name) => isLeftover(name) || isLost(name));
  for (const name of leftovers) await files.remove(`${logDirectory}/${name}`);
  if (leftovers.length > 0) await files.syncDirectory(logDirectory);
}

/** A snapshot was made of a log: without one, something was lost, and a new log would begin empty over what there was. */
async function lostLogFinding(files: FileSystem, dataDirectory: string): Promise<Finding | undefined> {
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  if (!(await files.exists(directory))) return undefined;
  const name = (await files.list(directory)).find((found) => parseSnapshotName(found) !== undefined);
  if (name === undefined) return undefined;
  return {
    code: "missing",
    file: LOG_DIRECTORY,
    expected: `the log that ${SNAPSHOT_DIRECTORY}/${name} was made of`,
    found: "no segment",
    advice: `restore the log from a backup; if what there was is to be forgotten, move ${SNAPSHOT_DIRECTORY} elsewhere`,
  };
}

async function readSegments(files: FileSystem, logDirectory: string): Promise<SegmentFile[]> {
  const segments: SegmentFile[] = [];
  for (const name of await listSegments(files, logDirectory))
    segments.push(await readSegmentFile(files, logDirectory, name));
  return segments;
}

/** Every segment continues the one before. An index file may say where a sealed one ends; only a scan may say it is wrong. */
async function checkSegments(
  files: FileSystem,
  logDirectory: string,
  segments: readonly SegmentFile[],
  identity: Identity | undefined,
): Promise<void> {
  for (const [i, segment] of segments.entries()) {
    const before = segments[i - 1];
    if (before === undefined) {
      throwIfFound(firstFinding(segment, identity));
      continue;
    }
    throwIfFound(lineageFinding(before, segment));
    const indexed = await indexedEnd(files, logDirectory, before);
    if (indexed !== undefined && borderFinding(indexed, segment) === undefined) continue;
    const { end } = await rebuildIndex(files, logDirectory, before);
    throwIfFound(borderFinding(end, segment));
  }
}

/** Where a sealed segment ends by its index file, if its last records, from the last entry on, really lead there. */
async function indexedEnd(
  files: FileSystem,
  logDirectory: string,
  segment: SegmentFile,
): Promise<ReadPoint | undefined> {
  const read = await readIndexFile(files, logDirectory, segment.header, segment.bytes);
  if (read === undefined) return undefined;
  const handle = await files.open(`${logDirectory}/${segment.name}`, "read");
  try {
    const from = read.index.floor(read.end.offset);
    const end = await seek(handle, segment, from, read.end.offset, segment.bytes);
    return end.position === read.end.position && end.seed === read.end.seed ? end : undefined;
  } finally {
    await handle.close();
  }
}

function throwIfFound(finding: Finding | undefined): void {
  if (finding !== undefined) throw corruption(finding);
}

/**
 * The chained crc of the record at `offset`, or undefined if retention has removed it.
 * @throws LogError LOG_CORRUPT when a record of a sealed segment that leads there is damaged.
 */
async function crcAt(
  files: FileSystem,
  logDirectory: string,
  segments: readonly SegmentFile[],
  scan: SegmentScan,
  tailHandle: FileHandle,
  offset: Offset,
): Promise<number | undefined> {
  const after = asOffset(offset + 1);
  const holder = segments.findLast((segment) => segment.base <= after);
  if (holder === undefined) return undefined;
  if (holder === segments[segments.length - 1])
    return (await seek(tailHandle, holder, scan.index.floor(after), after, scan.next.position)).seed;
  const handle = await files.open(`${logDirectory}/${holder.name}`, "read");
  const read = ({ index }: LoadedIndex): Promise<ReadPoint> =>
    seek(handle, holder, index.floor(after), after, holder.bytes);
  try {
    const indexed = await read(await loadIndex(files, logDirectory, holder));
    if (indexed.offset === after) return indexed.seed;
    // A damaged record on the way says nothing of whose the recovery point is.
    return (await read(await rebuildIndex(files, logDirectory, holder))).seed;
  } finally {
    await handle.close();
  }
}

/** The read point of `offset`, or of the end if that comes first, reading on from `from`. */
async function seek(
  handle: FileHandle,
  segment: SegmentFile,
  from: ReadPoint,
  offset: Offset,
  end: number,
): Promise<ReadPoint> {
  for (let point = from; ; ) {
    const batch = await readBatch(handle, point, end, segment.header);
    if (batch.bad !== undefined || batch.records.length === 0) return point;
    if (offset < batch.next.offset) return pointAt(batch, point, offset - point.offset);
    point = batch.next;
  }
}

function knownDurable(
  scan: SegmentScan,
  point: RecoveryPoint | undefined,
  isOwn: boolean,
  base: Offset,
): Offset {
  return asOffset(Math.max(base - 1, point?.durable ?? 0, isOwn ? scan.proven : 0));
}

/**
 * Keeps the bytes of an unfinished write aside, then cuts them. In this order, each step durable before the next: a crash
 * in between leaves the log uncut, and the next recovery keeps them again.
 */
async function cutTornEnd(
  options: RecoverOptions,
  tail: SegmentFile,
  handle: FileHandle,
  next: ReadPoint,
  after: AfterEnd,
): Promise<{ bytes: number; file: string }> {
  const { files, dataDirectory } = options;
  const directory = `${dataDirectory}/${TORN_DIRECTORY}`;
  await files.makeDirectory(directory);
  let nowMs = options.now();
  while (await files.exists(`${directory}/${tornName(tail.base, next.position, nowMs)}`)) nowMs += 1;
  const name = tornName(tail.base, next.position, nowMs);
  const copy = await files.open(`${directory}/${name}`, "create");
  try {
    await copyBytes(handle, next.position, after.contentEnd, copy, 0);
    await copy.sync();
  } finally {
    await copy.close();
  }
  await files.syncDirectory(directory);
  await handle.truncate(next.position);
  await handle.sync();
  return { bytes: after.contentEnd - next.position, file: `${TORN_DIRECTORY}/${name}` };
}

/**
 * Writes again, and syncs, the records that nothing proves durable. They were read, but maybe only from the page cache:
 * after a process died without a power cut they may never have reached the disk, and after a failed sync the system
 * calls such pages clean, so that a sync alone would prove nothing. Writing the same bytes again harms no one.
 */
async function makeDurable(
  handle: FileHandle,
  tail: SegmentFile,
  scan: SegmentScan,
  durable: Offset,
): Promise<void> {
  const first = asOffset(durable + 1);
  if (first < scan.next.offset) {
    const end = scan.next.position;
    const from = await seek(handle, tail, scan.index.floor(first), first, end);
    await copyBytes(handle, from.position, end, handle, from.position);
  }
  await handle.sync();
}
