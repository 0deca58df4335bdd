/**
 * Writes batches to the tail segment: stamps the records and rolls to the next segment when one is full, old, or of a
 * past epoch. It owns the two marks that only the disk can move: written and durable. In a log that follows another one it
 * adopts the stamps that the records bring, and rolls where the other one did, and never by itself.
 *
 * The order at a roll, each step durable before the next, so that recovery can tell what it finds:
 *   1. the old segment is cut to its last record      (sealed = records up to the last byte)
 *   2. the new one, under its `.new` name, gets its header, and the first record of an epoch
 *   3. rename to its final name                       (a segment with a final name has a whole header)
 *   4. sync of the directory                          (only then may more records go into it)
 * Everything here fails for good: after a rejection nothing more may be written. Only a full disk is waited for.
 */
import type { Batch } from "./commit-queue.js";
import { assert, unreachable } from "./errors.js";
import type { LogObserver } from "./event-log.js";
import { segmentName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  recordLength,
  recordOffset,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
} from "./format.js";
import { isNoSpace } from "./free-space.js";
import type { LoadedIndexes } from "./loaded-indexes.js";
import type { NewestRecords } from "./newest-records.js";
import { OffsetIndex, writeIndexFile } from "./offset-index.js";
import { ownFile } from "./own-file.js";
import { noteRecords } from "./record-check.js";
import { type LogSegment, logSegment, type SegmentList } from "./segment-list.js";
import { basePoint, type ReadPoint } from "./segment-reader.js";
import { SegmentWriter } from "./segment-writer.js";
import type { SpaceAhead } from "./space-ahead.js";
import { offset as asOffset, position as asPosition, type Epoch, type Offset } from "./units.js";

/** What all segments of an epoch say of it in their headers. */
export interface Lineage {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly nodeId: string;
  readonly lineageId: string;
  readonly epochFirst: Offset;
}

/** What has to be done before the records of a batch. */
export type BatchMark =
  /** They are this log's own and begin an epoch. */
  | { readonly type: "epoch"; readonly lineage: Lineage }
  /** They were received and begin a segment. */
  | { readonly type: "segment"; readonly header: SegmentHeader };

/** A place in the log and the chained crc there. */
export interface LogMark {
  readonly offset: Offset;
  readonly crc: number;
}

export interface TailWriterOptions {
  readonly files: FileSystem;
  readonly logDirectory: string;
  readonly segmentBytes: number;
  readonly segmentAgeMs: number;
  /** A write is durable when it returns (`fsync_mode: always`). */
  readonly syncOnWrite: boolean;
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly segments: SegmentList;
  readonly indexes: LoadedIndexes;
  readonly newest: NewestRecords;
  readonly space: SpaceAhead;
  readonly observer: LogObserver;
  /** The written or the durable mark has moved. */
  readonly moved: () => void;
  readonly rolled: () => void;
  readonly failed: (error: unknown) => void;
}

interface Tail {
  readonly writer: SegmentWriter;
  readonly segment: LogSegment;
  readonly index: OffsetIndex;
  readonly salt: number;
}

const NOTHING = new Uint8Array(0);

export class TailWriter {
  readonly #options: TailWriterOptions;
  #tail: Tail | undefined;
  /** What the last record that was stamped left for the next one. */
  #offset: Offset;
  #crc: number;
  #timestamp: number;
  #durable: LogMark;
  #indexFile: Promise<void> | undefined;
  /** The records that come were stamped by another node. */
  #adopts = false;

  /** @param next where the log ends; everything before it is durable */
  constructor(options: TailWriterOptions, next: Pick<ReadPoint, "offset" | "seed" | "timestamp">) {
    this.#options = options;
    this.#offset = asOffset(next.offset - 1);
    this.#crc = next.seed;
    this.#timestamp = next.timestamp;
    this.#durable = { offset: this.#offset, crc: this.#crc };
  }

  /** Last record that is written; in `always`, durable as well. */
  get written(): LogMark {
    return { offset: this.#offset, crc: this.#crc };
  }

  get writtenOffset(): Offset {
    return this.#offset;
  }

  get durable(): LogMark {
    return this.#durable;
  }

  /** Where the next record goes, as far as records know. */
  get next(): Pick<ReadPoint, "offset" | "seed" | "timestamp"> {
    return { offset: asOffset(this.#offset + 1), seed: this.#crc, timestamp: this.#timestamp };
  }

  /** From now on records come stamped, until a batch begins an epoch. Only while nothing is written. */
  adopt(): void {
    this.#adopts = true;
  }

  /**
   * Opens the tail segment, which ends at `next`, and waits until room was made in it or the disk was found full.
   * Its records and its name are durable: recovery, or whoever cut it, has seen to that.
   */
  async open(segment: LogSegment, next: ReadPoint): Promise<void> {
    const { files, logDirectory, syncOnWrite, space } = this.#options;
    const path = `${logDirectory}/${segment.name}`;
    await ownFile(files, logDirectory, segment.name);
    const writer = await SegmentWriter.reopen(files, path, syncOnWrite, next.position);
    this.#follow(writer, segment);
    this.#offset = asOffset(next.offset - 1);
    this.#crc = next.seed;
    this.#timestamp = next.timestamp;
    this.#durable = this.written;
    space.keep();
    await space.settled();
  }

  /**
   * Writes a batch. Returns undefined when that is done at once, into the page cache; else the promise of it, durable
   * with `syncOnWrite`.
   */
  write(batch: Batch<BatchMark>): Promise<void> | undefined {
    const tail = this.#tail;
    if (tail === undefined || batch.mark !== undefined || !this.#takesWhole(tail, batch.used)) {
      return this.#writeInParts(batch);
    }
    const after = this.#finish(tail, batch, 0, batch.used);
    return this.#put(tail, batch.bytes.subarray(0, batch.used), after);
  }

  /** Makes what is written durable. Does nothing when it is. */
  async sync(): Promise<void> {
    const tail = this.#tail;
    const target = this.written;
    if (tail === undefined || target.offset === this.#durable.offset) return;
    const since = this.#options.stopwatch();
    await tail.writer.sync();
    this.#options.observer.synced?.(this.#options.stopwatch() - since);
    this.#raiseDurable(target);
  }

  /** Rolls if the tail segment is past its age and not empty, unless the disk is full: nothing waits for it. */
  async rollIfOld(): Promise<void> {
    const tail = this.#tail;
    if (tail === undefined || !this.#isDue(tail, 0)) return;
    if (await this.#options.space.readyNext()) await this.#rollOn(tail);
  }

  /** Resolves when the index file of the segment sealed last is written. */
  async indexFileWritten(): Promise<void> {
    await this.#indexFile;
  }

  /** Cuts the zeros after the last record, durably, and lets the file go. */
  async seal(): Promise<void> {
    const tail = this.#tail;
    if (tail !== undefined) await this.#cut(tail);
    await this.abandon();
  }

  /** Lets the file go as it is. */
  async abandon(): Promise<void> {
    const tail = this.#tail;
    this.#tail = undefined;
    await this.#indexFile;
    await tail?.writer.close();
  }

  #takesWhole(tail: Tail, bytes: number): boolean {
    return bytes <= tail.writer.room && !this.#isDue(tail, bytes);
  }

  /** True when a record of `bytes` belongs into the next segment. One that has no record takes any. */
  #isDue({ writer, segment }: Tail, bytes: number): boolean {
    const { segmentBytes, segmentAgeMs, now } = this.#options;
    if (this.#adopts || writer.end <= SEGMENT_HEADER_BYTES) return false;
    if (writer.end + bytes > segmentBytes) return true;
    return segmentAgeMs > 0 && now() - segment.header.createdAt >= segmentAgeMs;
  }

  /** The long way: over the end of a segment, into a new epoch, or where room must be made first. */
  async #writeInParts(batch: Batch<BatchMark>): Promise<void> {
    let at = batch.mark === undefined ? 0 : await this.#begin(batch.mark, batch);
    while (at < batch.used) {
      if (this.#isDue(this.#current(), sizeAt(batch, at))) await this.#rollOn(this.#current());
      const tail = this.#current();
      const end = this.#fitting(tail, batch, at);
      await this.#options.space.roomFor(end - at);
      const after = this.#finish(tail, batch, at, end);
      await this.#put(tail, batch.bytes.subarray(at, end), after);
      at = end;
    }
  }

  /** Begins the segment that a batch asks for; returns where the records that are not in it yet begin. */
  async #begin(mark: BatchMark, batch: Batch<BatchMark>): Promise<number> {
    switch (mark.type) {
      case "epoch":
        this.#adopts = false;
        await this.#roll(this.#nextHeader(mark.lineage), batch);
        return sizeAt(batch, 0);
      case "segment": {
        const { header } = mark;
        const beginsEpoch = header.epochFirst === header.baseOffset;
        await this.#roll(header, beginsEpoch ? batch : undefined);
        return beginsEpoch ? sizeAt(batch, 0) : 0;
      }
      default:
        return unreachable(mark);
    }
  }

  /** End of the records from `at` on that fit into the segment: at least one. What was received fits where it lay before. */
  #fitting(tail: Tail, batch: Batch<BatchMark>, at: number): number {
    if (this.#adopts) return batch.used;
    let end = at + sizeAt(batch, at);
    while (end < batch.used) {
      const next = end + sizeAt(batch, end);
      if (tail.writer.end + next - at > this.#options.segmentBytes) break;
      end = next;
    }
    return end;
  }

  /** Makes the records in `bytes[from, end)` ready to be written; returns where they end. */
  #finish(tail: Tail, batch: Batch<BatchMark>, from: number, end: number): ReadPoint {
    const { view } = batch;
    // What was received has its stamps, and they were verified.
    if (this.#adopts)
      assert(recordOffset(view, from) === this.#offset + 1, "what was received continues the log");
    else this.#stamp(tail, view, from, end);
    return noteRecords(tail.index, view, from, end, { ...this.next, position: asPosition(tail.writer.end) });
  }

  /** How far each record is from what is known durable, and the chained crc. */
  #stamp({ salt }: Tail, view: DataView, from: number, end: number): void {
    const durable = this.#durable.offset;
    let before = this.#offset;
    let crc = this.#crc;
    for (let at = from; at < end; at += RECORD_HEADER_BYTES + recordLength(view, at)) {
      crc = stampRecord(view, at, before - durable, crc, salt);
      before = asOffset(before + 1);
    }
  }

  #put(tail: Tail, bytes: Uint8Array, after: ReadPoint): Promise<void> | undefined {
    if (this.#options.syncOnWrite) {
      return tail.writer.write(bytes).then(() => this.#advance(tail, bytes, after));
    }
    tail.writer.writeNow(bytes);
    this.#advance(tail, bytes, after);
    return undefined;
  }

  #advance(tail: Tail, bytes: Uint8Array, after: ReadPoint): void {
    this.#options.newest.written(tail.segment, asOffset(this.#offset + 1), bytes, after);
    tail.segment.bytes = after.position;
    this.#offset = asOffset(after.offset - 1);
    this.#crc = after.seed;
    this.#timestamp = after.timestamp;
    if (this.#options.syncOnWrite) this.#durable = this.written;
    this.#options.moved();
    this.#options.space.wrote(bytes.length);
  }

  /** Syncs overlap with rolls, which sync too: the mark only grows. */
  #raiseDurable(mark: LogMark): void {
    if (mark.offset <= this.#durable.offset) return;
    this.#durable = mark;
    this.#options.moved();
  }

  async #cut(tail: Tail): Promise<void> {
    const target = this.written;
    const since = this.#options.stopwatch();
    await tail.writer.cut();
    this.#options.observer.synced?.(this.#options.stopwatch() - since);
    this.#raiseDurable(target);
  }

  /** To the next segment of the same epoch. */
  #rollOn({ segment }: Tail): Promise<void> {
    return this.#roll(this.#nextHeader(segment.header));
  }

  /** @param first the batch whose first record must be there with the header, because it begins an epoch */
  async #roll(header: SegmentHeader, first?: Batch<BatchMark>): Promise<void> {
    const { files, logDirectory, segments, space, observer } = this.#options;
    const size = first === undefined ? 0 : sizeAt(first, 0);
    await space.hold();
    const { writer, path } = await space.takeNext(SEGMENT_HEADER_BYTES + size);
    const old = this.#tail;
    // An empty tail has no record to keep: an epoch that begins at its base takes its name.
    const replaces = old !== undefined && old.segment.base === this.#offset + 1;
    if (old !== undefined && !replaces) await this.#cut(old);

    const segment = logSegment(header, SEGMENT_HEADER_BYTES, false, OffsetIndex.empty(basePoint(header)));
    await writer.write(encodeSegmentHeader(header));
    const tail = this.#tailOf(writer, segment);
    const bytes = first?.bytes.subarray(0, size) ?? NOTHING;
    let after: ReadPoint | undefined;
    if (first !== undefined) {
      after = this.#finish(tail, first, 0, size);
      await writer.write(bytes);
    }
    await writer.sync();
    await files.rename(path, `${logDirectory}/${segmentName(header.baseOffset)}`);
    await files.syncDirectory(logDirectory);

    if (old !== undefined) old.segment.sealed = true;
    if (replaces) segments.replaceTail(segment);
    else segments.push(segment);
    this.#follow(writer, segment);
    if (after !== undefined) {
      this.#advance(tail, bytes, after);
      this.#raiseDurable(this.written);
    }
    observer.rolled?.(header.baseOffset);
    this.#options.rolled();
    space.keep();
    if (replaces) await old.writer.close();
    else if (old !== undefined) await this.#retire(old, basePoint(header));
  }

  /** Of a segment of this log's own. */
  #nextHeader(lineage: Lineage): SegmentHeader {
    const { clusterId, epoch, nodeId, lineageId, epochFirst } = lineage;
    return {
      clusterId,
      epoch,
      nodeId,
      lineageId,
      epochFirst,
      baseOffset: asOffset(this.#offset + 1),
      createdAt: Math.floor(this.#options.now()),
      chainTimestamp: this.#timestamp,
      chainCrc: this.#crc,
    };
  }

  /** Lets a sealed segment's file go, and writes its index file aside: losing that costs one scan. */
  async #retire(old: Tail, end: ReadPoint): Promise<void> {
    const { files, logDirectory, indexes, failed } = this.#options;
    await this.#indexFile;
    const { header, bytes } = old.segment;
    const exactEnd = { ...end, position: asPosition(bytes) };
    this.#indexFile = writeIndexFile(files, logDirectory, header, old.index, exactEnd).then(
      () => indexes.sealed(old.segment),
      (error: unknown) => (isNoSpace(error) ? undefined : failed(error)),
    );
    await old.writer.close();
  }

  #follow(writer: SegmentWriter, segment: LogSegment): void {
    this.#tail = this.#tailOf(writer, segment);
    this.#options.space.follow(writer, segment.base);
  }

  #tailOf(writer: SegmentWriter, segment: LogSegment): Tail {
    const index = segment.index;
    assert(index !== undefined, "the tail segment has its index in memory");
    return { writer, segment, index, salt: chainSalt(segment.header.lineageId) };
  }

  #current(): Tail {
    assert(this.#tail !== undefined, "there is a tail to write to");
    return this.#tail;
  }
}

function sizeAt(batch: Batch<BatchMark>, at: number): number {
  return RECORD_HEADER_BYTES + recordLength(batch.view, at);
}
