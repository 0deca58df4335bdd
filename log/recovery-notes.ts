/**
 * Notes the recovery point off the hot path: when the log falls idle, at a roll, and at its close. Between notes the
 * point lags, never leads: it only claims what is durable at the moment it is written.
 */
import { ignoreReported } from "./errors.js";
import type { FileSystem } from "./file-system.js";
import { isNoSpace } from "./free-space.js";
import { type RecoveryPoint, writeRecoveryPoint } from "./recovery-point.js";

/** The log counts as idle after this long without a commit. */
const IDLE_MS = 100;

export interface RecoveryNotesOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  /** What may be claimed now. */
  readonly point: () => Omit<RecoveryPoint, "clean">;
  readonly failed: (error: unknown) => void;
}

export class RecoveryNotes {
  readonly #options: RecoveryNotesOptions;
  #timer: NodeJS.Timeout | undefined;
  #moved = false;
  #writing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: RecoveryNotesOptions) {
    this.#options = options;
  }

  /** The durable offset has moved: note it once nothing has moved for a while. */
  moved(): void {
    this.#moved = true;
    if (this.#timer === undefined && !this.#stopped) this.#watch();
  }

  /** A segment was sealed. Skipped while a note is being written: the one after the next roll says more. */
  rolled(): void {
    if (this.#writing === undefined && !this.#stopped) this.#noteAside();
  }

  /** Writes the point now and resolves when it is durable. */
  async note(clean: boolean): Promise<void> {
    while (this.#writing !== undefined) await this.#writing.catch(ignoreReported);
    const { files, dataDirectory, point } = this.#options;
    this.#writing = writeRecoveryPoint(files, dataDirectory, { ...point(), clean });
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }

  /** No more notes by itself. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Resolves when no note is being written. */
  async settled(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing.catch(ignoreReported);
  }

  /** Looks after a while. A busy log has no time to spare, and its records say by themselves what is durable. */
  #watch(): void {
    this.#moved = false;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#moved) this.#watch();
      else this.#noteAside();
    }, IDLE_MS);
    this.#timer.unref();
  }

  #noteAside(): void {
    // A full disk only keeps the older point, which is true as well.
    this.note(false).catch((error: unknown) => (isNoSpace(error) ? undefined : this.#options.failed(error)));
  }
}
