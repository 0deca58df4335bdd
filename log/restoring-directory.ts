/**
 * Makes a data directory from segments that come from elsewhere, cut at exactly one record, and begins a new epoch and
 * lineage behind it. Only in a directory that holds nothing; never over existing data.
 *
 * From before its first file until everything in it is durable, the directory carries the mark `restoring.json`, and a log with
 * that mark does not open: a restore that was ended anywhere leaves a directory that nobody serves, and that only another
 * restore takes. The steps, each durable before the next:
 *
 *   1. a draft of the mark, then the lock, then the mark: ended in between, there is no directory that looks as if nothing had been
 *      meant to be in it. Then what an unfinished restore left is removed
 *   2. the segments and snapshots, in any order, each under a temporary name until every byte of it was verified; then segments that
 *      came in pieces are made one
 *   3. the chain across the segments is checked, up to the wanted record
 *   4. the version of the directory, and its identity: the same cluster, a node of its own
 *   5. the segment of the new epoch, with the record that says where it came from
 *   6. the recovery point, as after a clean stop
 *   7. the mark goes
 */
import { copyBytes } from "./copy-bytes.js";
import { ADVICE_DAMAGED, corruption, type Finding } from "./corruption.js";
import {
  createIdentity,
  type DataDirectory,
  makeUsable,
  openDataDirectory,
  randomId,
} from "./data-directory.js";
import { raiseDirectoryFormat } from "./directory-format.js";
import { EPOCH_START_VERSION, type EpochStart, encodeEpochStart } from "./epoch-start.js";
import { EPOCH_STARTED } from "./epochs.js";
import { assert, errnoOf, LogError } from "./errors.js";
import type { EpochEntry } from "./event-log.js";
import {
  FORMAT_FILE,
  IDENTITY_FILE,
  indexName,
  isRestoringDraft,
  LOCK_FILE,
  LOG_DIRECTORY,
  NEW_SUFFIX,
  newSegmentName,
  parseSnapshotName,
  RECOVERY_POINT_FILE,
  RESTORING_FILE,
  restoringDraftName,
  SNAPSHOT_DIRECTORY,
  segmentName,
  TEMPORARY_SUFFIX,
} from "./file-names.js";
import { createFile, type FileHandle, type FileSystem, replaceFile, writePieces } from "./file-system.js";
import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
  writeRecordHeader,
} from "./format.js";
import { type LogView, openUnmarkedView } from "./log-view.js";
import { writeIndexFile } from "./offset-index.js";
import { writeRecoveryPoint } from "./recovery-point.js";
import { borderFinding, firstFinding, lineageFinding, type SegmentFile, shownPath } from "./segment-chain.js";
import { type ReadPoint, readHeader } from "./segment-reader.js";
import { findingOfBad, pointAt, scanSegment } from "./segment-scan.js";
import type { Identity } from "./settings.js";
import {
  epoch as asEpoch,
  offset as asOffset,
  position as asPosition,
  type Epoch,
  type Offset,
} from "./units.js";

/** What a restore's directory may hold before it begins: nothing that anybody wrote there on purpose. */
const HARMLESS: ReadonlySet<string> = new Set([LOCK_FILE, "lost+found"]);

export interface RestoreDirectoryOptions {
  readonly files: FileSystem;
  /** Absolute. Made if it is missing. */
  readonly dataDirectory: string;
  /** Who holds the lock meanwhile, e.g. "annals restore, pid 42". */
  readonly holder: string;
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** A segment that is in its place, every record of it verified. */
export interface PlacedSegment {
  readonly file: SegmentFile;
  /** One after its last record. */
  readonly end: ReadPoint;
}

export interface RestoredLog {
  readonly identity: Identity;
  /** The new epoch; its `first` is one after the last restored record. */
  readonly epoch: EpochEntry;
  readonly firstOffset: Offset;
  readonly lastOffset: Offset;
  readonly lastTimestamp: number;
  readonly lastCrc: number;
}

export interface FinishRestore {
  /** Where the log must end; the segments were cut there. */
  readonly last: Offset;
  /** Whose log it must be. */
  readonly clusterId: string;
  /** The new epoch is above this one and above those of the segments. */
  readonly epochsUpTo: Epoch;
  /** What the record of the new epoch says of where it came from. */
  readonly from: string;
  /** When the segments were not taken over but written anew: the lineage that the last record had before. */
  readonly migratedLineage?: string;
}

export class RestoringDirectory {
  readonly #options: RestoreDirectoryOptions;
  readonly #directory: DataDirectory;
  #placed: PlacedSegment[] = [];

  private constructor(options: RestoreDirectoryOptions, directory: DataDirectory) {
    this.#options = options;
    this.#directory = directory;
  }

  /**
   * `note` is written into the mark, for whoever finds it.
   * @throws LogError LOG_DIRECTORY_UNUSABLE when it holds anything, LOG_LOCKED; then nothing was changed.
   */
  static async begin(
    options: RestoreDirectoryOptions,
    note: Readonly<Record<string, string | number>>,
  ): Promise<RestoringDirectory> {
    const { files, dataDirectory, holder } = options;
    const isMarked = await checkIsFree(files, dataDirectory);
    const draft = isMarked ? undefined : await announce(options);
    try {
      const directory = await openDataDirectory(files, dataDirectory, holder);
      return await RestoringDirectory.#take(options, directory, note);
    } finally {
      if (draft !== undefined) await removeIfThere(files, draft);
    }
  }

  /** Marks the directory, once nobody else can put anything there. */
  static async #take(
    options: RestoreDirectoryOptions,
    directory: DataDirectory,
    note: Readonly<Record<string, string | number>>,
  ): Promise<RestoringDirectory> {
    const { files, dataDirectory, holder } = options;
    try {
      await checkIsFree(files, dataDirectory);
      const text = `${JSON.stringify({ ...note, by: holder }, null, 2)}\n`;
      await replaceFile(files, dataDirectory, RESTORING_FILE, Buffer.from(text));
      await clear(files, dataDirectory);
      return new RestoringDirectory(options, directory);
    } catch (error) {
      await directory.lock.release();
      throw error;
    }
  }

  /**
   * Brings one segment, whose bytes come from anywhere, up to and with `last` if it holds that. Several may come at once.
   * @throws LogError LOG_CORRUPT when a record does not hold, or it is not the segment that begins at `base`.
   */
  async placeSegment(base: Offset, bytes: AsyncIterable<Uint8Array>, last?: Offset): Promise<PlacedSegment> {
    const { files } = this.#options;
    const { logPath } = this.#directory;
    const temporary = `${logPath}/${newSegmentName(base)}`;
    const handle = await files.open(temporary, "create");
    let placed: PlacedSegment;
    try {
      const size = await writePieces(handle, bytes);
      placed = await this.#verifyAndCut(handle, base, size, last);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await files.rename(temporary, `${logPath}/${segmentName(base)}`);
    this.#placed.push(placed);
    return placed;
  }

  async #verifyAndCut(
    handle: FileHandle,
    base: Offset,
    size: number,
    last: Offset | undefined,
  ): Promise<PlacedSegment> {
    const { files } = this.#options;
    const name = segmentName(base);
    const header = await readHeader(handle, shownPath(name));
    if (header.baseOffset !== base)
      throw corruption(misnamed(name, `base offset ${base}`, `${header.baseOffset}`));
    let cut: ReadPoint | undefined;
    const scan = await scanSegment(handle, header, size, (batch, from) => {
      const after = last === undefined ? 0 : last + 1 - from.offset;
      if (after > 0 && after <= batch.records.length) cut = pointAt(batch, from, after);
    });
    if (scan.bad !== undefined) throw corruption(findingOfBad(shownPath(name), scan.bad));
    const end = cut ?? scan.next;
    if (cut !== undefined) {
      await handle.truncate(cut.position);
      // None at the end: a sealed segment has nothing to read there.
      scan.index.truncate(asOffset(cut.offset - 2));
    }
    // Every restored segment is a sealed one: the new epoch gets its own.
    await writeIndexFile(files, this.#directory.logPath, header, scan.index, end);
    return { file: { base, name, header, bytes: end.position }, end };
  }

  /**
   * Makes one segment of those that begin at these offsets, each where the one before ends: they are pieces of what was one in the log
   * that they come from, and whoever follows that log has to have its borders.
   * @throws LogError LOG_CORRUPT when one does not continue the one before.
   */
  async joinSegments(bases: readonly Offset[]): Promise<void> {
    const { files } = this.#options;
    const { logPath } = this.#directory;
    const pieces = bases.map((base) => this.#placedAt(base));
    const [first, ...others] = pieces;
    if (first === undefined || others.length === 0) return;
    const { base, name, header } = first.file;
    const handle = await files.open(`${logPath}/${name}`, "write");
    let end = first.end;
    try {
      for (const { file, end: pieceEnd } of others) {
        const torn = borderFinding(end, file);
        if (torn !== undefined) throw corruption(torn);
        await this.#appendRecords(handle, end.position, file);
        end = { ...pieceEnd, position: asPosition(end.position + file.bytes - SEGMENT_HEADER_BYTES) };
      }
      const scan = await scanSegment(handle, header, end.position);
      if (scan.bad !== undefined) throw corruption(findingOfBad(shownPath(name), scan.bad));
      await handle.sync();
      await writeIndexFile(files, logPath, header, scan.index, end);
    } finally {
      await handle.close();
    }
    for (const { file } of others) {
      await files.remove(`${logPath}/${indexName(file.base)}`);
      await files.remove(`${logPath}/${file.name}`);
    }
    const joined = { file: { base, name, header, bytes: end.position }, end };
    this.#placed = [...this.#placed.filter((placed) => !pieces.includes(placed)), joined];
  }

  async #appendRecords(into: FileHandle, position: number, { name, bytes }: SegmentFile): Promise<void> {
    const from = await this.#options.files.open(`${this.#directory.logPath}/${name}`, "read");
    try {
      await copyBytes(from, SEGMENT_HEADER_BYTES, bytes, into, position);
    } finally {
      await from.close();
    }
  }

  #placedAt(base: Offset): PlacedSegment {
    const placed = this.#placed.find(({ file }) => file.base === base);
    assert(placed !== undefined, "only what was placed is joined");
    return placed;
  }

  /**
   * Brings a snapshot, whole.
   * @throws RangeError when `name` is no snapshot's.
   */
  async placeSnapshot(name: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    if (parseSnapshotName(name) === undefined) throw new RangeError(`${name} is not the name of a snapshot`);
    const { files, dataDirectory } = this.#options;
    const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
    await files.makeDirectory(directory);
    await createFile(files, `${directory}/${name}${TEMPORARY_SUFFIX}`, bytes);
    await files.rename(`${directory}/${name}${TEMPORARY_SUFFIX}`, `${directory}/${name}`);
    await files.syncDirectory(directory);
  }

  /** What was brought so far, as a log up to `last`. @throws LogError LOG_CORRUPT when the segments are not one log. */
  async view(last: Offset): Promise<LogView> {
    checkChain(this.#placed, last);
    return openUnmarkedView(this.#options.files, this.#options.dataDirectory, { last });
  }

  /** Takes a snapshot away again that turned out to be of no use. */
  async removeSnapshot(name: string): Promise<void> {
    const { files, dataDirectory } = this.#options;
    const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
    await files.remove(`${directory}/${name}`);
    await files.syncDirectory(directory);
  }

  /**
   * Makes the directory one that a log opens from. Nobody believed any of it before this resolves.
   * @throws LogError LOG_CORRUPT when the segments are not one log up to `last`; then the mark stays.
   */
  async finish({ last, clusterId, epochsUpTo, from, migratedLineage }: FinishRestore): Promise<RestoredLog> {
    const { files, dataDirectory, now, randomBytes } = this.#options;
    const { logPath } = this.#directory;
    const { first, tail, epochs } = checkChain(this.#placed, last);
    const found = first.file.header.clusterId;
    if (found !== clusterId) throw corruption(misnamed(first.file.name, `cluster ${clusterId}`, found));
    await files.syncDirectory(logPath);
    await raiseDirectoryFormat(files, dataDirectory);
    const identity = await createIdentity(files, dataDirectory, randomBytes, clusterId);

    const lineage = migratedLineage ?? tail.file.header.lineageId;
    const reason = migratedLineage === undefined ? "restored" : "migrated";
    const header: SegmentHeader = {
      epoch: asEpoch(Math.max(epochsUpTo, ...epochs) + 1),
      baseOffset: tail.end.offset,
      createdAt: Math.floor(now()),
      clusterId,
      nodeId: identity.nodeId,
      lineageId: randomId(randomBytes),
      epochFirst: tail.end.offset,
      chainTimestamp: tail.end.timestamp,
      chainCrc: tail.end.seed,
    };
    const start: EpochStart = { reason, from, offset: last, lineage };
    const { bytes, crc } = firstSegmentOf(header, start);
    await replaceFile(files, logPath, segmentName(header.baseOffset), bytes, NEW_SUFFIX);
    const { baseOffset } = header;
    await writeRecoveryPoint(files, dataDirectory, {
      durable: baseOffset,
      crc,
      tail: baseOffset,
      clean: true,
    });
    await files.remove(`${dataDirectory}/${RESTORING_FILE}`);
    await files.syncDirectory(dataDirectory);
    return {
      identity,
      epoch: { epoch: header.epoch, first: baseOffset, nodeId: header.nodeId, lineageId: header.lineageId },
      firstOffset: first.file.base,
      lastOffset: last,
      lastTimestamp: tail.end.timestamp,
      lastCrc: tail.end.seed,
    };
  }

  /** Lets the directory go, finished or not. */
  async close(): Promise<void> {
    await this.#directory.lock.release();
  }
}

/**
 * Says in a directory without a mark that a restore is about to begin there, in a file of its own: whoever has the lock meanwhile, or is
 * refused it, has another one. It counts only where there is no log.
 */
async function announce({ files, dataDirectory, randomBytes }: RestoreDirectoryOptions): Promise<string> {
  await makeUsable(files, dataDirectory);
  const draft = `${dataDirectory}/${restoringDraftName(randomId(randomBytes))}`;
  await (await files.open(draft, "create")).close();
  await files.syncDirectory(dataDirectory);
  return draft;
}

async function removeIfThere(files: FileSystem, path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}

/** Whether a restore that was not finished left it. @throws LogError LOG_DIRECTORY_UNUSABLE when anything else is there. */
async function checkIsFree(files: FileSystem, dataDirectory: string): Promise<boolean> {
  const status = await files.stat(dataDirectory);
  if (status === undefined) return false;
  if (status.type !== "directory") throw notFree(dataDirectory, "a file");
  const names = await files.list(dataDirectory);
  const isMarked = names.includes(RESTORING_FILE);
  const found = await foundAmong(files, dataDirectory, names, isMarked);
  if (found !== undefined) throw notFree(dataDirectory, found);
  return isMarked;
}

/** The first name that a restore must not touch. */
async function foundAmong(
  files: FileSystem,
  dataDirectory: string,
  names: readonly string[],
  isMarked: boolean,
): Promise<string | undefined> {
  for (const name of names) {
    if (HARMLESS.has(name) || isRestoringDraft(name) || (isMarked && MADE_HERE.has(name))) continue;
    const isEmptyLog = name === LOG_DIRECTORY && (await files.list(`${dataDirectory}/${name}`)).length === 0;
    if (!isEmptyLog) return name;
  }
  return undefined;
}

const MADE_HERE: ReadonlySet<string> = new Set([
  RESTORING_FILE,
  LOG_DIRECTORY,
  SNAPSHOT_DIRECTORY,
  ...[FORMAT_FILE, `${FORMAT_FILE}${TEMPORARY_SUFFIX}`],
  ...[IDENTITY_FILE, `${IDENTITY_FILE}${TEMPORARY_SUFFIX}`],
  ...[RECOVERY_POINT_FILE, `${RECOVERY_POINT_FILE}${TEMPORARY_SUFFIX}`],
]);

function notFree(directory: string, found: string): LogError {
  const message = `${directory} is not empty: a restore never goes over existing data`;
  const advice = "choose one that is new or empty";
  return new LogError("LOG_DIRECTORY_UNUSABLE", message, { directory, found, advice });
}

/** Removes what an earlier restore left: in a marked directory nothing else can be. */
async function clear(files: FileSystem, dataDirectory: string): Promise<void> {
  const kept: ReadonlySet<string> = new Set([LOCK_FILE, RESTORING_FILE, "lost+found"]);
  for (const name of await files.list(dataDirectory)) {
    if (kept.has(name)) continue;
    const path = `${dataDirectory}/${name}`;
    if (name !== LOG_DIRECTORY && name !== SNAPSHOT_DIRECTORY) {
      await removeIfThere(files, path);
      continue;
    }
    for (const inner of await files.list(path)) await files.remove(`${path}/${inner}`);
    await files.syncDirectory(path);
  }
  await files.syncDirectory(dataDirectory);
}

/** The placed segments in order; they are one log that ends with `last`. */
function checkChain(
  placed: readonly PlacedSegment[],
  last: Offset,
): { first: PlacedSegment; tail: PlacedSegment; epochs: readonly Epoch[] } {
  const inOrder = [...placed].sort((a, b) => a.file.base - b.file.base);
  const [first, tail] = [inOrder[0], inOrder[inOrder.length - 1]];
  assert(first !== undefined && tail !== undefined, "a restore brings at least one segment");
  throwIfFound(firstFinding(first.file, undefined));
  for (const [i, { file }] of inOrder.entries()) {
    const before = inOrder[i - 1];
    if (before === undefined) continue;
    throwIfFound(lineageFinding(before.file, file) ?? borderFinding(before.end, file));
  }
  const found = tail.end.offset - 1;
  if (found !== last) throw corruption(misnamed(tail.file.name, `to end with offset ${last}`, `${found}`));
  return { first, tail, epochs: inOrder.map(({ file }) => file.header.epoch) };
}

function throwIfFound(finding: Finding | undefined): void {
  if (finding !== undefined) throw corruption(finding);
}

function misnamed(name: string, expected: string, found: string): Finding {
  return { code: "chain", file: shownPath(name), expected, found, advice: ADVICE_DAMAGED };
}

/** A segment file that begins an epoch, and the crc of its one record. */
function firstSegmentOf(header: SegmentHeader, start: EpochStart): { bytes: Uint8Array; crc: number } {
  const body = encodeEpochStart(start);
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  const { baseOffset, createdAt, chainTimestamp, chainCrc, epoch } = header;
  const at = SEGMENT_HEADER_BYTES;
  const timestamp = Math.max(createdAt, chainTimestamp);
  bytes.set(encodeSegmentHeader(header));
  writeRecordHeader(view, at, body.length, baseOffset, timestamp, epoch, EPOCH_STARTED, EPOCH_START_VERSION);
  bytes.set(body, at + RECORD_HEADER_BYTES);
  const crc = stampRecord(view, at, 0, chainCrc, chainSalt(header.lineageId));
  return { bytes, crc };
}
