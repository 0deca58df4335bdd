/**
 * Composes the files of a log byte by byte from the format alone, without the writer: what the reading side is tested
 * against. Batches are written as the real log would: each record says how many before it were not yet synced.
 */
import { segmentName } from "../../log/file-names.js";
import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
  writeRecordHeader,
} from "../../log/format.js";
import { OffsetIndex } from "../../log/offset-index.js";
import { encodeRecoveryPoint, type RecoveryPoint } from "../../log/recovery-point.js";
import { basePoint, parseRecords } from "../../log/segment-reader.js";
import { notePoints } from "../../log/segment-scan.js";
import { epoch as asEpoch, offset as asOffset, type Epoch, type Offset } from "../../log/units.js";
import { MemoryFileSystem } from "./memory-file-system.js";

export const CLUSTER = "c1".repeat(16);
export const NODE = "0d".repeat(16);
export const LINEAGE = "5ea1".repeat(8);
export const DIRECTORY = "/data";
export const LOG = `${DIRECTORY}/log`;

export interface ComposedRecord {
  readonly offset: Offset;
  readonly timestamp: number;
  readonly kind: number;
  readonly version: number;
  readonly body: Uint8Array;
  readonly unsynced: number;
  readonly crc: number;
  readonly segment: number;
  readonly position: number;
  readonly end: number;
}

export interface ComposedSegment {
  readonly header: SegmentHeader;
  readonly name: string;
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Where the records end and, in the tail, the zeros begin. */
  readonly contentEnd: number;
}

export interface ComposedLog {
  readonly segments: readonly ComposedSegment[];
  readonly records: readonly ComposedRecord[];
  readonly tail: ComposedSegment;
  readonly end: Offset;
  /** Last offset that was synced when the last batch was written. */
  readonly durable: Offset;
  files(options?: { indexes?: boolean; recoveryPoint?: RecoveryPoint }): MemoryFileSystem;
  recoveryPoint(durable: number, clean?: boolean): RecoveryPoint;
}

export interface ComposeOptions {
  /** One entry a batch: the bodies of its records. */
  readonly batches: readonly (readonly Uint8Array[])[];
  /** Indexes of batches before which the log rolls. */
  readonly rollBefore?: readonly number[];
  /** Of the rolls: those that begin a new epoch. */
  readonly epochBefore?: readonly number[];
  readonly zerosAhead?: number;
  readonly firstOffset?: number;
  readonly lineageId?: string;
  readonly nodeId?: string;
  readonly clusterId?: string;
}

class Segment {
  readonly header: SegmentHeader;
  readonly parts: Uint8Array[];
  size = SEGMENT_HEADER_BYTES;

  constructor(header: SegmentHeader) {
    this.header = header;
    this.parts = [encodeSegmentHeader(header)];
  }
}

export function composeLog(options: ComposeOptions): ComposedLog {
  const { batches, rollBefore = [], epochBefore = [], zerosAhead = 0 } = options;
  const records: ComposedRecord[] = [];
  let epoch: Epoch = asEpoch(1);
  let epochFirst = asOffset(options.firstOffset ?? 1);
  let offset: number = epochFirst;
  let crc = 0;
  let timestamp = 0;
  let lineageId = options.lineageId ?? LINEAGE;
  const open = (): Segment =>
    new Segment({
      epoch,
      baseOffset: asOffset(offset),
      createdAt: 1_700_000_000_000,
      clusterId: options.clusterId ?? CLUSTER,
      nodeId: options.nodeId ?? NODE,
      lineageId,
      epochFirst,
      chainTimestamp: timestamp,
      chainCrc: crc,
    });
  const segments = [open()];
  let durable = offset - 1;
  batches.forEach((bodies, b) => {
    if (epochBefore.includes(b)) {
      epoch = asEpoch(epoch + 1);
      epochFirst = asOffset(offset);
      lineageId = `${lineageId.slice(2)}${lineageId.slice(0, 2)}`;
    }
    if (rollBefore.includes(b) || epochBefore.includes(b)) segments.push(open());
    const segment = segments[segments.length - 1]!;
    durable = offset - 1;
    for (const body of bodies) {
      timestamp = 1_700_000_000_000 + offset * 3;
      const record = encodeRecord(
        { offset: asOffset(offset), timestamp, epoch, kind: 2 + (offset % 5), version: 1, body },
        offset - 1 - durable,
        crc,
        chainSalt(lineageId),
      );
      crc = record.crc;
      records.push({
        offset: asOffset(offset),
        timestamp,
        kind: 2 + (offset % 5),
        version: 1,
        body,
        unsynced: offset - 1 - durable,
        crc,
        segment: segments.length - 1,
        position: segment.size,
        end: segment.size + record.bytes.length,
      });
      segment.parts.push(record.bytes);
      segment.size += record.bytes.length;
      offset += 1;
    }
  });
  segments[segments.length - 1]!.parts.push(new Uint8Array(zerosAhead));
  return finish(segments, records, asOffset(offset - 1), asOffset(durable));
}

/** One record as it stands in a segment. */
export function encodeRecord(
  record: {
    offset: Offset;
    timestamp: number;
    epoch: Epoch;
    kind: number;
    version: number;
    body: Uint8Array;
  },
  unsynced: number,
  seed: number,
  salt: number,
): { bytes: Uint8Array; crc: number } {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + record.body.length);
  const view = new DataView(bytes.buffer);
  const { offset, timestamp, epoch, kind, version, body } = record;
  writeRecordHeader(view, 0, body.length, offset, timestamp, epoch, kind, version);
  bytes.set(body, RECORD_HEADER_BYTES);
  return { bytes, crc: stampRecord(view, 0, unsynced, seed, salt) };
}

function finish(
  parts: readonly Segment[],
  records: readonly ComposedRecord[],
  end: Offset,
  durable: Offset,
): ComposedLog {
  const segments = parts.map(({ header, parts: chunks, size }) => {
    const name = segmentName(header.baseOffset);
    return { header, name, path: `${LOG}/${name}`, bytes: Buffer.concat(chunks), contentEnd: size };
  });
  const tail = segments[segments.length - 1]!;
  const bare = new MemoryFileSystem(
    segments.map((segment) => [segment.path, segment.bytes] as const),
    [LOG],
  );
  const indexed = bare.fork();
  for (const segment of segments.slice(0, -1))
    indexed.put(segment.path.replace(/log$/, "index"), indexBytes(segment));
  const log: ComposedLog = {
    segments,
    records,
    tail,
    end,
    durable,
    files(options = {}) {
      const files = ((options.indexes ?? true) ? indexed : bare).fork();
      if (options.recoveryPoint !== undefined)
        files.put(`${DIRECTORY}/recovery-point`, encodeRecoveryPoint(options.recoveryPoint));
      return files;
    },
    recoveryPoint(at, clean = false) {
      const crc = records.find((record) => record.offset === at)?.crc ?? segments[0]!.header.chainCrc;
      const holder = segments.findLast((segment) => segment.header.baseOffset <= at + 1);
      return { durable: asOffset(at), crc, tail: holder!.header.baseOffset, clean };
    },
  };
  return log;
}

function indexBytes(segment: ComposedSegment): Uint8Array {
  const base = basePoint(segment.header);
  const index = OffsetIndex.empty(base);
  const batch = parseRecords(segment.bytes.subarray(SEGMENT_HEADER_BYTES), base, segment.header, true);
  notePoints(index, batch, base);
  return index.encode(batch.next);
}

/** A body of `size` bytes that differs from place to place. */
export function bodyOf(size: number, mark: number): Uint8Array {
  const body = new Uint8Array(size);
  for (let i = 0; i < size; i++) body[i] = (mark * 31 + i * 7 + (i >> 8)) & 0xff;
  return body;
}
