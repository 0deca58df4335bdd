/**
 * Samples how much of the disk is left, and what was put aside of it. By a timer and at most once at a time: asking a disk that hangs must
 * not hang a scrape.
 */
import { errnoOf, type FileSystem, measurePutAside, type PutAside } from "../../log/index.js";

/** What was put aside may be many files, and grows seldom: it is looked at with every so manieth sample. */
const PUT_ASIDE_EVERY = 12;

export class FreeDisk {
  /** Undefined until the first sample. */
  bytes: number | undefined;
  /** The same. */
  putAside: PutAside | undefined;
  readonly #files: FileSystem;
  readonly #directory: string;
  #sampling = false;
  #samples = 0;

  constructor(files: FileSystem, dataDirectory: string) {
    this.#files = files;
    this.#directory = dataDirectory;
  }

  /** Keeps the last value when the disk does not answer; the log itself reports a disk that is in trouble. */
  async sample(): Promise<void> {
    if (this.#sampling) return;
    this.#sampling = true;
    try {
      this.bytes = await this.#files.freeBytes(this.#directory);
      if (this.#samples++ % PUT_ASIDE_EVERY === 0)
        this.putAside = await measurePutAside(this.#files, this.#directory);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    } finally {
      this.#sampling = false;
    }
  }
}
