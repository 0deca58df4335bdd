/**
 * Looks for valid records behind a bad one, because of what they prove: each says how far the log was synced when it was
 * written. Pure, and linear in the number of bytes, whatever they hold.
 *
 * The chain makes this possible without the bad record X: a record is valid if its crc agrees with the crc *field* of
 * the record directly before it. So a record after X is known to be one
 *   - when it is X's next and agrees with X's stored crc, or with the crc that X's bytes would have; or
 *   - when it follows a candidate and agrees with the candidate's stored crc.
 * A damaged length hides where the next record begins, so every byte is a candidate's possible beginning; a candidate's
 * header must hold in every field before anything is computed. The salt in every crc keeps the bytes of a body, which a
 * client chooses, from passing for records.
 */
import { CrcRanges } from "./checksum.js";
import {
  chainSalt,
  RECORD_BODY_BYTES_MAX,
  RECORD_HEADER_BYTES,
  recordCrc,
  recordLength,
  recordOffset,
  recordTimestamp,
  type SegmentHeader,
} from "./format.js";
import {
  CHUNK_BYTES,
  headerHolds,
  parseRecords,
  type ReadPoint,
  type RecordBatch,
  viewOf,
} from "./segment-reader.js";
import { offset as asOffset, position as asPosition, BEFORE_FIRST, type Offset } from "./units.js";

export interface LaterRecords {
  /** How many valid records lie behind the bad one. */
  readonly count: number;
  /** Offset of the last of them; 0 if there is none. */
  readonly last: Offset;
  /** Highest offset that they prove durable on the disk of the node that wrote them; 0 = none. */
  readonly proven: Offset;
}

/**
 * What lies behind the bad record at `bad`. `bytes` are the segment's from `bad.position` on, up to the end of the file
 * (zeros at the end may be left out). Stops early when `goal` is proven durable. Never throws, whatever the bytes.
 */
export function findLaterRecords(
  bytes: Uint8Array,
  bad: ReadPoint,
  header: SegmentHeader,
  goal: Offset,
): LaterRecords {
  const search = new Search(bytes, bad.position, header);
  let count = 0;
  let last = BEFORE_FIRST;
  let proven = BEFORE_FIRST;
  let broken: ReadPoint | undefined = bad;
  while (broken !== undefined && proven < goal) {
    let next: ReadPoint | undefined = search.nextValid(broken);
    broken = undefined;
    while (next !== undefined && proven < goal) {
      const run = readRun(bytes, next.position - bad.position, next, header);
      count += run.records.length;
      if (run.records.length > 0) last = asOffset(run.next.offset - 1);
      if (run.proven > proven) proven = run.proven;
      if (run.bad !== undefined) broken = run.next;
      next = run.bad === undefined && run.records.length > 0 ? run.next : undefined;
    }
  }
  return { count, last, proven };
}

/** Some records from `at` on: as many as fit into a chunk, at least one unless it is bad or there is none. */
function readRun(bytes: Uint8Array, at: number, point: ReadPoint, header: SegmentHeader): RecordBatch {
  for (let size = CHUNK_BYTES; ; size *= 8) {
    const isLast = at + size >= bytes.length;
    const run = parseRecords(bytes.subarray(at, at + size), point, header, isLast);
    if (isLast || run.records.length > 0 || run.bad !== undefined) return run;
  }
}

class Search {
  readonly #view: DataView;
  readonly #size: number;
  readonly #origin: number;
  readonly #epoch: number;
  readonly #salt: number;
  readonly #ranges: CrcRanges;

  constructor(bytes: Uint8Array, origin: number, header: SegmentHeader) {
    this.#view = viewOf(bytes);
    this.#size = bytes.length;
    this.#origin = origin;
    this.#epoch = header.epoch;
    this.#salt = chainSalt(header.lineageId);
    this.#ranges = new CrcRanges(bytes);
  }

  /** The first record behind the bad one at `bad` that is proven to be one. */
  nextValid(bad: ReadPoint): ReadPoint | undefined {
    const start = bad.position - this.#origin;
    const seeds = this.#seedsOf(start, bad);
    const epochLow = this.#epoch & 0xff;
    const last = this.#size - RECORD_HEADER_BYTES;
    for (let at = start + RECORD_HEADER_BYTES; at <= last; at++) {
      if (this.#view.getUint8(at + 24) !== epochLow || this.#view.getUint8(at + 35) !== 0) continue;
      const found = this.#judgeCandidate(at, start, bad, seeds);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #judgeCandidate(
    at: number,
    start: number,
    bad: ReadPoint,
    seeds: readonly number[],
  ): ReadPoint | undefined {
    const offset = recordOffset(this.#view, at);
    // Each record takes at least its header, so this place bounds how many can lie between.
    if (offset <= bad.offset || offset > bad.offset + (at - start) / RECORD_HEADER_BYTES) return undefined;
    if (!this.#couldBe(at, offset, bad.timestamp)) return undefined;
    if (offset === bad.offset + 1) {
      for (const seed of seeds)
        if (this.#agrees(at, seed)) return this.#point(at, offset, seed, bad.timestamp);
    }
    const successor = at + RECORD_HEADER_BYTES + recordLength(this.#view, at);
    const timestamp = recordTimestamp(this.#view, at);
    if (!this.#couldBe(successor, offset + 1, timestamp)) return undefined;
    const seed = recordCrc(this.#view, at);
    return this.#agrees(successor, seed)
      ? this.#point(successor, asOffset(offset + 1), seed, timestamp)
      : undefined;
  }

  /** The crcs that the bad record may have had: the one it shows, and the one its bytes would have. */
  #seedsOf(start: number, bad: ReadPoint): number[] {
    if (start + RECORD_HEADER_BYTES > this.#size) return [];
    const seeds = [recordCrc(this.#view, start)];
    const length = recordLength(this.#view, start);
    const end = start + RECORD_HEADER_BYTES + length;
    if (length <= RECORD_BODY_BYTES_MAX && end <= this.#size)
      seeds.push(this.#ranges.crc(start + 4, end, (bad.seed ^ this.#salt) >>> 0));
    return seeds;
  }

  /** True when a whole header at `at` holds and its body fits. */
  #couldBe(at: number, offset: number, timestampMin: number): boolean {
    return (
      at + RECORD_HEADER_BYTES <= this.#size &&
      headerHolds(this.#view, at, offset, timestampMin, this.#epoch) &&
      at + RECORD_HEADER_BYTES + recordLength(this.#view, at) <= this.#size
    );
  }

  #agrees(at: number, seed: number): boolean {
    const end = at + RECORD_HEADER_BYTES + recordLength(this.#view, at);
    return this.#ranges.crc(at + 4, end, (seed ^ this.#salt) >>> 0) === recordCrc(this.#view, at);
  }

  #point(at: number, offset: Offset, seed: number, timestamp: number): ReadPoint {
    return { offset, position: asPosition(this.#origin + at), seed, timestamp };
  }
}
