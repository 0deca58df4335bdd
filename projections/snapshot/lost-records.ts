/**
 * A snapshot is made of durable records only. One of this very log that reaches beyond its end is therefore evidence: the log
 * had these records, and has lost them – to a file that was put back from an older copy, or a disk that lied. What is left of it
 * looks whole, so nothing else tells. A snapshot of a future that a restore left behind is none: the lineage there is another one.
 */
import { errnoOf, type LogReader } from "../../log/index.js";
import type { SnapshotDirectory, SnapshotFacts } from "./contract.js";
import { SnapshotError } from "./errors.js";
import { inspectSnapshot, snapshotNames } from "./read.js";

/** Whether the snapshot ends with a record that this log, which ends at `endOffset`, must have had in its newest epoch. */
export function tellsOfLost({ epochs, endOffset }: LogReader, facts: SnapshotFacts): boolean {
  const newest = epochs[epochs.length - 1];
  return facts.offset > endOffset && facts.lineageId === newest?.lineageId;
}

/** The newest snapshot that tells of records which the log has lost. One that is damaged tells nothing. */
export async function findLost(
  log: LogReader,
  { files, directory }: SnapshotDirectory,
): Promise<SnapshotError | undefined> {
  const beyond = (await snapshotNames(files, directory)).filter(({ offset }) => offset > log.endOffset);
  for (const { name } of beyond.reverse()) {
    const facts = await inspected(files, `${directory}/${name}`);
    if (facts !== undefined && tellsOfLost(log, facts)) return lost(log, facts);
  }
  return undefined;
}

async function inspected(
  files: SnapshotDirectory["files"],
  path: string,
): Promise<SnapshotFacts | undefined> {
  try {
    return await inspectSnapshot(files, path);
  } catch (error) {
    if (error instanceof SnapshotError || errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

function lost({ endOffset }: LogReader, { name, offset }: SnapshotFacts): SnapshotError {
  return new SnapshotError(
    "SNAPSHOT_BEYOND_LOG",
    `the log ends at offset ${endOffset}, but ${name} was made of this very log up to offset ${offset}: the records ${endOffset + 1} to ${offset} were durable and are lost`,
    { file: name, offset, endOffset, expected: `offset ${offset} or later`, found: `offset ${endOffset}` },
  );
}
