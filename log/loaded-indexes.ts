/** The indexes of sealed segments that readers use: loaded when first asked for, the least recently used let go. */
import type { FileSystem } from "./file-system.js";
import type { OffsetIndex } from "./offset-index.js";
import type { LogSegment } from "./segment-list.js";
import { loadIndex } from "./segment-scan.js";

/** A 64 MiB segment has about 1,000 entries: some 100 KB of memory each. */
const LOADED_MAX = 64;

export class LoadedIndexes {
  readonly #files: FileSystem;
  readonly #logDirectory: string;
  readonly #lost: "write" | "leave";
  /** Sealed segments whose index is in memory, the most recently used last. */
  readonly #loaded = new Set<LogSegment>();
  readonly #loading = new Map<LogSegment, Promise<OffsetIndex>>();

  /** `lost`: whether the file of an index that had to be built again is written. */
  constructor(files: FileSystem, logDirectory: string, lost: "write" | "leave" = "write") {
    this.#files = files;
    this.#logDirectory = logDirectory;
    this.#lost = lost;
  }

  /** @throws LogError LOG_CORRUPT when the index was lost and the segment does not hold. */
  async of(segment: LogSegment): Promise<OffsetIndex> {
    if (segment.index !== undefined) {
      if (this.#loaded.delete(segment)) this.#loaded.add(segment);
      return segment.index;
    }
    const loading = this.#loading.get(segment) ?? this.#load(segment);
    return loading;
  }

  /** The tail was sealed and its index file written, so its index may be let go when others are used more. */
  sealed(segment: LogSegment): void {
    this.#keep(segment);
  }

  /** The segment is no longer part of the log. */
  forget(segment: LogSegment): void {
    this.#loaded.delete(segment);
  }

  async #load(segment: LogSegment): Promise<OffsetIndex> {
    const loading = loadIndex(this.#files, this.#logDirectory, segment, this.#lost === "write").then(
      ({ index }) => {
        segment.index = index;
        this.#keep(segment);
        return index;
      },
    );
    this.#loading.set(segment, loading);
    try {
      return await loading;
    } finally {
      this.#loading.delete(segment);
    }
  }

  #keep(segment: LogSegment): void {
    this.#loaded.add(segment);
    if (this.#loaded.size <= LOADED_MAX) return;
    for (const oldest of this.#loaded) {
      this.#loaded.delete(oldest);
      oldest.index = undefined;
      return;
    }
  }
}
