/**
 * Samples how much of the disk the log takes and leaves. Sampled by a timer and at most once at a time: asking a disk
 * that hangs must not hang a scrape.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, type FileSystem } from "../../log/index.js";

export class DiskUse {
  segments = 0;
  logBytes = 0;
  freeBytes: number | undefined;
  readonly #files: FileSystem;
  readonly #directory: string;
  #sampling = false;

  constructor(files: FileSystem, dataDirectory: string) {
    this.#files = files;
    this.#directory = dataDirectory;
  }

  /** Never fails: what cannot be read now keeps its last value, and the log itself reports a disk that is in trouble. */
  async sample(): Promise<void> {
    if (this.#sampling) return;
    this.#sampling = true;
    try {
      const logDirectory = join(this.#directory, "log");
      const names = (await this.#files.list(logDirectory)).filter((name) => name.endsWith(".log"));
      let bytes = 0;
      for (const name of names) bytes += await sizeOf(join(logDirectory, name));
      this.segments = names.length;
      this.logBytes = bytes;
      this.freeBytes = await this.#files.freeBytes(this.#directory);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    } finally {
      this.#sampling = false;
    }
  }
}

/** Retention may remove a segment between the listing and this. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return 0;
    throw error;
  }
}
