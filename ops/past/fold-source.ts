/** Folds of a data directory: over views of its log, beginning with its snapshots. Reads only, whoever owns the directory. */
import {
  BEFORE_FIRST,
  type FileSystem,
  type LogReader,
  type LogView,
  type Offset,
  openLogView,
} from "../../log/index.js";
import { Fold, type StoreRules } from "../../projections/index.js";
import type { FoldSource } from "./past-folds.js";

export interface DirectorySourceOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly rules: StoreRules;
}

export class DirectorySource implements FoldSource {
  readonly #options: DirectorySourceOptions;
  #view: LogView | undefined;
  #known: Offset = BEFORE_FIRST;

  constructor(options: DirectorySourceOptions) {
    this.#options = options;
  }

  /** The log is known to reach up to `end`: the next view that is opened shows so much. */
  reaches(end: Offset): void {
    if (end > this.#known) this.#known = end;
  }

  /** The one of before, as long as it reaches far enough: opening one reads the tail segment. */
  async view(last: Offset, fresh: boolean): Promise<LogReader> {
    this.reaches(last);
    if (!fresh && this.#view !== undefined && this.#view.endOffset >= last) return this.#view;
    const { files, dataDirectory } = this.#options;
    this.#view = await openLogView(files, dataDirectory, { last: this.#known });
    return this.#view;
  }

  async nearest(log: LogReader, _last: Offset): Promise<Offset | undefined> {
    return log.firstOffset === 1 ? BEFORE_FIRST : undefined;
  }

  async begin(): Promise<Fold> {
    return new Fold({ rules: this.#options.rules });
  }
}
