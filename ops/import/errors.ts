/** Why an import stopped. Each names what and where, so that it can be put right and the import run again. */

export type ImportErrorCode =
  /** A line is not what it should be; `context.line` says which. */
  | "IMPORT_LINE_INVALID"
  /** The file cannot be read, or ends early. */
  | "IMPORT_FILE_UNREADABLE"
  /** The lines that an earlier run stored are not the first lines of this file. */
  | "IMPORT_FILE_CHANGED"
  /** The server refused a line. */
  | "IMPORT_REFUSED"
  /** The server did not answer within the time given. */
  | "IMPORT_SERVER_UNAVAILABLE"
  /** Something else than an Annals server answered. */
  | "IMPORT_ANSWER_UNKNOWN";

export type ImportErrorContext = Readonly<Record<string, string | number | undefined>>;

export class ImportError extends Error {
  readonly code: ImportErrorCode;
  readonly context: ImportErrorContext;

  constructor(code: ImportErrorCode, message: string, context: ImportErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ImportError";
    this.code = code;
    this.context = context;
  }
}
