/**
 * The front of the log: gives a record its offset, or takes one that has it already, puts it into the commit queue, and shows it to
 * the projections, all in one turn. Whether the log takes anything now is decided before; what the disk does comes later.
 */
import { Observable, type Subscriber } from "rxjs";
import type { CommitQueue } from "./commit-queue.js";
import { EPOCH_START_VERSION, type EpochStart, encodeEpochStart } from "./epoch-start.js";
import { EPOCH_STARTED } from "./epochs.js";
import { assert } from "./errors.js";
import type { AppendedRecord, NewRecord, ReceivedRun } from "./event-log.js";
import { RECORD_HEADER_BYTES, writeRecordHeader } from "./format.js";
import type { AcceptedRun } from "./reception.js";
import { eachRecord } from "./record-check.js";
import type { BatchMark, Lineage } from "./tail-writer.js";
import { offset as asOffset, type Epoch, type Offset } from "./units.js";

const KIND_MAX = 0xffff;
const VERSION_MAX = 0xff;

export class Intake {
  /** Every record, from the subscription on. A Subject asks for each one anew who listens, three times the work where a million are caught up. */
  readonly appended = new Observable<AppendedRecord>((watcher) => {
    this.#watchers = [...this.#watchers, watcher];
    return () => {
      this.#watchers = this.#watchers.filter((each) => each !== watcher);
    };
  });
  #watchers: readonly Subscriber<AppendedRecord>[] = [];
  readonly #queue: CommitQueue<BatchMark>;
  /** What the last record left for the next one. */
  #end: Offset;
  #timestamp: number;
  #epoch: Epoch;
  #delivering = false;

  constructor(queue: CommitQueue<BatchMark>, end: Offset, timestamp: number, epoch: Epoch) {
    this.#queue = queue;
    this.#end = end;
    this.#timestamp = timestamp;
    this.#epoch = epoch;
  }

  /** Offset of the last record. */
  get end(): Offset {
    return this.#end;
  }

  /** True inside `appended`, where nobody may change the log. */
  get isDelivering(): boolean {
    return this.#delivering;
  }

  /** @throws LogError LOG_BUSY; then nothing has happened. */
  append({ kind, version, timestamp, body }: NewRecord): Offset {
    assert(kind > EPOCH_STARTED && kind <= KIND_MAX, "a caller's kind is 2 to 65535");
    assert(version >= 0 && version <= VERSION_MAX, "a version is 0 to 255");
    assert(Number.isSafeInteger(timestamp) && timestamp >= 0, "a timestamp is whole milliseconds since 1970");
    return this.#append(kind, version, timestamp, body);
  }

  #append(kind: number, version: number, timestamp: number, body: Uint8Array): Offset {
    assert(!this.#delivering, "nobody appends from inside `appended`");
    const size = RECORD_HEADER_BYTES + body.length;
    const arena = this.#queue.room(size);
    const at = arena.used;
    const offset = asOffset(this.#end + 1);
    const epoch = this.#epoch;
    const raised = Math.max(timestamp, this.#timestamp);
    writeRecordHeader(arena.view, at, body.length, offset, raised, epoch, kind, version);
    arena.bytes.set(body, at + RECORD_HEADER_BYTES);
    this.#queue.added(offset, 1, size);
    this.#end = offset;
    this.#timestamp = raised;
    if (this.#watchers.length > 0) {
      this.#delivering = true;
      this.#show({ offset, timestamp: raised, epoch, kind, version, body });
      this.#delivering = false;
    }
    return offset;
  }

  /** Appends the first record of an epoch, which gets a segment of its own. */
  beginEpoch(lineage: Lineage, start: EpochStart, timestamp: number): Offset {
    this.#epoch = lineage.epoch;
    this.#queue.cut({ type: "epoch", lineage });
    return this.#append(EPOCH_STARTED, EPOCH_START_VERSION, timestamp, encodeEpochStart(start));
  }

  /** Takes the records of an accepted run, for which there is room. */
  take({ header, bytes }: ReceivedRun, { first, records, begins, end }: AcceptedRun): void {
    assert(!this.#delivering, "nothing is received from inside `appended`");
    if (begins !== undefined) this.#queue.cut({ type: "segment", header: begins });
    const arena = this.#queue.room(bytes.length);
    arena.bytes.set(bytes, arena.used);
    this.#queue.added(first, records, bytes.length);
    this.#epoch = header.epoch;
    this.#end = asOffset(end.offset - 1);
    this.#timestamp = end.timestamp;
    if (this.#watchers.length === 0) return;
    this.#delivering = true;
    eachRecord(bytes, first, header, (record) => this.#show(record));
    this.#delivering = false;
  }

  #show(record: AppendedRecord): void {
    for (const watcher of this.#watchers) watcher.next(record);
  }

  /** Nothing more is appended. */
  close(): void {
    for (const watcher of this.#watchers) watcher.complete();
  }

  /** The log was cut: it ends here. */
  cut(end: Offset, timestamp: number, epoch: Epoch): void {
    this.#end = end;
    this.#timestamp = timestamp;
    this.#epoch = epoch;
  }
}
