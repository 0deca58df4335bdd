/**
 * The decision at the end of the tail segment: is it a clean end, an unfinished (torn) write that may be cut, or is
 * something gone that was durable? Pure; the evidence is gathered by `tail-evidence.ts`, the numbered list that this follows stands in
 * `log/README.md`. What cannot be told apart is decided for keeping: only what nothing proves durable is ever cut.
 *
 * Sealed segments do not come here: in them, everything but whole records up to the exact end is corruption.
 */
import { ADVICE_DAMAGED, ADVICE_MIXED, type Finding, lostBytes } from "./corruption.js";
import { LOG_DIRECTORY, RECOVERY_POINT_FILE } from "./file-names.js";
import type { SegmentHeader } from "./format.js";
import type { RecoveryPoint } from "./recovery-point.js";
import type { LaterRecords } from "./resync.js";
import type { BadRecord, ReadPoint } from "./segment-reader.js";
import { findingOfBad, hex } from "./segment-scan.js";
import type { Identity } from "./settings.js";
import type { Offset } from "./units.js";

export interface TailEvidence {
  /** The tail segment's path below the data directory. */
  readonly file: string;
  /** Where the good records end: X is the record that would come next. */
  readonly next: ReadPoint;
  /** Why there is no good record at `next`, or undefined when the file ends there. */
  readonly bad: BadRecord | undefined;
  /** From `next` to the end of the file there are only zeros (or nothing). */
  readonly onlyZeros: boolean;
  readonly later: LaterRecords;
  /** Behind `next`, where the disk gives nothing back. */
  readonly lostAt?: number;
  readonly recoveryPoint: RecoveryPoint | undefined;
  /** `unsynced` speaks of this node's disk: it wrote the tail itself. */
  readonly isOwnWriter: boolean;
}

export type TailVerdict =
  | { readonly type: "clean" }
  | { readonly type: "torn" }
  | { readonly type: "corrupt"; readonly finding: Finding };

/** Whether `unsynced` in a segment speaks of this node's disk as it is now: this node wrote it, and did not get it back from another. */
export function isOwnWriter(
  header: SegmentHeader,
  identity: Identity | undefined,
  isFollowing: boolean,
): boolean {
  return !isFollowing && (identity === undefined || identity.nodeId === header.nodeId);
}

export function judgeTail(evidence: TailEvidence): TailVerdict {
  const { next, onlyZeros, later, recoveryPoint: point, isOwnWriter } = evidence;
  const x = next.offset;

  // 1. What cannot be read may be anything, and so something that was durable.
  if (evidence.bad?.reason === "unreadable")
    return { type: "corrupt", finding: findingOfBad(evidence.file, evidence.bad) };
  if (evidence.lostAt !== undefined)
    return { type: "corrupt", finding: lostBytes(evidence.file, evidence.lostAt, x) };

  // 2. After a clean stop the log ends exactly where it was closed.
  if (point?.clean === true) {
    if (x <= point.durable) return corrupt(evidence, `the log was closed cleanly at offset ${point.durable}`);
    if (x > point.durable + 1) return { type: "corrupt", finding: beyondCleanEnd(evidence, point) };
    return onlyZeros
      ? { type: "clean" }
      : corrupt(evidence, `the log was closed cleanly at offset ${point.durable}`);
  }

  // 3. At or below an offset known durable: by the recovery point, or by what a later valid record says of the disk.
  if (point !== undefined && x <= point.durable)
    return corrupt(
      evidence,
      `the recovery point says that everything up to offset ${point.durable} was durable`,
    );
  if (isOwnWriter && x <= later.proven)
    return corrupt(
      evidence,
      `records up to offset ${later.last} follow it and prove that everything up to offset ${later.proven} was durable`,
    );

  // 4. Zeros written ahead, or nothing.
  if (onlyZeros) return { type: "clean" };

  // 5. An unfinished write.
  return { type: "torn" };
}

function corrupt(evidence: TailEvidence, why: string): TailVerdict {
  const { file, next, bad, onlyZeros } = evidence;
  if (bad === undefined || onlyZeros) {
    const finding: Finding = {
      code: "missing",
      file,
      position: next.position,
      offset: next.offset,
      expected: `a record: ${why}`,
      found: bad === undefined ? "the end of the file" : "zeros to the end of the file",
      advice: ADVICE_DAMAGED,
    };
    return { type: "corrupt", finding };
  }
  const finding = findingOfBad(file, bad);
  return { type: "corrupt", finding: { ...finding, found: `${finding.found}; ${why}` } };
}

function beyondCleanEnd(evidence: TailEvidence, point: RecoveryPoint): Finding {
  return {
    code: "recovery-point",
    file: RECOVERY_POINT_FILE,
    offset: point.durable,
    expected: `a log that ends at offset ${point.durable}, where it was closed cleanly`,
    found: `records up to offset ${evidence.next.offset - 1} in ${evidence.file}`,
    advice: ADVICE_MIXED,
  };
}

/** Why the last segment cannot be the log's last: the recovery point knows a later one. Undefined when it can. */
export function lostTailFinding(
  tail: { readonly base: Offset; readonly name: string } | undefined,
  point: RecoveryPoint | undefined,
): Finding | undefined {
  if (point === undefined || (tail !== undefined && tail.base >= point.tail)) return undefined;
  return {
    code: "missing",
    file: LOG_DIRECTORY,
    offset: point.tail,
    expected: `the segment that begins at offset ${point.tail}, as the recovery point says`,
    found: tail === undefined ? "no segment" : `${tail.name} as the last segment`,
    advice: ADVICE_DAMAGED,
  };
}

/** The record at the recovery point's offset must be the one whose crc it noted. `crc` is undefined if it was retired. */
export function fingerprintFinding(point: RecoveryPoint, crc: number | undefined): Finding | undefined {
  if (crc === undefined || crc === point.crc) return undefined;
  return {
    code: "recovery-point",
    file: RECOVERY_POINT_FILE,
    offset: point.durable,
    expected: `crc ${hex(point.crc)} at offset ${point.durable}`,
    found: `crc ${hex(crc)}`,
    advice: ADVICE_MIXED,
  };
}
