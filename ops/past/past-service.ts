/** The other end of `PastThread`: answers its questions, several at a time, and tells what it keeps. */
import type { ApiLimits } from "../../api/index.js";
import { type Offset, realFileSystem } from "../../log/index.js";
import { LiveSettings } from "../config/rooms.js";
import type { ConfigValues } from "../config/settings.js";
import { DirectorySource } from "./fold-source.js";
import { LookBack } from "./look-back.js";
import { type FoldLimits, type FoldSource, PastFolds } from "./past-folds.js";
import { foldLimits } from "./past-settings.js";
import type { PastAnswered, PastJob, PastThreadSettings } from "./question.js";

export interface PastServiceOptions {
  readonly source: FoldSource & { reaches(end: Offset): void };
  readonly foldLimits: FoldLimits;
  readonly limits: ApiLimits;
  /** Has rules and limits follow the settings. */
  readonly apply: (values: ConfigValues) => void;
  readonly version: string;
  readonly queuesEnabled: boolean;
  readonly random: () => number;
}

export class PastService {
  readonly #options: PastServiceOptions;
  readonly #folds: PastFolds;
  readonly #lookBack: LookBack;

  constructor(options: PastServiceOptions) {
    this.#options = options;
    this.#folds = new PastFolds(options.source, options.foldLimits);
    this.#lookBack = new LookBack({ ...options, folds: this.#folds });
  }

  /** @throws as `LookBack.ask`. */
  async answer({ ask, end, values }: PastJob, signal: AbortSignal): Promise<PastAnswered> {
    this.#options.apply(values);
    this.#options.source.reaches(end);
    const asked = await this.#lookBack.ask(ask, signal);
    const { count, bytes, replayedRecords } = this.#folds;
    return { type: "past", ...asked, figures: { folds: count, bytes, replayedRecords } };
  }
}

/** Over a data directory, as a thread does it. */
export function pastService({ version, dataDirectory, values }: PastThreadSettings): PastService {
  const live = new LiveSettings(values);
  const { rules, limits } = live;
  return new PastService({
    source: new DirectorySource({ files: realFileSystem, dataDirectory, rules }),
    foldLimits: foldLimits(values),
    limits,
    apply: (now) => live.apply(now),
    version,
    queuesEnabled: values["queue.enabled"],
    random: Math.random,
  });
}
