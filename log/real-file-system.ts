/**
 * The disk, through `node:fs` and `fs-ext`. The only file of the log room that touches either.
 *
 * The callback API is wrapped here instead of using `node:fs/promises`: one object less on each trip of the hot path.
 * Every call works on a descriptor of its own and gives the system's own errors, with the file's name; it decides nothing.
 */
import * as fs from "node:fs";
import { dirname, resolve } from "node:path";
import { isMainThread } from "node:worker_threads";
import { assert, errnoOf } from "./errors.js";
import {
  type DirectoryLock,
  type FileHandle,
  type FileStatus,
  type FileSystem,
  LockHeldError,
  type OpenMode,
  type OpenOptions,
} from "./file-system.js";

const { O_CREAT, O_DSYNC, O_EXCL, O_RDONLY, O_RDWR } = fs.constants;
const FILE_MODE = 0o640;
const HOLDER_BYTES_MAX = 1024;

const MODE_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY,
  write: O_RDWR,
  create: O_RDWR | O_CREAT | O_EXCL,
};

type Done = (error: Error | null) => void;

/** Runs one callback-style call that yields nothing. */
function call(start: (done: Done) => void): Promise<void> {
  return new Promise((done, reject) => {
    start((error) => (error === null || error === undefined ? done() : reject(error)));
  });
}

class RealFile implements FileHandle {
  /** -1 once closed, so that a late call fails with EBADF instead of reaching whoever got the number next. */
  #descriptor: number;
  readonly #path: string;

  constructor(descriptor: number, path: string) {
    this.#descriptor = descriptor;
    this.#path = path;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return new Promise((done, reject) => {
      fs.read(this.#open(), into, 0, into.length, position, (error, count) =>
        error === null ? done(count) : reject(this.#placed(error)),
      );
    });
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((done, reject) => {
      let written = 0;
      const writeRest = (): void => {
        fs.write(this.#open(), bytes, written, bytes.length - written, position + written, (error, count) => {
          if (error !== null) return reject(this.#placed(error));
          written += count;
          // The system may take less than it was given (a signal, a full disk); the rest goes in a further call.
          if (written < bytes.length)
            return count === 0 ? reject(this.#placed(tookNothing(position))) : writeRest();
          done();
        });
      };
      writeRest();
    });
  }

  writeNow(bytes: Uint8Array, position: number): void {
    let written = 0;
    try {
      while (written < bytes.length) {
        const count = fs.writeSync(this.#open(), bytes, written, bytes.length - written, position + written);
        if (count === 0) throw tookNothing(position);
        written += count;
      }
    } catch (error) {
      throw this.#placed(error);
    }
  }

  sync(): Promise<void> {
    return this.#call((done) => fs.fdatasync(this.#open(), done));
  }

  truncate(size: number): Promise<void> {
    return this.#call((done) => fs.ftruncate(this.#open(), size, done));
  }

  size(): Promise<number> {
    return new Promise((done, reject) => {
      fs.fstat(this.#open(), (error, stats) =>
        error === null ? done(stats.size) : reject(this.#placed(error)),
      );
    });
  }

  async close(): Promise<void> {
    const descriptor = this.#descriptor;
    if (descriptor === -1) return;
    this.#descriptor = -1;
    await this.#call((done) => fs.close(descriptor, done));
  }

  #call(start: (done: Done) => void): Promise<void> {
    return call((done) => start((error) => done(error === null ? null : this.#placed(error))));
  }

  /** The system names a file only where it is opened; what to do about a bad sector depends on whose it is. */
  #placed<T>(error: T): T {
    if (error instanceof Error && !error.message.includes(this.#path)) error.message += ` '${this.#path}'`;
    return error;
  }

  #open(): number {
    if (this.#descriptor === -1) throw Object.assign(new Error("the file is closed"), { code: "EBADF" });
    return this.#descriptor;
  }
}

function tookNothing(position: number): Error {
  return Object.assign(new Error(`the system wrote nothing at ${position}`), { code: "EIO" });
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((done, reject) => {
    fs.open(path, flags, FILE_MODE, (error, descriptor) =>
      error === null ? done(descriptor) : reject(error),
    );
  });
}

class RealLock implements DirectoryLock {
  readonly #descriptor: number;
  #released = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    // Closing gives the lock back. The file stays: removing it would let two processes lock two files of one name.
    await call((done) => fs.close(this.#descriptor, done));
  }
}

/**
 * `fs-ext` is loaded by the first thread that locks, and by no other: it answers on the main thread's event loop whoever asked,
 * and loaded by a second thread it takes that one's objects for its own, either of which ends the process.
 */
async function lock(path: string, holder: string): Promise<DirectoryLock> {
  assert(isMainThread, "a directory is locked by the main thread");
  const { flock } = await import("fs-ext");
  const descriptor = await openDescriptor(path, O_RDWR | O_CREAT);
  try {
    await call((done) => flock(descriptor, "exnb", done));
    await call((done) => fs.ftruncate(descriptor, 0, done));
    await new RealFile(descriptor, path).write(Buffer.from(`${holder}\n`), 0);
    return new RealLock(descriptor);
  } catch (error) {
    const errno = errnoOf(error);
    const held = errno === "EAGAIN" || errno === "EWOULDBLOCK";
    const found = held ? await readHolder(descriptor, path) : "";
    await call((done) => fs.close(descriptor, done));
    throw held ? new LockHeldError(path, found) : error;
  }
}

async function readHolder(descriptor: number, path: string): Promise<string> {
  const bytes = Buffer.alloc(HOLDER_BYTES_MAX);
  const count = await new RealFile(descriptor, path).read(bytes, 0);
  return bytes.toString("utf8", 0, count).trim() || "an unknown process";
}

async function makeDirectory(path: string): Promise<void> {
  const missing: string[] = [];
  let there = resolve(path);
  while (!(await isDirectory(there))) {
    missing.push(there);
    there = dirname(there);
  }
  // One level at a time, each synced before the next: a process that dies leaves at most one name that only the cache
  // knows, and that one is the lowest directory that the next process finds. So its parent is synced too.
  await syncDirectory(dirname(there)).catch((error: unknown) => {
    // A parent that may be entered but not read belongs to whoever made this directory.
    if (errnoOf(error) !== "EACCES") throw error;
  });
  for (const directory of missing.reverse()) {
    // Not recursive: where nothing can be made, as below /proc, node tries that for ever.
    await fs.promises.mkdir(directory).catch(async (error: unknown) => {
      const isThere = errnoOf(error) === "EEXIST" && (await isDirectory(directory));
      if (!isThere) throw error;
    });
    await syncDirectory(dirname(directory));
  }
}

/** False when there is nothing. Whatever is there and is no directory fails with ENOTDIR. */
async function isDirectory(path: string): Promise<boolean> {
  try {
    if ((await fs.promises.stat(path)).isDirectory()) return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
  throw Object.assign(new Error(`${path} is not a directory`), { code: "ENOTDIR" });
}

async function syncDirectory(path: string): Promise<void> {
  const descriptor = await openDescriptor(path, O_RDONLY);
  try {
    await call((done) => fs.fsync(descriptor, done));
  } finally {
    await call((done) => fs.close(descriptor, done));
  }
}

export const realFileSystem: FileSystem = {
  async open(path: string, mode: OpenMode, options: OpenOptions = {}): Promise<FileHandle> {
    const flags = MODE_FLAGS[mode] | (options.syncOnWrite === true ? O_DSYNC : 0);
    return new RealFile(await openDescriptor(path, flags), path);
  },

  async list(directory: string): Promise<string[]> {
    return (await fs.promises.readdir(directory)).sort();
  },

  async exists(path: string): Promise<boolean> {
    try {
      await fs.promises.stat(path);
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  },

  async stat(path: string): Promise<FileStatus | undefined> {
    try {
      const found = await fs.promises.stat(path);
      const type = found.isDirectory() ? "directory" : "file";
      return { type, bytes: found.size, changedAt: Math.floor(found.ctimeMs), links: found.nlink };
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  },

  makeDirectory,

  rename: (from, to) => call((done) => fs.rename(from, to, done)),

  link: (from, to) => call((done) => fs.link(from, to, done)),

  remove: (path) => call((done) => fs.unlink(path, done)),

  syncDirectory,

  freeBytes(path: string): Promise<number> {
    return new Promise((done, reject) => {
      fs.statfs(path, (error, stat) => (error === null ? done(stat.bavail * stat.bsize) : reject(error)));
    });
  },

  lock,
};
