/**
 * Segments written anew from a log that somebody reads: the same offsets, times, epochs and kinds, with bodies that may be
 * others. Other bytes are another chain, so every epoch gets a lineage of its own: nothing that knows the old log by lineage or crc (a
 * token, a snapshot, a backup, another node) takes the new one for it. Whether the bodies say the same is for others to check.
 */
import { randomId } from "./data-directory.js";
import { assert } from "./errors.js";
import type { LogMark, LogRecord } from "./event-log.js";
import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
  writeRecordHeader,
} from "./format.js";
import type { LogView } from "./log-view.js";
import type { SegmentExtent } from "./segment-extent.js";
import type { Offset } from "./units.js";

/** What a record is to say instead. The body is used at once. */
export type RewriteRecord = (record: LogRecord) => Pick<LogRecord, "version" | "body">;

export interface RewritingOptions {
  readonly rewrite: RewriteRecord;
  readonly randomBytes: (count: number) => Uint8Array;
}

export class SegmentRewriting {
  readonly #view: LogView;
  readonly #options: RewritingOptions;
  /** Of the old lineage ids, what stands for each. */
  readonly #lineages = new Map<string, string>();
  /** Offset and crc of the last record that was written anew. */
  #last: { readonly offset: Offset; readonly crc: number } | undefined;

  constructor(view: LogView, options: RewritingOptions) {
    this.#view = view;
    this.#options = options;
  }

  /** One extent of the view as a segment file. They are asked for in their order, each to its end. */
  async *bytes({ header: old, firstOffset, lastOffset }: SegmentExtent): AsyncGenerator<Uint8Array, void> {
    assert(this.#last === undefined || this.#last.offset + 1 === firstOffset, "segments come in their order");
    const lineageId = this.#lineageOf(old.lineageId);
    const chainCrc = this.#last?.crc ?? crcBefore(old, lineageId);
    const header: SegmentHeader = { ...old, lineageId, chainCrc };
    yield encodeSegmentHeader(header);
    let seed = chainCrc;
    for await (const batch of this.#view.read(firstOffset, { last: lastOffset })) {
      const written = this.#encode(batch, seed, chainSalt(lineageId));
      seed = written.seed;
      yield written.bytes;
    }
    this.#last = { offset: lastOffset, crc: seed };
  }

  /** How the new log knows the record just before its first, which neither has: a snapshot tells of it. */
  markBefore(mark: LogMark): LogMark {
    const first = this.#view.extents[0];
    assert(first?.firstOffset === mark.offset + 1, "the mark is of the record before the log's first");
    const crc = crcBefore(first.header, this.#lineageOf(first.header.lineageId));
    return { ...mark, lineageId: this.#lineageOf(mark.lineageId), crc };
  }

  #encode(batch: readonly LogRecord[], before: number, salt: number): { bytes: Uint8Array; seed: number } {
    const parts = batch.map((record) => ({ record, ...this.#options.rewrite(record) }));
    const size = parts.reduce((sum, { body }) => sum + RECORD_HEADER_BYTES + body.length, 0);
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    let seed = before;
    let at = 0;
    for (const { record, version, body } of parts) {
      const { offset, timestamp, epoch, kind } = record;
      writeRecordHeader(view, at, body.length, offset, timestamp, epoch, kind, version);
      bytes.set(body, at + RECORD_HEADER_BYTES);
      // All of it is synced before anybody believes it.
      seed = stampRecord(view, at, 0, seed, salt);
      at += RECORD_HEADER_BYTES + body.length;
    }
    return { bytes, seed };
  }

  #lineageOf(old: string): string {
    const drawn = this.#lineages.get(old) ?? randomId(this.#options.randomBytes);
    this.#lineages.set(old, drawn);
    return drawn;
  }
}

/** A log that begins later than at its first record has a crc before it that no old snapshot has. */
function crcBefore({ baseOffset, chainCrc }: SegmentHeader, lineageId: string): number {
  return baseOffset === 1 ? 0 : (chainCrc ^ chainSalt(lineageId)) >>> 0;
}
