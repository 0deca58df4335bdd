/**
 * What `annals verify` and `annals repair` say of the snapshots of a data directory: every byte of each, whether it is of this log, and whether a start
 * could do without the records that the log no longer has. Said in the words of the log's findings, so that one report has them all.
 */
import {
  errnoOf,
  type FileSystem,
  type Finding,
  isDiverged,
  type LogView,
  openLogView,
  parseSnapshotName,
  SNAPSHOT_DIRECTORY,
  TEMPORARY_SUFFIX,
} from "../../log/index.js";
import { listSnapshots, type SnapshotFacts, tellsOfLost, verifySnapshot } from "../../projections/index.js";

export type SnapshotFinding = Omit<Finding, "code"> & { readonly code: "snapshot" | "unknown-file" };

export interface SnapshotsReport {
  readonly snapshots: readonly SnapshotFacts[];
  readonly bytes: number;
  readonly problems: readonly SnapshotFinding[];
  readonly notes: readonly SnapshotFinding[];
}

/** `isLogWhole`: false when the log cannot be asked, since it is damaged itself. */
export async function verifySnapshots(
  files: FileSystem,
  dataDirectory: string,
  isLogWhole: boolean,
): Promise<SnapshotsReport> {
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  const problems: SnapshotFinding[] = [];
  const notes: SnapshotFinding[] = [];
  const whole: SnapshotFacts[] = [];
  let bytes = 0;
  for (const listed of await listSnapshots(files, directory)) {
    bytes += listed.bytes;
    const { info, problem } = await verifyIfThere(files, `${directory}/${listed.name}`);
    if (info !== undefined) whole.push(info);
    if (problem === undefined) continue;
    const { expected, found, position } = problem.context;
    const finding = findingOf(listed.name, `${expected ?? "a snapshot"}`, `${found ?? problem.message}`, {
      ...(typeof position === "number" ? { position } : {}),
      offset: listed.offset,
      advice: ADVICE[problem.code] ?? problem.message,
    });
    (problem.code === "SNAPSHOT_DAMAGED" ? problems : notes).push(finding);
  }
  // After the list: the log of a live server has every record that a snapshot was made of.
  if (isLogWhole) {
    const log = await openLogView(files, dataDirectory);
    const usable = await compare(log, whole, problems, notes);
    if (log.firstOffset > 1 && usable === 0 && !isDiverged(dataDirectory)) problems.push(missing(log));
  }
  for (const name of await unknownNames(files, directory)) notes.push(unknownFile(name));
  return { snapshots: whole, bytes, problems, notes };
}

const ADVICE: Readonly<Record<string, string>> = {
  SNAPSHOT_DAMAGED: "remove it, or restore it from a backup: a start passes over it",
  SNAPSHOT_VERSION_UNKNOWN: "start the release that wrote it, or a newer one",
};

/** A live server may have removed it since it was listed. */
async function verifyIfThere(files: FileSystem, path: string): ReturnType<typeof verifySnapshot> {
  try {
    return await verifySnapshot(files, path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return {};
    throw error;
  }
}

/** How many a start could begin with. */
async function compare(
  log: LogView,
  whole: readonly SnapshotFacts[],
  problems: SnapshotFinding[],
  notes: SnapshotFinding[],
): Promise<number> {
  let usable = 0;
  for (const facts of whole) {
    const { name, offset, crc } = facts;
    if (await log.agrees(facts)) usable++;
    else if (tellsOfLost(log, facts)) {
      const expected = `the log to end at offset ${offset} or later, of which the snapshot was made`;
      problems.push(
        findingOf(name, expected, `its end at offset ${log.endOffset}`, { offset, advice: LOST }),
      );
    } else if (offset + 1 < log.firstOffset) {
      notes.push(
        findingOf(name, `offset ${log.firstOffset - 1} or later`, `offset ${offset}`, {
          offset,
          advice: TOO_OLD,
        }),
      );
    } else {
      const expected = `the record ${offset} of this log, up to its end at ${log.endOffset}`;
      notes.push(findingOf(name, expected, `one with crc ${crc}`, { offset, advice: FOREIGN }));
    }
  }
  return usable;
}

function missing({ firstOffset }: LogView): SnapshotFinding {
  const needed = `a snapshot of offset ${firstOffset - 1} or later, as the log begins at ${firstOffset}`;
  return findingOf("", needed, "none that can be used", { advice: MISSING });
}

const LOST =
  "records that were durable are lost: restore a backup, or, to go on without them, move the snapshot elsewhere";
const TOO_OLD = "the log behind it was removed: a start cannot use it";
const FOREIGN = "a start passes over it; move it to where it belongs";
const MISSING =
  "without one a start is refused: restore such a snapshot, or the whole directory, from a backup; of a set, start in an empty data_dir as a replica";

async function unknownNames(files: FileSystem, directory: string): Promise<string[]> {
  if (!(await files.exists(directory))) return [];
  return (await files.list(directory)).filter((name) => {
    const isUnfinished = name.endsWith(TEMPORARY_SUFFIX);
    const own = isUnfinished ? name.slice(0, -TEMPORARY_SUFFIX.length) : name;
    // One may be being made right now.
    return parseSnapshotName(own) === undefined;
  });
}

function unknownFile(name: string): SnapshotFinding {
  const finding = findingOf(name, "snapshots", "a file that is none", { advice: "move it elsewhere" });
  return { ...finding, code: "unknown-file" };
}

function findingOf(
  name: string,
  expected: string,
  found: string,
  more: Pick<Finding, "advice"> & Partial<Pick<Finding, "position" | "offset">>,
): SnapshotFinding {
  const file = name === "" ? SNAPSHOT_DIRECTORY : `${SNAPSHOT_DIRECTORY}/${name}`;
  return { code: "snapshot", file, expected, found, ...more };
}
