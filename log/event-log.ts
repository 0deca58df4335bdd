/**
 * The log as a port: what everything above it may rely on, whatever keeps the bytes. The segmented log on local files
 * is its embedded implementation; one contract suite (`test/support/event-log-contract.ts`) runs on every implementation.
 *
 * A record moves through three marks, in this order:
 *   end offset        appended: in memory, seen by the projections of this process
 *   committed offset  committed by the configured rule; an answer that tells of it may leave
 *   durable offset    a power cut cannot take it
 * In `fsync_mode: always` committed and durable are the same.
 */
import type { Observable } from "rxjs";
import type { SegmentHeader } from "./format.js";
import type { Epoch, Offset } from "./units.js";

/** What a caller appends: one command's events, encoded. */
export interface NewRecord {
  /** Event type, 1..65535. Kind 1 (`epoch.started`) belongs to the log itself. */
  readonly kind: number;
  /** Schema version of the body, 0..255. */
  readonly version: number;
  /** Ms since 1970. The log raises it to the timestamp of the record before if it is smaller. */
  readonly timestamp: number;
  /** Copied before `append` returns. */
  readonly body: Uint8Array;
}

/** A record as the projections of this process see it, the moment it is appended. `body` is borrowed: read it at once. */
export interface AppendedRecord {
  readonly offset: Offset;
  readonly timestamp: number;
  readonly epoch: Epoch;
  readonly kind: number;
  readonly version: number;
  readonly body: Uint8Array;
}

/** A record read back from the disk, its checksum verified. `body` shows the read buffer and stays valid. */
export interface LogRecord extends AppendedRecord {
  /** CRC-32 chained over every record up to this one. */
  readonly crc: number;
}

export interface ReadOptions {
  /** Last offset to read, inclusive. Default: the end; of a log that is appended to, the committed offset when the read begins. */
  readonly last?: Offset;
}

export interface EpochEntry {
  readonly epoch: Epoch;
  readonly first: Offset;
  /** 32 hex digits each. */
  readonly nodeId: string;
  readonly lineageId: string;
}

/** A place in the log, as two nodes compare it: the crc tells the whole log up to there. See `EMPTY_LOG` for the place before the first record. */
export interface LogPosition {
  readonly offset: Offset;
  /** CRC-32 chained over every record up to this one. */
  readonly crc: number;
  /** Of the record. */
  readonly epoch: Epoch;
  /** 32 hex digits; the lineage of the epoch in which the record was written. */
  readonly lineageId: string;
}

/** What names the log up to one record, for whoever keeps something that belongs to it: a snapshot, a backup, a token. */
export interface LogMark extends LogPosition {
  /** 32 hex digits. */
  readonly clusterId: string;
  /** Ms since 1970, of the record. */
  readonly timestamp: number;
}

/** Records as their bytes lie in one segment, for somebody who follows this log. */
export interface RecordRun {
  /** Of the segment that holds them. */
  readonly header: SegmentHeader;
  /** They begin with the segment's first record. */
  readonly startsSegment: boolean;
  readonly first: Offset;
  readonly last: Offset;
  /** Whole records, each verified, or just written by this process. The reader's to keep. */
  readonly bytes: Uint8Array;
  /** Chained crc and timestamp of the last one. */
  readonly lastCrc: number;
  readonly lastTimestamp: number;
}

/** A run as it arrives: nothing of it is believed before it was verified. */
export type ReceivedRun = Pick<RecordRun, "header" | "startsSegment" | "bytes">;

/** A log to be read, whoever keeps it: what a fold, a snapshot, a look at the past and a backup need. */
export interface LogReader {
  /** Of the oldest record that is kept; one more than `endOffset` when there is none. */
  readonly firstOffset: Offset;
  readonly endOffset: Offset;
  /** Oldest first. */
  readonly epochs: readonly EpochEntry[];

  /**
   * Reads records from `from` in order, a batch (one disk read) at a time; the checksum of each is verified.
   * @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END (`from` > end + 1), LOG_CORRUPT.
   */
  read(from: Offset, options?: ReadOptions): AsyncIterable<readonly LogRecord[]>;

  /** First offset whose timestamp is ≥ `timestamp`, or end + 1 if there is none; when all that was appended by now is committed. */
  offsetAt(timestamp: number): Promise<Offset>;

  /**
   * The mark of the record at `offset`, which is written.
   * @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END, LOG_CORRUPT.
   */
  markAt(offset: Offset): Promise<LogMark>;

  /**
   * Whether this is the log that the mark was taken of: its record is here and the same, or the log begins directly behind it and
   * continues it. False also when the record lies beyond the end or before what is kept.
   * @throws LogError LOG_CORRUPT.
   */
  agrees(mark: LogPosition | LogMark): Promise<boolean>;
}

export interface EventLog extends LogReader {
  /**
   * Gives the record the next offset, hands it to `appended` and queues it for the disk. Synchronous.
   * @throws LogError LOG_FAILED, LOG_CLOSED, LOG_DISK_FULL, LOG_BUSY, LOG_RECORD_TOO_LARGE, LOG_FOLLOWING; then nothing has happened.
   */
  append(record: NewRecord): Offset;

  /** Every record appended or received by this process, delivered inside `append` and `receive`. For the projections of this process only. */
  readonly appended: Observable<AppendedRecord>;

  readonly committedOffset: Offset;
  readonly durableOffset: Offset;
  /** Emits after the committed or the durable offset has moved; costs nothing while nobody listens. */
  readonly moved: Observable<void>;

  /** Resolves when `offset` is committed; at once if it is. Rejects with LOG_FAILED when the log fails before. */
  whenCommitted(offset: Offset): Promise<void>;

  /**
   * Everything from `from` on: catches up from the disk, then follows the durable offset, with no gap and no repeat.
   * Pulled: a batch is one disk read, and the next is read when it is asked for, so a reader holds one batch at most.
   * Ends when the log closes; `return()` lets the file go, also while `next()` waits.
   * @throws LogError as `read`, from the first `next()`; LOG_FAILED when the log fails while it waits.
   */
  follow(from: Offset): AsyncIterableIterator<readonly LogRecord[]>;

  /**
   * As `follow`, but bytes, for whoever keeps a copy of this log elsewhere: at most `bytesMax` (and never more than 1 MiB) or one record
   * at a time, never over the border of a segment. What is read from the disk is verified; what was written since somebody ships is in
   * memory, as far as that reaches.
   */
  ship(from: Offset, bytesMax?: number): AsyncIterableIterator<RecordRun>;

  /** The first offset of the segment that holds `offset`: where a copy of the log can begin. @throws LogError LOG_OFFSET_RETIRED. */
  segmentStart(offset: Offset): Offset;

  /** As `follow`, pushed record by record; the next batch is read when the subscriber has taken the last one. */
  tail(from: Offset): Observable<LogRecord>;

  /** Cuts everything after `last` (a replica's diverged end). Nothing may be waiting for the disk. */
  truncate(last: Offset): Promise<void>;

  /** Allows retention to remove whole sealed segments whose every offset is < `firstNeeded`. Returns the new first offset. */
  retain(firstNeeded: Offset): Promise<Offset>;

  /**
   * Begins a new epoch with this node as its writer, above every one in the log and above `above`; resolves when its first record is
   * durable. A log that follows no longer does: from then on it takes appends again. `lineageId` (32 hex digits) is given by whoever told
   * others of the leadership before it began; otherwise it is drawn.
   */
  startEpoch(options?: { readonly above?: Epoch; readonly lineageId?: string }): Promise<EpochEntry>;

  /** True while the log takes its records from another one: `receive`, not `append`. */
  readonly following: boolean;

  /**
   * From now on the log follows another one: appends are refused (LOG_FOLLOWING). Resolves when what was appended is durable and it is
   * noted that what comes now was written first by another node.
   */
  beginFollowing(): Promise<void>;

  /**
   * Takes the next records of the log that this one follows, byte for byte, segments beginning where they begin there. They are
   * verified and handed to `appended` in this turn, and written and synced by this log's own rule; resolves when they are committed.
   * @throws LogError LOG_NOT_FOLLOWING; LOG_NOT_CONTINUED when they do not continue this log; LOG_RECORD_BAD when one does not hold;
   * LOG_BUSY, LOG_DISK_FULL, LOG_FAILED, LOG_CLOSED. Then nothing of the run has happened.
   */
  receive(run: ReceivedRun): Promise<void>;

  /**
   * The place of the record at `offset`, which is written; `EMPTY_LOG` for 0.
   * @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END, LOG_CORRUPT.
   */
  positionAt(offset: Offset): Promise<LogPosition>;

  /** Emits once, when the log has failed. From then on every append is refused. */
  readonly failed: Observable<Error>;

  /** Commits what is waiting, marks a clean shutdown and lets the files go. */
  close(): Promise<void>;
}

/** What the log tells whoever measures it. Every method is called on the hot path and must return at once. */
export interface LogObserver {
  /** One batch has gone to the disk: its records and bytes, and how long write (and sync, in `always`) took. */
  batchWritten?(records: number, bytes: number, durationMs: number): void;
  /** A sync of its own (periodic mode, rolls, closes). */
  synced?(durationMs: number): void;
  /** From `append` of the oldest record of a batch until the batch was committed. */
  appendCommitted?(durationMs: number): void;
  rolled?(baseOffset: Offset): void;
  /** True when the free-space guard starts to refuse appends, false when it lets them pass again. */
  diskFull?(full: boolean): void;
}
