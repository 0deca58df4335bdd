/**
 * An `EventLog` in memory whose commits a test holds, releases or fails. Records are kept as they were appended, and shipped and
 * received as a log on a disk would; a segment is as long as its epoch. It is not durable and says so: `durableOffset` is `committedOffset`.
 */
import { concatMap, from, type Observable, Subject } from "rxjs";
import {
  chainSalt,
  RECORD_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
  writeRecordHeader,
} from "../../log/format.js";
import {
  type AppendedRecord,
  assert,
  BEFORE_FIRST,
  EMPTY_LOG,
  EPOCH_STARTED,
  type Epoch,
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
  type ReceivedRun,
  type RecordRun,
} from "../../log/index.js";
import { Reception } from "../../log/reception.js";
import { eachRecord } from "../../log/record-check.js";
import { epochsOf } from "../../log/segment-chain.js";

const CLUSTER = "c".repeat(32);

const FIRST_SEGMENT: SegmentHeader = {
  clusterId: CLUSTER,
  nodeId: "0".repeat(32),
  lineageId: "0".repeat(32),
  epoch: epoch(1),
  epochFirst: offset(1),
  baseOffset: offset(1),
  createdAt: 0,
  chainCrc: 0,
  chainTimestamp: 0,
};

/** A record as it lies in a segment. Its crc is computed unless it brings one. */
function encoded(record: Omit<LogRecord, "crc">, seed: number, { lineageId }: SegmentHeader): Uint8Array {
  const { body, offset: at, timestamp, epoch: own, kind, version } = record;
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  writeRecordHeader(view, 0, body.length, at, timestamp, own, kind, version);
  bytes.set(body, RECORD_HEADER_BYTES);
  stampRecord(view, 0, 0, seed, chainSalt(lineageId));
  return bytes;
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
  /** Who begins its epochs, 32 hex digits. */
  readonly nodeId?: string;
}

export class MemoryLog implements EventLog {
  readonly records: LogRecord[];
  readonly appended = new Subject<AppendedRecord>();
  readonly failed = new Subject<Error>();
  readonly firstOffset = offset(1);
  readonly moved = new Subject<void>();
  readonly #segments: SegmentHeader[] = [FIRST_SEGMENT];
  readonly #nodeId: string;
  #reception: Reception | undefined;
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
    this.#nodeId = options.nodeId ?? FIRST_SEGMENT.nodeId;
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

  get epochs(): readonly EpochEntry[] {
    return epochsOf(this.#segments.map((header) => ({ header })));
  }

  get durableOffset(): Offset {
    return this.committedOffset;
  }

  append(record: NewRecord): Offset {
    const refusal = this.#failure ?? this.#closedError() ?? this.#refusal;
    if (refusal !== undefined) throw refusal;
    if (this.following) throw new LogError("LOG_FOLLOWING", "the memory log follows another one");
    return this.#append(record);
  }

  #append(record: NewRecord): Offset {
    const last = this.records.at(-1);
    const timestamp = Math.max(record.timestamp, last?.timestamp ?? 0);
    const body = Uint8Array.from(record.body);
    const header = this.#segmentOf(offset(this.endOffset + 1));
    const placed = { ...record, body, timestamp, offset: offset(this.endOffset + 1), epoch: header.epoch };
    const bytes = encoded(placed, last?.crc ?? 0, header);
    const appended: LogRecord = { ...placed, crc: new DataView(bytes.buffer).getUint32(0, true) };
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
    return this.#follow(start, (first) =>
      this.records.slice(first - 1, Math.min(this.committedOffset, first - 1 + this.#batchRecords)),
    );
  }

  ship(start: Offset, bytesMax = Number.POSITIVE_INFINITY): AsyncIterableIterator<RecordRun> {
    return this.#follow(start, (first) => this.#runFrom(first, bytesMax));
  }

  /** `read` gives at least one record from the offset on, which is committed. */
  #follow<Part extends readonly LogRecord[] | RecordRun>(
    start: Offset,
    read: (first: Offset) => Part,
  ): AsyncIterableIterator<Part> {
    let next = start;
    let ended = false;
    const ending = { done: true, value: undefined } as const;
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: async () => {
        while (!ended && next > this.committedOffset && !this.#closed) {
          if (this.#failure !== undefined) throw this.#failure;
          await new Promise<void>((resolve) => this.#followers.add(resolve));
        }
        if (ended || next > this.committedOffset) return ending;
        const part = read(next);
        next = offset("last" in part ? part.last + 1 : next + part.length);
        return { done: false, value: part };
      },
      return: async () => {
        ended = true;
        this.#wake();
        return ending;
      },
    };
  }

  #runFrom(first: Offset, bytesMax: number): RecordRun {
    const header = this.#segmentOf(first);
    const after = this.#segments[this.#segments.indexOf(header) + 1]?.baseOffset ?? Number.POSITIVE_INFINITY;
    const end = Math.min(this.committedOffset, after - 1, first - 1 + this.#batchRecords);
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const record of this.records.slice(first - 1, end)) {
      bytes += RECORD_HEADER_BYTES + record.body.length;
      if (bytes > bytesMax && records.length > 0) break;
      records.push(record);
    }
    const seeds = [this.records[first - 2]?.crc ?? 0, ...records.map(({ crc }) => crc)];
    const last = records.at(-1);
    assert(last !== undefined, "there is something to ship");
    return {
      header,
      startsSegment: header.baseOffset === first,
      first,
      last: last.offset,
      bytes: Buffer.concat(records.map((record, i) => encoded(record, seeds[i] ?? 0, header))),
      lastCrc: last.crc,
      lastTimestamp: last.timestamp,
    };
  }

  segmentStart(at: Offset): Offset {
    return this.#segmentOf(at).baseOffset;
  }

  #segmentOf(at: Offset): SegmentHeader {
    return this.#segments.findLast(({ baseOffset }) => baseOffset <= at) ?? FIRST_SEGMENT;
  }

  tail(start: Offset): Observable<LogRecord> {
    return from(this.follow(start)).pipe(concatMap((batch) => batch));
  }

  async offsetAt(timestamp: number): Promise<Offset> {
    await this.whenCommitted(this.endOffset);
    return this.records.find((record) => record.timestamp >= timestamp)?.offset ?? offset(this.endOffset + 1);
  }

  async markAt(at: Offset): Promise<LogMark> {
    const record = this.records[at - 1];
    if (record === undefined) throw new LogError("LOG_OFFSET_BEYOND_END", "beyond the end");
    const { timestamp, crc } = record;
    const { lineageId, epoch: own } = this.#segmentOf(at);
    return { clusterId: CLUSTER, lineageId, epoch: own, offset: at, timestamp, crc };
  }

  async positionAt(at: Offset): Promise<LogPosition> {
    if (at === 0) return EMPTY_LOG;
    const { offset: own, crc, epoch: written, lineageId } = await this.markAt(at);
    return { offset: own, crc, epoch: written, lineageId };
  }

  async agrees(mark: LogPosition | LogMark): Promise<boolean> {
    if (mark.offset === 0) return true;
    if (mark.offset > this.endOffset) return false;
    const own = await this.markAt(mark.offset);
    return own.crc === mark.crc && own.lineageId === mark.lineageId;
  }

  async truncate(last: Offset): Promise<void> {
    this.records.length = last;
    this.committedOffset = offset(Math.min(last, this.committedOffset));
    while (this.#segments.length > 1 && (this.#segments.at(-1)?.baseOffset ?? 0) > last) this.#segments.pop();
    if (this.following) await this.beginFollowing();
  }

  async retain(): Promise<Offset> {
    return this.firstOffset;
  }

  async startEpoch({ above = epoch(0) }: { readonly above?: Epoch } = {}): Promise<EpochEntry> {
    const before = this.#segmentOf(this.endOffset);
    const last = this.records.at(-1);
    const next = epoch(Math.max(before.epoch, above) + 1);
    const first = offset(this.endOffset + 1);
    const lineageId = next.toString(16).padStart(8, "0") + this.#nodeId.slice(0, 24);
    const chain = { chainCrc: last?.crc ?? 0, chainTimestamp: last?.timestamp ?? 0 };
    const own = { epoch: next, nodeId: this.#nodeId, lineageId, epochFirst: first, baseOffset: first };
    if (before.baseOffset === first) this.#segments.pop();
    this.#segments.push({ ...before, ...own, ...chain });
    this.#reception = undefined;
    this.#append({ kind: EPOCH_STARTED, version: 1, timestamp: 0, body: new Uint8Array(0) });
    await this.whenCommitted(first);
    return { epoch: next, first, nodeId: this.#nodeId, lineageId };
  }

  get following(): boolean {
    return this.#reception !== undefined;
  }

  async beginFollowing(): Promise<void> {
    const header = this.#segmentOf(offset(this.endOffset + 1));
    const before = this.#segments[this.#segments.indexOf(header) - 1];
    const last = this.records.at(-1);
    const end = { offset: offset(this.endOffset + 1), seed: last?.crc ?? 0, timestamp: last?.timestamp ?? 0 };
    const tail = { header, before, isEmpty: header.baseOffset > this.endOffset };
    this.#reception = new Reception(CLUSTER, tail, end);
  }

  async receive(run: ReceivedRun): Promise<void> {
    const refusal = this.#failure ?? this.#closedError() ?? this.#refusal;
    if (refusal !== undefined) throw refusal;
    if (this.#reception === undefined)
      throw new LogError("LOG_NOT_FOLLOWING", "the memory log follows no other");
    const accepted = this.#reception.accept(run);
    this.#reception.took(run, accepted);
    if (accepted.begins !== undefined) {
      if (this.#segmentOf(accepted.first).baseOffset === accepted.first) this.#segments.pop();
      this.#segments.push(accepted.begins);
    }
    const view = new DataView(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length);
    let at = 0;
    eachRecord(run.bytes, accepted.first, run.header, (record) => {
      const body = Uint8Array.from(record.body);
      this.records.push({ ...record, body, crc: view.getUint32(at, true) });
      at += RECORD_HEADER_BYTES + body.length;
      this.appended.next(record);
    });
    if (!this.#held) this.#commit(this.endOffset);
    await this.whenCommitted(this.endOffset);
  }

  async close(): Promise<void> {
    this.release();
    this.#closed = true;
    this.appended.complete();
    this.moved.complete();
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
    this.moved.next();
    this.#wake();
    const ready = this.#waiting.filter((waiting) => waiting.offset <= last);
    this.#waiting = this.#waiting.filter((waiting) => waiting.offset > last);
    for (const { resolve } of ready) resolve();
  }
}
