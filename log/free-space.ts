/**
 * The free-space guard: whether the disk may be filled further. Full is a state, not a failure; it ends by itself.
 */
import { errnoOf } from "./errors.js";
import type { FileSystem } from "./file-system.js";

/** How soon a full disk is asked again. */
export const RECHECK_MS = 250;

/** True for what a disk or a quota says when it has no room: nothing was lost, and it may work later. */
export function isNoSpace(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === "ENOSPC" || errno === "EDQUOT";
}

/** So much more than the reserve that nobody else will have used it before the next look. */
const PLENTY_BYTES = 256 * 1024 * 1024;

export class FreeSpace {
  readonly #files: FileSystem;
  readonly #path: string;
  readonly #reserveBytes: number;
  readonly #changed: (full: boolean) => void;
  #full = false;
  #plenty = false;

  constructor(files: FileSystem, path: string, reserveBytes: number, changed: (full: boolean) => void) {
    this.#files = files;
    this.#path = path;
    this.#reserveBytes = reserveBytes;
    this.#changed = changed;
  }

  /** True while appends are to be refused. */
  get full(): boolean {
    return this.#full;
  }

  /** True when the disk had far more than the reserve at the last look. */
  get plenty(): boolean {
    return this.#plenty;
  }

  /** Asks the disk whether it can give `bytes` and keep the reserve. */
  async allows(bytes: number): Promise<boolean> {
    const free = await this.#files.freeBytes(this.#path);
    const allowed = free - bytes >= this.#reserveBytes;
    this.#plenty = free - bytes >= this.#reserveBytes + PLENTY_BYTES;
    if (!allowed) this.say(true);
    return allowed;
  }

  say(full: boolean): void {
    if (this.#full === full) return;
    this.#full = full;
    this.#changed(full);
  }
}
