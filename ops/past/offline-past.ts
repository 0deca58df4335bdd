/** The past of a data directory on a command line: no cache, no limit but the caller's patience. */
import type { Moment, Refusal } from "../../api/index.js";
import type { FileSystem, LogReader, Offset } from "../../log/index.js";
import type { Fold, StoreRules } from "../../projections/index.js";
import { DirectorySource } from "./fold-source.js";
import { type Point, pointOf, refusedFor } from "./moment.js";
import { replay } from "./replay.js";

export interface OfflinePastOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly rules: StoreRules;
  readonly now: () => number;
  /** Ends a fold with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Offsets: where the fold stands, and where it goes. */
  readonly onProgress?: (done: number, total: number) => void;
}

export class OfflinePast {
  readonly log: LogReader;
  readonly #source: DirectorySource;
  readonly #options: OfflinePastOptions;

  private constructor(log: LogReader, source: DirectorySource, options: OfflinePastOptions) {
    this.log = log;
    this.#source = source;
    this.#options = options;
  }

  /** The log as far as it is whole now. @throws LogError as `openLogView`. */
  static async open(options: OfflinePastOptions): Promise<OfflinePast> {
    const source = new DirectorySource(options);
    return new OfflinePast(await source.whole(), source, options);
  }

  /** Undefined: the end. */
  async point(moment: Moment | undefined): Promise<Point | Refusal> {
    const { log } = this;
    const at: Moment = moment ?? { type: "offset", offset: log.endOffset };
    return pointOf(at, { log, end: log.endOffset, now: this.#options.now() });
  }

  /** @throws as `foldAt`. */
  async stateAt(point: Point): Promise<Fold | Refusal> {
    const fold = await this.foldAt(point.at);
    return refusedFor(point.time, fold.clock, this.log) ?? fold;
  }

  /** @throws LogError, ProjectionError, SnapshotError: SNAPSHOT_MISSING when nothing reaches back so far. */
  async foldAt(at: Offset): Promise<Fold> {
    // Without any it is begun at `at`, where it is said what would be needed.
    const nearest = (await this.#source.nearest(this.log, at)) ?? at;
    const { signal = new AbortController().signal } = this.#options;
    const fold = await this.#source.begin(this.log, nearest, signal);
    for await (const _records of replay(this.log, fold, at)) {
      signal.throwIfAborted();
      this.#options.onProgress?.(fold.offset, at);
    }
    return fold;
  }
}
