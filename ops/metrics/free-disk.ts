/**
 * Samples how much of the disk is left. By a timer and at most once at a time: asking a disk that hangs must not hang a
 * scrape.
 */
import { errnoOf, type FileSystem } from "../../log/index.js";

export class FreeDisk {
  /** Undefined until the first sample. */
  bytes: number | undefined;
  readonly #files: FileSystem;
  readonly #directory: string;
  #sampling = false;

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
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    } finally {
      this.#sampling = false;
    }
  }
}
