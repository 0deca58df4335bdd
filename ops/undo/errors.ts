/** Why undoing stopped. What was written until then is whole pages; the same command goes on. */

export type UndoErrorCode =
  /** The server refused; `refusal` is its code. */
  | "UNDO_REFUSED"
  /** Something else than an Annals server answered. */
  | "UNDO_ANSWER_UNKNOWN"
  /** The server lets go of the past state again and again. */
  | "UNDO_UNSTEADY";

export class UndoError extends Error {
  readonly code: UndoErrorCode;
  readonly refusal: string | undefined;

  constructor(code: UndoErrorCode, message: string, refusal?: string) {
    super(message);
    this.name = "UndoError";
    this.code = code;
    this.refusal = refusal;
  }
}
