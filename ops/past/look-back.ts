/** Answers questions about the past: leases the state, asks it as the doors ask the live one, gives the lease back. */
import { type ApiLimits, answerFrom, type Refusal } from "../../api/index.js";
import { type Offset, unreachable } from "../../log/index.js";
import { type Context, kv, PastStore } from "../../projections/index.js";
import { refusedFor } from "./moment.js";
import type { Found, Lease, PastFolds } from "./past-folds.js";
import { type PastFacts, pastOptions } from "./past-options.js";
import type { Answer, Ask, Outcome, Question } from "./question.js";

export interface LookBackOptions extends PastFacts {
  readonly folds: Pick<PastFolds, "lease">;
  readonly limits: ApiLimits;
}

export interface Asked {
  readonly outcome: Outcome;
  /** How the state was found; undefined when there is none. */
  readonly found: Found | undefined;
}

export class LookBack {
  readonly #options: LookBackOptions;

  constructor(options: LookBackOptions) {
    this.#options = options;
  }

  /** @throws as `PastFolds.lease`, and as a read of the log. */
  async ask({ question, at, time }: Ask, signal: AbortSignal): Promise<Asked> {
    const lease = await this.#options.folds.lease(at, signal);
    if (lease.type === "refused") return { outcome: lease, found: undefined };
    try {
      const refused = refusedFor(time, lease.fold.clock, lease.log);
      return { outcome: refused ?? (await this.#answer(question, at, lease, time)), found: lease.found };
    } finally {
      lease.release();
    }
  }

  async #answer(question: Question, at: Offset, lease: Lease, time: number): Promise<Answer | Refusal> {
    const store = new PastStore(lease.fold, lease.log, time);
    switch (question.type) {
      case "read":
        return answerFrom(pastOptions(store, lease.log, this.#options), question.operation, question.input);
      case "value":
        return store.query(kv.get, { key: question.key }, this.#context(store), (outcome) =>
          outcome.type === "done"
            ? { type: "value", at, value: outcome.answer }
            : { type: "refused", code: outcome.code, message: outcome.message },
        );
      case "digest":
        return { type: "digest", at, time: lease.fold.clock, digests: lease.fold.digests() };
      default:
        return unreachable(question);
    }
  }

  #context(store: PastStore): Context {
    return { now: store.time, random: this.#options.random(), cause: { command: "kv.get" } };
  }
}
