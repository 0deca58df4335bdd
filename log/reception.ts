/**
 * Whether what arrives from another log continues this one, and where this one ends then. Pure: it verifies every byte and remembers
 * where the last run ended; who writes them, and when, is decided elsewhere.
 */
import { assert, LogError } from "./errors.js";
import type { ReceivedRun } from "./event-log.js";
import { segmentName } from "./file-names.js";
import {
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  recordOffset,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./format.js";
import { checkRecords } from "./record-check.js";
import { borderFinding, firstFinding, lineageFinding, type SegmentFile } from "./segment-chain.js";
import { basePoint, parseRecords, type ReadPoint, viewOf } from "./segment-reader.js";
import { offset as asOffset, position as asPosition, type Offset } from "./units.js";

/** The segment that the next records go to. */
export interface ReceivingTail {
  readonly header: SegmentHeader;
  /** It has no record yet, so another one may take its place. */
  readonly isEmpty: boolean;
  /** Of the segment before it, if that is kept. */
  readonly before: SegmentHeader | undefined;
}

/** A run of which every byte holds. */
export interface AcceptedRun {
  readonly first: Offset;
  readonly records: number;
  /** The segment that begins with it. Undefined when it goes to the tail that there is. */
  readonly begins: SegmentHeader | undefined;
  /** Behind its last record. */
  readonly end: Pick<ReadPoint, "offset" | "seed" | "timestamp">;
}

export class Reception {
  readonly #clusterId: string;
  #tail: ReceivingTail | undefined;
  #end: Pick<ReadPoint, "offset" | "seed" | "timestamp">;

  /** @param tail undefined when there is no log yet: it begins with the first segment that arrives */
  constructor(
    clusterId: string,
    tail: ReceivingTail | undefined,
    end: Pick<ReadPoint, "offset" | "seed" | "timestamp">,
  ) {
    this.#clusterId = clusterId;
    this.#tail = tail;
    this.#end = end;
  }

  /** Verifies a run. Nothing is changed: `took` says that it counts. @throws LogError LOG_NOT_CONTINUED, LOG_RECORD_BAD. */
  accept(run: ReceivedRun): AcceptedRun {
    const { header, bytes } = run;
    const begins = this.#beginsWith(run);
    const { offset, seed, timestamp } = begins === undefined ? this.#end : basePoint(header);
    const point = { offset, seed, timestamp, position: asPosition(SEGMENT_HEADER_BYTES) };
    if (bytes.length >= RECORD_HEADER_BYTES) {
      const found = recordOffset(viewOf(bytes), 0);
      if (found !== offset) throw notContinued(offset, `record ${offset}`, `record ${found}`);
    }
    const { end, next } = checkRecords(bytes, point, header, offset, Number.MAX_SAFE_INTEGER);
    if (end < bytes.length || end === 0) throw bad(bytes.subarray(end), next, header);
    return { first: offset, records: next.offset - offset, begins, end: next };
  }

  /** An accepted run is now the end of the log. */
  took({ header }: ReceivedRun, { begins, end }: AcceptedRun): void {
    const before = begins === undefined ? this.#tail?.before : this.#lastWithRecords();
    this.#tail = { header, isEmpty: false, before };
    this.#end = end;
  }

  /** The segment that has to begin for the run, if any. */
  #beginsWith({ header, startsSegment }: ReceivedRun): SegmentHeader | undefined {
    const tail = this.#tail;
    const isTail = tail !== undefined && isSameHeader(tail.header, header);
    // The primary's tail was made here before, and a crash, or its last record, came between it and its first record.
    if (isTail && (!startsSegment || tail.isEmpty)) return undefined;
    const { offset } = this.#end;
    if (!startsSegment) {
      const expected = tail === undefined ? "the beginning of a segment" : described(tail.header);
      throw notContinued(offset, `records of ${expected}`, described(header));
    }
    const finding = this.#findingAt(fileOf(header));
    if (finding !== undefined) throw notContinued(offset, finding.expected, finding.found);
    return header;
  }

  #findingAt(segment: SegmentFile) {
    const before = this.#lastWithRecords() ?? this.#tail?.header;
    if (before === undefined) return firstFinding(segment, { clusterId: this.#clusterId, nodeId: "" });
    return (
      lineageFinding(fileOf(before), segment) ??
      borderFinding({ ...this.#end, position: asPosition(SEGMENT_HEADER_BYTES) }, segment)
    );
  }

  #lastWithRecords(): SegmentHeader | undefined {
    return this.#tail?.isEmpty === true ? this.#tail.before : this.#tail?.header;
  }
}

function isSameHeader(a: SegmentHeader, b: SegmentHeader): boolean {
  return Buffer.compare(encodeSegmentHeader(a), encodeSegmentHeader(b)) === 0;
}

function fileOf(header: SegmentHeader): SegmentFile {
  const base = header.baseOffset;
  return { base, name: segmentName(base), header, bytes: SEGMENT_HEADER_BYTES };
}

function described({ baseOffset, epoch, lineageId, createdAt }: SegmentHeader): string {
  return `the segment ${baseOffset} of epoch ${epoch}, lineage ${lineageId}, made at ${createdAt}`;
}

function notContinued(offset: Offset, expected: string, found: string): LogError {
  const message = `what was received does not continue the log at offset ${offset}: expected ${expected}, found ${found}`;
  return new LogError("LOG_NOT_CONTINUED", message, { offset, expected, found });
}

function bad(rest: Uint8Array, point: ReadPoint, header: SegmentHeader): LogError {
  if (rest.length === 0) return badRecord(point.offset, "short", 1, 0);
  const found = parseRecords(rest, point, header, true).bad;
  assert(found !== undefined, "what does not hold is bad");
  return badRecord(asOffset(found.offset), found.reason, found.expected, found.found);
}

function badRecord(
  offset: Offset,
  reason: string,
  expected: number | undefined,
  found: number | undefined,
): LogError {
  const message = `the record ${offset} that was received does not hold (${reason})`;
  return new LogError("LOG_RECORD_BAD", message, { offset, reason, expected, found });
}
