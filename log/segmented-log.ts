/**
 * The log on local segment files: gives out offsets, hands records to the projections, and puts the parts together that
 * write, read, cut and remove. Opening one is in `open-log.ts`.
 *
 * A failure is latched here: after a write or a sync that failed nobody knows what the disk holds, so nothing is tried
 * again and every append is refused until a restart has read the files.
 */
import { type Observable, ReplaySubject, Subject } from "rxjs";
import { type Batch, CommitQueue } from "./commit-queue.js";
import { type DataDirectory, randomId } from "./data-directory.js";
import { EPOCH_START_VERSION, encodeEpochStart } from "./epoch-start.js";
import { EPOCH_STARTED, type EpochTable } from "./epochs.js";
import { assert, LogError } from "./errors.js";
import type {
  AppendedRecord,
  EpochEntry,
  EventLog,
  LogMark,
  LogObserver,
  LogRecord,
  NewRecord,
  ReadOptions,
} from "./event-log.js";
import { RECORD_HEADER_BYTES, writeRecordHeader } from "./format.js";
import { FreeSpace } from "./free-space.js";
import { IdleHandles } from "./idle-handles.js";
import { LoadedIndexes } from "./loaded-indexes.js";
import { findOffsetAt, LogCursor, type LogFiles } from "./log-cursor.js";
import { agrees, markAt } from "./log-mark.js";
import { PeriodicSync } from "./periodic-sync.js";
import { RecoveryNotes } from "./recovery-notes.js";
import type { RecoveryPoint } from "./recovery-point.js";
import {
  beingCut,
  beyondEnd,
  closedError,
  diskFull,
  failedBecause,
  recordsWait,
  tooLarge,
} from "./refusals.js";
import { firstWithin, removeOldest } from "./retention.js";
import type { SegmentList } from "./segment-list.js";
import type { ReadPoint } from "./segment-reader.js";
import type { Identity, LogUsage, OpenLogOptions } from "./settings.js";
import { SpaceAhead } from "./space-ahead.js";
import { Follower, FollowerBell, type FollowSource, tailOf } from "./tail.js";
import { type Lineage, TailWriter } from "./tail-writer.js";
import { cutLog, findCut } from "./truncation.js";
import { epoch as asEpoch, offset as asOffset, type Epoch, type Offset } from "./units.js";

const KIND_MAX = 0xffff;
const VERSION_MAX = 0xff;
/** Bounds of how often an idle log looks whether its tail got old. */
const AGE_CHECK_MS_MIN = 10;
const AGE_CHECK_MS_MAX = 60_000;

/** What recovery found, as the log goes on from it. */
export interface LogStart {
  readonly directory: DataDirectory;
  readonly identity: Identity;
  readonly segments: SegmentList;
  readonly epochs: EpochTable;
  /** Where the log ends. */
  readonly next: ReadPoint;
}

export class SegmentedLog implements EventLog {
  readonly #options: OpenLogOptions;
  readonly #observer: LogObserver;
  readonly #stopwatch: () => number;
  readonly #start: LogStart;
  readonly #files: LogFiles;
  readonly #freeSpace: FreeSpace;
  readonly #space: SpaceAhead;
  readonly #tail: TailWriter;
  readonly #queue: CommitQueue<Lineage>;
  readonly #notes: RecoveryNotes;
  readonly #periodic: PeriodicSync | undefined;
  readonly #appended = new Subject<AppendedRecord>();
  readonly #failed = new ReplaySubject<Error>(1);
  readonly #followers = new FollowerBell();
  readonly #source: FollowSource;
  /** What the record appended last left for the next one. */
  #end: Offset;
  #timestamp: number;
  #epoch: Epoch;
  #delivering = false;
  /** Why appends are refused, whatever the disk's free space. */
  #refusal: LogError | undefined;
  #failure: LogError | undefined;
  #closing: Promise<void> | undefined;
  #closed = false;
  /** What may be claimed durable while the end is being cut off: no more than will be left. */
  #lowered: Omit<RecoveryPoint, "clean"> | undefined;
  /** Retention and truncation change the list of segments: one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #ageTimer: NodeJS.Timeout | undefined;

  constructor(options: OpenLogOptions, start: LogStart) {
    const { files, segmentBytes, fsyncMode, now } = options;
    const { segments, directory, next, epochs } = start;
    const { logPath: logDirectory, path: dataDirectory } = directory;
    const observer = options.observer ?? {};
    const stopwatch = options.stopwatch ?? now;
    const failed = (error: unknown): void => this.#fail(error);
    const syncOnWrite = fsyncMode === "always";
    const indexes = new LoadedIndexes(files, logDirectory);
    const freeSpace = new FreeSpace(files, logDirectory, options.reserveBytes, (full) =>
      observer.diskFull?.(full),
    );
    this.#options = options;
    this.#observer = observer;
    this.#stopwatch = stopwatch;
    this.#start = start;
    this.#end = asOffset(next.offset - 1);
    this.#timestamp = next.timestamp;
    this.#epoch = epochs.current?.epoch ?? asEpoch(0);
    const handles = new IdleHandles(files, logDirectory, segments);
    this.#files = { files, logDirectory, segments, indexes, handles };
    this.#freeSpace = freeSpace;
    this.#space = new SpaceAhead({ files, logDirectory, segmentBytes, syncOnWrite, freeSpace, failed });
    this.#tail = new TailWriter(
      {
        ...this.#files,
        segmentBytes,
        segmentAgeMs: options.segmentAgeMs,
        syncOnWrite,
        now,
        stopwatch,
        observer,
        failed,
        space: this.#space,
        moved: () => this.#marksMoved(),
        rolled: () => this.#notes.rolled(),
      },
      next,
    );
    this.#queue = new CommitQueue(
      {
        bytesMax: options.pendingBytesMax,
        now: stopwatch,
        write: (batch) => this.#write(batch),
        committed: (batch) => observer.appendCommitted?.(stopwatch() - batch.since),
        failed,
      },
      this.#end,
    );
    this.#notes = new RecoveryNotes({ files, dataDirectory, point: () => this.#recoveryPoint(), failed });
    this.#periodic = fsyncMode === "periodic" ? this.#periodicSync(failed) : undefined;
    this.#source = this.#followSource();
  }

  /** Makes the log ready for appends: opens its tail at the end that recovery found, or begins the first epoch. */
  async begin(): Promise<void> {
    try {
      await this.#begin();
    } catch (error) {
      this.#fail(error);
      await this.close();
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const { segments, next } = this.#start;
    if (segments.count === 0) {
      if (!(await this.#freeSpace.allows(this.#space.chunkBytes))) throw diskFull(this.#options);
      await this.startEpoch();
    } else {
      await this.#tail.open(segments.tail, next);
    }
    // Takes the mark of a clean stop away before anything is appended behind it.
    await this.#notes.note(false);
    this.#space.waitWhenFull(true);
    this.#watchAge();
  }

  append(record: NewRecord): Offset {
    if (this.#refusal !== undefined) throw this.#refusal;
    if (this.#freeSpace.full) throw diskFull(this.#options);
    const { kind, version, timestamp, body } = record;
    const { recordBytesMax } = this.#options;
    if (body.length > recordBytesMax) {
      throw tooLarge(body.length, recordBytesMax);
    }
    assert(kind > EPOCH_STARTED && kind <= KIND_MAX, "a caller's kind is 2 to 65535");
    assert(version >= 0 && version <= VERSION_MAX, "a version is 0 to 255");
    assert(Number.isSafeInteger(timestamp) && timestamp >= 0, "a timestamp is whole milliseconds since 1970");
    return this.#add(kind, version, timestamp, body);
  }

  get appended(): Observable<AppendedRecord> {
    return this.#appended;
  }

  get failed(): Observable<Error> {
    return this.#failed;
  }

  get firstOffset(): Offset {
    return this.#files.segments.first.base;
  }

  get endOffset(): Offset {
    return this.#end;
  }

  get committedOffset(): Offset {
    return this.#tail.writtenOffset;
  }

  get durableOffset(): Offset {
    return this.#tail.durable.offset;
  }

  get epochs(): readonly EpochEntry[] {
    return this.#start.epochs.entries;
  }

  /** Segments and the bytes of their records, for whoever measures. */
  usage(): LogUsage {
    const all = this.#files.segments.all();
    let bytes = 0;
    for (const segment of all) bytes += segment.bytes;
    return { segments: all.length, bytes };
  }

  /** For retention by size, see `firstWithin`. */
  firstWithin(bytesMax: number): Offset {
    return firstWithin(this.#files.segments.all(), bytesMax);
  }

  whenCommitted(offset: Offset): Promise<void> {
    return this.#queue.whenCommitted(offset);
  }

  async *read(from: Offset, options: ReadOptions = {}): AsyncGenerator<readonly LogRecord[], void> {
    const cursor = this.#cursor(from);
    const committed = this.committedOffset;
    const last = Math.min(options.last ?? committed, committed);
    try {
      while (cursor.next <= last) {
        if (this.#closed) throw closedError();
        yield await cursor.read(asOffset(last));
      }
    } finally {
      await cursor.close();
    }
  }

  follow(from: Offset): AsyncIterableIterator<readonly LogRecord[]> {
    return new Follower(this.#source, () => this.#cursor(from));
  }

  tail(from: Offset): Observable<LogRecord> {
    return tailOf(() => this.follow(from));
  }

  async offsetAt(timestamp: number): Promise<Offset> {
    // What is in memory only cannot be searched; it is on the disk in a moment, unless the disk has failed.
    if (this.#failure === undefined) await this.whenCommitted(this.#end);
    const last = this.committedOffset;
    return findOffsetAt(this.#files, timestamp, last);
  }

  markAt(offset: Offset): Promise<LogMark> {
    return markAt(this, this.#files.segments, offset, this.committedOffset);
  }

  agrees(mark: LogMark): Promise<boolean> {
    return agrees(this, this.#files.segments, mark, this.committedOffset);
  }

  retain(firstNeeded: Offset): Promise<Offset> {
    return this.#change(() => removeOldest(this.#files, firstNeeded, () => this.#tail.indexFileWritten()));
  }

  async truncate(last: Offset): Promise<void> {
    if (this.#refusal !== undefined) throw this.#refusal;
    if (last > this.#end) throw beyondEnd(last, this.#end);
    if (!this.#queue.idle || this.#end !== this.committedOffset) {
      throw recordsWait(this.#end - this.committedOffset);
    }
    this.#refusal = beingCut();
    try {
      await this.#change(() => this.#queue.whenIdle(() => this.#cutAfter(last)));
    } finally {
      this.#refusal = this.#failure ?? (this.#closing === undefined ? undefined : closedError());
    }
  }

  async startEpoch(): Promise<EpochEntry> {
    if (this.#refusal !== undefined) throw this.#refusal;
    const { epochs, identity } = this.#start;
    const { randomBytes, now } = this.#options;
    // Refuses before anything has changed.
    const body = encodeEpochStart({ reason: epochs.current === undefined ? "created" : "promoted" });
    this.#queue.room(RECORD_HEADER_BYTES + body.length);
    const first = asOffset(this.#end + 1);
    const entry = epochs.begin(first, identity.nodeId, randomId(randomBytes));
    this.#epoch = entry.epoch;
    const { epoch, nodeId, lineageId } = entry;
    this.#queue.cut({ clusterId: identity.clusterId, epoch, nodeId, lineageId, epochFirst: first });
    this.#add(EPOCH_STARTED, EPOCH_START_VERSION, Math.floor(now()), body);
    // The roll that begins an epoch syncs its first record in every mode.
    await this.whenCommitted(first);
    return entry;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #add(kind: number, version: number, timestamp: number, body: Uint8Array): Offset {
    assert(!this.#delivering, "nobody appends from inside `appended`");
    const size = RECORD_HEADER_BYTES + body.length;
    const arena = this.#queue.room(size);
    const at = arena.used;
    const offset = asOffset(this.#end + 1);
    const epoch = this.#epoch;
    const raised = Math.max(timestamp, this.#timestamp);
    writeRecordHeader(arena.view, at, body.length, offset, raised, epoch, kind, version);
    arena.bytes.set(body, at + RECORD_HEADER_BYTES);
    this.#queue.added(offset, size);
    this.#end = offset;
    this.#timestamp = raised;
    if (this.#appended.observed) {
      this.#delivering = true;
      this.#appended.next({ offset, timestamp: raised, epoch, kind, version, body });
      this.#delivering = false;
    }
    return offset;
  }

  #write(batch: Batch<Lineage>): Promise<void> | undefined {
    const { records, used } = batch;
    const since = this.#stopwatch();
    const written = (): void => this.#observer.batchWritten?.(records, used, this.#stopwatch() - since);
    const writing = this.#tail.write(batch);
    if (writing !== undefined) return writing.then(written);
    written();
    return undefined;
  }

  #marksMoved(): void {
    this.#queue.advance(this.#tail.writtenOffset);
    this.#notes.moved();
    if (this.#periodic !== undefined && this.durableOffset < this.committedOffset) this.#periodic.wrote();
    this.#followers.ring();
  }

  #recoveryPoint(): Omit<RecoveryPoint, "clean"> {
    if (this.#lowered !== undefined) return this.#lowered;
    const { offset, crc } = this.#tail.durable;
    return { durable: offset, crc, tail: this.#files.segments.tail.base };
  }

  #periodicSync(failed: (error: unknown) => void): PeriodicSync {
    return new PeriodicSync({
      intervalMs: this.#options.fsyncIntervalMs,
      unsynced: () => this.durableOffset < this.committedOffset,
      sync: () => this.#tail.sync(),
      failed,
    });
  }

  #followSource(): FollowSource {
    const ended = (): Error | "closed" | undefined => (this.#closed ? "closed" : this.#failure);
    const durable = (): Offset => this.durableOffset;
    return {
      get durableOffset() {
        return durable();
      },
      get ended() {
        return ended();
      },
      bell: this.#followers,
    };
  }

  #cursor(from: Offset): LogCursor {
    assert(Number.isSafeInteger(from) && from >= 1, "the first offset is 1");
    if (this.#closed) throw closedError();
    if (from > this.#end + 1) throw beyondEnd(from, this.#end);
    return new LogCursor(this.#files, from);
  }

  /** Seals a tail that got old while nothing was written; a busy log sees to that itself. */
  #watchAge(): void {
    const { segmentAgeMs } = this.#options;
    if (segmentAgeMs === 0) return;
    const everyMs = Math.min(Math.max(segmentAgeMs / 4, AGE_CHECK_MS_MIN), AGE_CHECK_MS_MAX);
    this.#ageTimer = setInterval(() => {
      if (!this.#queue.idle || this.#refusal !== undefined) return;
      this.#queue.whenIdle(() => this.#tail.rollIfOld()).catch((error: unknown) => this.#fail(error));
    }, everyMs);
    this.#ageTimer.unref();
  }

  /** Whatever a change of the files fails with is final: nobody knows how far it came. */
  #change<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#changing.then(async () => {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#closed) throw closedError();
      return change();
    });
    this.#changing = changed.catch((error: unknown) => {
      if (!(error instanceof LogError)) this.#fail(error);
    });
    return changed;
  }

  async #cutAfter(last: Offset): Promise<void> {
    const cut = await findCut(this.#files, last);
    await this.#space.end();
    await this.#tail.seal();
    // Claimed first: a recovery point that knows of more than there is would make the cut end pass for lost data.
    this.#lowered = { durable: last, crc: cut.next.seed, tail: cut.segment.base };
    await this.#notes.note(false);
    await cutLog(this.#files, cut);
    this.#space.begin();
    await this.#tail.open(cut.segment, cut.next);
    this.#queue.advance(last);
    this.#lowered = undefined;
    this.#end = last;
    this.#timestamp = cut.next.timestamp;
    this.#start.epochs.truncate(last);
    this.#epoch = cut.segment.header.epoch;
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    const failure = failedBecause(error, this.#end, this.durableOffset);
    this.#failure = failure;
    this.#refusal = failure;
    this.#stopTimers();
    this.#queue.fail(failure);
    this.#followers.ring();
    this.#failed.next(failure);
    this.#failed.complete();
  }

  #stopTimers(): void {
    clearInterval(this.#ageTimer);
    this.#periodic?.stop();
    this.#notes.stop();
  }

  async #close(): Promise<void> {
    const failedBefore = this.#failure !== undefined;
    this.#refusal ??= closedError();
    this.#stopTimers();
    // What waits for a full disk now has its last chance.
    this.#space.waitWhenFull(false);
    await this.#changing;
    try {
      if (!failedBefore) await this.#queue.whenIdle(() => this.#finish());
    } catch (error) {
      this.#fail(error);
    }
    this.#closed = true;
    this.#followers.ring();
    this.#appended.complete();
    this.#failed.complete();
    try {
      await this.#files.handles.close();
      if (this.#failure !== undefined) await this.#letGo();
    } finally {
      await this.#start.directory.lock.release();
    }
    if (this.#failure !== undefined && !failedBefore) throw this.#failure;
  }

  /** The order matters: only a log that ends exactly where the mark says may carry the mark of a clean stop. */
  async #finish(): Promise<void> {
    await this.#space.end();
    await this.#tail.seal();
    await this.#notes.settled();
    await this.#notes.note(true);
  }

  /** Closes the files of a failed log as they are. What closing them fails with says nothing new. */
  async #letGo(): Promise<void> {
    await this.#space.end().catch(ignoreReported);
    await this.#tail.abandon().catch(ignoreReported);
    await this.#notes.settled();
  }
}

/** The failure of the log was told already. */
function ignoreReported(): undefined {
  return undefined;
}
