/**
 * The segments of an open log as things to be looked after: measured, and the sealed ones read whole from the disk, sent to somebody whose own
 * are damaged, mended. Also tells when a read has found damage. When any of it is done, and what follows from it, is decided above.
 */
import { Subject } from "rxjs";
import { ADVICE_DAMAGED, CorruptionError, type Finding } from "./corruption.js";
import { errnoOf, LogError } from "./errors.js";
import type { LogPosition, RecordRun } from "./event-log.js";
import type { FileHandle } from "./file-system.js";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES } from "./format.js";
import { LogCursor, type LogFiles } from "./log-cursor.js";
import { SegmentMending } from "./mending.js";
import { NewestRecords } from "./newest-records.js";
import { retired } from "./refusals.js";
import { firstWithin } from "./retention.js";
import { borderFinding, lostFile, shownPath } from "./segment-chain.js";
import type { LogSegment } from "./segment-list.js";
import { basePoint, readBatch, readHeader } from "./segment-reader.js";
import { findingOfBad, scanSegment } from "./segment-scan.js";
import { offset as asOffset, type Offset } from "./units.js";

export interface LogUsage {
  readonly segments: number;
  /** Bytes of all segments up to their last record; zeros written ahead do not count. */
  readonly bytes: number;
}

export interface SealedExtent {
  readonly first: Offset;
  readonly last: Offset;
  readonly bytes: number;
}

/** What reading a sealed segment whole came to. */
export type SegmentFound =
  | { readonly type: "sound"; readonly end: LogPosition; readonly bytes: number }
  | { readonly type: "damaged"; readonly finding: Finding };

export type NewestFound =
  | { readonly type: "sound"; readonly from: Offset }
  | { readonly type: "damaged"; readonly first: Offset; readonly finding: Finding };

export interface LogSegmentsParts {
  readonly files: LogFiles;
  readonly dataDirectory: string;
  readonly now: () => number;
  readonly durableOffset: () => Offset;
  /** Runs a change of the log's files, alone. What it throws that is no LogError would end the log. */
  readonly change: <T>(change: () => Promise<T>) => Promise<T>;
}

export class LogSegments {
  readonly #parts: LogSegmentsParts;
  /** The first offset of a segment that a reader found damaged; also of the tail. */
  readonly noticed = new Subject<Offset>();

  constructor(parts: LogSegmentsParts) {
    this.#parts = parts;
  }

  /** Bytes of the records of all segments, for whoever measures. */
  usage(): LogUsage {
    const all = this.#parts.files.segments.all();
    let bytes = 0;
    for (const segment of all) bytes += segment.bytes;
    return { segments: all.length, bytes };
  }

  /** Bytes of the durable records after this one: of whole segments as they are, of the one that it is in by the mean size of its records. */
  bytesAfter(offset: Offset): number {
    let last: number = this.durableOffset;
    let found = 0;
    for (const { base, bytes } of [...this.#parts.files.segments.all()].reverse()) {
      if (last <= offset) break;
      const [records, missing] = [last - base + 1, last - Math.max(offset, base - 1)];
      if (records > 0) found += ((bytes - SEGMENT_HEADER_BYTES) * missing) / records;
      last = Math.min(last, base - 1);
    }
    return Math.round(found);
  }

  /** For retention by size, see `firstWithin`. */
  firstWithin(bytesMax: number): Offset {
    return firstWithin(this.#parts.files.segments.all(), bytesMax);
  }

  /** The sealed ones, oldest first. */
  list(): SealedExtent[] {
    const all = this.#parts.files.segments.all();
    return all.slice(0, -1).map(({ base, bytes }, i) => {
      const after = all[i + 1];
      return { first: base, last: asOffset((after?.base ?? base + 1) - 1), bytes };
    });
  }

  /** The sealed segment that begins at `first`. */
  at(first: Offset): SealedExtent | undefined {
    return this.list().find((extent) => extent.first === first);
  }

  /** Where the newest segment begins, which is written to. */
  get tail(): Offset {
    return this.#parts.files.segments.tail.base;
  }

  /**
   * Reads the sealed segment whole from the disk: its header, each record, and that the next segment continues it. `pace` is waited for after
   * each piece, of so many bytes. @throws LogError LOG_OFFSET_RETIRED when it is no sealed segment (any more); what the disk throws.
   */
  async check(first: Offset, pace: (bytes: number) => Promise<void> = immediately): Promise<SegmentFound> {
    const segment = this.#sealed(first);
    try {
      const found = await this.#check(segment, pace);
      // Retention, or a cut, was quicker.
      if (found.type === "damaged") this.#mustStay(segment);
      return found;
    } catch (error) {
      this.#mustStay(segment);
      if (error instanceof CorruptionError) return { type: "damaged", finding: error.finding };
      if (errnoOf(error) === "ENOENT")
        return { type: "damaged", finding: lostFile(shownPath(segment.name), segment.base) };
      throw error;
    }
  }

  /**
   * The headers of all segments, then their records, newest first, until `isOver`. `from`: everything from there to the end was read and
   * holds. Nothing may be appended meanwhile; what retention takes is passed over.
   */
  async checkNewest(isOver: () => boolean): Promise<NewestFound> {
    const all = [...this.#parts.files.segments.all()].reverse();
    for (const segment of all) {
      const finding = await this.#damageOf(segment, (handle) => this.#readHeader(segment, handle));
      if (finding !== undefined && this.#isKept(segment))
        return { type: "damaged", first: segment.base, finding };
    }
    let from = asOffset(this.#parts.durableOffset() + 1);
    for (const segment of all) {
      if (isOver()) break;
      const finding = await this.#damageOf(segment, (handle) => this.#readRecords(segment, handle, isOver));
      if (finding === "unfinished" || !this.#isKept(segment)) break;
      if (finding !== undefined) return { type: "damaged", first: segment.base, finding };
      from = segment.base;
    }
    return { type: "sound", from };
  }

  /**
   * The newest segment up to `last`, which is durable, from the disk: its header and each record. `pace` as of `check`. It may be sealed or
   * cut meanwhile: what is found counts while it is the tail. @throws LogError LOG_OFFSET_RETIRED when it was cut: what looked like damage then
   * was its new end.
   */
  async checkTail(last: Offset, pace: (bytes: number) => Promise<void>): Promise<Finding | undefined> {
    const { segments } = this.#parts.files;
    const { cuts } = segments;
    const finding = await this.#tailFinding(segments.tail, last, pace);
    if (finding === undefined) return undefined;
    if (segments.cuts !== cuts || this.#parts.durableOffset() < last)
      throw retired(last, segments.first.base);
    return finding;
  }

  async #tailFinding(
    segment: LogSegment,
    last: Offset,
    pace: (bytes: number) => Promise<void>,
  ): Promise<Finding | undefined> {
    const changed = await this.#damageOf(segment, (handle) => this.#readHeader(segment, handle));
    if (changed !== undefined) return changed;
    try {
      for await (const { bytes } of this.runs(segment.base, last)) await pace(bytes.length);
      return undefined;
    } catch (error) {
      if (error instanceof CorruptionError) return error.finding;
      throw error;
    }
  }

  /** Records of whole segments, as they lie on the disk, verified. @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT. */
  async *runs(first: Offset, last: Offset): AsyncGenerator<RecordRun, void> {
    // What was just written may be remembered: here the disk is asked.
    const { files } = this.#parts;
    const cursor = new LogCursor({ ...files, newest: new NewestRecords(files.segments) }, first);
    try {
      while (cursor.next <= last) yield await cursor.readRun(last);
    } finally {
      await cursor.close();
    }
  }

  /** Up to here records can be sent to somebody else. */
  get durableOffset(): Offset {
    return this.#parts.durableOffset();
  }

  /** Begins to replace the sealed segment that begins at `first`. @throws LogError LOG_OFFSET_RETIRED. */
  mend(first: Offset, finding: Finding): SegmentMending {
    const { files, dataDirectory, now } = this.#parts;
    const segment = this.#sealed(first);
    const after = this.#after(segment);
    return new SegmentMending({
      files: files.files,
      dataDirectory,
      now,
      target: {
        first,
        last: asOffset(after.base - 1),
        after: after.header,
        header: segment.header,
        mayBeSeveral: false,
        finding,
      },
      place: (change) => this.#place(segment, change),
    });
  }

  /** Whatever a mending fails with leaves the damaged file or the mended one: that is no failure of the log. */
  async #place(segment: LogSegment, change: () => Promise<void>): Promise<void> {
    const { indexes, handles, segments } = this.#parts.files;
    const failure = await this.#parts.change(async () => {
      this.#mustStay(segment);
      try {
        await change();
      } catch (error) {
        return { error };
      } finally {
        indexes.forget(segment);
        segment.index = undefined;
        await handles.forget(segment);
        // Who reads from the file before looks again, also where it saw damage.
        segments.cuts += 1;
      }
      return undefined;
    });
    if (failure !== undefined) throw failure.error;
  }

  async #check(segment: LogSegment, pace: (bytes: number) => Promise<void>): Promise<SegmentFound> {
    const { files, logDirectory } = this.#parts.files;
    const { header, bytes, name } = segment;
    const handle = await files.open(`${logDirectory}/${name}`, "read");
    try {
      const changed = await this.#readHeader(segment, handle);
      if (changed !== undefined) return { type: "damaged", finding: changed };
      const size = await handle.size();
      if (size !== bytes)
        return { type: "damaged", finding: headerFinding(segment, `${bytes} bytes`, `${size}`) };
      const scan = await scanSegment(handle, header, bytes, (batch, from) =>
        pace(batch.next.position - from.position),
      );
      const finding =
        scan.bad === undefined
          ? borderFinding(scan.next, this.#after(segment))
          : findingOfBad(shownPath(name), scan.bad);
      if (finding !== undefined) return { type: "damaged", finding };
      const { epoch, lineageId } = header;
      const end = { offset: asOffset(scan.next.offset - 1), crc: scan.next.seed, epoch, lineageId };
      return { type: "sound", end, bytes };
    } finally {
      await handle.close();
    }
  }

  async #readHeader(segment: LogSegment, handle: FileHandle): Promise<Finding | undefined> {
    const found = await readHeader(handle, shownPath(segment.name));
    if (Buffer.compare(encodeSegmentHeader(found), encodeSegmentHeader(segment.header)) === 0)
      return undefined;
    return headerFinding(segment, "the header that it had when the log was opened", "another one");
  }

  /** Of a segment of any age, as far as it was written. */
  async #readRecords(
    { header, bytes, name }: LogSegment,
    handle: FileHandle,
    isOver: () => boolean,
  ): Promise<Finding | "unfinished" | undefined> {
    for (let point = basePoint(header); point.position < bytes; ) {
      if (isOver()) return "unfinished";
      const batch = await readBatch(handle, point, bytes, header);
      if (batch.bad !== undefined) return findingOfBad(shownPath(name), batch.bad);
      point = batch.next;
    }
    return undefined;
  }

  async #damageOf<T>(segment: LogSegment, read: (handle: FileHandle) => Promise<T>): Promise<T | Finding> {
    const { files, logDirectory } = this.#parts.files;
    try {
      const handle = await files.open(`${logDirectory}/${segment.name}`, "read");
      try {
        return await read(handle);
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (error instanceof CorruptionError) return error.finding;
      if (errnoOf(error) === "ENOENT") return lostFile(shownPath(segment.name), segment.base);
      throw error;
    }
  }

  #sealed(first: Offset): LogSegment {
    const { segments } = this.#parts.files;
    const segment = segments.containing(first);
    if (segment?.base === first && segment !== segments.tail) return segment;
    throw segment === undefined ? retired(first, segments.first.base) : notSealed(first);
  }

  #isKept(segment: LogSegment): boolean {
    return this.#parts.files.segments.containing(segment.base) === segment;
  }

  #mustStay(segment: LogSegment): void {
    const { segments } = this.#parts.files;
    if (this.#isKept(segment) && segment !== segments.tail) return;
    throw retired(segment.base, segments.first.base);
  }

  #after(segment: LogSegment): LogSegment {
    const all = this.#parts.files.segments.all();
    const after = all[all.indexOf(segment) + 1];
    if (after === undefined) throw retired(segment.base, this.#parts.files.segments.first.base);
    return after;
  }
}

const immediately = (): Promise<void> => Promise.resolve();

function headerFinding({ name, base }: LogSegment, expected: string, found: string): Finding {
  const place = { file: shownPath(name), position: 0, offset: base, advice: ADVICE_DAMAGED };
  return { code: "header", ...place, expected, found };
}

function notSealed(first: Offset): LogError {
  return new LogError("LOG_OFFSET_RETIRED", `no sealed segment begins at offset ${first}`, { offset: first });
}
