/**
 * The work of archiving as a thread is asked for it, and what it tells. The thread reads, checks, hashes and sends; the one
 * that serves only says how far the log is durable.
 */

import type { ArchiveReport, UploadKind } from "./archive-writer.js";
import { BackupError, type BackupErrorCode } from "./errors.js";

export interface ArchiveSettings {
  readonly url: string;
  /** Absolute. */
  readonly dataDirectory: string;
  readonly keepDays: number;
  readonly keepSnapshots: number;
  /** Of the thread, on Linux. */
  readonly niceness: number;
}

export type ToArchiver =
  /** Bring the archive up to this offset, and rest no longer than so many ms on the way. */
  | { readonly type: "bringUpTo"; readonly id: number; readonly last: number; readonly restMsMax: number }
  /** Rest no more with what was asked so far. */
  | { readonly type: "hurry" }
  /** What was asked with `lock` or `unlock` is done, or failed. */
  | { readonly type: "lockDone"; readonly id: number; readonly failure: Failure | undefined };

export type FromArchiver =
  | { readonly type: "done"; readonly id: number; readonly report: ArchiveReport | undefined }
  | { readonly type: "failed"; readonly id: number; readonly failure: Failure }
  /** On the way. */
  | { readonly type: "uploaded"; readonly kind: UploadKind; readonly bytes: number }
  | { readonly type: "warning"; readonly warning: string }
  | {
      readonly type: "lock";
      readonly id: number;
      readonly holder: string;
      readonly owner: string | undefined;
    }
  | { readonly type: "unlock"; readonly id: number };

export interface Failure {
  readonly code: string | undefined;
  readonly message: string;
  readonly stack: string | undefined;
}

/** As the thread that asked sees it. */
export class ArchiveFailure extends Error {
  readonly code: string | undefined;

  constructor({ code, message, stack }: Failure) {
    super(message);
    this.name = "ArchiveFailure";
    this.code = code;
    if (stack !== undefined) this.stack = stack;
  }
}

export function failureOf(error: unknown): Failure {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { code: codeOf(error), message, stack };
}

export function codeOf(error: unknown): BackupErrorCode | string | undefined {
  if (error instanceof BackupError) return error.code;
  const found: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof found === "string" ? found : undefined;
}
