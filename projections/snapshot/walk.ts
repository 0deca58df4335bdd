/**
 * Reads the bytes of a snapshot file and believes none before its checksum holds. What the rows mean is somebody else's.
 */
import { createHash } from "node:crypto";
import { errnoOf, type FileHandle, type FileSystem, parseSnapshotName } from "../../log/index.js";
import type { ReadSnapshotOptions, SnapshotFacts } from "./contract.js";
import { SnapshotError } from "./errors.js";
import {
  CHUNK_BODY_BYTES_MAX,
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  chunkCrc,
  decodeFooter,
  decodeHeader,
  FOOTER_BYTES,
  FOOTER_HASHED_BYTES,
  type FormatFault,
  HEADER_BYTES,
  headerCrcOf,
  readChunkHeader,
  SNAPSHOT_FORMAT_OLDEST,
  SNAPSHOT_FORMAT_VERSION,
  type SnapshotFooter,
  type SnapshotHeader,
  versionOf,
} from "./format.js";
import { LAST_SECTION } from "./sections.js";

const BUFFER_BYTES = 1024 * 1024;
/** The largest row is a value or a message as large as a record may be; a little more was written together with it. */
const ROWS_BYTES_MAX = 80 * 1024 * 1024;

/** A snapshot file that is open: its header and footer hold. */
interface OpenSnapshot {
  readonly name: string;
  readonly handle: FileHandle;
  readonly headerBytes: Buffer;
  readonly footerBytes: Buffer;
  readonly header: SnapshotHeader;
  readonly footer: SnapshotFooter;
}

/** Gets the rows of a section, some at a time, in the order of the file, as the file's format has them; borrowed until it returns. */
export type TakeRows = (section: number, rows: Buffer, formatVersion: number) => void;

/**
 * Header and footer only.
 * @throws SnapshotError SNAPSHOT_DAMAGED, SNAPSHOT_VERSION_UNKNOWN, SNAPSHOT_FOREIGN; what the file system throws.
 */
export function readEnds(files: FileSystem, path: string): Promise<SnapshotFacts> {
  return withSnapshot(files, path, async (snapshot) => infoOf(snapshot));
}

/**
 * Every byte. Rows are given to `take` when the checksum of their chunk holds; only when this resolves is the file the one that was
 * written.
 * @throws as `readEnds`, and whatever `take` throws.
 */
export function walkSnapshot(
  files: FileSystem,
  path: string,
  take: TakeRows,
  options: ReadSnapshotOptions,
): Promise<SnapshotFacts> {
  return withSnapshot(files, path, async (snapshot) => {
    await walkChunks(snapshot, take, options);
    return infoOf(snapshot);
  });
}

async function withSnapshot<Answer>(
  files: FileSystem,
  path: string,
  use: (snapshot: OpenSnapshot) => Promise<Answer>,
): Promise<Answer> {
  const handle = await files.open(path, "read");
  try {
    return await use(await openEnds(handle, path.slice(path.lastIndexOf("/") + 1)));
  } finally {
    await handle.close();
  }
}

async function openEnds(handle: FileHandle, name: string): Promise<OpenSnapshot> {
  const size = await handle.size();
  const headerBytes = await readAt(handle, name, 0, Math.min(size, HEADER_BYTES));
  const header = decodeHeader(headerBytes);
  if (header === "version") throw unknownVersion(name, versionOf(headerBytes));
  if (typeof header === "string") throw faulty(name, 0, header);
  if (size < HEADER_BYTES + FOOTER_BYTES) throw faulty(name, size, "short");
  const footerBytes = await readAt(handle, name, size - FOOTER_BYTES, FOOTER_BYTES);
  const footer = decodeFooter(footerBytes, headerCrcOf(headerBytes));
  if (typeof footer === "string") throw faulty(name, size - FOOTER_BYTES, footer);
  if (footer.bytes !== size) throw damaged(name, size, `${footer.bytes} bytes`, `${size}`);
  const named = parseSnapshotName(name);
  if (named !== undefined && (named.offset !== header.offset || named.timestamp !== header.timestamp)) {
    const found = `offset ${header.offset} at ${header.timestamp}`;
    throw new SnapshotError(
      "SNAPSHOT_FOREIGN",
      `${name}: expected the state its name says, found that of ${found}; give the file its own name back`,
      { file: name, expected: named.offset, found: header.offset },
    );
  }
  return { name, handle, headerBytes, footerBytes, header, footer };
}

function infoOf({ name, header, footer, footerBytes }: OpenSnapshot): SnapshotFacts {
  const { bytes, counts, digests } = footer;
  const sha256 = footerBytes.toString("hex", FOOTER_HASHED_BYTES);
  return { name, ...header, bytes, counts, digests, sha256 };
}

async function walkChunks(
  snapshot: OpenSnapshot,
  take: TakeRows,
  { signal, onProgress }: ReadSnapshotOptions,
): Promise<void> {
  const { name, handle, headerBytes, footerBytes, header, footer } = snapshot;
  const end = footer.bytes - FOOTER_BYTES;
  const window = new FileWindow(handle, name, HEADER_BYTES, end);
  const hash = createHash("sha256").update(headerBytes);
  const rows = new Rows(name, (section, body) => take(section, body, header.formatVersion));
  let crc = headerCrcOf(headerBytes);
  let chunks = 0;
  for (let position = HEADER_BYTES; position < end; ) {
    signal?.throwIfAborted();
    const head = readChunkHeader(...(await window.show(position, CHUNK_HEADER_BYTES)));
    const length = CHUNK_HEADER_BYTES + head.length;
    if (head.length === 0 || head.length > CHUNK_BODY_BYTES_MAX || position + length > end) {
      throw damaged(name, position, `a chunk of 1 to ${CHUNK_BODY_BYTES_MAX} bytes`, `${head.length}`);
    }
    const [bytes, at] = await window.show(position, length);
    crc = chunkCrc(bytes, at, head.length, crc);
    if (crc !== head.crc) throw damaged(name, position, `crc ${hex(crc)}`, hex(head.crc));
    const whole = bytes.subarray(at, at + length);
    hash.update(whole);
    rows.chunk(head, whole.subarray(CHUNK_HEADER_BYTES), position);
    position += length;
    chunks++;
    onProgress?.(position, footer.bytes);
  }
  rows.end(end);
  if (chunks !== footer.chunks) throw damaged(name, end, `${footer.chunks} chunks`, `${chunks}`);
  const sha = hash.update(footerBytes.subarray(0, FOOTER_HASHED_BYTES)).digest();
  if (!sha.equals(footerBytes.subarray(FOOTER_HASHED_BYTES))) {
    throw damaged(name, end + FOOTER_HASHED_BYTES, `SHA-256 ${sha.toString("hex")}`, "another one");
  }
  onProgress?.(footer.bytes, footer.bytes);
}

/** Puts rows that go on over several chunks together again. */
class Rows {
  readonly #name: string;
  readonly #take: (section: number, rows: Buffer) => void;
  #section = 0;
  #begun: Buffer[] = [];
  #bytes = 0;

  constructor(name: string, take: (section: number, rows: Buffer) => void) {
    this.#name = name;
    this.#take = take;
  }

  chunk({ section, more }: ChunkHeader, body: Buffer, position: number): void {
    const goesOn = this.#begun.length > 0;
    const isInOrder = goesOn ? section === this.#section : section >= this.#section && section > 0;
    if (!isInOrder || section > LAST_SECTION || more > 1) {
      throw damaged(this.#name, position, "a chunk of a section that may follow", `section ${section}`);
    }
    this.#section = section;
    if (!goesOn && more === 0) {
      this.#take(section, body);
      return;
    }
    this.#bytes += body.length;
    if (this.#bytes > ROWS_BYTES_MAX) {
      throw damaged(this.#name, position, `rows of at most ${ROWS_BYTES_MAX} bytes`, "more");
    }
    // The window that it lies in moves on.
    this.#begun.push(Buffer.from(body));
    if (more === 1) return;
    const rows = Buffer.concat(this.#begun);
    this.#begun = [];
    this.#bytes = 0;
    this.#take(section, rows);
  }

  end(position: number): void {
    if (this.#begun.length > 0) throw damaged(this.#name, position, "the rest of a row", "the end");
  }
}

/** Shows pieces of a file, one behind the other, from few reads. */
class FileWindow {
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #end: number;
  readonly #buffer: Buffer;
  /** Place in the file of the first byte in the buffer, and how many there are. */
  #from: number;
  #filled = 0;

  constructor(handle: FileHandle, name: string, from: number, end: number) {
    this.#handle = handle;
    this.#name = name;
    this.#from = from;
    this.#end = end;
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(BUFFER_BYTES, end - from));
  }

  /** The buffer, and where in it the bytes from `position` on are; valid until the next call. Never back before the last `position`. */
  async show(position: number, length: number): Promise<[Buffer, number]> {
    if (position + length > this.#from + this.#filled) await this.#move(position, length);
    return [this.#buffer, position - this.#from];
  }

  async #move(position: number, length: number): Promise<void> {
    this.#buffer.copyWithin(0, position - this.#from, this.#filled);
    this.#filled -= position - this.#from;
    this.#from = position;
    while (this.#filled < length) {
      const wanted = Math.min(this.#buffer.length - this.#filled, this.#end - this.#from - this.#filled);
      const into = this.#buffer.subarray(this.#filled, this.#filled + wanted);
      const at = this.#from + this.#filled;
      const count = wanted === 0 ? 0 : await readSome(this.#handle, this.#name, into, at);
      if (count === 0) throw faulty(this.#name, this.#from + this.#filled, "short");
      this.#filled += count;
    }
  }
}

async function readAt(handle: FileHandle, name: string, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const count = await readSome(handle, name, bytes.subarray(filled), position + filled);
    if (count === 0) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

/** What the disk does not give back any more is damage as well. Other failures say something of this process, and nothing of the file. */
async function readSome(handle: FileHandle, name: string, into: Buffer, position: number): Promise<number> {
  try {
    return await handle.read(into, position);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "EIO" && errno !== "EISDIR") throw error;
    throw damaged(name, position, "bytes of a snapshot", `${errno} from the disk`, error);
  }
}

type Damage = Exclude<FormatFault, "version">;

const FAULTS: Readonly<Record<Damage, readonly [expected: string, found: string]>> = {
  short: ["a whole snapshot", "the end of the file"],
  magic: ["a snapshot", "something else"],
  checksum: ["a checksum that holds", "another one"],
  range: ["numbers that can be", "one that cannot"],
};

function faulty(name: string, position: number, fault: Damage): SnapshotError {
  return damaged(name, position, ...FAULTS[fault]);
}

function unknownVersion(name: string, found: number): SnapshotError {
  return new SnapshotError(
    "SNAPSHOT_VERSION_UNKNOWN",
    `${name} has format version ${found}, this release reads ${SNAPSHOT_FORMAT_OLDEST} to ${SNAPSHOT_FORMAT_VERSION}; start the release that wrote it, or a newer one`,
    { file: name, expected: SNAPSHOT_FORMAT_VERSION, found },
  );
}

export function damaged(
  name: string,
  position: number,
  expected: string,
  found: string,
  cause?: unknown,
): SnapshotError {
  return new SnapshotError(
    "SNAPSHOT_DAMAGED",
    `${name} at position ${position}: expected ${expected}, found ${found}`,
    { file: name, position, expected, found },
    cause,
  );
}

const hex = (crc: number): string => `0x${crc.toString(16).padStart(8, "0")}`;
