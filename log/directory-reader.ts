/**
 * Reads the records of a data directory that belongs to another process, or to nobody: for operators' tools. Takes no
 * lock and changes nothing. What it shows is verified, but on a live directory it may run ahead of what is durable: it sees
 * what the system's cache holds.
 *
 * At the end it waits (`follow`) or stops. An end that is just being written looks like a torn one, and a segment can be
 * sealed or retired while it is read, so whatever looks wrong is looked at again before it is called damage.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { corruption, type Finding } from "./corruption.js";
import { readDirectoryState } from "./data-directory.js";
import { readDirectoryFormat } from "./directory-format.js";
import { errnoOf } from "./errors.js";
import type { LogRecord } from "./event-log.js";
import { LOG_DIRECTORY, parseSegmentName } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { readIndexFile } from "./offset-index.js";
import { retired } from "./refusals.js";
import {
  borderFinding,
  lineageFinding,
  listSegments,
  lostFile,
  readSegmentFile,
  type SegmentFile,
  shownPath,
} from "./segment-chain.js";
import { basePoint, type ReadPoint, readBatch } from "./segment-reader.js";
import { findingOfBad } from "./segment-scan.js";
import { findingAtEnd } from "./tail-evidence.js";
import { lostTailFinding } from "./torn-or-corrupt.js";
import type { Offset } from "./units.js";

export interface ReadDirectoryOptions {
  /** First offset. Default: the oldest there is. */
  readonly from?: Offset;
  /** Last offset, inclusive. */
  readonly to?: Offset;
  /** First timestamp, ms since 1970. */
  readonly fromTime?: number;
  /** Last timestamp, inclusive. */
  readonly toTime?: number;
  /** Wait for more at the end, until `to`, `toTime` or `signal` ends it. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
  /** How often the end is looked at, in ms. */
  readonly pollMs?: number;
}

/** How often, and how long apart, something wrong is looked at again. */
const LOOKS = 10;
const LOOK_AGAIN_MS = 50;
const POLL_MS = 200;

/**
 * The records of a range, a disk read at a time. A range beyond the end is empty.
 * @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT, LOG_VERSION_UNKNOWN.
 */
export async function* readDirectory(
  files: FileSystem,
  dataDirectory: string,
  options: ReadDirectoryOptions = {},
): AsyncGenerator<readonly LogRecord[], void, undefined> {
  const {
    from = 0,
    to = Number.POSITIVE_INFINITY,
    fromTime = 0,
    toTime = Number.POSITIVE_INFINITY,
  } = options;
  await readDirectoryFormat(files, dataDirectory);
  const reader = new DirectoryReader(files, dataDirectory, options);
  for await (const batch of reader.batches()) {
    const wanted = batch.filter(
      (record) =>
        record.offset >= from &&
        record.offset <= to &&
        record.timestamp >= fromTime &&
        record.timestamp <= toTime,
    );
    if (wanted.length > 0) yield wanted;
    const last = batch[batch.length - 1];
    if (last !== undefined && (last.offset >= to || last.timestamp > toTime)) return;
  }
}

/** Where the reader stands. */
interface Cursor {
  readonly segment: SegmentFile;
  readonly handle: FileHandle;
  point: ReadPoint;
}

class DirectoryReader {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #logDirectory: string;
  readonly #options: ReadDirectoryOptions;

  constructor(files: FileSystem, directory: string, options: ReadDirectoryOptions) {
    this.#files = files;
    this.#directory = directory;
    this.#logDirectory = `${directory}/${LOG_DIRECTORY}`;
    this.#options = options;
  }

  async *batches(): AsyncGenerator<readonly LogRecord[], void, undefined> {
    let cursor = await this.#begin();
    while (cursor === undefined && (await this.#waitForMore())) cursor = await this.#begin();
    if (cursor === undefined) return;
    let looks = 0;
    try {
      while (this.#options.signal?.aborted !== true) {
        const records = await this.#readSome(cursor);
        if (records.length > 0) {
          looks = 0;
          yield records;
          continue;
        }
        const found = await this.#lookAround(cursor);
        if (found === "more") continue;
        if (found === "end") {
          if (!(await this.#waitForMore())) return;
        } else if ("handle" in found) {
          await cursor.handle.close();
          cursor = found;
        } else {
          looks += 1;
          if (looks === LOOKS || found.code === "unreadable") throw corruption(found);
          await this.#pause(LOOK_AGAIN_MS);
        }
      }
    } finally {
      await cursor.handle.close();
    }
  }

  async #begin(): Promise<Cursor | undefined> {
    for (let look = 1; ; look++) {
      try {
        return await this.#start();
      } catch (error) {
        // Retention may have removed a segment since it was listed.
        if (errnoOf(error) !== "ENOENT" || look === LOOKS) throw error;
      }
      await this.#pause(LOOK_AGAIN_MS);
    }
  }

  /** Opens the segment in which the range begins, as near to it as its index allows; undefined if there is none yet. */
  async #start(): Promise<Cursor | undefined> {
    const names = await listSegments(this.#files, this.#logDirectory);
    const first = parseSegmentName(names[0] ?? "");
    if (first === undefined) {
      const { recoveryPoint } = await readDirectoryState(this.#files, this.#directory);
      const lost = lostTailFinding(undefined, recoveryPoint);
      if (lost === undefined) return undefined;
      // Unless a server has begun its log since: what the point tells of is there by now.
      if ((await listSegments(this.#files, this.#logDirectory)).length === 0) throw corruption(lost);
      return this.#start();
    }
    const { from = first, fromTime } = this.#options;
    if (from > 0 && from < first) throw retired(from, first);
    let start = names.findLastIndex((name) => (parseSegmentName(name) ?? first) <= from);
    // By time: the last segment before which every record is older.
    for (let i = names.length - 1; fromTime !== undefined && i > start; i--) {
      const { header } = await readSegmentFile(this.#files, this.#logDirectory, names[i] ?? "");
      if (header.chainTimestamp < fromTime) start = i;
    }
    const segment = await readSegmentFile(this.#files, this.#logDirectory, names[Math.max(0, start)] ?? "");
    const read = await readIndexFile(this.#files, this.#logDirectory, segment.header, segment.bytes);
    if (read === undefined) return this.#enter(segment);
    const byOffset = read.index.floor(from);
    const byTime = fromTime === undefined ? byOffset : read.index.floorTime(fromTime);
    return this.#enter(segment, byTime.offset > byOffset.offset ? byTime : byOffset);
  }

  async #enter(segment: SegmentFile, point = basePoint(segment.header)): Promise<Cursor> {
    return {
      segment,
      handle: await this.#files.open(`${this.#logDirectory}/${segment.name}`, "read"),
      point,
    };
  }

  async #readSome(cursor: Cursor): Promise<readonly LogRecord[]> {
    const { handle, segment } = cursor;
    const batch = await readBatch(handle, cursor.point, await handle.size(), segment.header);
    cursor.point = batch.next;
    return batch.records;
  }

  /** No record at the cursor: is there more by now, another segment, is it the end, or is something wrong? */
  async #lookAround(cursor: Cursor): Promise<"more" | "end" | Cursor | Finding> {
    // First what others tell of the log, then the log: what they tell of must be there.
    const state = await readDirectoryState(this.#files, this.#directory);
    const point = state.recoveryPoint;
    const names = await listSegments(this.#files, this.#logDirectory);
    const { handle, segment } = cursor;
    const size = await handle.size();
    const batch = await readBatch(handle, cursor.point, size, segment.header);
    if (batch.records.length > 0) return "more";

    const next = names.find((name) => (parseSegmentName(name) ?? 0) > segment.base);
    if (next !== undefined) {
      if (batch.bad !== undefined) return findingOfBad(shownPath(segment.name), batch.bad);
      return this.#cross(cursor, next, names.includes(segment.name));
    }
    const isExpected = point !== undefined && cursor.point.offset <= point.durable;
    // Following, most looks find the zeros written ahead; reading on through all of them each time would cost too much.
    if (this.#options.follow === true && batch.bad?.reason === "zero" && !isExpected) return "end";
    const end = { next: cursor.point, bad: batch.bad, size, ...state };
    return (await findingAtEnd(handle, segment, end)) ?? "end";
  }

  /** On to the next segment, if it continues this one. */
  async #cross(cursor: Cursor, name: string, isListed: boolean): Promise<Cursor | Finding> {
    try {
      const next = await readSegmentFile(this.#files, this.#logDirectory, name);
      const finding = lineageFinding(cursor.segment, next) ?? borderFinding(cursor.point, next);
      if (finding === undefined) return await this.#enter(next);
      if (!isListed && next.base > cursor.point.offset) throw retired(cursor.point.offset, next.base);
      return finding;
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
      return lostFile(shownPath(name), cursor.point.offset);
    }
  }

  async #waitForMore(): Promise<boolean> {
    if (this.#options.follow !== true) return false;
    return this.#pause(this.#options.pollMs ?? POLL_MS);
  }

  /** False when the signal ended the wait. */
  async #pause(ms: number): Promise<boolean> {
    const { signal } = this.#options;
    try {
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
      return true;
    } catch (error) {
      if (signal?.aborted === true) return false;
      throw error;
    }
  }
}
