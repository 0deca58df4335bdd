/**
 * The log on local segment files: gives out offsets, hands records to the projections, and puts the parts together that
 * write, read, cut and remove. Opening one is in `open-log.ts`.
 *
 * A failure is latched here: after a write or a sync that failed nobody knows what the disk holds, so nothing is tried
 * again and every append is refused until a restart has read the files.
 */
import { type Observable, ReplaySubject, Subject } from "rxjs";
import { watchAge } from "./age-watch.js";
import { type Batch, CommitQueue } from "./commit-queue.js";
import { type DataDirectory, randomId } from "./data-directory.js";
import { type EpochStart, encodeEpochStart } from "./epoch-start.js";
import type { EpochTable } from "./epochs.js";
import { assert, ignoreReported, LogError } from "./errors.js";
import type {
  AppendedRecord,
  EpochEntry,
  EventLog,
  LogMark,
  LogObserver,
  LogPosition,
  LogRecord,
  NewRecord,
  ReadOptions,
  ReceivedRun,
  RecordRun,
} from "./event-log.js";
import { Following } from "./following.js";
import { RECORD_HEADER_BYTES } from "./format.js";
import { FreeSpace } from "./free-space.js";
import { IdleHandles } from "./idle-handles.js";
import { Intake } from "./intake.js";
import { LoadedIndexes } from "./loaded-indexes.js";
import type { LogFiles } from "./log-cursor.js";
import { LogReads, readSourceOf } from "./log-reads.js";
import { LogSegments } from "./log-segments.js";
import { NewestRecords } from "./newest-records.js";
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
import { removeOldest } from "./retention.js";
import type { SegmentList } from "./segment-list.js";
import type { ReadPoint } from "./segment-reader.js";
import type { Identity, OpenLogOptions } from "./settings.js";
import { SpaceAhead } from "./space-ahead.js";
import { FollowerBell } from "./tail.js";
import { type BatchMark, TailWriter } from "./tail-writer.js";
import { cutLog, findCut } from "./truncation.js";
import { epoch as asEpoch, offset as asOffset, type Epoch, type Offset } from "./units.js";

/** What recovery found, as the log goes on from it. */
export interface LogStart {
  readonly directory: DataDirectory;
  readonly identity: Identity;
  readonly segments: SegmentList;
  readonly epochs: EpochTable;
  /** Where the log ends. */
  readonly next: ReadPoint;
  /** The log followed another one when it was open last. */
  readonly followed: boolean;
}

export class SegmentedLog implements EventLog {
  readonly segments: LogSegments;
  readonly #options: OpenLogOptions;
  readonly #observer: LogObserver;
  readonly #stopwatch: () => number;
  readonly #start: LogStart;
  readonly #files: LogFiles;
  readonly #freeSpace: FreeSpace;
  readonly #space: SpaceAhead;
  readonly #tail: TailWriter;
  readonly #queue: CommitQueue<BatchMark>;
  readonly #intake: Intake;
  readonly #notes: RecoveryNotes;
  readonly #following: Following;
  readonly #periodic: PeriodicSync | undefined;
  readonly #failed = new ReplaySubject<Error>(1);
  readonly #moved = new Subject<void>();
  readonly #followers = new FollowerBell();
  readonly #reads: LogReads;
  /** Why nothing is changed now: the log has failed, is being closed or cut. */
  #halt: LogError | undefined;
  /** Why appends are refused, whatever the disk's free space: that, or because the log follows another one. */
  #refusal: LogError | undefined;
  #failure: LogError | undefined;
  #closing: Promise<void> | undefined;
  #closed = false;
  /** What may be claimed durable while the end is being cut off: no more than will be left. */
  #lowered: Omit<RecoveryPoint, "clean"> | undefined;
  /** Retention and truncation change the list of segments: one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #stopWatch: () => void = () => undefined;

  constructor(options: OpenLogOptions, start: LogStart) {
    const { files, segmentBytes, fsyncMode, now, observer = {}, stopwatch = now } = options;
    const { segments, directory, next, epochs } = start;
    const { logPath: logDirectory, path: dataDirectory } = directory;
    const failed = (error: unknown): void => this.#fail(error);
    const end = asOffset(next.offset - 1);
    const syncOnWrite = fsyncMode === "always";
    const indexes = new LoadedIndexes(files, logDirectory);
    const freeSpace = new FreeSpace(files, logDirectory, options.reserveBytes, (full) =>
      observer.diskFull?.(full),
    );
    this.#options = options;
    this.#observer = observer;
    this.#stopwatch = stopwatch;
    this.#start = start;
    const handles = new IdleHandles(files, logDirectory, segments);
    const noticed = (base: Offset): void => this.segments.noticed.next(base);
    const newest = new NewestRecords(segments);
    this.#files = { files, logDirectory, segments, indexes, handles, newest, noticed };
    this.segments = new LogSegments({
      files: this.#files,
      dataDirectory,
      now,
      durableOffset: () => this.durableOffset,
      change: (change) => this.#change(change),
    });
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
      end,
    );
    this.#intake = new Intake(this.#queue, end, next.timestamp, epochs.current?.epoch ?? asEpoch(0));
    this.#notes = new RecoveryNotes({ files, dataDirectory, point: () => this.#recoveryPoint(), failed });
    this.#following = new Following({
      files,
      dataDirectory,
      now,
      segments,
      tail: this.#tail,
      clusterId: start.identity.clusterId,
      note: () => this.#notes.note(false),
      isMarked: start.followed,
    });
    this.#periodic = fsyncMode === "periodic" ? this.#periodicSync(failed) : undefined;
    const ended = () => this.#ended;
    this.#reads = new LogReads(this.#files, readSourceOf(this, ended, this.#followers));
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
    if (this.#options.following === true) await this.beginFollowing();
    // Nobody appends to an epoch that another node has begun.
    else if (this.#following.isMarked) await this.startEpoch();
    this.#space.waitWhenFull(true);
    this.#stopWatch = watchAge(this.#options.segmentAgeMs, () => this.#rollIfOld());
  }

  append(record: NewRecord): Offset {
    if (this.#refusal !== undefined) throw this.#refusal;
    if (this.#freeSpace.full) throw diskFull(this.#options);
    const { recordBytesMax } = this.#options;
    if (record.body.length > recordBytesMax) throw tooLarge(record.body.length, recordBytesMax);
    return this.#intake.append(record);
  }

  get appended(): Observable<AppendedRecord> {
    return this.#intake.appended;
  }

  get moved(): Observable<void> {
    return this.#moved;
  }

  get failed(): Observable<Error> {
    return this.#failed;
  }

  get firstOffset(): Offset {
    return this.#files.segments.first.base;
  }

  get endOffset(): Offset {
    return this.#intake.end;
  }

  get committedOffset(): Offset {
    return this.#lowered?.durable ?? this.#tail.writtenOffset;
  }

  get durableOffset(): Offset {
    return this.#lowered?.durable ?? this.#tail.durable.offset;
  }

  get #ended(): Error | "closed" | undefined {
    return this.#closed ? "closed" : this.#failure;
  }

  get epochs(): readonly EpochEntry[] {
    return this.#start.epochs.entries;
  }

  whenCommitted(offset: Offset): Promise<void> {
    return this.#queue.whenCommitted(offset);
  }

  read(from: Offset, options: ReadOptions = {}): AsyncIterable<readonly LogRecord[]> {
    return this.#reads.read(from, options);
  }

  follow(from: Offset): AsyncIterableIterator<readonly LogRecord[]> {
    return this.#reads.follow(from);
  }

  tail(from: Offset): Observable<LogRecord> {
    return this.#reads.tail(from);
  }

  ship(from: Offset, bytesMax?: number): AsyncIterableIterator<RecordRun> {
    return this.#reads.ship(from, bytesMax);
  }

  segmentStart(offset: Offset): Offset {
    return this.#reads.segmentStart(offset);
  }

  async offsetAt(timestamp: number): Promise<Offset> {
    // What is in memory only cannot be searched; it is on the disk in a moment, unless the disk has failed.
    if (this.#failure === undefined) await this.whenCommitted(this.endOffset);
    return this.#reads.offsetAt(timestamp);
  }

  markAt(offset: Offset): Promise<LogMark> {
    return this.#reads.markAt(offset);
  }

  positionAt(offset: Offset): Promise<LogPosition> {
    return this.#reads.positionAt(offset);
  }

  agrees(mark: LogPosition | LogMark): Promise<boolean> {
    return this.#reads.agrees(mark);
  }

  retain(firstNeeded: Offset): Promise<Offset> {
    return this.#change(() => removeOldest(this.#files, firstNeeded, () => this.#tail.indexFileWritten()));
  }

  async truncate(last: Offset): Promise<void> {
    if (this.#halt !== undefined) throw this.#halt;
    if (last > this.endOffset) throw beyondEnd(last, this.endOffset);
    if (!this.#queue.idle || this.endOffset !== this.committedOffset) {
      throw recordsWait(this.endOffset - this.committedOffset);
    }
    this.#haltBecause(beingCut());
    try {
      await this.#change(() => this.#queue.whenIdle(() => this.#cutAfter(last)));
    } finally {
      this.#haltBecause(this.#failure ?? (this.#closing === undefined ? undefined : closedError()));
    }
  }

  async startEpoch(
    options: { readonly above?: Epoch; readonly lineageId?: string } = {},
  ): Promise<EpochEntry> {
    if (this.#halt !== undefined) throw this.#halt;
    const { epochs, identity } = this.#start;
    const { randomBytes, now } = this.#options;
    const start: EpochStart = { reason: epochs.current === undefined ? "created" : "promoted" };
    // Refuses before anything has changed.
    this.#queue.checkRoom(RECORD_HEADER_BYTES + encodeEpochStart(start).length);
    if (this.following) void this.#following.reception;
    const first = asOffset(this.endOffset + 1);
    const { above, lineageId: given = randomId(randomBytes) } = options;
    const entry = epochs.begin(first, identity.nodeId, given, above);
    const { epoch, nodeId, lineageId } = entry;
    this.#following.end();
    this.#haltBecause(undefined);
    const lineage = { clusterId: identity.clusterId, epoch, nodeId, lineageId, epochFirst: first };
    this.#intake.beginEpoch(lineage, start, Math.floor(now()));
    // The roll that begins an epoch syncs its first record in every mode.
    await this.whenCommitted(first);
    if (this.#following.isMarked) await this.#change(() => this.#following.unmark());
    return entry;
  }

  get following(): boolean {
    return this.#following.refusal !== undefined;
  }

  beginFollowing(): Promise<void> {
    if (this.#halt !== undefined) return Promise.reject(this.#halt);
    assert(!this.#intake.isDelivering, "nobody changes the log from inside `appended`");
    this.#following.begin();
    this.#haltBecause(undefined);
    return this.#change(() => this.#queue.whenIdle(() => this.#following.settle()));
  }

  async receive(run: ReceivedRun): Promise<void> {
    if (this.#halt !== undefined) throw this.#halt;
    const { reception } = this.#following;
    if (this.#freeSpace.full) throw diskFull(this.#options);
    this.#queue.checkRoom(run.bytes.length);
    const accepted = reception.accept(run);
    // Nothing below refuses.
    reception.took(run, accepted);
    if (accepted.begins !== undefined) this.#start.epochs.follow(accepted.begins);
    this.#intake.take(run, accepted);
    await this.whenCommitted(this.endOffset);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #haltBecause(halt: LogError | undefined): void {
    this.#halt = halt;
    this.#refusal = halt ?? this.#following.refusal;
  }

  #write(batch: Batch<BatchMark>): Promise<void> | undefined {
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
    if (this.#moved.observed) this.#moved.next();
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

  #rollIfOld(): void {
    if (!this.#queue.idle || this.#refusal !== undefined) return;
    this.#queue.whenIdle(() => this.#tail.rollIfOld()).catch((error: unknown) => this.#fail(error));
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
    this.#start.epochs.truncate(last);
    this.#intake.cut(last, cut.next.timestamp, cut.segment.header.epoch);
    this.#following.cut();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    const failure = failedBecause(error, this.endOffset, this.durableOffset);
    this.#failure = failure;
    this.#haltBecause(failure);
    this.#stopTimers();
    this.#queue.fail(failure);
    this.#followers.ring();
    this.#failed.next(failure);
    this.#failed.complete();
  }

  #stopTimers(): void {
    this.#stopWatch();
    this.#periodic?.stop();
    this.#notes.stop();
  }

  async #close(): Promise<void> {
    const failedBefore = this.#failure !== undefined;
    if (this.#halt === undefined) this.#haltBecause(closedError());
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
    this.#intake.close();
    this.#moved.complete();
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
