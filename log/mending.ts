/**
 * Puts sound segments into the place of damaged ones: records that somebody else has kept are written beside the log, each verified against
 * the chain, and take their place when they lead exactly to what the segment behind them says. So it does not matter whose they are: a chain
 * that ends with the right crc is this log's. Each step is durable before the next:
 *
 *   1. the new segment is whole, under `<base>.log.new`
 *   2. the damaged file has its second name under `quarantine/`, and a note of what was found
 *   3. the new one takes its name; then its index is written
 *
 * A kill before 3 leaves the damaged log as it was (the next opening removes what lies beside it), after 3 the mended one.
 */
import type { Finding } from "./corruption.js";
import { assert, errnoOf, ignoreDiskError, LogError } from "./errors.js";
import type { ReceivedRun } from "./event-log.js";
import { LOG_DIRECTORY, newSegmentName, segmentName } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { encodeSegmentHeader, type SegmentHeader } from "./format.js";
import { OffsetIndex, writeIndexFile } from "./offset-index.js";
import { pruneQuarantine, type QuarantinedSegment, quarantineSegment } from "./quarantine.js";
import { readFully } from "./read-bytes.js";
import { checkRecords, noteRecords } from "./record-check.js";
import { borderFinding, lineageFinding, type SegmentFile } from "./segment-chain.js";
import { basePoint, CHUNK_BYTES, type ReadPoint, viewOf } from "./segment-reader.js";
import { offset as asOffset, type Offset } from "./units.js";

/** Which records are to be had again: whole sealed segments, up to the one that begins at `last` + 1 and is sound. */
export interface MendTarget {
  readonly first: Offset;
  readonly last: Offset;
  /** Of the segment that follows; what is put before it has to lead there. */
  readonly after: SegmentHeader;
  /** Of the segment at `first`, when it is known: its records go behind it, however they lie elsewhere. */
  readonly header: SegmentHeader | undefined;
  /** More segments may have been there than are known: wherever one begins elsewhere, one begins here. */
  readonly mayBeSeveral: boolean;
  readonly finding: Finding;
}

export interface MendedSegments {
  readonly first: Offset;
  readonly last: Offset;
  readonly bytes: number;
  /** The damaged files; none of a segment that was lost, or that reads well by now. */
  readonly quarantined: readonly QuarantinedSegment[];
}

export interface MendingParts {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly target: MendTarget;
  readonly now: () => number;
  /** Runs what changes the log's files, alone; of an open log it then reads the new ones. May refuse: the log has changed meanwhile. */
  readonly place: (change: () => Promise<void>) => Promise<void>;
}

interface Staged {
  readonly header: SegmentHeader;
  readonly handle: FileHandle;
  readonly index: OffsetIndex;
  end: ReadPoint;
}

export class SegmentMending {
  readonly target: MendTarget;
  readonly #parts: MendingParts;
  readonly #logDirectory: string;
  readonly #staged: Staged[] = [];
  readonly #open: FileHandle[] = [];
  #isOver = false;

  constructor(parts: MendingParts) {
    this.#parts = parts;
    this.target = parts.target;
    this.#logDirectory = `${parts.dataDirectory}/${LOG_DIRECTORY}`;
  }

  /** The record that comes next; one more than the target's last when all are there. */
  get next(): Offset {
    return this.#staged.at(-1)?.end.offset ?? this.target.first;
  }

  /**
   * Takes the next records, whole runs in their order. Resolves when they are written.
   * @throws LogError LOG_NOT_CONTINUED, LOG_RECORD_BAD; then nothing of the run has happened.
   */
  async receive(run: ReceivedRun): Promise<void> {
    assert(!this.#isOver, "nothing is received after the end of a mending");
    const begins = this.#begins(run);
    const before = this.#staged.at(-1);
    const header = begins ?? before?.header;
    const point = begins === undefined ? before?.end : basePoint(begins);
    assert(header !== undefined && point !== undefined, "the first run begins a segment");
    const { end, next } = checkRecords(run.bytes, point, header, point.offset, this.target.last);
    if (end === 0 || end < run.bytes.length) throw recordBad(next.offset, this.target.last);
    const staged = begins === undefined ? before : await this.#begin(begins);
    assert(staged !== undefined, "there is a segment to write to");
    await staged.handle.write(run.bytes, point.position);
    staged.end = noteRecords(staged.index, viewOf(run.bytes), 0, run.bytes.length, point);
  }

  /**
   * Puts the segments into their place. Ends the mending, also when it fails.
   * @throws LogError LOG_NOT_CONTINUED when the records do not lead to the segment that follows; what `place` refuses with.
   */
  async finish(): Promise<MendedSegments> {
    const { place, files, dataDirectory } = this.#parts;
    try {
      this.#mustLeadToNext();
      for (const { handle } of this.#staged) await handle.sync();
      await this.#close();
      const quarantined: QuarantinedSegment[] = [];
      await place(async () => {
        for (const staged of this.#staged) {
          const kept = await this.#replace(staged);
          if (kept !== undefined) quarantined.push(kept);
        }
      });
      for (const { header, index, end } of this.#staged)
        await writeIndexFile(files, this.#logDirectory, header, index, end).catch(ignoreDiskError);
      await pruneQuarantine(files, dataDirectory);
      const { first, last } = this.target;
      const bytes = this.#staged.reduce((sum, { end }) => sum + end.position, 0);
      return { first, last, bytes, quarantined };
    } finally {
      await this.abandon();
    }
  }

  /** Removes what was brought; the log is as it was. Idempotent. */
  async abandon(): Promise<void> {
    if (this.#isOver) return;
    await this.#close();
    this.#isOver = true;
    for (const { header } of this.#staged) {
      const path = this.#pathBeside(header.baseOffset);
      if (await this.#parts.files.exists(path)) await this.#parts.files.remove(path);
    }
  }

  /** The header of the segment that the run begins; undefined when it goes on in the one that there is. */
  #begins(run: ReceivedRun): SegmentHeader | undefined {
    const { first, header: own, after, mayBeSeveral } = this.target;
    const before = this.#staged.at(-1);
    if (before === undefined && own !== undefined) {
      mustBeOneLineage(own, run.header);
      return own;
    }
    const isNew = run.startsSegment && (before === undefined || mayBeSeveral);
    if (!isNew) {
      if (before === undefined) throw notContinued(first, "the beginning of a segment", "records within one");
      mustBeOneLineage(before.header, run.header);
      return undefined;
    }
    const { baseOffset, clusterId } = run.header;
    if (before === undefined) {
      if (baseOffset === first && clusterId === after.clusterId) return run.header;
      throw notContinued(
        first,
        `a segment that begins there, of cluster ${after.clusterId}`,
        `offset ${baseOffset}, cluster ${clusterId}`,
      );
    }
    const segment = fileOf(run.header);
    const finding = lineageFinding(fileOf(before.header), segment) ?? borderFinding(before.end, segment);
    if (finding !== undefined) throw notContinued(baseOffset, finding.expected, finding.found);
    return run.header;
  }

  async #begin(header: SegmentHeader): Promise<Staged> {
    const { files } = this.#parts;
    const path = this.#pathBeside(header.baseOffset);
    if (await files.exists(path)) await files.remove(path);
    const handle = await files.open(path, "create");
    this.#open.push(handle);
    const end = basePoint(header);
    const staged = { header, handle, end, index: OffsetIndex.empty(end) };
    this.#staged.push(staged);
    await handle.write(encodeSegmentHeader(header), 0);
    return staged;
  }

  #mustLeadToNext(): void {
    const { last, after } = this.target;
    const staged = this.#staged.at(-1);
    if (staged === undefined || staged.end.offset <= last)
      throw notContinued(this.next, `records up to ${last}`, "no more");
    const follows = fileOf(after);
    const finding = lineageFinding(fileOf(staged.header), follows) ?? borderFinding(staged.end, follows);
    if (finding !== undefined) throw notContinued(after.baseOffset, finding.expected, finding.found);
  }

  /** Undefined when there was no file, or the same bytes: then only reading had failed. */
  async #replace({ header }: Staged): Promise<QuarantinedSegment | undefined> {
    const { files, dataDirectory, target, now } = this.#parts;
    const base = header.baseOffset;
    const [fresh, path] = [this.#pathBeside(base), `${this.#logDirectory}/${segmentName(base)}`];
    if (await isSameFile(files, fresh, path)) return undefined;
    const kept = await quarantineSegment(files, dataDirectory, base, target.finding, now());
    await files.rename(fresh, path);
    await files.syncDirectory(this.#logDirectory);
    return kept;
  }

  async #close(): Promise<void> {
    for (const handle of this.#open.splice(0)) await handle.close();
  }

  #pathBeside(base: Offset): string {
    return `${this.#logDirectory}/${newSegmentName(base)}`;
  }
}

/** A file that cannot be read is not the same. */
async function isSameFile(files: FileSystem, a: string, b: string): Promise<boolean> {
  const [one, other] = [await files.stat(a), await files.stat(b)];
  if (one === undefined || other === undefined || one.bytes !== other.bytes) return false;
  const left = await files.open(a, "read");
  try {
    const right = await files.open(b, "read");
    try {
      return await holdTheSame(left, right, one.bytes);
    } finally {
      await right.close();
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  } finally {
    await left.close();
  }
}

async function holdTheSame(left: FileHandle, right: FileHandle, bytes: number): Promise<boolean> {
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    const [x, y] = [await readFully(left, at, CHUNK_BYTES), await readFully(right, at, CHUNK_BYTES)];
    if (Buffer.compare(x, y) !== 0) return false;
  }
  return true;
}

function fileOf(header: SegmentHeader): SegmentFile {
  const base = header.baseOffset;
  return { base, name: segmentName(base), header, bytes: 0 };
}

/** Records of one segment belong to one epoch, however segments lie elsewhere. */
function mustBeOneLineage(own: SegmentHeader, other: SegmentHeader): void {
  const isOne =
    own.clusterId === other.clusterId && own.lineageId === other.lineageId && own.epoch === other.epoch;
  if (isOne) return;
  const described = ({ epoch, lineageId }: SegmentHeader): string => `epoch ${epoch}, lineage ${lineageId}`;
  throw notContinued(own.baseOffset, `records of ${described(own)}`, described(other));
}

function notContinued(offset: Offset, expected: string, found: string): LogError {
  const message = `what was fetched does not fit into the log at offset ${offset}: expected ${expected}, found ${found}`;
  return new LogError("LOG_NOT_CONTINUED", message, { offset: asOffset(offset), expected, found });
}

function recordBad(offset: Offset, last: Offset): LogError {
  const message = `the record ${offset} that was fetched does not hold, or is beyond ${last}`;
  return new LogError("LOG_RECORD_BAD", message, { offset, last });
}
