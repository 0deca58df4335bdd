/**
 * Everything that is read of an open log: by offset, by time, behind its end as it grows, and where it is at an offset. Reads see what
 * is committed, followers what is durable; who appends and what is on its way to the disk is the log's.
 */
import type { Observable } from "rxjs";
import { assert } from "./errors.js";
import type { LogMark, LogPosition, LogRecord, ReadOptions, RecordRun } from "./event-log.js";
import { findOffsetAt, LogCursor, type LogFiles } from "./log-cursor.js";
import { agrees, markAt, positionAt } from "./log-mark.js";
import { beyondEnd, closedError, retired } from "./refusals.js";
import { Follower, type FollowerBell, type FollowSource, tailOf } from "./tail.js";
import { offset as asOffset, type Offset } from "./units.js";

/** The log as its readers see it. */
export interface ReadSource extends FollowSource {
  readonly endOffset: Offset;
  readonly committedOffset: Offset;
}

/** Of a log that says itself where its marks are. */
export function readSourceOf(
  log: Pick<ReadSource, "endOffset" | "committedOffset" | "durableOffset">,
  ended: () => Error | "closed" | undefined,
  bell: FollowerBell,
): ReadSource {
  return {
    get endOffset() {
      return log.endOffset;
    },
    get committedOffset() {
      return log.committedOffset;
    },
    get durableOffset() {
      return log.durableOffset;
    },
    get ended() {
      return ended();
    },
    bell,
  };
}

export class LogReads {
  readonly #files: LogFiles;
  readonly #source: ReadSource;

  constructor(files: LogFiles, source: ReadSource) {
    this.#files = files;
    this.#source = source;
  }

  async *read(from: Offset, options: ReadOptions): AsyncGenerator<readonly LogRecord[], void> {
    const cursor = this.#cursor(from);
    const committed = this.#source.committedOffset;
    const last = Math.min(options.last ?? committed, committed);
    try {
      while (cursor.next <= last) {
        if (this.#source.ended === "closed") throw closedError();
        yield await cursor.read(asOffset(last));
      }
    } finally {
      await cursor.close();
    }
  }

  follow(from: Offset): AsyncIterableIterator<readonly LogRecord[]> {
    return this.#follower(from, (cursor, last) => cursor.read(last));
  }

  tail(from: Offset): Observable<LogRecord> {
    return tailOf(() => this.follow(from));
  }

  ship(from: Offset, bytesMax?: number): AsyncIterableIterator<RecordRun> {
    return this.#follower(from, (cursor, last) => cursor.readRun(last, bytesMax), "runs");
  }

  segmentStart(offset: Offset): Offset {
    const { segments } = this.#files;
    const segment = segments.containing(offset);
    if (segment === undefined) throw retired(offset, segments.first.base);
    return segment.base;
  }

  offsetAt(timestamp: number): Promise<Offset> {
    return findOffsetAt(this.#files, timestamp, this.#source.committedOffset);
  }

  markAt(offset: Offset): Promise<LogMark> {
    return markAt(this.#records, this.#files.segments, offset, this.#source.committedOffset);
  }

  positionAt(offset: Offset): Promise<LogPosition> {
    return positionAt(this.#records, this.#files.segments, offset, this.#source.committedOffset);
  }

  agrees(mark: LogPosition | LogMark): Promise<boolean> {
    return agrees(this.#records, this.#files.segments, mark, this.#source.committedOffset);
  }

  get #records() {
    return { read: (from: Offset, options: ReadOptions = {}) => this.read(from, options) };
  }

  #follower<Part>(
    from: Offset,
    read: (cursor: LogCursor, last: Offset) => Promise<Part>,
    reads: "records" | "runs" = "records",
  ): Follower<Part> {
    return new Follower(this.#source, () => this.#cursor(from, reads), read);
  }

  #cursor(from: Offset, reads: "records" | "runs" = "records"): LogCursor {
    assert(Number.isSafeInteger(from) && from >= 1, "the first offset is 1");
    if (this.#source.ended === "closed") throw closedError();
    const { endOffset } = this.#source;
    if (from > endOffset + 1) throw beyondEnd(from, endOffset);
    return new LogCursor(this.#files, from, reads);
  }
}
