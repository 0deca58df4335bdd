/**
 * A finding: one thing that is wrong with a log, said in the same words by recovery (which refuses to start), by the
 * checker, and by readers. Not the decision whether something is wrong; that is `torn-or-corrupt.ts` and the scans.
 */
import { LogError } from "./errors.js";
import type { Offset } from "./units.js";

export type FindingCode =
  /** A segment's header is damaged, or not this segment's. */
  | "header"
  /** A segment was written by a release with another format. */
  | "version"
  /** A record is damaged. */
  | "record"
  /** The disk does not give bytes of a file back. */
  | "unreadable"
  /** Records that were durable are not there. */
  | "missing"
  /** A segment does not continue the one before. */
  | "chain"
  /** Epoch, node, lineage or cluster of a segment contradict another one or the identity file. */
  | "lineage"
  /** The recovery point is damaged, or the log does not agree with it. */
  | "recovery-point"
  /** The identity file is damaged or lost. */
  | "identity"
  /** An index file says something else than its segment. Costs nothing: it is rebuilt. */
  | "index"
  /** Bytes after the end that are no record: an unfinished write that the next start will cut, or has cut. */
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
/** Whatever is done about the file, the disk will lose more. */
const ADVICE_UNREADABLE =
  "check the disk (dmesg, SMART) and move the directory to a sound one; restore the file from a backup or a replica; `annals repair` shows what would be lost without one";
/** A log cannot say of itself whose it is. */
export const ADVICE_IDENTITY =
  "restore the file, or the whole directory, from a backup; of a set, start in an empty data_dir as a replica; no repair can help";
/** All that is in it, the log tells as well, as long as that is whole. */
export const ADVICE_RECOVERY_POINT =
  "if `annals verify` finds nothing else, `annals repair` with --apply writes the file anew and keeps every record that is there";
export const ADVICE_MIXED =
  "these files are not of one data directory: put back the ones that belong together; `annals repair` starts from what is here";
export const ADVICE_UPGRADE = "start the release that wrote it, or a newer one";

/** What a start or a read fails with: a LogError that carries its finding. */
export class CorruptionError extends LogError {
  readonly finding: Finding;

  constructor(finding: Finding) {
    const { code: found, ...context } = finding;
    super(finding.code === "version" ? "LOG_VERSION_UNKNOWN" : "LOG_CORRUPT", describeFinding(finding), {
      ...context,
      finding: found,
    });
    this.name = "CorruptionError";
    this.finding = finding;
  }
}

export function corruption(finding: Finding): CorruptionError {
  return new CorruptionError(finding);
}

/** That the disk gives nothing back at this position of a file; `first`: the record that lies there. */
export function lostBytes(file: string, position: number, first?: Offset): Finding {
  const place = first === undefined ? { file, position } : { file, position, offset: first };
  const found = "nothing: the disk does not give them back (EIO)";
  return { code: "unreadable", ...place, expected: "the file's bytes", found, advice: ADVICE_UNREADABLE };
}

/** A finding in one line: what, where, expected, found, and what to do. */
export function describeFinding(finding: Omit<Finding, "code">): string {
  const { file, position, offset, expected, found, advice } = finding;
  const place = [
    file,
    position === undefined ? "" : ` at position ${position}`,
    offset === undefined ? "" : ` (offset ${offset})`,
  ].join("");
  return `${place}: expected ${expected}, found ${found}; ${advice}`;
}
