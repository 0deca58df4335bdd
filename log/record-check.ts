/**
 * Verifies records as bytes, without making an object of each: for what is only passed on (`ship`), and for what arrives (`receive`).
 * `parseRecords` does the same for whoever wants the records; what is wrong with a bad one is said there.
 */
import type { AppendedRecord } from "./event-log.js";
import {
  chainSalt,
  computeRecordCrc,
  RECORD_HEADER_BYTES,
  recordCrc,
  recordLength,
  recordTimestamp,
  type SegmentHeader,
} from "./format.js";
import type { OffsetIndex } from "./offset-index.js";
import { headerHolds, type ReadPoint, viewOf } from "./segment-reader.js";
import { offset as asOffset, position as asPosition, type Offset } from "./units.js";

export interface CheckedRecords {
  /** Where the record `from` begins in the bytes; where it would, if they end before it. */
  readonly start: number;
  /** Where the records that hold end in the bytes. */
  readonly end: number;
  /** Behind the last record that holds. */
  readonly next: ReadPoint;
}

/**
 * How far the records at the beginning of `bytes` hold, of which the first is expected at `point`: up to `last`, the first that does not
 * hold, or the first that is not whole. Never throws, whatever the bytes.
 */
export function checkRecords(
  bytes: Uint8Array,
  point: ReadPoint,
  header: SegmentHeader,
  from: Offset,
  last: number,
): CheckedRecords {
  const view = viewOf(bytes);
  const size = bytes.length;
  const salt = chainSalt(header.lineageId);
  const { epoch } = header;
  let { offset, seed, timestamp }: { offset: number; seed: number; timestamp: number } = point;
  let at = 0;
  let start = 0;
  while (offset <= last && size - at >= RECORD_HEADER_BYTES) {
    if (!headerHolds(view, at, offset, timestamp, epoch)) break;
    const bytesOfRecord = RECORD_HEADER_BYTES + recordLength(view, at);
    if (bytesOfRecord > size - at) break;
    const crc = computeRecordCrc(view, at, seed, salt);
    if (crc !== recordCrc(view, at)) break;
    seed = crc;
    timestamp = recordTimestamp(view, at);
    at += bytesOfRecord;
    offset += 1;
    if (offset <= from) start = at;
  }
  const position = asPosition(point.position + at);
  return { start, end: at, next: { offset: asOffset(offset), position, seed, timestamp } };
}

/** Adds checked records, which begin at `point`, to the index of their segment. Returns where they end. */
export function noteRecords(
  index: OffsetIndex,
  view: DataView,
  from: number,
  end: number,
  point: ReadPoint,
): ReadPoint {
  let { offset, position }: Record<"offset" | "position", number> = point;
  let before = -1;
  for (let at = from; at < end; offset += 1) {
    // Few are noted. Of the others nothing is looked at but how long they are.
    if (index.wants(position)) index.note(pointBehind(view, before, offset, position, point));
    before = at;
    const size = RECORD_HEADER_BYTES + recordLength(view, at);
    at += size;
    position += size;
  }
  return pointBehind(view, before, offset, position, point);
}

/** Behind the record at `before`, which leaves seed and timestamp; -1: there is none, and they are `first`. */
function pointBehind(
  view: DataView,
  before: number,
  offset: number,
  position: number,
  first: Pick<ReadPoint, "seed" | "timestamp">,
): ReadPoint {
  const left =
    before < 0 ? first : { seed: recordCrc(view, before), timestamp: recordTimestamp(view, before) };
  return {
    offset: asOffset(offset),
    position: asPosition(position),
    seed: left.seed,
    timestamp: left.timestamp,
  };
}

/** Shows checked records one by one; the first has the offset `first`. The bodies show `bytes`. */
export function eachRecord(
  bytes: Uint8Array,
  first: Offset,
  { epoch }: SegmentHeader,
  show: (record: AppendedRecord) => void,
): void {
  const view = viewOf(bytes);
  const memory = bytes.buffer;
  const origin = bytes.byteOffset + RECORD_HEADER_BYTES;
  for (let at = 0, offset: number = first; at < bytes.length; offset += 1) {
    const length = recordLength(view, at);
    show({
      offset: asOffset(offset),
      timestamp: recordTimestamp(view, at),
      epoch,
      kind: view.getUint16(at + 32, true),
      version: view.getUint8(at + 34),
      body: new Uint8Array(memory, origin + at, length),
    });
    at += RECORD_HEADER_BYTES + length;
  }
}
