/**
 * Keeps written space ahead of the tail's end, in the background. Asks the free-space guard before each chunk of zeros,
 * so that a full disk is met here, where no record is at stake. A full disk is tried again until it has room; any other
 * failure is final.
 *
 * The next segment is filled whole, under its `.new` name, while the second half of the tail is being used: a sync of
 * records waits for the file system to have noted all space that the same file has gained, so zeros are best written
 * to another file. Only the first segment, and one that a restart found, get their zeros chunk by chunk.
 *
 * Zeros double the bytes that the disk takes. That is a bargain while its syncs are what records wait for, and a loss
 * when batches are large, so then a segment simply grows with its records, as long as there is plenty of free space.
 */
import { assert, errnoOf, ignoreReported } from "./errors.js";
import { newSegmentName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import { SEGMENT_HEADER_BYTES } from "./format.js";
import { type FreeSpace, isNoSpace, RECHECK_MS } from "./free-space.js";
import { SegmentWriter } from "./segment-writer.js";
import { offset as asOffset, type Offset } from "./units.js";

/** Written ahead at a time. Measured: 4 MiB take the disk 3 to 10 ms, and 1 MiB is no better for those who wait beside it. */
const CHUNK_BYTES_MAX = 4 * 1024 * 1024;

/** Batches this large are bound by the bytes that the disk takes, not by its syncs: zeros would double the bytes. */
const LARGE_BATCH_BYTES = 128 * 1024;

export interface PreparedSegment {
  readonly writer: SegmentWriter;
  /** Where it lies, under its `.new` name. */
  readonly path: string;
}

export interface SpaceAheadOptions {
  readonly files: FileSystem;
  readonly logDirectory: string;
  readonly segmentBytes: number;
  /** Files are opened so that a write is durable when it returns, and so are the zeros. */
  readonly syncOnWrite: boolean;
  readonly freeSpace: FreeSpace;
  readonly failed: (error: unknown) => void;
}

export class SpaceAhead {
  readonly #options: SpaceAheadOptions;
  readonly #chunkBytes: number;
  #tail: SegmentWriter | undefined;
  /** The least offset that the next segment can begin with; its file is named after it until it has its own. */
  #nextBase: Offset = asOffset(1);
  #next: PreparedSegment | undefined;
  #step: Promise<boolean> | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** How large batches are, lately. */
  #batchBytes = 0;
  #patient = false;
  #ended = false;
  /** A roll is under way. */
  #held = false;

  constructor(options: SpaceAheadOptions) {
    this.#options = options;
    this.#chunkBytes = Math.min(CHUNK_BYTES_MAX, options.segmentBytes);
  }

  /** How much must be free for a log to begin. */
  get chunkBytes(): number {
    return this.#chunkBytes;
  }

  /** From now on `tail`, whose first record is `base`, is the one to keep room in. */
  follow(tail: SegmentWriter, base: Offset): void {
    this.#tail = tail;
    this.#nextBase = asOffset(base + 1);
    this.#held = false;
  }

  /**
   * Lets the step that runs now end, and begins no other in the background until `follow`. A roll waits for no more zeros than
   * that, however many are due. It cuts the tail, and zeros that a step wrote behind the cut would make a sealed segment look
   * damaged; and it takes the prepared segment, whose name a step would want to create again.
   */
  async hold(): Promise<void> {
    this.#held = true;
    await this.#step;
  }

  /** From now on those who need room wait while the disk is full, instead of failing. */
  waitWhenFull(patient: boolean): void {
    this.#patient = patient;
  }

  /** A batch of so many bytes was written. */
  wrote(bytes: number): void {
    this.#batchBytes += (bytes - this.#batchBytes) / 8;
    this.keep();
  }

  /** Begins whatever is due, in the background. Called after every write, so it is cheap when nothing is due. */
  keep(): void {
    if (this.#step !== undefined || this.#retry !== undefined || this.#held || this.#ended) return;
    const step = this.#due();
    if (step === undefined) return;
    this.#run(step, false).then(
      (done) => (done ? this.keep() : this.#tryAgainLater()),
      (error: unknown) => this.#options.failed(error),
    );
  }

  /** Resolves when the background work that runs now is done or found the disk full. */
  async settled(): Promise<void> {
    await this.#step;
  }

  /** Resolves when `bytes` more can be written to the tail. They may use the reserve: they were accepted. */
  async roomFor(bytes: number): Promise<void> {
    const tail = this.#tail;
    assert(tail !== undefined, "there is a tail to write to");
    const end = tail.end + bytes;
    while (tail.room < bytes) await this.#insist((urgent) => this.#fill(tail, end, urgent));
  }

  /**
   * Makes the next segment ready, for a roll that no record waits for. False while the disk has no room for it: then the tail stays, and
   * nobody waits.
   */
  async readyNext(): Promise<boolean> {
    while (this.#step !== undefined) await this.#step;
    if (this.#next !== undefined && this.#next.writer.room >= SEGMENT_HEADER_BYTES) return true;
    const isReady = await this.#run((urgent) => this.#prepare(urgent), false);
    // Somebody has to find out that it has room again.
    if (!isReady) this.keep();
    return isReady;
  }

  /** After `hold`: the next segment with room for so many bytes. It belongs to the caller then, who tells by `follow` when it is the tail. */
  async takeNext(room: number): Promise<PreparedSegment> {
    for (;;) {
      const next = this.#next;
      if (next !== undefined && next.writer.room >= room && this.#step === undefined) {
        this.#next = undefined;
        return next;
      }
      await this.#insist((urgent) => this.#prepare(urgent, room));
    }
  }

  /** Ends the background work and lets the prepared segment go. Its file is of no use to anybody; recovery removes it too. */
  async end(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#retry);
    await this.#step?.catch(ignoreReported);
    const next = this.#next;
    this.#next = undefined;
    if (next === undefined) return;
    await next.writer.close();
    await this.#options.files.remove(next.path);
  }

  /** After `end`, for a log that goes on behind a cut. */
  begin(): void {
    this.#ended = false;
    this.#retry = undefined;
  }

  #due(): ((urgent: boolean) => Promise<boolean>) | undefined {
    const tail = this.#tail;
    if (tail === undefined) return undefined;
    const { segmentBytes, freeSpace } = this.#options;
    if (tail.filled < segmentBytes && tail.room < this.#chunkBytes) {
      return (urgent) => this.#fill(tail, segmentBytes, urgent);
    }
    const isBehind = (this.#next?.writer.filled ?? 0) < Math.min(segmentBytes, this.#nextDue(tail));
    if (isBehind) return (urgent) => this.#prepare(urgent);
    // Whatever made the disk full, somebody has to find out that it is no more.
    return freeSpace.full
      ? (urgent) => this.#guarded(this.#chunkBytes, urgent, async () => undefined)
      : undefined;
  }

  /** True when zeros cost more than they save. With little free space they are written in any case, to meet its end there. */
  get #withoutZeros(): boolean {
    const large = Math.min(LARGE_BATCH_BYTES, this.#chunkBytes / 2);
    return this.#batchBytes >= large && this.#options.freeSpace.plenty;
  }

  /** How far the next segment should be filled: paced by the records, so that the disk has no burst of zeros to write. */
  #nextDue(tail: SegmentWriter): number {
    if (this.#withoutZeros) return 1;
    return 2 * tail.end - this.#options.segmentBytes + this.#chunkBytes;
  }

  /** One step at a time; a second one waits for the first and looks again. */
  async #insist(step: (urgent: boolean) => Promise<boolean>): Promise<void> {
    if (this.#step !== undefined) {
      await this.#step;
      return;
    }
    if (await this.#run(step, true)) return;
    await new Promise((resolve) => setTimeout(resolve, RECHECK_MS));
  }

  #run(step: (urgent: boolean) => Promise<boolean>, urgent: boolean): Promise<boolean> {
    const running = step(urgent).finally(() => {
      this.#step = undefined;
    });
    this.#step = running;
    return running;
  }

  /** One chunk of zeros towards `end`. False when the disk has no room now. */
  async #fill(writer: SegmentWriter, end: number, urgent: boolean): Promise<boolean> {
    const least = Math.max(end, Math.min(writer.filled + this.#chunkBytes, this.#options.segmentBytes));
    const bytes = Math.min(this.#chunkBytes, least - writer.filled);
    return this.#guarded(bytes, urgent, () => this.#extend(writer, bytes));
  }

  /** One more chunk for the next segment, which takes at least `room`. */
  async #prepare(urgent: boolean, room = 0): Promise<boolean> {
    const { files, logDirectory, segmentBytes, syncOnWrite } = this.#options;
    const left = Math.max(room, segmentBytes) - (this.#next?.writer.filled ?? 0);
    const bytes = Math.min(this.#chunkBytes, left);
    return this.#guarded(bytes, urgent, async () => {
      if (this.#next === undefined) {
        const path = `${logDirectory}/${newSegmentName(this.#nextBase)}`;
        this.#next = { path, writer: await SegmentWriter.create(files, path, syncOnWrite) };
      }
      await this.#extend(this.#next.writer, bytes);
    });
  }

  async #extend(writer: SegmentWriter, bytes: number): Promise<void> {
    if (this.#withoutZeros) writer.claim(bytes);
    else await writer.fill(bytes, this.#options.syncOnWrite);
  }

  async #guarded(bytes: number, urgent: boolean, write: () => Promise<void>): Promise<boolean> {
    const { freeSpace } = this.#options;
    const allowed = await freeSpace.allows(bytes);
    if (!allowed && !urgent) return false;
    try {
      await write();
    } catch (error) {
      if (this.#patient && isOutOfFiles(error)) return false;
      if (!isNoSpace(error)) throw error;
      freeSpace.say(true);
      if (urgent && !this.#patient) throw error;
      return false;
    }
    if (allowed) freeSpace.say(false);
    return true;
  }

  #tryAgainLater(): void {
    if (this.#ended) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.keep();
    }, RECHECK_MS);
  }
}

/** The process has no descriptor left, for instance because of a flood of connections. That ends. */
function isOutOfFiles(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === "EMFILE" || errno === "ENFILE";
}
