/**
 * A finding: one thing that is wrong with a log, said in the same words by recovery (which refuses to start), by the
 * checker, and by readers. Not the decision whether something is wrong; that is `torn-or-corrupt.ts` and the scans.
 */
import { LogError } from "./errors.js";

export type FindingCode =
  /** A segment's header is damaged, or not this segment's. */
  | "header"
  /** A segment was written by a release with another format. */
  | "version"
  /** A record is damaged. */
  | "record"
  /** Records that were durable are not there. */
  | "missing"
  /** A sealed segment has bytes after its last record. */
  | "trailing"
  /** A segment does not continue the one before. */
  | "chain"
  /** Epoch, node, lineage or cluster of a segment contradict another one or the identity file. */
  | "lineage"
  /** The log does not agree with the recovery point. */
  | "recovery-point"
  /** An index file says something else than its segment. Costs nothing: it is rebuilt. */
  | "index"
  /** Bytes after the end that are no record: an unfinished write that the next start will cut. */
  | "torn"
  /** A file that the log does not know. */
  | "unknown-file";

export interface Finding {
  readonly code: FindingCode;
  /** Path below the data directory. */
  readonly file: string;
  readonly position?: number;
  readonly offset?: number;
  readonly expected: string;
  readonly found: string;
  readonly advice: string;
}

export const ADVICE_DAMAGED =
  "restore the file from a backup or a replica; `annals repair` shows what would be lost without one";
export const ADVICE_MIXED =
  "these files are not of one data directory: put back the ones that belong together; `annals repair` starts from what is here";
export const ADVICE_UPGRADE = "start the release that wrote it, or a newer one";

/** The error that a start or a read fails with because of `finding`. */
export function corruption(finding: Finding): LogError {
  const place = [
    finding.file,
    finding.position === undefined ? "" : ` at position ${finding.position}`,
    finding.offset === undefined ? "" : ` (offset ${finding.offset})`,
  ].join("");
  const code = finding.code === "version" ? "LOG_VERSION_UNKNOWN" : "LOG_CORRUPT";
  const { code: found, ...context } = finding;
  return new LogError(
    code,
    `${place}: expected ${finding.expected}, found ${finding.found}; ${finding.advice}`,
    { ...context, finding: found },
  );
}
