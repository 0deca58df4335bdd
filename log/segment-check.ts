/**
 * Verifies a segment file that arrives as a stream, wherever from: its header, every record and the chain through them, up
 * to its exact end. Holds a chunk, or one record if that is larger.
 */
import { ADVICE_DAMAGED, CorruptionError, type Finding } from "./corruption.js";
import type { LogRecord } from "./event-log.js";
import {
  RECORD_BODY_BYTES_MAX,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./format.js";
import { basePoint, CHUNK_BYTES, decodeHeader, parseRecords, type ReadPoint } from "./segment-reader.js";
import { findingOfBad } from "./segment-scan.js";
import { offset as asOffset, type Offset } from "./units.js";

/** What a whole segment says of itself; all of it verified. */
export interface CheckedSegment {
  readonly header: SegmentHeader;
  readonly lastOffset: Offset;
  /** Chained crc of the last record; of the record before the first when there is none. */
  readonly lastCrc: number;
  /** Undefined when there is no record. */
  readonly firstTimestamp: number | undefined;
  readonly lastTimestamp: number | undefined;
  readonly bytes: number;
}

/**
 * Reads the stream to its end, or up to the damage, which is returned. `file` names it in the finding. `onRecords` is given
 * each batch of verified records before the end is known.
 * @throws what the stream throws.
 */
export async function checkSegment(
  file: string,
  stream: AsyncIterable<Uint8Array>,
  onRecords?: (records: readonly LogRecord[]) => void,
): Promise<CheckedSegment | Finding> {
  const check = new SegmentCheck(file, onRecords);
  let chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes < check.wanted) continue;
    const gathered = Buffer.concat(chunks, bytes);
    const finding = check.take(gathered, false);
    if (finding !== undefined) return finding;
    chunks = [gathered.subarray(check.taken)];
    bytes -= check.taken;
  }
  return check.take(Buffer.concat(chunks, bytes), true) ?? check.result();
}

class SegmentCheck {
  /** Fewer bytes than this are not worth looking at. */
  wanted = CHUNK_BYTES;
  /** How many of the bytes given last are done with. */
  taken = 0;
  readonly #file: string;
  readonly #onRecords: ((records: readonly LogRecord[]) => void) | undefined;
  #header: SegmentHeader | undefined;
  #point: ReadPoint | undefined;
  #firstTimestamp: number | undefined;

  constructor(file: string, onRecords: ((records: readonly LogRecord[]) => void) | undefined) {
    this.#file = file;
    this.#onRecords = onRecords;
  }

  take(bytes: Uint8Array, isLast: boolean): Finding | undefined {
    this.taken = 0;
    if (this.#header === undefined) {
      try {
        this.#header = decodeHeader(bytes, this.#file);
      } catch (error) {
        if (error instanceof CorruptionError) return error.finding;
        throw error;
      }
      this.#point = basePoint(this.#header);
      this.taken = SEGMENT_HEADER_BYTES;
    }
    const from = this.#point ?? basePoint(this.#header);
    const rest = bytes.subarray(this.taken);
    const batch = parseRecords(rest, from, this.#header, isLast);
    if (batch.records.length > 0) {
      this.#firstTimestamp ??= batch.records[0]?.timestamp;
      this.#onRecords?.(batch.records);
    }
    if (batch.bad !== undefined) return findingOfBad(this.#file, batch.bad);
    const used = batch.next.position - from.position;
    this.#point = batch.next;
    this.taken += used;
    // The last record was not whole: more is needed before the next look, but never more than the largest record.
    const largest = RECORD_HEADER_BYTES + RECORD_BODY_BYTES_MAX;
    this.wanted = used > 0 ? CHUNK_BYTES : Math.min(2 * Math.max(this.wanted, rest.length), largest);
    return undefined;
  }

  result(): CheckedSegment | Finding {
    if (this.#header === undefined || this.#point === undefined)
      return {
        code: "header",
        file: this.#file,
        expected: "a segment",
        found: "nothing",
        advice: ADVICE_DAMAGED,
      };
    const { offset, seed, timestamp, position } = this.#point;
    const isEmpty = offset === this.#header.baseOffset;
    return {
      header: this.#header,
      lastOffset: asOffset(offset - 1),
      lastCrc: seed,
      firstTimestamp: this.#firstTimestamp,
      lastTimestamp: isEmpty ? undefined : timestamp,
      bytes: position,
    };
  }
}
