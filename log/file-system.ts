/**
 * The disk as the log sees it. Two implementations: the real one (`real-file-system.ts`) and the simulated one in
 * `props/world/`, which forgets and tears whatever was not synced when it loses power. One contract suite runs on both.
 *
 * Paths are absolute. Every method fails with the system's own error (`code` = errno name); callers give it meaning.
 */

/** Read at once, of a file that is read from end to end. */
const PIECE_BYTES = 1024 * 1024;

export type OpenMode =
  /** Must exist; reads only. */
  | "read"
  /** Must exist; reads and writes. */
  | "write"
  /** Must not exist (EEXIST); reads and writes. The new name is durable only after `syncDirectory`. */
  | "create";

export interface OpenOptions {
  /** Each `write` returns only when its bytes are durable (O_DSYNC): one trip to the disk instead of write + sync. */
  readonly syncOnWrite?: boolean;
}

export interface FileHandle {
  /** Reads up to `into.length` bytes; returns how many were there. 0 means the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all of `bytes` or fails. After a failure nothing is known about the file's content from `position` on. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** As `write`, but on the calling thread and only into the page cache: for small writes that need no sync of their own. */
  writeNow(bytes: Uint8Array, position: number): void;
  /** Makes content and size durable (fdatasync). A failure is final: a later success proves nothing. */
  sync(): Promise<void>;
  /** Cuts or extends (with zeros) the file. Durable after `sync`. */
  truncate(size: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** What a name stands for. */
export interface FileStatus {
  readonly type: "file" | "directory";
  readonly bytes: number;
  /** Ms since 1970: when content or names of the file changed last. A new link counts, so a name is never older than this. */
  readonly changedAt: number;
  /** How many names the file has. */
  readonly links: number;
}

export interface FileSystem {
  open(path: string, mode: OpenMode, options?: OpenOptions): Promise<FileHandle>;
  /** Names (not paths) of the entries of a directory, sorted. */
  list(directory: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  /** Undefined when nothing has this name. */
  stat(path: string): Promise<FileStatus | undefined>;
  /**
   * Creates the directory and its parents if they are missing. Its name is durable then, also if it was there already: a
   * process that died may have made it and not synced its parent.
   */
  makeDirectory(path: string): Promise<void>;
  /** Replaces `to` if it is there. Durable after `syncDirectory` of both directories. */
  rename(from: string, to: string): Promise<void>;
  /**
   * A second name for a file; fails with EEXIST if it is taken, with EXDEV on another file system. Both show the same bytes
   * from then on: only for files that nobody changes in place. Durable after `syncDirectory`.
   */
  link(from: string, to: string): Promise<void>;
  /** Durable after `syncDirectory`. */
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Bytes that this process may still write below `path`. */
  freeBytes(path: string): Promise<number>;
  /**
   * Takes the exclusive lock of a directory by its lock file (flock), which the system gives back when the process dies.
   * Writes `holder` into the file for whoever is refused. Fails with EAGAIN, `holder` of the error being what the file says.
   */
  lock(path: string, holder: string): Promise<DirectoryLock>;
}

export interface DirectoryLock {
  release(): Promise<void>;
}

/** Thrown by `FileSystem.lock` when somebody else has it. */
export class LockHeldError extends Error {
  readonly code = "EAGAIN";
  readonly holder: string;

  constructor(path: string, holder: string) {
    super(`lock ${path} is held by ${holder}`);
    this.name = "LockHeldError";
    this.holder = holder;
  }
}

/**
 * Writes a small file so that after any crash there is either the old one or the new one, whole:
 * temporary name (`suffix` says which), write, sync, rename, sync of the directory.
 */
export async function replaceFile(
  files: FileSystem,
  directory: string,
  name: string,
  bytes: Uint8Array,
  suffix = ".tmp",
): Promise<void> {
  const temporary = `${directory}/${name}${suffix}`;
  if (await files.exists(temporary)) await files.remove(temporary);
  const handle = await files.open(temporary, "create");
  try {
    await handle.write(bytes, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await files.rename(temporary, `${directory}/${name}`);
  await files.syncDirectory(directory);
}

/**
 * The bytes of a file from `from` up to `end`, or to where the file ends, in pieces of at most `pieceBytes`, each in memory of its
 * own. The handle stays open.
 */
export async function* readPieces(
  handle: FileHandle,
  { from = 0, end = Number.MAX_SAFE_INTEGER, pieceBytes = PIECE_BYTES } = {},
): AsyncGenerator<Uint8Array, void> {
  for (let at = from; at < end; ) {
    const piece = new Uint8Array(Math.min(pieceBytes, end - at));
    const count = await handle.read(piece, at);
    if (count === 0) return;
    yield piece.subarray(0, count);
    at += count;
  }
}

/** As `readPieces`, of a file that is open meanwhile. */
export async function* readFilePieces(
  files: FileSystem,
  path: string,
  range: Parameters<typeof readPieces>[1] = {},
): AsyncGenerator<Uint8Array, void> {
  const handle = await files.open(path, "read");
  try {
    yield* readPieces(handle, range);
  } finally {
    await handle.close();
  }
}

/** Every byte in order, from the beginning of the file; returns how many. */
export async function writePieces(handle: FileHandle, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let at = 0;
  for await (const piece of pieces) {
    if (piece.length === 0) continue;
    await handle.write(piece, at);
    at += piece.length;
  }
  return at;
}

/** A new file of these bytes, durable but for its name. */
export async function createFile(
  files: FileSystem,
  path: string,
  pieces: AsyncIterable<Uint8Array>,
): Promise<void> {
  const handle = await files.open(path, "create");
  try {
    await writePieces(handle, pieces);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Reads a whole small file; fails with a RangeError past `bytesMax`, so that a foreign file cannot fill the memory. */
export async function readWholeFile(files: FileSystem, path: string, bytesMax: number): Promise<Uint8Array> {
  const handle = await files.open(path, "read");
  try {
    const size = await handle.size();
    if (size > bytesMax)
      throw new RangeError(`${path} has ${size} bytes, more than the ${bytesMax} expected`);
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const count = await handle.read(bytes.subarray(filled), filled);
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  } finally {
    await handle.close();
  }
}
