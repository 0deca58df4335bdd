/** What must hold for an atomic batch, and how one is refused. */

/** What must hold when the batch is decided, before its first operation. */
export type Precondition =
  /** The key's last change; 0 = the key is not there. */
  | { readonly type: "revision"; readonly key: string; readonly revision: number }
  /** The delivery that the receipt names is open. */
  | { readonly type: "receipt"; readonly queue: string; readonly messageId: string; readonly receipt: string }
  /** Messages that the stream has taken so far: the offset of its next one; 0 when it is not there. */
  | { readonly type: "length"; readonly stream: string; readonly length: number };

export type BatchRejectionCode = "BATCH_PRECONDITION_FAILED" | "BATCH_TRANSACTION_NOT_FOUND";

export interface RevisionsQuery {
  readonly keys: readonly string[];
}
