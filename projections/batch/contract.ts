/** What must hold for an atomic batch, and how one is refused. */
import { type Offset, RECORD_BODY_BYTES_MAX } from "../../log/index.js";

/** What must hold when the batch is decided, before its first operation. */
export type Precondition =
  /** The key's last change; 0 = the key is not there. */
  | { readonly type: "revision"; readonly key: string; readonly revision: number }
  /** The key has the revision still (0 = it is not there), and had no other after the offset `since`. */
  | {
      readonly type: "unchanged";
      readonly key: string;
      readonly revision: number;
      readonly since: Offset;
    }
  /** The delivery that the receipt names is open. */
  | { readonly type: "receipt"; readonly queue: string; readonly messageId: string; readonly receipt: string }
  /** Messages that the stream has taken so far: the offset of its next one; 0 when it is not there. */
  | { readonly type: "length"; readonly stream: string; readonly length: number };

export type BatchRejectionCode =
  | "BATCH_PRECONDITION_FAILED"
  | "BATCH_TRANSACTION_NOT_FOUND"
  | "BATCH_VALUES_TOO_LARGE";

/** What the values that a batch writes and shows may take together: what any record may. A few words can ask for very much of either. */
export const BATCH_VALUES_BYTES_MAX = RECORD_BODY_BYTES_MAX;

export type Unchanged = Extract<Precondition, { readonly type: "unchanged" }>;

export interface UnchangedQuery {
  readonly keys: readonly string[];
}
