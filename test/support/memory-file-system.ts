/**
 * A file system of byte arrays: no crashes, no faults, but thousands of whole recoveries a second. `fork` gives a copy that
 * shares its bytes until one of the two writes. For power loss and tearing there is the simulated one in `props/world/`.
 */
import {
  type DirectoryLock,
  type FileHandle,
  type FileStatus,
  type FileSystem,
  LockHeldError,
  type OpenMode,
} from "../../log/file-system.js";

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export class MemoryFileSystem implements FileSystem {
  readonly #contents: Map<string, Uint8Array>;
  readonly #directories: Set<string>;
  readonly #own = new Set<string>();
  readonly #locks = new Map<string, string>();
  readonly #handles = new Set<MemoryHandle>();

  constructor(contents: Iterable<readonly [string, Uint8Array]> = [], directories: Iterable<string> = []) {
    this.#contents = new Map(contents);
    this.#directories = new Set(directories);
  }

  fork(): MemoryFileSystem {
    this.#own.clear();
    return new MemoryFileSystem(this.#contents, this.#directories);
  }

  get paths(): string[] {
    return [...this.#contents.keys()].sort();
  }

  get(path: string): Uint8Array {
    const bytes = this.#contents.get(path);
    if (bytes === undefined) throw systemError("ENOENT", path);
    return bytes;
  }

  put(path: string, bytes: Uint8Array): void {
    this.#contents.set(path, bytes);
    this.#own.delete(path);
  }

  /** A copy of the file for changing, kept in its place. */
  own(path: string): Uint8Array {
    const bytes = this.get(path);
    if (this.#own.has(path)) return bytes;
    const copy = Uint8Array.from(bytes);
    this.#contents.set(path, copy);
    this.#own.add(path);
    return copy;
  }

  async open(path: string, mode: OpenMode): Promise<FileHandle> {
    if (mode === "create") {
      if (this.#contents.has(path)) throw systemError("EEXIST", path);
      this.put(path, new Uint8Array(0));
    }
    this.get(path);
    const handle = new MemoryHandle(this, path, () => this.#handles.delete(handle));
    this.#handles.add(handle);
    return handle;
  }

  async list(directory: string): Promise<string[]> {
    const names = new Set<string>();
    for (const path of [...this.#contents.keys(), ...this.#directories]) {
      if (path.startsWith(`${directory}/`)) names.add(path.slice(directory.length + 1).split("/")[0]!);
    }
    if (names.size === 0 && !(await this.exists(directory))) throw systemError("ENOENT", directory);
    return [...names].sort();
  }

  async exists(path: string): Promise<boolean> {
    if (this.#contents.has(path) || this.#directories.has(path)) return true;
    for (const other of this.#contents.keys()) if (other.startsWith(`${path}/`)) return true;
    return false;
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    if (!(await this.exists(path))) return undefined;
    const bytes = this.#contents.get(path);
    if (bytes === undefined) return { type: "directory", bytes: 0, changedAt: 0, links: 1 };
    return { type: "file", bytes: bytes.length, changedAt: 0, links: 1 };
  }

  /** Two names of one file are two copies here: enough for files that nobody changes in place. */
  async link(from: string, to: string): Promise<void> {
    if (this.#contents.has(to)) throw systemError("EEXIST", to);
    this.put(to, this.get(from));
  }

  async makeDirectory(path: string): Promise<void> {
    this.#directories.add(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.put(to, this.get(from));
    this.#contents.delete(from);
    for (const handle of this.#handles) handle.followRename(from, to);
  }

  async remove(path: string): Promise<void> {
    this.get(path);
    this.#contents.delete(path);
  }

  async syncDirectory(_path: string): Promise<void> {
    // Memory loses nothing.
  }

  async freeBytes(): Promise<number> {
    return Number.MAX_SAFE_INTEGER;
  }

  async lock(path: string, holder: string): Promise<DirectoryLock> {
    const held = this.#locks.get(path);
    if (held !== undefined) throw new LockHeldError(path, held);
    this.#locks.set(path, holder);
    this.put(path, Buffer.from(holder));
    return { release: async () => void this.#locks.delete(path) };
  }
}

class MemoryHandle implements FileHandle {
  readonly #files: MemoryFileSystem;
  readonly #closed: () => void;
  #path: string;

  constructor(files: MemoryFileSystem, path: string, closed: () => void) {
    this.#files = files;
    this.#path = path;
    this.#closed = closed;
  }

  /** A handle is of a file, whatever its name. */
  followRename(from: string, to: string): void {
    if (this.#path === from) this.#path = to;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const part = this.#files.get(this.#path).subarray(position, position + into.length);
    into.set(part);
    return part.length;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.writeNow(bytes, position);
  }

  writeNow(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.#files.get(this.#path).length) this.#resize(end);
    this.#files.own(this.#path).set(bytes, position);
  }

  async sync(): Promise<void> {
    // Memory loses nothing.
  }

  async truncate(size: number): Promise<void> {
    this.#resize(size);
  }

  async size(): Promise<number> {
    return this.#files.get(this.#path).length;
  }

  async close(): Promise<void> {
    this.#closed();
  }

  #resize(size: number): void {
    const before = this.#files.get(this.#path);
    const after = new Uint8Array(size);
    after.set(before.subarray(0, size));
    this.#files.put(this.#path, after);
  }
}
