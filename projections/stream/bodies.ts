/**
 * The messages of a page, read from the log: what the index only points at. Records that lie close together are read in one
 * go, for a disk read brings many records anyway; what was appended a moment ago is found in a small bounded cache, because
 * that is what those who follow a stream ask for.
 */
import { assert, type LogReader, type LogRecord, type Offset, offset } from "../../log/index.js";
import { changesOf } from "../events.js";
import { isStreamKind, readStreamMessages } from "./codec.js";
import type { PlanSlice, ReadPlan, ReadSlice } from "./contract.js";
import { HotRecords, type StoredRecord } from "./hot-records.js";
import { StoredSlice } from "./stored-slice.js";

/** Records between two wanted ones that are read in vain rather than opening the log again behind them. */
const GAP_RECORDS_MAX = 256;
/** Of a disk read less than this share is wanted: then that is copied, so that a page of few bytes holds no great memory. */
const SPARSE_SHARE = 1 / 4;

export class StreamBodies {
  readonly #log: Pick<LogReader, "read">;
  readonly #hot = new HotRecords();

  constructor(log: Pick<LogReader, "read">) {
    this.#log = log;
  }

  /** A record was appended; its body is borrowed. */
  keep(record: StoredRecord): void {
    this.#hot.keep(record);
  }

  /** @throws LogError as `EventLog.read`. */
  async read({ slices }: ReadPlan): Promise<readonly ReadSlice[]> {
    const read: ReadSlice[] = [];
    for (let next = slices[0]; next !== undefined; next = slices[read.length]) {
      const hot = this.#hot.at(next.event.offset);
      if (hot === undefined) await this.#readRun(slices, read);
      else takeFrom(hot, slices, read);
    }
    return read;
  }

  /** Reads what is wanted next and what follows it closely. */
  async #readRun(slices: readonly PlanSlice[], read: ReadSlice[]): Promise<void> {
    const { first, last } = this.#runOf(slices, read.length);
    for await (const batch of this.#log.read(first, { last })) takeBatch(batch, slices, read);
    const next = slices[read.length]?.event.offset;
    assert(next === undefined || next > last, "the log holds every record that the index points at");
  }

  #runOf(slices: readonly PlanSlice[], from: number): { readonly first: Offset; readonly last: Offset } {
    const first = slices[from]?.event.offset ?? offset(0);
    let last = first;
    for (let index = from + 1; index < slices.length; index++) {
      const next = slices[index]?.event.offset ?? last;
      if (next - last > GAP_RECORDS_MAX || this.#hot.at(next) !== undefined) break;
      last = next;
    }
    return { first, last };
  }
}

/** Adds what is wanted next of the records of one disk read. */
function takeBatch(batch: readonly LogRecord[], slices: readonly PlanSlice[], read: ReadSlice[]): void {
  const [first] = batch;
  if (first === undefined) return;
  const wanted: LogRecord[] = [];
  let bytes = 0;
  for (let index = read.length; index < slices.length; index++) {
    const record = batch[(slices[index]?.event.offset ?? 0) - first.offset];
    if (record === undefined) break;
    if (record === wanted[wanted.length - 1]) continue;
    wanted.push(record);
    bytes += record.body.length;
  }
  const isSparse = bytes < first.body.buffer.byteLength * SPARSE_SHARE;
  for (const record of wanted) {
    takeFrom(isSparse ? { ...record, body: Buffer.from(record.body) } : record, slices, read);
  }
}

/** Adds every slice that is wanted next of one record. */
function takeFrom(record: StoredRecord, slices: readonly PlanSlice[], read: ReadSlice[]): void {
  const before = read.length;
  changesOf(record, isStreamKind, (reader, kind, version, place) => {
    const slice = slices[read.length];
    if (slice?.event.offset !== record.offset || slice.event.place !== place) {
      reader.passRest();
      return;
    }
    const messages = readStreamMessages(reader, kind, version);
    assert(messages !== undefined, "an event that the index points at has messages");
    read.push(new StoredSlice(slice, record.timestamp, messages));
  });
  assert(read.length > before, "the record has an event at the place that the index knows");
}
