/**
 * Makes a snapshot of a fold that nobody changes meanwhile. In this order, so that a crash at any moment leaves either no file of
 * that name or the whole one: temporary name, write, sync, rename, sync of the directory. What a crash leaves is a `.tmp` that
 * nobody reads and the next snapshot removes.
 *
 * It streams: beside the state there is never more than some chunks in memory.
 */
import { createHash } from "node:crypto";
import {
  assert,
  type FileHandle,
  type FileSystem,
  parseSnapshotName,
  snapshotName,
  TEMPORARY_SUFFIX,
} from "../../log/index.js";
import type { Fold } from "../fold.js";
import { goOn } from "../give-way.js";
import { BodyWriter } from "../wire.js";
import type { SnapshotFacts, SnapshotMark, WriteSnapshotOptions } from "./contract.js";
import { SnapshotError } from "./errors.js";
import {
  CHUNK_BODY_BYTES_MAX,
  CHUNK_HEADER_BYTES,
  encodeFooter,
  encodeHeader,
  FOOTER_BYTES,
  headerCrcOf,
  SNAPSHOT_FORMAT_VERSION,
  stampChunk,
} from "./format.js";
import { inspectSnapshot } from "./read.js";
import { countsOf, SECTIONS } from "./sections.js";

/** Rows are taken when they have grown to this: most chunks of a snapshot are then of nearly one size, and none is too large. */
const ROWS_BYTES = 192 * 1024;
/** Bytes that go to the disk in one write: more than a chunk, and so few that the thread that copies them is soon done. */
const BUFFER_BYTES = 320 * 1024;

/**
 * The file is durable when it resolves. A file of that name is replaced: it is of the same record.
 * @throws SnapshotError SNAPSHOT_VERSION_UNKNOWN when that one is another release's; what the file system throws, or `signal.reason`.
 * Then there is no new file.
 */
export async function writeSnapshot(
  files: FileSystem,
  directory: string,
  fold: Fold,
  mark: SnapshotMark,
  options: WriteSnapshotOptions,
): Promise<SnapshotFacts> {
  assert(fold.offset === mark.offset, "a snapshot's mark is that of its last record");
  await files.makeDirectory(directory);
  await removeUnfinished(files, directory);
  const name = snapshotName(mark.timestamp, mark.offset);
  await checkMayReplace(files, `${directory}/${name}`);
  const temporary = `${directory}/${name}${TEMPORARY_SUFFIX}`;
  const handle = await files.open(temporary, "create");
  let info: SnapshotFacts;
  try {
    try {
      info = { name, ...(await writeContent(handle, fold, mark, options)) };
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    // Worthless, and large. If it cannot be removed either, the first failure is the one to tell.
    await files.remove(temporary).catch(() => undefined);
    throw error;
  }
  await files.rename(temporary, `${directory}/${name}`);
  await files.syncDirectory(directory);
  return info;
}

/** What crashes have left. One process makes snapshots of a directory, and one at a time. */
async function removeUnfinished(files: FileSystem, directory: string): Promise<void> {
  for (const name of await files.list(directory)) {
    if (!name.endsWith(TEMPORARY_SUFFIX)) continue;
    if (parseSnapshotName(name.slice(0, -TEMPORARY_SUFFIX.length)) === undefined) continue;
    await files.remove(`${directory}/${name}`);
  }
}

/** One that is damaged may go; of one that another release wrote nobody here knows what it is worth. */
async function checkMayReplace(files: FileSystem, path: string): Promise<void> {
  if (!(await files.exists(path))) return;
  try {
    await inspectSnapshot(files, path);
  } catch (error) {
    if (!(error instanceof SnapshotError) || error.code === "SNAPSHOT_VERSION_UNKNOWN") throw error;
  }
}

async function writeContent(
  handle: FileHandle,
  fold: Fold,
  mark: SnapshotMark,
  { now, signal, onProgress, giveWay = goOn }: WriteSnapshotOptions,
): Promise<Omit<SnapshotFacts, "name">> {
  const { clock } = fold;
  const createdAt = Math.floor(now());
  const header = encodeHeader({ ...mark, clock, createdAt });
  const out = new ChunkedFile(handle, headerCrcOf(header));
  await out.put(header);
  const writer = new BodyWriter();
  for (const { number, rows } of SECTIONS) {
    writer.begin();
    for (const _ of rows(fold, writer)) {
      giveWay();
      if (writer.length < ROWS_BYTES) continue;
      signal?.throwIfAborted();
      await out.rows(number, writer.finish());
      onProgress?.(out.bytes);
      writer.begin();
    }
    await out.rows(number, writer.finish());
  }
  signal?.throwIfAborted();
  const counts = countsOf(fold);
  const digests = fold.digests(clock, giveWay);
  const bytes = out.bytes + FOOTER_BYTES;
  await out.put(encodeFooter({ bytes, chunks: out.chunks, counts, digests }, headerCrcOf(header)));
  const sha256 = await out.end();
  onProgress?.(bytes);
  const formatVersion = SNAPSHOT_FORMAT_VERSION;
  return { ...mark, bytes, formatVersion, createdAt, clock, counts, digests, sha256 };
}

/** Cuts rows into chunks and gathers them to larger writes, each byte passing the hash on its way. */
class ChunkedFile {
  readonly #handle: FileHandle;
  readonly #hash = createHash("sha256");
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #written = 0;
  #crc: number;
  chunks = 0;

  constructor(handle: FileHandle, headerCrc: number) {
    this.#handle = handle;
    this.#crc = headerCrc;
  }

  get bytes(): number {
    return this.#written + this.#filled;
  }

  async rows(section: number, rows: Uint8Array): Promise<void> {
    for (let from = 0; from < rows.length; from += CHUNK_BODY_BYTES_MAX) {
      const length = Math.min(CHUNK_BODY_BYTES_MAX, rows.length - from);
      await this.#makeRoom(CHUNK_HEADER_BYTES + length);
      const at = this.#filled;
      this.#buffer.set(rows.subarray(from, from + length), at + CHUNK_HEADER_BYTES);
      const more = from + length < rows.length ? 1 : 0;
      this.#crc = stampChunk(this.#buffer, at, { length, section, more }, this.#crc);
      this.#filled += CHUNK_HEADER_BYTES + length;
      this.chunks++;
    }
  }

  /** Less than a buffer. */
  async put(bytes: Uint8Array): Promise<void> {
    await this.#makeRoom(bytes.length);
    this.#buffer.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** Writes the SHA-256 of all before it, and gives it. */
  async end(): Promise<string> {
    await this.#flush();
    const sha = this.#hash.digest();
    await this.#handle.write(sha, this.#written);
    return sha.toString("hex");
  }

  async #makeRoom(bytes: number): Promise<void> {
    if (this.#filled + bytes > BUFFER_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#filled);
    this.#hash.update(bytes);
    await this.#handle.write(bytes, this.#written);
    this.#written += bytes.length;
    this.#filled = 0;
  }
}
