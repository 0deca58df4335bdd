/**
 * The snapshots of a data directory, as the server that owns it sees them: which are of its log, which could carry a start, and
 * which may go. It makes none.
 */
import {
  offset as asOffset,
  type FileSystem,
  type LogReader,
  type Offset,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import { type ListedSnapshot, listSnapshots, type SnapshotFacts } from "../../projections/index.js";
import type { SnapshotChecked } from "./jobs.js";

export interface ShelfOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly log: LogReader;
  /** Reads the snapshot back as a start would. */
  readonly check: (name: string) => Promise<SnapshotChecked>;
  /** Told once of each snapshot that does not hold. */
  readonly onProblem: (name: string, problem: { readonly code: string; readonly message: string }) => void;
}

/** A snapshot that was read back whole: a start can begin with it, so the log before `needs` can go as far as it is concerned. */
export interface Trusted {
  readonly facts: SnapshotFacts;
  /** The first record that a start from it, or a read of a stream that it shows, takes. */
  readonly needs: Offset;
}

export class SnapshotShelf {
  readonly #options: ShelfOptions;
  /** By name and SHA-256: a file of the same name that was written again is another. */
  readonly #checked = new Map<string, SnapshotChecked>();

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  get directory(): string {
    return `${this.#options.dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  }

  /** Oldest first, as `listSnapshots`. */
  list(): Promise<ListedSnapshot[]> {
    return listSnapshots(this.#options.files, this.directory);
  }

  /** Those whose ends hold and that the log continues, newest first. What they hold in between was not looked at. */
  async usable(): Promise<SnapshotFacts[]> {
    const { log } = this.#options;
    const usable: SnapshotFacts[] = [];
    for (const { info } of (await this.list()).reverse()) {
      if (info !== undefined && (await log.agrees(info))) usable.push(info);
    }
    return usable;
  }

  /** Undefined when it does not hold, which is told. */
  async trust(facts: SnapshotFacts): Promise<Trusted | undefined> {
    const { check, onProblem } = this.#options;
    const key = `${facts.name} ${facts.sha256}`;
    let checked = this.#checked.get(key);
    if (checked === undefined) {
      checked = await check(facts.name);
      this.#checked.set(key, checked);
      if (checked.problem !== undefined) onProblem(facts.name, checked.problem);
    }
    if (checked.problem !== undefined) return undefined;
    const next = asOffset(facts.offset + 1);
    const { streamsFrom } = checked;
    return { facts, needs: streamsFrom !== undefined && streamsFrom < next ? streamsFrom : next };
  }

  /**
   * Makes the names of the snapshots durable. One that a process had renamed when it was killed may still lose its name to a power
   * cut, and by then the log that it replaces would be gone.
   */
  async settle(): Promise<void> {
    await this.#options.files.syncDirectory(this.directory);
  }

  /** Oldest first, each durable before the next. */
  async remove(names: readonly string[]): Promise<void> {
    const { files } = this.#options;
    for (const name of names) {
      await files.remove(`${this.directory}/${name}`);
      await files.syncDirectory(this.directory);
    }
    for (const key of this.#checked.keys()) {
      if (names.some((name) => key.startsWith(`${name} `))) this.#checked.delete(key);
    }
  }
}
