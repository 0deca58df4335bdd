/**
 * A log as somebody who does not own it reads it: of another process, of a copy, of nobody. Takes no lock and changes no
 * byte. The view is fixed when it is opened: it ends at an offset that is whole on the disk then and stays so, and what is
 * appended later is not in it. Records are verified as they are read, as everywhere.
 *
 * On a live directory retention may remove segments under a view: a read of what is gone fails with LOG_OFFSET_RETIRED.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { corruption, type Finding } from "./corruption.js";
import { checkIsWhole, type DirectoryState, readDirectoryState } from "./data-directory.js";
import { readDirectoryFormat } from "./directory-format.js";
import { errnoOf } from "./errors.js";
import type { LogMark, LogPosition, LogReader, LogRecord, ReadOptions } from "./event-log.js";
import { LOG_DIRECTORY, parseSegmentName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import { IdleHandles } from "./idle-handles.js";
import { LoadedIndexes } from "./loaded-indexes.js";
import { findOffsetAt, type LogFiles, readLog } from "./log-cursor.js";
import { agrees, markAt } from "./log-mark.js";
import { NewestRecords } from "./newest-records.js";
import { beyondEnd, retired } from "./refusals.js";
import {
  epochsOf,
  firstFinding,
  lineageFinding,
  listSegments,
  readSegmentFile,
  type SegmentFile,
  shownPath,
} from "./segment-chain.js";
import { extentsOf, type SegmentExtent } from "./segment-extent.js";
import { logSegment, SegmentList } from "./segment-list.js";
import { findingOfBad, type SegmentScan, scanSegment } from "./segment-scan.js";
import type { Identity } from "./settings.js";
import { findingAtEnd } from "./tail-evidence.js";
import { lostTailFinding } from "./torn-or-corrupt.js";
import { offset as asOffset, type Offset } from "./units.js";

export interface LogViewOptions {
  /** Last offset of the view. Default: the last whole record. */
  readonly last?: Offset;
}

export interface LogView extends LogReader {
  /** Undefined when the directory has lost its identity file, or never had one. */
  readonly identity: Identity | undefined;
  /** Its segments as files, oldest first, the last one up to the last whole record when it was opened. */
  readonly extents: readonly SegmentExtent[];
}

/** How often, and how long apart, an end that looks damaged is looked at again: it may just be being written. */
const LOOKS = 10;
const LOOK_AGAIN_MS = 50;

/**
 * @throws LogError LOG_CORRUPT when what must be there is not, LOG_VERSION_UNKNOWN, LOG_RESTORE_UNFINISHED, LOG_INSTALL_UNFINISHED, LOG_OFFSET_BEYOND_END when the log ends
 * before `last`, LOG_OFFSET_RETIRED when it begins after it.
 */
export async function openLogView(
  files: FileSystem,
  dataDirectory: string,
  options: LogViewOptions = {},
): Promise<LogView> {
  await checkIsWhole(files, dataDirectory);
  await readDirectoryFormat(files, dataDirectory);
  return openUnmarkedView(files, dataDirectory, options);
}

/** As `openLogView`, whether or not the directory is marked: for the restore itself. */
export async function openUnmarkedView(
  files: FileSystem,
  dataDirectory: string,
  options: LogViewOptions,
): Promise<LogView> {
  for (let look = 1; ; look++) {
    try {
      const view = await tryToOpen(files, dataDirectory, options.last);
      if (!("code" in view)) return view;
      if (look === LOOKS || view.code === "unreadable") throw corruption(view);
    } catch (error) {
      // Retention of the owner may have removed a file since it was listed.
      if (errnoOf(error) !== "ENOENT" || look === LOOKS) throw error;
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

async function tryToOpen(
  files: FileSystem,
  dataDirectory: string,
  last: Offset | undefined,
): Promise<LogView | Finding> {
  // First what others tell of the log, then the log: what they tell of must be there.
  const state = await readDirectoryState(files, dataDirectory);
  const { identity } = state;
  const logDirectory = `${dataDirectory}/${LOG_DIRECTORY}`;
  const { found, isWhole } = await readSegments(files, logDirectory, last);
  const segments = new SegmentList();
  for (const segment of found) segments.push(logSegment(segment.header, segment.bytes, true));
  const log: LogFiles = {
    files,
    logDirectory,
    segments,
    indexes: new LoadedIndexes(files, logDirectory, "leave"),
    // Nobody closes a view, so it keeps nothing open.
    handles: new IdleHandles(files, logDirectory, segments, 0),
    newest: new NewestRecords(segments),
  };
  const tail = found[found.length - 1];
  if (tail === undefined)
    return (
      lostTailFinding(undefined, state.recoveryPoint) ?? new DirectoryView(log, asOffset(0), identity, [])
    );
  const misplaced = misplacedAmong(found, identity);
  if (misplaced !== undefined) return misplaced;

  const { scan, finding } = isWhole
    ? await readSealed(files, logDirectory, tail)
    : await readTail(files, logDirectory, tail, state);
  if (finding !== undefined && (last === undefined || last >= scan.next.offset)) return finding;
  const end = asOffset(scan.next.offset - 1);
  if (last !== undefined && last > end) throw beyondEnd(last, end);
  segments.tail.bytes = scan.next.position;
  segments.tail.index = scan.index;
  return new DirectoryView(log, last ?? end, identity, extentsOf(found, scan.next));
}

/** The segments up to the one that holds `last`; `isWhole` when there is another behind them, so that the last is sealed. */
async function readSegments(
  files: FileSystem,
  logDirectory: string,
  last: Offset | undefined,
): Promise<{ found: SegmentFile[]; isWhole: boolean }> {
  const found: SegmentFile[] = [];
  for (const name of await listSegments(files, logDirectory)) {
    const segment = await readSegmentFile(files, logDirectory, name);
    if (found.length > 0 && last !== undefined && segment.base > last) return { found, isWhole: true };
    found.push(segment);
  }
  return { found, isWhole: false };
}

function misplacedAmong(found: readonly SegmentFile[], identity: Identity | undefined): Finding | undefined {
  let before: SegmentFile | undefined;
  for (const segment of found) {
    const finding = before === undefined ? firstFinding(segment, identity) : lineageFinding(before, segment);
    if (finding !== undefined) return finding;
    before = segment;
  }
  return undefined;
}

interface LastSegment {
  readonly scan: SegmentScan;
  readonly finding?: Finding;
}

async function readSealed(
  files: FileSystem,
  logDirectory: string,
  segment: SegmentFile,
): Promise<LastSegment> {
  const handle = await files.open(`${logDirectory}/${segment.name}`, "read");
  try {
    const scan = await scanSegment(handle, segment.header, segment.bytes);
    return scan.bad === undefined
      ? { scan }
      : { scan, finding: findingOfBad(shownPath(segment.name), scan.bad) };
  } finally {
    await handle.close();
  }
}

async function readTail(
  files: FileSystem,
  logDirectory: string,
  tail: SegmentFile,
  state: DirectoryState,
): Promise<LastSegment> {
  const handle = await files.open(`${logDirectory}/${tail.name}`, "read");
  try {
    const size = await handle.size();
    const scan = await scanSegment(handle, tail.header, size);
    const end = { next: scan.next, bad: scan.bad, size, ...state };
    const finding = await findingAtEnd(handle, tail, end);
    return finding === undefined ? { scan } : { scan, finding };
  } finally {
    await handle.close();
  }
}

class DirectoryView implements LogView {
  readonly endOffset: Offset;
  readonly identity: Identity | undefined;
  readonly extents: readonly SegmentExtent[];
  readonly #log: LogFiles;

  constructor(
    log: LogFiles,
    endOffset: Offset,
    identity: Identity | undefined,
    extents: readonly SegmentExtent[],
  ) {
    this.#log = log;
    this.extents = extents;
    this.endOffset = endOffset;
    this.identity = identity;
  }

  get firstOffset(): Offset {
    return this.#log.segments.count === 0 ? asOffset(1) : this.#log.segments.first.base;
  }

  get epochs() {
    return epochsOf(this.#log.segments.all()).filter(({ first }) => first <= this.endOffset);
  }

  read(from: Offset, { last = this.endOffset }: ReadOptions = {}): AsyncIterable<readonly LogRecord[]> {
    if (from > this.endOffset + 1) throw beyondEnd(from, this.endOffset);
    return this.#read(from, asOffset(Math.min(last, this.endOffset)));
  }

  async *#read(from: Offset, last: Offset): AsyncGenerator<readonly LogRecord[], void> {
    let next = from;
    try {
      for await (const records of readLog(this.#log, from, last)) {
        next = asOffset(next + records.length);
        yield records;
      }
    } catch (error) {
      // A file that is gone from the beginning was retired by its owner; gone from elsewhere it is damage.
      const names = await listSegments(this.#log.files, this.#log.logDirectory);
      const first = parseSegmentName(names[0] ?? "");
      if (first === undefined || first <= next) throw error;
      throw retired(next, first);
    }
  }

  markAt(offset: Offset): Promise<LogMark> {
    return markAt(this, this.#log.segments, offset, this.endOffset);
  }

  agrees(mark: LogPosition | LogMark): Promise<boolean> {
    return agrees(this, this.#log.segments, mark, this.endOffset);
  }

  async offsetAt(timestamp: number): Promise<Offset> {
    if (this.endOffset < this.firstOffset) return asOffset(this.endOffset + 1);
    return findOffsetAt(this.#log, timestamp, this.endOffset);
  }
}
