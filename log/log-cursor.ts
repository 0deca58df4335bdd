/**
 * A reader's place in the log: reads the next records, a batch (one disk read) at a time, over the borders of segments.
 * Holds one open file, so that a segment that retention removes under it is still read to its end. The checksum of every
 * record that is given out is verified; what does not hold at or below the wanted offset is corruption and never given out.
 *
 * When the end of the log is cut off meanwhile, a reader that was to read further is told so: what it finds there is neither what it was
 * promised nor damage.
 */
import { ADVICE_DAMAGED, CorruptionError, corruption } from "./corruption.js";
import { assert, errnoOf, LogError } from "./errors.js";
import type { LogRecord, RecordRun } from "./event-log.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { RECORD_BODY_BYTES_MAX, RECORD_HEADER_BYTES, recordLength, SEGMENT_HEADER_BYTES } from "./format.js";
import type { IdleHandles } from "./idle-handles.js";
import type { LoadedIndexes } from "./loaded-indexes.js";
import type { NewestRecords, NewestRun } from "./newest-records.js";
import type { OffsetIndex } from "./offset-index.js";
import { type GivenBytes, readGiven } from "./read-bytes.js";
import { type CheckedRecords, checkRecords } from "./record-check.js";
import { cutOff, retired } from "./refusals.js";
import { borderFinding, lostFile, shownPath } from "./segment-chain.js";
import type { CutWitness, LogSegment, SegmentList } from "./segment-list.js";
import {
  CHUNK_BYTES,
  parseRecords,
  type ReadPoint,
  readBatch,
  unreadableRecord,
  viewOf,
} from "./segment-reader.js";
import { findingOfBad } from "./segment-scan.js";
import { offset as asOffset, type Offset } from "./units.js";

/** Most that is read of a segment at once as bytes; a larger record is read alone. */
const RUN_BYTES_MAX = 1024 * 1024;

export interface LogFiles {
  readonly files: FileSystem;
  readonly logDirectory: string;
  readonly segments: SegmentList;
  readonly indexes: LoadedIndexes;
  readonly handles: IdleHandles;
  readonly newest: NewestRecords;
  /** A reader found damage in the segment that begins there. */
  readonly noticed?: (base: Offset) => void;
}

interface Seat {
  readonly segment: LogSegment;
  readonly handle: FileHandle;
  /** How often the log had been cut when this file was opened. */
  readonly cuts: number;
  readonly index: OffsetIndex;
  point: ReadPoint;
}

/**
 * Bytes to read at once, no further than the index knows `last` to end: who wants one record should not verify thousands.
 * Where the index is wrong about it, records are read in more pieces, and nothing else changes.
 */
function chunkUpTo({ index, point }: Seat, last: Offset): number {
  const end = index.after(last)?.position ?? Number.POSITIVE_INFINITY;
  return Math.max(RECORD_HEADER_BYTES, Math.min(CHUNK_BYTES, end - point.position));
}

export class LogCursor implements CutWitness {
  readonly #log: LogFiles;
  readonly #letGo: (() => void) | undefined;
  #next: Offset;
  #seat: Seat | undefined;
  /** Where the log was cut since it was last gone on. */
  #cutAfter: Offset | undefined;

  /** @param reads what: `readRun` takes what was just written from memory */
  constructor(log: LogFiles, from: Offset, reads: "records" | "runs" = "records") {
    this.#log = log;
    this.#next = from;
    log.segments.readers.add(this);
    this.#letGo = reads === "runs" ? log.newest.keep() : undefined;
  }

  /** Offset of the record that is read next. */
  get next(): Offset {
    return this.#next;
  }

  cutAfter(last: Offset): void {
    this.#cutAfter = asOffset(Math.min(last, this.#cutAfter ?? last));
  }

  /** Whether the log was cut since it was last gone on. */
  get wasCut(): boolean {
    return this.#cutAfter !== undefined;
  }

  /**
   * Whoever follows the log takes what comes after a cut for what it would have read, unless it has read some of what was cut off.
   * @throws LogError LOG_OFFSET_RETIRED.
   */
  goOn(): void {
    if (this.#cutAfter !== undefined && this.#next - 1 > this.#cutAfter)
      throw cutOff(asOffset(this.#next - 1), this.#cutAfter);
    this.#cutAfter = undefined;
  }

  /**
   * Records from `next` on, up to `last`, which is written: at least one.
   * @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT.
   */
  read(last: Offset): Promise<readonly LogRecord[]> {
    return this.#unlessCut(last, () => this.#read(last));
  }

  /**
   * As `read`, but bytes: at most `bytesMax` or one record, never over the border of a segment. Of a cursor that reads runs.
   */
  readRun(last: Offset, bytesMax = RUN_BYTES_MAX): Promise<RecordRun> {
    const most = Math.max(RECORD_HEADER_BYTES, Math.min(bytesMax, RUN_BYTES_MAX));
    return this.#unlessCut(last, () => this.#readRun(last, most));
  }

  async #unlessCut<Part>(last: Offset, read: () => Promise<Part>): Promise<Part> {
    assert(this.#next <= last, "there is something to read");
    const from = this.#next;
    this.#mustReach(last);
    try {
      const part = await read();
      this.#mustReach(last);
      return part;
    } catch (error) {
      if (!this.wasCut) throw this.#noticed(error);
      this.#next = from;
      await this.#rise();
      if (error instanceof LogError) this.#mustReach(last);
      throw this.#noticed(error);
    }
  }

  #mustReach(last: Offset): void {
    if (this.#cutAfter !== undefined && this.#cutAfter < last) throw cutOff(last, this.#cutAfter);
  }

  #noticed(error: unknown): unknown {
    const segment = this.#seat?.segment ?? this.#log.segments.containing(this.#next);
    if (error instanceof CorruptionError && segment !== undefined) this.#log.noticed?.(segment.base);
    return error;
  }

  async #read(last: Offset): Promise<readonly LogRecord[]> {
    for (;;) {
      const seat = await this.#sit();
      const from = seat.point;
      const { bytes, header } = seat.segment;
      const batch = await readBatch(seat.handle, from, bytes, header, chunkUpTo(seat, last), {
        first: this.#next,
        last,
      });
      const records = batch.records.filter(({ offset }) => offset >= this.#next && offset <= last);
      const taken = records[records.length - 1];
      if (taken !== undefined) {
        this.#next = asOffset(taken.offset + 1);
        seat.point = batch.next;
        return records;
      }
      // The log was cut under this reader: what it saw is no longer there, which is no damage.
      if (seat.cuts !== this.#log.segments.cuts) continue;
      if (batch.bad !== undefined) throw corruption(findingOfBad(shownPath(seat.segment.name), batch.bad));
      seat.point = batch.next;
      if (batch.records.length === 0) await this.#leave(seat);
    }
  }

  async #readRun(last: Offset, bytesMax: number): Promise<RecordRun> {
    const newest = this.#log.newest.from(this.#next, last, bytesMax);
    if (newest !== undefined) return await this.#takeNewest(newest);
    for (;;) {
      const seat = await this.#sit();
      const { point, segment } = seat;
      const { bytes, lostAt, checked } = await checkedAt(seat, this.#next, last, bytesMax);
      const { start, end, next } = checked;
      if (next.offset > this.#next) {
        const first = this.#next;
        this.#next = next.offset;
        seat.point = next;
        return runOf(segment, first, bytes.subarray(start, end), next);
      }
      // As in `read`.
      if (seat.cuts !== this.#log.segments.cuts) continue;
      if (end === 0) {
        const bad =
          lostAt === undefined
            ? parseRecords(bytes, point, segment.header, true).bad
            : unreadableRecord(point, lostAt);
        if (bad !== undefined) throw corruption(findingOfBad(shownPath(segment.name), bad));
        await this.#leave(seat);
      }
      seat.point = next;
    }
  }

  /** The place on the disk moves along, so that what is not in memory one day is read from there. */
  async #takeNewest({ segment, bytes, after }: NewestRun): Promise<RecordRun> {
    const first = this.#next;
    this.#next = after.offset;
    const seat = this.#seat;
    if (seat?.segment === segment && seat.cuts === this.#log.segments.cuts) seat.point = after;
    else await this.#rise();
    return runOf(segment, first, bytes, after);
  }

  async close(): Promise<void> {
    this.#log.segments.readers.delete(this);
    this.#letGo?.();
    await this.#rise();
  }

  async #rise(): Promise<void> {
    const seat = this.#seat;
    this.#seat = undefined;
    if (seat !== undefined) await this.#log.handles.giveBack(seat.segment, seat.handle, seat.cuts);
  }

  async #sit(): Promise<Seat> {
    if (this.#seat !== undefined && this.#seat.cuts !== this.#log.segments.cuts) await this.#rise();
    this.#seat ??= await this.#open();
    return this.#seat;
  }

  async #open(): Promise<Seat> {
    const { segments, indexes, handles } = this.#log;
    const { cuts } = segments;
    const segment = segments.containing(this.#next);
    if (segment === undefined) throw retired(this.#next, this.#log.segments.first.base);
    try {
      const index = await indexes.of(segment);
      const point = index.floor(this.#next);
      const handle = await handles.take(segment);
      return { segment, handle, cuts, index, point };
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
      if (segments.first.base > this.#next) throw retired(this.#next, this.#log.segments.first.base);
      throw corruption(lostFile(shownPath(segment.name), this.#next));
    }
  }

  /** This segment has no more; the next one must begin with the record that is wanted. */
  async #leave(seat: Seat): Promise<void> {
    const following = this.#log.segments.containing(this.#next);
    if (following === undefined) throw retired(this.#next, this.#log.segments.first.base);
    if (following === seat.segment || following.base !== this.#next) {
      throw corruption({
        code: "missing",
        file: shownPath(seat.segment.name),
        position: seat.point.position,
        offset: this.#next,
        expected: `the record ${this.#next}`,
        found: "the end of the segment",
        advice: ADVICE_DAMAGED,
      });
    }
    // Each segment can be whole in itself and still not be this log's: the chain goes over the border too.
    const foreign = borderFinding(seat.point, following);
    if (foreign !== undefined) throw corruption(foreign);
    await this.#rise();
  }
}

function runOf(segment: LogSegment, first: Offset, bytes: Uint8Array, after: ReadPoint): RecordRun {
  return {
    header: segment.header,
    startsSegment: after.position - bytes.length === SEGMENT_HEADER_BYTES,
    first,
    last: asOffset(after.offset - 1),
    bytes,
    lastCrc: after.seed,
    lastTimestamp: after.timestamp,
  };
}

interface CheckedBytes extends GivenBytes {
  readonly checked: CheckedRecords;
}

/** The bytes at a reader's place, and how far the records in them hold: at least one, if there is any that does. */
async function checkedAt(
  { handle, point, segment }: Seat,
  from: Offset,
  last: Offset,
  bytesMax: number,
): Promise<CheckedBytes> {
  const available = Math.max(0, segment.bytes - point.position);
  const check = async (count: number): Promise<CheckedBytes> => {
    const given = await readGiven(handle, point.position, Math.min(count, available));
    return { ...given, checked: checkRecords(given.bytes, point, segment.header, from, last) };
  };
  const run = await check(bytesMax);
  const { bytes } = run;
  if (run.checked.end > 0 || bytes.length < bytesMax) return run;
  // Not one whole record: what its length says is a rumour, so it is bounded.
  return check(RECORD_HEADER_BYTES + Math.min(recordLength(viewOf(bytes), 0), RECORD_BODY_BYTES_MAX));
}

/** Records from `from` to `last`, which is written, a batch at a time. @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT. */
export async function* readLog(
  log: LogFiles,
  from: Offset,
  last: Offset,
): AsyncGenerator<readonly LogRecord[], void> {
  const cursor = new LogCursor(log, from);
  try {
    while (cursor.next <= last) yield await cursor.read(last);
  } finally {
    await cursor.close();
  }
}

/** First offset up to `last` whose timestamp is ≥ `timestamp`, or one more than `last`. */
export async function findOffsetAt(log: LogFiles, timestamp: number, last: Offset): Promise<Offset> {
  const before = log.segments.all().findLast(({ header }) => header.chainTimestamp < timestamp);
  const from = (await log.indexes.of(before ?? log.segments.first)).floorTime(timestamp).offset;
  for await (const records of readLog(log, from, last)) {
    for (const record of records) if (record.timestamp >= timestamp) return record.offset;
  }
  return asOffset(last + 1);
}
