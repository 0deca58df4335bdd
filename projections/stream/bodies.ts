/**
 * The messages of a page, read from the log: what the index only points at. Records that lie close together are read in one
 * go, for a disk read brings many records anyway; what was appended a moment ago is found in a small bounded cache, because
 * that is what those who follow a stream ask for.
 */
import { assert, type LogReader, type LogRecord, type Offset, offset } from "../../log/index.js";
import { changesOf, type EncodedRecord } from "../events.js";
import { isStreamKind, readStreamMessages, type StoredMessages } from "./codec.js";
import type { PlanSlice, ReadPlan, ReadSlice } from "./contract.js";

/** Bodies kept of the newest records. */
const HOT_BYTES_MAX = 8 * 1_048_576;
/** Offsets that were passed and are still in the row. */
const FORGOTTEN_MAX = 1_024;

interface StoredRecord extends EncodedRecord {
  readonly timestamp: number;
}

export class StreamBodies {
  readonly #log: Pick<LogReader, "read">;
  /** The newest records with stream events. */
  readonly #hot = new Map<number, StoredRecord>();
  #hotBytes = 0;
  /** Their offsets, oldest first, from `#oldest` on. A Map's own order would be walked over all that was deleted before. */
  #order: number[] = [];
  #oldest = 0;

  constructor(log: Pick<LogReader, "read">) {
    this.#log = log;
  }

  /** A record was appended; its body is borrowed. */
  keep({ offset, timestamp, kind, version, body }: LogRecordLike): void {
    if (body.length > HOT_BYTES_MAX / 8) return;
    this.#hot.set(offset, { timestamp, kind, version, body: Buffer.from(body) });
    this.#order.push(offset);
    this.#hotBytes += body.length;
    while (this.#hotBytes > HOT_BYTES_MAX) this.#forgetOldest();
  }

  #forgetOldest(): void {
    const oldest = this.#order[this.#oldest++] ?? 0;
    this.#hotBytes -= this.#hot.get(oldest)?.body.length ?? 0;
    this.#hot.delete(oldest);
    if (this.#oldest < FORGOTTEN_MAX || this.#oldest * 2 < this.#order.length) return;
    this.#order = this.#order.slice(this.#oldest);
    this.#oldest = 0;
  }

  /** @throws LogError as `EventLog.read`. */
  async read({ slices }: ReadPlan): Promise<readonly ReadSlice[]> {
    const records = new Map<number, StoredRecord>();
    const cold: number[] = [];
    for (const { event } of slices) {
      const hot = this.#hot.get(event.offset);
      if (hot !== undefined) records.set(event.offset, hot);
      else if (cold[cold.length - 1] !== event.offset) cold.push(event.offset);
    }
    for (let next = 0; next < cold.length; ) next = await this.#readRun(cold, next, records);
    return slices.map((slice) => {
      const record = records.get(slice.event.offset);
      assert(record !== undefined, "the log holds every record that the index points at");
      return readSlice(record, slice);
    });
  }

  /** Reads wanted[from] and what follows it closely; returns which is wanted next. */
  async #readRun(
    wanted: readonly number[],
    from: number,
    records: Map<number, StoredRecord>,
  ): Promise<number> {
    const first = offset(wanted[from] ?? 0);
    const last = offset(wanted[wanted.length - 1] ?? first);
    let next = from;
    for await (const batch of this.#log.read(first, { last })) {
      for (const record of batch) {
        if (record.offset !== wanted[next]) continue;
        records.set(record.offset, record);
        next += 1;
      }
      // Further away than one more disk read brings: begin anew there.
      const end = batch[batch.length - 1]?.offset ?? first;
      if ((wanted[next] ?? end) - end > batch.length) break;
    }
    return next;
  }
}

type LogRecordLike = Pick<LogRecord, "timestamp" | "kind" | "version" | "body"> & {
  readonly offset: Offset;
};

function readSlice(record: StoredRecord, slice: PlanSlice): ReadSlice {
  const { bodies, tags, metadata } = messagesAt(record, slice.event.place);
  const { skip, count } = slice;
  assert(bodies.length >= skip + count, "an event has the messages that the index counted");
  const isWhole = skip === 0 && count === bodies.length;
  const taken = <Value>(values: readonly Value[]): readonly Value[] =>
    isWhole ? values : values.slice(skip, skip + count);
  return {
    ...slice,
    timestamp: record.timestamp,
    messages: taken(bodies),
    tags: taken(tags),
    metadata: taken(metadata),
  };
}

function messagesAt(record: EncodedRecord, place: number): StoredMessages {
  let found: StoredMessages | undefined;
  changesOf(record, isStreamKind, (reader, kind, version, at) => {
    if (at === place) found = readStreamMessages(reader, kind, version);
    reader.rest();
  });
  assert(found !== undefined, "the record has an event at the place that the index knows");
  return found;
}
