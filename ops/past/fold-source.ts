/** Folds of a data directory: over views of its log, beginning with its snapshots. Reads only, whoever owns the directory. */
import {
  BEFORE_FIRST,
  type FileSystem,
  type LogReader,
  type LogView,
  type Offset,
  openLogView,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import {
  beginFold,
  Fold,
  listSnapshots,
  type SnapshotFacts,
  type StoreRules,
} from "../../projections/index.js";
import type { FoldSource } from "./past-folds.js";

export interface DirectorySourceOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly rules: StoreRules;
}

export class DirectorySource implements FoldSource {
  readonly #options: DirectorySourceOptions;
  readonly #snapshots: { readonly files: FileSystem; readonly directory: string };
  #view: LogView | undefined;
  #known: Offset = BEFORE_FIRST;
  /** Snapshots that turned out not to hold. */
  readonly #unfit = new Set<string>();

  constructor(options: DirectorySourceOptions) {
    this.#options = options;
    this.#snapshots = { files: options.files, directory: `${options.dataDirectory}/${SNAPSHOT_DIRECTORY}` };
  }

  /** The log is known to reach up to `end`: the next view that is opened shows so much. */
  reaches(end: Offset): void {
    if (end > this.#known) this.#known = end;
  }

  /** The log as far as it is whole now. */
  async whole(): Promise<LogReader> {
    const { files, dataDirectory } = this.#options;
    this.#view = await openLogView(files, dataDirectory);
    return this.#view;
  }

  /** The one of before, as long as it reaches far enough: opening one reads the tail segment. */
  async view(last: Offset, fresh: boolean): Promise<LogReader> {
    this.reaches(last);
    if (!fresh && this.#view !== undefined && this.#view.endOffset >= last) return this.#view;
    const { files, dataDirectory } = this.#options;
    this.#view = await openLogView(files, dataDirectory, { last: this.#known });
    return this.#view;
  }

  async nearest(log: LogReader, last: Offset): Promise<Offset | undefined> {
    const reach = log.firstOffset - 1;
    const listed = await this.#listed();
    const snapshot = listed.findLast(
      ({ offset: at, info }) =>
        info !== undefined && !this.#unfit.has(keyOf(info)) && at <= last && at >= reach,
    );
    return snapshot?.offset ?? (reach === 0 ? BEFORE_FIRST : undefined);
  }

  /** A snapshot that turns out to be damaged is passed over for the one before it, now and from now on. */
  async begin(log: LogReader, at: Offset, signal?: AbortSignal): Promise<Fold> {
    const { rules } = this.#options;
    if (at === BEFORE_FIRST && log.firstOffset === 1) return new Fold({ rules });
    const { fold } = await beginFold(log, this.#snapshots, {
      ...{ rules, last: at },
      ...(signal !== undefined && { signal }),
    });
    if (fold.offset === at) return fold;
    for (const { offset: of, info } of await this.#listed())
      if (info !== undefined && of > fold.offset && of <= at) this.#unfit.add(keyOf(info));
    return fold;
  }

  async #listed(): Promise<Awaited<ReturnType<typeof listSnapshots>>> {
    const { files, directory } = this.#snapshots;
    return (await files.exists(directory)) ? listSnapshots(files, directory) : [];
  }
}

/** A file of the same name that was written again is another. */
const keyOf = ({ name, sha256 }: SnapshotFacts): string => `${name} ${sha256}`;
