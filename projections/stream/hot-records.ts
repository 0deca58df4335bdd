/**
 * The newest records with stream events, for those who follow a stream. Bodies are copied one behind the other into blocks, and
 * what is known of each stands in arrays beside them: no object for each record, which would outlive the collector's young
 * generation and cost more than the append that it came with. A block is never written twice, so what a reader was shown stays
 * as it was; the oldest block is let go when there are too many.
 */
import { offset as asOffset, type Offset } from "../../log/index.js";
import type { EncodedRecord } from "../events.js";

/** A record as it was appended or read. */
export interface StoredRecord extends EncodedRecord {
  readonly offset: Offset;
  /** Ms since 1970. */
  readonly timestamp: number;
}

/** Together at most 8 MiB. */
const BLOCKS_MAX = 32;
const BLOCK_BYTES = 262_144;
const BLOCK_RECORDS = 2_048;
/** The first block is an eighth of another one: many a store has few streams, or none that anybody follows. */
const FIRST_SHARE = 1 / 8;

class Block {
  readonly bytes: Buffer;
  readonly offsets: Float64Array;
  readonly timestamps: Float64Array;
  readonly ends: Uint32Array;
  readonly kinds: Uint16Array;
  readonly versions: Uint8Array;
  records = 0;
  used = 0;

  constructor(share: number) {
    this.bytes = Buffer.allocUnsafeSlow(BLOCK_BYTES * share);
    const records = BLOCK_RECORDS * share;
    this.offsets = new Float64Array(records);
    this.timestamps = new Float64Array(records);
    this.ends = new Uint32Array(records);
    this.kinds = new Uint16Array(records);
    this.versions = new Uint8Array(records);
  }

  hasRoom(bytes: number): boolean {
    return this.records < this.offsets.length && this.used + bytes <= this.bytes.length;
  }

  add({ offset, timestamp, kind, version, body }: StoredRecord): void {
    const place = this.records++;
    this.bytes.set(body, this.used);
    this.used += body.length;
    this.offsets[place] = offset;
    this.timestamps[place] = timestamp;
    this.ends[place] = this.used;
    this.kinds[place] = kind;
    this.versions[place] = version;
  }

  at(wanted: Offset): StoredRecord | undefined {
    const place = lastAtOrBefore(this.records, (each) => this.offsets[each] ?? 0, wanted);
    if (this.offsets[place] !== wanted) return undefined;
    const start = place === 0 ? 0 : (this.ends[place - 1] ?? 0);
    return {
      offset: asOffset(wanted),
      timestamp: this.timestamps[place] ?? 0,
      kind: this.kinds[place] ?? 0,
      version: this.versions[place] ?? 0,
      body: this.bytes.subarray(start, this.ends[place]),
    };
  }
}

export class HotRecords {
  /** The oldest first; their records are in the order of the log. */
  readonly #blocks: Block[] = [];

  /** The body is copied. One that fills a block is not kept: reading it from the log costs no more than copying it. */
  keep(record: StoredRecord): void {
    if (record.body.length > BLOCK_BYTES / 2) return;
    this.#blockFor(record.body.length).add(record);
  }

  /** Its body stays valid. */
  at(wanted: Offset): StoredRecord | undefined {
    // Asked of every message of a page, and most pages are old.
    if (wanted < this.#firstOf(0)) return undefined;
    return this.#blocks[lastAtOrBefore(this.#blocks.length, (each) => this.#firstOf(each), wanted)]?.at(
      wanted,
    );
  }

  #blockFor(bytes: number): Block {
    const last = this.#blocks[this.#blocks.length - 1];
    if (last?.hasRoom(bytes)) return last;
    if (this.#blocks.length === BLOCKS_MAX) this.#blocks.shift();
    // One without a record would say nothing of where it begins.
    const isFirst = last === undefined && bytes <= BLOCK_BYTES * FIRST_SHARE;
    const fresh = new Block(isFirst ? FIRST_SHARE : 1);
    this.#blocks.push(fresh);
    return fresh;
  }

  #firstOf(block: number): number {
    return this.#blocks[block]?.offsets[0] ?? Number.POSITIVE_INFINITY;
  }
}

/** Of `count` ascending values the place of the last that is not greater than `wanted`; 0 when all are. */
function lastAtOrBefore(count: number, valueAt: (place: number) => number, wanted: number): number {
  let low = 0;
  let high = count;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (valueAt(middle) <= wanted) low = middle;
    else high = middle;
  }
  return low;
}
