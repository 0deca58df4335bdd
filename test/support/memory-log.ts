/**
 * An `EventLog` in memory whose commits a test holds, releases or fails. Records are kept as they were appended; time and
 * epochs are as simple as the port allows. It is not durable and says so: `durableOffset` is `committedOffset`.
 */
import { crc32 } from "node:zlib";
import { concatMap, from, type Observable, Subject } from "rxjs";
import {
  type AppendedRecord,
  AssertionFailed,
  assert,
  BEFORE_FIRST,
  type EpochEntry,
  type EventLog,
  epoch,
  LogError,
  type LogMark,
  type LogPosition,
  type LogRecord,
  type NewRecord,
  type Offset,
  offset,
  type ReadOptions,
  type RecordRun,
} from "../../log/index.js";

const CLUSTER = "c".repeat(32);

/** As a log chains them, roughly: it tells two histories apart. */
function crcAfter(before: number, { kind, timestamp, body }: NewRecord): number {
  return crc32(body, crc32(`${kind} ${timestamp}`, before));
}

interface Waiting {
  readonly offset: Offset;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface MemoryLogOptions {
  /** When true, nothing is committed until `release`. Default: everything is, inside `append`. */
  readonly held?: boolean;
  /** Records that were there before, as `records` of another memory log gives them. */
  readonly records?: readonly LogRecord[];
  /** Records in one batch of `read`. Default 1,000. */
  readonly batchRecords?: number;
}

export class MemoryLog implements EventLog {
  readonly records: LogRecord[];
  readonly appended = new Subject<AppendedRecord>();
  readonly failed = new Subject<Error>();
  readonly firstOffset = offset(1);
  readonly epochs: readonly [EpochEntry] = [
    { epoch: epoch(1), first: offset(1), nodeId: "0".repeat(32), lineageId: "0".repeat(32) },
  ];
  committedOffset: Offset;
  /** Wakes whoever follows and waits, when something was committed or the log ended. */
  readonly #followers = new Set<() => void>();
  readonly #batchRecords: number;
  #held: boolean;
  #refusal: LogError | undefined;
  #failure: LogError | undefined;
  #closed = false;
  #waiting: Waiting[] = [];

  constructor(options: MemoryLogOptions = {}) {
    this.#held = options.held ?? false;
    this.#batchRecords = options.batchRecords ?? 1_000;
    this.records = [...(options.records ?? [])];
    this.committedOffset = this.endOffset;
  }

  // ---- what a test controls ----

  /** From now on appends stay uncommitted. */
  hold(): void {
    this.#held = true;
  }

  /** Commits everything up to `last` (default: all); with no argument later appends commit at once again. */
  release(last?: Offset): void {
    if (last === undefined) this.#held = false;
    this.#commit(last ?? this.endOffset);
  }

  /** The disk breaks: whatever waits fails, and so does every append from now on. */
  fail(): void {
    this.#failure = new LogError("LOG_FAILED", "the memory log was told to fail");
    for (const { reject } of this.#waiting) reject(this.#failure);
    this.#waiting = [];
    this.#wake();
    this.failed.next(this.#failure);
  }

  /** Appends are refused with this error (a full disk, say) until it is taken back with `undefined`. */
  refuse(error: LogError | undefined): void {
    this.#refusal = error;
  }

  /** What a power cut now would leave. */
  get committedRecords(): readonly LogRecord[] {
    return this.records.slice(0, this.committedOffset);
  }

  // ---- the port ----

  get endOffset(): Offset {
    return this.records.at(-1)?.offset ?? BEFORE_FIRST;
  }

  get durableOffset(): Offset {
    return this.committedOffset;
  }

  append(record: NewRecord): Offset {
    const refusal = this.#failure ?? this.#closedError() ?? this.#refusal;
    if (refusal !== undefined) throw refusal;
    const last = this.records.at(-1);
    const body = Uint8Array.prototype.slice.call(record.body);
    const appended: LogRecord = {
      ...record,
      body,
      offset: offset(this.endOffset + 1),
      timestamp: Math.max(record.timestamp, last?.timestamp ?? 0),
      epoch: epoch(1),
      crc: crcAfter(last?.crc ?? 0, record),
    };
    this.records.push(appended);
    this.appended.next(appended);
    if (!this.#held) this.#commit(appended.offset);
    return appended.offset;
  }

  whenCommitted(wanted: Offset): Promise<void> {
    if (wanted <= this.committedOffset) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ offset: wanted, resolve, reject });
    });
  }

  async *read(start: Offset, options: ReadOptions = {}): AsyncGenerator<readonly LogRecord[]> {
    if (start > this.endOffset + 1) throw new LogError("LOG_OFFSET_BEYOND_END", "beyond the end");
    if (start < this.firstOffset) throw new LogError("LOG_OFFSET_RETIRED", "retired");
    const last = options.last ?? this.committedOffset;
    for (let at = start - 1; at < last; at += this.#batchRecords) {
      yield this.records.slice(at, Math.min(last, at + this.#batchRecords));
    }
  }

  follow(start: Offset): AsyncIterableIterator<readonly LogRecord[]> {
    let next = start - 1;
    let ended = false;
    const ending = { done: true, value: undefined } as const;
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: async () => {
        while (!ended && next >= this.committedOffset && !this.#closed) {
          if (this.#failure !== undefined) throw this.#failure;
          await new Promise<void>((resolve) => this.#followers.add(resolve));
        }
        const batch = this.records.slice(next, Math.min(this.committedOffset, next + this.#batchRecords));
        if (ended || batch.length === 0) return ending;
        next += batch.length;
        return { done: false, value: batch };
      },
      return: async () => {
        ended = true;
        this.#wake();
        return ending;
      },
    };
  }

  tail(start: Offset): Observable<LogRecord> {
    return from(this.follow(start)).pipe(concatMap((batch) => batch));
  }

  async offsetAt(timestamp: number): Promise<Offset> {
    return this.records.find((record) => record.timestamp >= timestamp)?.offset ?? offset(this.endOffset + 1);
  }

  async markAt(at: Offset): Promise<LogMark> {
    const record = this.records[at - 1];
    if (record === undefined) throw new LogError("LOG_OFFSET_BEYOND_END", "beyond the end");
    const { timestamp, crc } = record;
    const [{ lineageId, epoch: own }] = this.epochs;
    return { clusterId: CLUSTER, lineageId, epoch: own, offset: at, timestamp, crc };
  }

  async agrees(mark: LogPosition | LogMark): Promise<boolean> {
    if (mark.offset < 1 || mark.offset > this.endOffset) return false;
    const own = await this.markAt(mark.offset);
    return own.crc === mark.crc && own.lineageId === mark.lineageId;
  }

  async truncate(last: Offset): Promise<void> {
    this.records.length = last;
    this.committedOffset = offset(Math.min(last, this.committedOffset));
  }

  async retain(): Promise<Offset> {
    return this.firstOffset;
  }

  async startEpoch(): Promise<EpochEntry> {
    throw new LogError("LOG_FAILED", "a memory log has one epoch");
  }

  readonly following = false;
  readonly moved = new Subject<void>();

  segmentStart(): Offset {
    throw new AssertionFailed("not built yet");
  }

  ship(): AsyncIterableIterator<RecordRun> {
    throw new AssertionFailed("not built yet");
  }

  async beginFollowing(): Promise<void> {
    throw new AssertionFailed("not built yet");
  }

  async receive(): Promise<void> {
    throw new AssertionFailed("not built yet");
  }

  async positionAt(): Promise<LogPosition> {
    throw new AssertionFailed("not built yet");
  }

  async close(): Promise<void> {
    this.release();
    this.#closed = true;
    this.appended.complete();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#followers) wake();
    this.#followers.clear();
  }

  #closedError(): LogError | undefined {
    return this.#closed ? new LogError("LOG_CLOSED", "the memory log was closed") : undefined;
  }

  #commit(last: Offset): void {
    assert(last <= this.endOffset, "only what was appended can be committed");
    this.committedOffset = offset(Math.max(last, this.committedOffset));
    this.#wake();
    const ready = this.#waiting.filter((waiting) => waiting.offset <= last);
    this.#waiting = this.#waiting.filter((waiting) => waiting.offset > last);
    for (const { resolve } of ready) resolve();
  }
}
