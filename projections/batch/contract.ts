/** The types of atomic batches: several operations decided one after the other and appended as one record. */
import type { Context, Decision, StoreRules, StoreView } from "../decision.js";

/** One operation with its command, ready to be decided. Pure, as every decider is. */
export interface BatchStep<Answer> {
  /** The operation's name, for the refusal that names it. */
  readonly name: string;
  decide(state: StoreView, context: Context, rules: StoreRules): Decision<Answer>;
}

/** What must hold when the batch is decided, before its first operation. */
export type Precondition =
  /** The key's last change; 0 = the key is not there. */
  { readonly type: "revision"; readonly key: string; readonly revision: number };

export interface BatchCommand<Answer> {
  readonly preconditions: readonly Precondition[];
  readonly steps: readonly BatchStep<Answer>[];
}

export type BatchRejectionCode = "BATCH_PRECONDITION_FAILED";

export interface RevisionsQuery {
  readonly keys: readonly string[];
}
