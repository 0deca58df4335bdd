/** The other end of `PastThread`: takes its messages, has them answered, several at a time, and tells what it keeps. */
import type { ApiLimits } from "../../api/index.js";
import type { Offset } from "../../log/index.js";
import { LookBack } from "./look-back.js";
import { type FoldLimits, type FoldSource, PastFolds } from "./past-folds.js";
import type { AskMessage, FromThread, PastFigures, ToThread } from "./question.js";

export interface PastServiceOptions {
  readonly source: FoldSource & { reaches(end: Offset): void };
  readonly foldLimits: FoldLimits;
  readonly limits: ApiLimits;
  readonly version: string;
  readonly queuesEnabled: boolean;
  readonly random: () => number;
  readonly post: (message: FromThread) => void;
}

export class PastService {
  readonly #options: PastServiceOptions;
  readonly #folds: PastFolds;
  readonly #lookBack: LookBack;
  readonly #asked = new Map<number, AbortController>();

  constructor(options: PastServiceOptions) {
    this.#options = options;
    this.#folds = new PastFolds(options.source, options.foldLimits);
    this.#lookBack = new LookBack({ ...options, folds: this.#folds });
  }

  hear(message: ToThread): void {
    if (message.type === "cancel") this.#asked.get(message.id)?.abort();
    else void this.#answer(message);
  }

  async #answer({ id, ask, end }: AskMessage): Promise<void> {
    const { source, post } = this.#options;
    const cancel = new AbortController();
    this.#asked.set(id, cancel);
    try {
      source.reaches(end);
      const asked = await this.#lookBack.ask(ask, cancel.signal);
      post({ type: "answered", id, ...asked, figures: this.#figures });
    } catch (error) {
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      const found: unknown = error instanceof Error && "code" in error ? error.code : undefined;
      const code = typeof found === "string" ? found : undefined;
      post({ type: "failed", id, message, stack, code, figures: this.#figures });
    } finally {
      this.#asked.delete(id);
    }
  }

  get #figures(): PastFigures {
    const { count, bytes, replayedRecords } = this.#folds;
    return { folds: count, bytes, replayedRecords };
  }
}
