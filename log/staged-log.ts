/**
 * Writes the log of another node into a directory of its own, from any segment on, as exact segment files with their indexes. Every
 * record is verified before it is written. Nobody reads it before `finish`, so nothing is synced but whole segments.
 */
import { assert, ignoreReported } from "./errors.js";
import type { LogPosition, ReceivedRun } from "./event-log.js";
import { segmentName } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { encodeSegmentHeader, type SegmentHeader } from "./format.js";
import { EMPTY_LOG } from "./log-mark.js";
import { OffsetIndex, writeIndexFile } from "./offset-index.js";
import { type AcceptedRun, Reception } from "./reception.js";
import { noteRecords } from "./record-check.js";
import { basePoint, LOG_START, type ReadPoint, viewOf } from "./segment-reader.js";
import { offset as asOffset, type Offset } from "./units.js";

interface OpenSegment {
  readonly header: SegmentHeader;
  readonly handle: FileHandle;
  readonly index: OffsetIndex;
  end: ReadPoint;
}

export class StagedLog {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #reception: Reception;
  #first: Offset | undefined;
  #end: LogPosition = EMPTY_LOG;
  #tail: OpenSegment | undefined;
  /** One write after the other. Its failure is everyone's who comes later. */
  #writing: Promise<void> = Promise.resolve();

  constructor(files: FileSystem, directory: string, clusterId: string) {
    this.#files = files;
    this.#directory = directory;
    this.#reception = new Reception(clusterId, undefined, LOG_START);
  }

  /** Of the first record; undefined before it. */
  get first(): Offset | undefined {
    return this.#first;
  }

  get end(): LogPosition {
    return this.#end;
  }

  /** Base offset of the segment that is written last. */
  get tailBase(): Offset {
    assert(this.#tail !== undefined, "a staged log has a record");
    return this.#tail.header.baseOffset;
  }

  /** Verifies in this turn; resolves when it is written. @throws LogError LOG_NOT_CONTINUED, LOG_RECORD_BAD. */
  async receive(run: ReceivedRun): Promise<void> {
    const accepted = this.#reception.accept(run);
    this.#reception.took(run, accepted);
    this.#first ??= accepted.first;
    const { offset, seed } = accepted.end;
    const { epoch, lineageId } = run.header;
    this.#end = { offset: asOffset(offset - 1), crc: seed, epoch, lineageId };
    const written = this.#writing.then(() => this.#write(run, accepted));
    this.#writing = written;
    // Whoever called has the failure, and so has everyone after.
    written.catch(ignoreReported);
    await written;
  }

  /** Everything is durable, names included. */
  async finish(): Promise<void> {
    await this.#writing;
    if (this.#tail !== undefined) await this.#tail.handle.sync();
    await this.#files.syncDirectory(this.#directory);
  }

  async close(): Promise<void> {
    await this.#writing.catch(ignoreReported);
    await this.#tail?.handle.close();
  }

  async #write({ bytes }: ReceivedRun, { begins }: AcceptedRun): Promise<void> {
    if (begins !== undefined) await this.#begin(begins);
    const tail = this.#tail;
    assert(tail !== undefined, "the first run begins a segment");
    const { end } = tail;
    await tail.handle.write(bytes, end.position);
    tail.end = noteRecords(tail.index, viewOf(bytes), 0, bytes.length, end);
  }

  async #begin(header: SegmentHeader): Promise<void> {
    const old = this.#tail;
    if (old !== undefined) {
      await old.handle.sync();
      await writeIndexFile(this.#files, this.#directory, old.header, old.index, old.end);
      await old.handle.close();
    }
    const handle = await this.#files.open(`${this.#directory}/${segmentName(header.baseOffset)}`, "create");
    const end = basePoint(header);
    this.#tail = { header, handle, end, index: OffsetIndex.empty(end) };
    await handle.write(encodeSegmentHeader(header), 0);
  }
}
