/**
 * One segment file under the pen: records go to its end, into space that was filled with zeros before.
 *
 * Filling ahead does two things. A record that overwrites written blocks costs the disk no allocation and no change of
 * the file's size, which makes its sync a third cheaper; and a full disk shows while filling, where no record is at
 * stake. It does not know when to fill, roll or sync; the tail writer does.
 *
 * A failure is final: the system tells of it once and may call the pages clean that it could not write, so a later sync would
 * succeed and prove nothing. Whatever is asked for after it fails with the same error, also what was under way: the timer's sync
 * may fail while a roll cuts the file, and the roll must not seal it. Only zeros that found no space may be written again.
 */
import { assert, ignoreReported } from "./errors.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { isNoSpace } from "./free-space.js";

/** Zeros are written at most this many bytes in a call. */
const ZEROS = Buffer.alloc(1024 * 1024);

export class SegmentWriter {
  /** Where records are written. Opened so that a write is durable when it returns, if the log wants that. */
  readonly #records: FileHandle;
  /** Where zeros are written, and through which the file is synced and cut: never slowed by a sync of its own. */
  readonly #space: FileHandle;
  #end: number;
  #filled: number;
  #writing: Promise<void> | undefined;
  #syncing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  private constructor(records: FileHandle, space: FileHandle, end: number) {
    this.#records = records;
    this.#space = space;
    this.#end = end;
    this.#filled = end;
  }

  /** A new, empty file. The name is not durable yet. */
  static async create(files: FileSystem, path: string, syncOnWrite: boolean): Promise<SegmentWriter> {
    const space = await files.open(path, "create");
    try {
      return await SegmentWriter.#around(files, path, syncOnWrite, space, 0);
    } catch (error) {
      // So that the next try may create it again.
      await files.remove(path);
      throw error;
    }
  }

  /** A file whose records end at `end`. Zeros behind it are written again: nobody knows whether they ever reached the disk. */
  static async reopen(
    files: FileSystem,
    path: string,
    syncOnWrite: boolean,
    end: number,
  ): Promise<SegmentWriter> {
    return SegmentWriter.#around(files, path, syncOnWrite, await files.open(path, "write"), end);
  }

  static async #around(
    files: FileSystem,
    path: string,
    syncOnWrite: boolean,
    space: FileHandle,
    end: number,
  ): Promise<SegmentWriter> {
    if (!syncOnWrite) return new SegmentWriter(space, space, end);
    try {
      return new SegmentWriter(await files.open(path, "write", { syncOnWrite }), space, end);
    } catch (error) {
      await space.close();
      throw error;
    }
  }

  /** Where the next record goes. */
  get end(): number {
    return this.#end;
  }

  /** Up to here records may be written: over zeros, mostly. */
  get filled(): number {
    return this.#filled;
  }

  /** Bytes that can be written without filling first. */
  get room(): number {
    return this.#filled - this.#end;
  }

  /**
   * Writes `count` more bytes of zeros, durable with `sync`. A failure leaves `filled` where it was; when the disk had
   * no space for them, the same zeros may be written again, for no record is among them.
   */
  async fill(count: number, sync: boolean): Promise<void> {
    this.#throwIfFailed();
    const end = this.#filled + count;
    try {
      for (let at = this.#filled; at < end; at += ZEROS.length) {
        await this.#space.write(ZEROS.subarray(0, Math.min(ZEROS.length, end - at)), at);
      }
      if (sync) await this.#space.sync();
    } catch (error) {
      throw isNoSpace(error) ? error : this.#failed(error);
    }
    this.#filled = end;
  }

  /** Lets `count` more bytes be written without zeros before them: the file grows with its records. */
  claim(count: number): void {
    this.#filled += count;
  }

  /** Durable when it resolves if the file was opened so. */
  async write(bytes: Uint8Array): Promise<void> {
    assert(bytes.length <= this.room, "records go only where room was made");
    this.#throwIfFailed();
    this.#writing = this.#records.write(bytes, this.#end);
    try {
      await this.#writing;
    } catch (error) {
      throw this.#failed(error);
    }
    this.#end += bytes.length;
  }

  /** Into the page cache, on this thread. */
  writeNow(bytes: Uint8Array): void {
    assert(bytes.length <= this.room, "records go only where room was made");
    this.#throwIfFailed();
    try {
      this.#records.writeNow(bytes, this.#end);
    } catch (error) {
      throw this.#failed(error);
    }
    this.#end += bytes.length;
  }

  /** Makes everything written so far durable. Callers that come while a sync runs wait for one of their own. */
  async sync(): Promise<void> {
    while (this.#syncing !== undefined) await this.#syncing;
    this.#throwIfFailed();
    this.#syncing = this.#space.sync();
    try {
      await this.#syncing;
    } catch (error) {
      throw this.#failed(error);
    } finally {
      this.#syncing = undefined;
    }
  }

  /** Cuts the zeros: the file ends with its last record, durably. */
  async cut(): Promise<void> {
    this.#throwIfFailed();
    try {
      await this.#space.truncate(this.#end);
    } catch (error) {
      throw this.#failed(error);
    }
    await this.sync();
    this.#filled = this.#end;
  }

  async close(): Promise<void> {
    // A descriptor closed under a running call could be somebody else's before the call ends.
    await this.#writing?.catch(ignoreReported);
    await this.#syncing?.catch(ignoreReported);
    if (this.#records !== this.#space) await this.#records.close();
    await this.#space.close();
  }

  #failed(error: unknown): unknown {
    this.#failure ??= { error };
    return error;
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
