/**
 * A disk in memory that loses what was not synced when its power goes, tears pages, fails operations, fills up, and
 * completes operations in a seeded order. `mount` gives a process's view of it: the log's `FileSystem`.
 *
 *   const disk = new SimulatedDisk(seed);
 *   const files = disk.mount();
 *   disk.arm({ type: "end", at: 17, ending: "power" });
 *   await Promise.race([scenario(files), disk.ended()]);
 *   if (files.alive) disk.losePower();
 *   const after = disk.mount();   // what a fresh process finds
 *
 * After an end nothing that the old process awaits ever settles, as its code no longer runs. What it still does on its
 * own thread (timers) changes nothing; whoever collects answers must not count those given while `files.alive` is false.
 */
import {
  type DirectoryLock,
  type FileHandle,
  type FileStatus,
  type FileSystem,
  LockHeldError,
  type OpenMode,
  type OpenOptions,
} from "../../log/index.js";
import { seed, seededRandom } from "../run-settings.js";
import { Fate, type Random } from "./fate.js";
import { type Ending, type Fault, type Operation, type OperationCounts, Operations } from "./operations.js";
import { SimulatedDirectories } from "./simulated-directories.js";
import { type Losses, PAGE_BYTES, type SimulatedFile } from "./simulated-file.js";
import { systemError } from "./system-error.js";

export interface DiskOptions {
  /** Bytes that fit; writing beyond fails with ENOSPC after what still fitted. Default: no limit. */
  readonly capacityBytes?: number;
  /** Most turns of the event loop that a sync or a synced write takes. Default 0: one turn, as everything. */
  readonly syncTurnsMax?: number;
}

export class SimulatedDisk {
  readonly losses: Losses = {
    pagesLost: 0,
    pagesKept: 0,
    pagesTorn: 0,
    sizesLost: 0,
    namesLost: 0,
    namesKept: 0,
  };
  /** May be changed at any time, as if somebody else had filled or freed the disk. */
  capacityBytes: number;
  /** When everything on the disk changed last: the disk keeps no times of its own. */
  clockMs = 0;
  readonly random: Random;
  readonly directories = new SimulatedDirectories();
  readonly operations: Operations;
  readonly locks = new Map<string, SimulatedMount>();
  #ended: (() => void)[] = [];

  constructor(worldSeed: number, options: DiskOptions = {}) {
    this.random = seededRandom(worldSeed);
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.operations = new Operations(this.random, (ending) => this.#endProcess(ending));
    for (const kind of ["sync", "syncedWrite", "syncDirectory"] as const)
      this.operations.turnsMax.set(kind, options.syncTurnsMax ?? 0);
  }

  /** The view of a new process. The one before must have ended. */
  mount(): SimulatedMount {
    return new SimulatedMount(this);
  }

  arm(fault: Fault): void {
    this.operations.arm(fault);
  }

  /** The disk is healthy from here on. */
  disarm(): void {
    this.operations.disarm();
  }

  get counts(): OperationCounts {
    return this.operations.counts;
  }

  get trace(): readonly string[] {
    return this.operations.trace;
  }

  /** The error of a failing run with what is needed to see it again: `what` ran, from which seed, and the last operations. */
  withTrace(error: unknown, what: string): Error {
    const replay = `ANNALS_PROPS_SEED=${seed}`;
    return new Error(`${String(error)}\n${what} (${replay})\n${this.trace.slice(-80).join("\n")}`, {
      cause: error,
    });
  }

  /** Resolves at the next end of the process, by fault or by call. */
  ended(): Promise<void> {
    return new Promise((resolve) => this.#ended.push(resolve));
  }

  /** A power cut now. */
  losePower(): void {
    this.#endProcess("power");
  }

  /** kill -9 now: the page cache stays. */
  kill(): void {
    this.#endProcess("kill");
  }

  get usedBytes(): number {
    let used = 0;
    for (const file of this.directories.files()) used += file.allocatedBytes;
    return used;
  }

  /** Changes one byte of a file at rest, as a decaying disk would. */
  flip(path: string, position: number, mask: number): void {
    const file = this.directories.file(path, "flip");
    const byte = new Uint8Array(1);
    if (file.read(byte, position) !== 1) throw systemError("EINVAL", "flip", path);
    byte[0] = (byte[0] ?? 0) ^ mask;
    file.write(byte, position);
    file.sync();
  }

  /** Zeros where a file at rest had something else. */
  wipe(path: string, position: number, length: number): void {
    const file = this.directories.file(path, "wipe");
    file.write(new Uint8Array(length), position);
    file.sync();
  }

  /** A sector of a file at rest cannot be read any more: the page that it is in fails with EIO, until it is written again. */
  spoil(path: string, position: number): void {
    this.directories.file(path, "spoil").spoil(position);
  }

  #endProcess(ending: Ending): void {
    const fate = new Fate(this.random);
    this.operations.interruptAll(fate);
    if (ending === "power") this.directories.losePower(fate, this.losses);
    else for (const file of this.directories.files()) file.evictStranded(fate);
    this.locks.clear();
    const ended = this.#ended;
    this.#ended = [];
    for (const resolve of ended) resolve();
  }
}

export class SimulatedMount implements FileSystem {
  readonly #disk: SimulatedDisk;
  readonly #process: number;

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
    this.#process = disk.operations.process;
  }

  /** False once the process that this view belongs to has ended. */
  get alive(): boolean {
    return this.#process === this.#disk.operations.process;
  }

  open(path: string, mode: OpenMode, options: OpenOptions = {}): Promise<FileHandle> {
    const { directories } = this.#disk;
    const creates = mode === "create";
    return this.#perform({
      kind: creates ? "create" : "open",
      path,
      changes: creates,
      run: () => {
        const file = creates ? directories.create(path) : directories.file(path, "open");
        return new SimulatedHandle(this.#disk, this.#process, file, path, mode, options.syncOnWrite === true);
      },
    });
  }

  list(directory: string): Promise<string[]> {
    const run = (): string[] =>
      [...this.#disk.directories.directory(directory, "scandir").entries.keys()].sort();
    return this.#perform({ kind: "list", path: directory, changes: false, run });
  }

  exists(path: string): Promise<boolean> {
    const run = (): boolean => this.#disk.directories.find(path) !== undefined;
    return this.#perform({ kind: "exists", path, changes: false, run });
  }

  stat(path: string): Promise<FileStatus | undefined> {
    const { directories, clockMs: changedAt } = this.#disk;
    const run = (): FileStatus | undefined => {
      const entry = directories.find(path);
      if (entry === undefined) return undefined;
      if (entry.type === "directory") return { type: "directory", bytes: 0, changedAt, links: 1 };
      return { type: "file", bytes: entry.size, changedAt, links: directories.linksOf(entry) };
    };
    return this.#perform({ kind: "stat", path, changes: false, run });
  }

  link(from: string, to: string): Promise<void> {
    const run = (): void => this.#disk.directories.link(from, to);
    return this.#perform({ kind: "link", path: `${from} → ${to}`, changes: true, run });
  }

  makeDirectory(path: string): Promise<void> {
    const { directories } = this.#disk;
    return this.#perform({
      kind: "makeDirectory",
      path,
      changes: true,
      run: () => directories.makeDirectory(path),
      interrupt: (fate) => directories.makeDirectoryInPart(path, fate),
    });
  }

  rename(from: string, to: string): Promise<void> {
    const run = (): void => this.#disk.directories.rename(from, to);
    return this.#perform({ kind: "rename", path: `${from} → ${to}`, changes: true, run });
  }

  remove(path: string): Promise<void> {
    return this.#perform({
      kind: "remove",
      path,
      changes: true,
      run: () => this.#disk.directories.remove(path),
    });
  }

  syncDirectory(path: string): Promise<void> {
    const { directories } = this.#disk;
    const run = (): void => directories.sync(directories.directory(path, "fsync"));
    return this.#perform({ kind: "syncDirectory", path, changes: true, run });
  }

  freeBytes(path: string): Promise<number> {
    const run = (): number => {
      if (this.#disk.directories.find(path) === undefined) throw systemError("ENOENT", "statfs", path);
      if (!Number.isFinite(this.#disk.capacityBytes)) return 2 ** 40;
      return Math.max(0, this.#disk.capacityBytes - this.#disk.usedBytes);
    };
    return this.#perform({ kind: "freeBytes", path, changes: false, run });
  }

  lock(path: string, holder: string): Promise<DirectoryLock> {
    const disk = this.#disk;
    const run = (): DirectoryLock => {
      const found = disk.directories.find(path);
      if (disk.locks.has(path)) throw new LockHeldError(path, textOf(disk.directories.file(path, "flock")));
      const file = found === undefined ? disk.directories.create(path) : disk.directories.file(path, "flock");
      file.truncate(0);
      file.write(new TextEncoder().encode(holder), 0);
      disk.locks.set(path, this);
      const release = (): void => {
        if (disk.locks.get(path) === this) disk.locks.delete(path);
      };
      return { release: () => this.#perform({ kind: "unlock", path, changes: false, run: release }) };
    };
    return this.#perform({ kind: "lock", path, changes: true, run });
  }

  #perform<Answer>(operation: Operation<Answer>): Promise<Answer> {
    return this.#disk.operations.perform(this.#process, operation);
  }
}

class SimulatedHandle implements FileHandle {
  readonly #disk: SimulatedDisk;
  readonly #process: number;
  readonly #file: SimulatedFile;
  readonly #path: string;
  readonly #mode: OpenMode;
  readonly #syncOnWrite: boolean;
  #closed = false;

  constructor(
    disk: SimulatedDisk,
    process: number,
    file: SimulatedFile,
    path: string,
    mode: OpenMode,
    syncOnWrite: boolean,
  ) {
    this.#disk = disk;
    this.#process = process;
    this.#file = file;
    this.#path = path;
    this.#mode = mode;
    this.#syncOnWrite = syncOnWrite;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#perform({
      kind: "read",
      path: `${this.#path} ${position}+${into.length}`,
      changes: false,
      run: () => {
        const file = this.#open("read");
        const end = file.readableTo(position, position + into.length);
        if (end === position && into.length > 0) throw systemError("EIO", "read", this.#path);
        return file.read(into.subarray(0, end - position), position);
      },
    });
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return this.#perform(this.#writing(this.#syncOnWrite ? "syncedWrite" : "write", bytes, position));
  }

  writeNow(bytes: Uint8Array, position: number): void {
    this.#disk.operations.performNow(this.#process, this.#writing("writeNow", bytes, position));
  }

  sync(): Promise<void> {
    return this.#perform({
      kind: "sync",
      path: this.#path,
      changes: true,
      run: () => this.#open("fdatasync").sync(),
      fail: (fate) => this.#file.failSync(fate),
    });
  }

  truncate(size: number): Promise<void> {
    return this.#perform({
      kind: "truncate",
      path: `${this.#path} ${size}`,
      changes: true,
      run: () => this.#writable("ftruncate").truncate(size),
    });
  }

  size(): Promise<number> {
    return this.#perform({
      kind: "size",
      path: this.#path,
      changes: false,
      run: () => this.#open("fstat").size,
    });
  }

  close(): Promise<void> {
    const run = (): void => {
      this.#closed = true;
    };
    // As on Linux: whatever a failing close says, the descriptor is gone.
    return this.#perform({ kind: "close", path: this.#path, changes: false, run, fail: run });
  }

  #writing(kind: "write" | "syncedWrite" | "writeNow", bytes: Uint8Array, position: number): Operation<void> {
    const end = position + bytes.length;
    return {
      kind,
      path: `${this.#path} ${position}+${bytes.length}`,
      changes: true,
      run: () => {
        const file = this.#writable("write");
        const fitting = this.#fitting(bytes.length, position);
        file.write(bytes.subarray(0, fitting), position);
        if (fitting < bytes.length) throw systemError("ENOSPC", "write", this.#path);
        if (kind === "syncedWrite") file.syncRange(position, end);
      },
      fail: (fate) => {
        this.#file.write(bytes.subarray(0, partOf(bytes.length, fate)), position);
        if (kind === "syncedWrite") this.#file.failSync(fate);
      },
      interrupt: (fate) => {
        if (fate.coin() && !this.#closed && this.#mode !== "read")
          this.#file.write(bytes.subarray(0, this.#fitting(partOf(bytes.length, fate), position)), position);
      },
    };
  }

  /** How many of the bytes still fit on the disk. */
  #fitting(length: number, position: number): number {
    if (!Number.isFinite(this.#disk.capacityBytes)) return length;
    const free = this.#disk.capacityBytes - this.#disk.usedBytes;
    if (this.#file.growthOf(length, position) <= free) return length;
    let fitting = PAGE_BYTES - (position % PAGE_BYTES);
    if (this.#file.growthOf(Math.min(fitting, length), position) > free) return 0;
    while (this.#file.growthOf(Math.min(fitting + PAGE_BYTES, length), position) <= free)
      fitting += PAGE_BYTES;
    return Math.min(fitting, length);
  }

  #open(systemCall: string): SimulatedFile {
    if (this.#closed) throw systemError("EBADF", systemCall, this.#path);
    return this.#file;
  }

  #writable(systemCall: string): SimulatedFile {
    if (this.#mode === "read") throw systemError("EBADF", systemCall, this.#path);
    return this.#open(systemCall);
  }

  #perform<Answer>(operation: Operation<Answer>): Promise<Answer> {
    return this.#disk.operations.perform(this.#process, operation);
  }
}

/** A whole write, half of the time; else any part of it. */
function partOf(length: number, fate: Fate): number {
  return fate.coin() ? length : fate.below(length + 1);
}

function textOf(file: SimulatedFile): string {
  const bytes = new Uint8Array(file.size);
  file.read(bytes, 0);
  return new TextDecoder().decode(bytes);
}
