/** The types of atomic batches: several operations decided one after the other and appended as one record. */
import type { Context, Decision, StoreRules, StoreView } from "../decision.js";

/** One operation with its command, ready to be decided. Pure, as every decider is. */
export interface BatchStep<Answer> {
  decide(state: StoreView, context: Context, rules: StoreRules): Decision<Answer>;
}

/** What must hold when the batch is decided, before its first operation. */
export type Precondition =
  /** The key's last change; 0 = the key is not there. */
  | { readonly type: "revision"; readonly key: string; readonly revision: number }
  /** The delivery that the receipt names is open. */
  | { readonly type: "receipt"; readonly queue: string; readonly messageId: string; readonly receipt: string }
  /** Messages that the stream has taken so far: the offset of its next one; 0 when it is not there. */
  | { readonly type: "length"; readonly stream: string; readonly length: number };

export interface BatchCommand<Answer> {
  readonly preconditions: readonly Precondition[];
  /** In order; `name` is the operation's, for the refusal that names it. */
  readonly steps: readonly { readonly name: string; readonly step: BatchStep<Answer> }[];
}

export type BatchRejectionCode = "BATCH_PRECONDITION_FAILED" | "BATCH_TRANSACTION_NOT_FOUND";

export interface RevisionsQuery {
  readonly keys: readonly string[];
}
