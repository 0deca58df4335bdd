/**
 * Files of segments that a reader has just let go, kept open for the next one: who reads single records, as the history of
 * a key does, would open and close a file for each. Bounded, at most one of a segment, and none of what is no longer the
 * log's: a handle kept open would keep the space of a removed file.
 */
import type { FileHandle, FileSystem } from "./file-system.js";
import type { LogSegment, SegmentList } from "./segment-list.js";

const KEPT_MAX = 32;

interface Idle {
  readonly handle: FileHandle;
  /** How often the log had been cut when it was opened: cutting may put another file in its place. */
  readonly cuts: number;
}

export class IdleHandles {
  readonly #files: FileSystem;
  readonly #logDirectory: string;
  readonly #segments: SegmentList;
  /** The one used last is the last. */
  readonly #idle = new Map<LogSegment, Idle>();
  #keptMax: number;

  constructor(files: FileSystem, logDirectory: string, segments: SegmentList, keptMax = KEPT_MAX) {
    this.#files = files;
    this.#logDirectory = logDirectory;
    this.#segments = segments;
    this.#keptMax = keptMax;
  }

  /** A file of the segment for one reader, who gives it back. Fails with what `open` fails with. */
  async take(segment: LogSegment): Promise<FileHandle> {
    const idle = this.#idle.get(segment);
    if (idle?.cuts === this.#segments.cuts) {
      this.#idle.delete(segment);
      return idle.handle;
    }
    return this.#files.open(`${this.#logDirectory}/${segment.name}`, "read");
  }

  /** `cuts`: how often the log had been cut before the handle was taken. */
  async giveBack(segment: LogSegment, handle: FileHandle, cuts: number): Promise<void> {
    const isTheLogs = cuts === this.#segments.cuts && this.#segments.containing(segment.base) === segment;
    if (this.#keptMax === 0 || !isTheLogs || this.#idle.get(segment)?.cuts === cuts) return handle.close();
    const replaced = this.#idle.get(segment);
    this.#idle.delete(segment);
    this.#idle.set(segment, { handle, cuts });
    await replaced?.handle.close();
    if (this.#idle.size <= this.#keptMax) return;
    for (const leastUsed of this.#idle.keys()) return this.forget(leastUsed);
  }

  /** The segment is no longer part of the log, or its file no longer the same. */
  async forget(segment: LogSegment): Promise<void> {
    const idle = this.#idle.get(segment);
    this.#idle.delete(segment);
    await idle?.handle.close();
  }

  /** Lets every file go, and keeps none that is given back later. */
  async close(): Promise<void> {
    this.#keptMax = 0;
    for (const segment of [...this.#idle.keys()]) await this.forget(segment);
  }
}
