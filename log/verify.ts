/**
 * The checker of a log, shared by tests, tools and operators: every byte of every segment, the chain across them, the
 * index files against what a rebuild says, the recovery point, the identity, and which files do not belong. Reads only;
 * takes no lock, so that it can look at a log that is being written.
 */
import type { Finding, FindingCode } from "./corruption.js";
import {
  DIVERGED_DIRECTORY,
  FOLLOWING_FILE,
  FORMAT_FILE,
  IDENTITY_FILE,
  INCOMING_DIRECTORY,
  indexName,
  isLeftover,
  isRepairDirectory,
  LEADERSHIP_FILE,
  LOCK_FILE,
  LOG_DIRECTORY,
  parseIndexName,
  parseSegmentName,
  QUARANTINE_DIRECTORY,
  RECOVERY_POINT_FILE,
  SNAPSHOT_DIRECTORY,
  TEMPORARY_SUFFIX,
  TORN_DIRECTORY,
} from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import { type InspectOptions, inspectLog, type LogInspection, type SegmentInspection } from "./inspection.js";
import { readIndexBytes } from "./offset-index.js";
import { shownPath } from "./segment-chain.js";
import { offset as asOffset, BEFORE_FIRST, type Offset } from "./units.js";

export interface VerifyReport {
  readonly segments: number;
  readonly records: number;
  /** Of the oldest segment; one more than `endOffset` when it holds no record yet. */
  readonly firstOffset: Offset;
  /** Last whole record before the end or the first damage of the newest segment. */
  readonly endOffset: Offset;
  /** Bytes of segments that were looked at. */
  readonly bytes: number;
  /** Damage. Empty: the log is clean. */
  readonly problems: readonly Finding[];
  /** What is worth knowing, but harms nothing: files that do not belong, indexes to be rebuilt, an unfinished end. */
  readonly notes: readonly Finding[];
  /** The unfinished write at the end, which the next start will keep aside and cut. */
  readonly torn?: { readonly file: string; readonly position: number; readonly bytes: number };
}

export type VerifyOptions = InspectOptions;

/** @throws what the file system throws; damage is in the report. */
export async function verifyDirectory(
  files: FileSystem,
  dataDirectory: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const inspection = await inspectLog(files, dataDirectory, options);
  const notes = [
    ...(await noteIndexes(files, `${dataDirectory}/${LOG_DIRECTORY}`, inspection)),
    ...(await noteForeignFiles(files, dataDirectory, inspection, options.live === true)),
  ];
  const report = summarise(inspection, notes);
  const tail = inspection.segments[inspection.segments.length - 1];
  if (tail?.scan === undefined || tail.tornBytes === 0) return report;
  const torn = { file: shownPath(tail.name), position: tail.scan.next.position, bytes: tail.tornBytes };
  return { ...report, torn, notes: [tornNote(torn), ...notes] };
}

/** Everything wrong in an inspection, in the order of the log. */
export function problemsOf(inspection: LogInspection): Finding[] {
  const ofSegments = inspection.segments.flatMap(({ misplaced, damaged }) => [misplaced, damaged]);
  return [...inspection.findings, ...ofSegments].filter((finding) => finding !== undefined);
}

function summarise(inspection: LogInspection, notes: readonly Finding[]): VerifyReport {
  const scanned = inspection.segments.filter(({ scan }) => scan !== undefined);
  const last = scanned[scanned.length - 1]?.scan;
  const sum = (of: (segment: SegmentInspection) => number): number =>
    inspection.segments.reduce((total, segment) => total + of(segment), 0);
  return {
    segments: inspection.segments.length,
    records: sum(({ records }) => records),
    firstOffset: scanned[0]?.segment?.base ?? asOffset(1),
    endOffset: last === undefined ? BEFORE_FIRST : asOffset(last.next.offset - 1),
    bytes: sum(({ segment }) => segment?.bytes ?? 0),
    problems: problemsOf(inspection),
    notes,
  };
}

/** Index files that a reader would not use, or that say something else than their segment. */
async function noteIndexes(
  files: FileSystem,
  logDirectory: string,
  inspection: LogInspection,
): Promise<Finding[]> {
  const notes: Finding[] = [];
  for (const { segment, scan, damaged } of inspection.segments.slice(0, -1)) {
    if (segment === undefined || scan === undefined || damaged !== undefined) continue;
    const found = await readIndexBytes(files, logDirectory, segment.header);
    if (found === undefined || Buffer.compare(found, scan.index.encode(scan.next)) === 0) continue;
    const file = shownPath(indexName(segment.base));
    notes.push(
      note(
        "index",
        file,
        "the index that a rebuild gives",
        "another one",
        "it can be removed: a lost index is built again",
      ),
    );
  }
  return notes;
}

const KNOWN: ReadonlySet<string> = new Set([
  LOCK_FILE,
  IDENTITY_FILE,
  FORMAT_FILE,
  RECOVERY_POINT_FILE,
  FOLLOWING_FILE,
  LEADERSHIP_FILE,
  DIVERGED_DIRECTORY,
  INCOMING_DIRECTORY,
  LOG_DIRECTORY,
  TORN_DIRECTORY,
  SNAPSHOT_DIRECTORY,
  QUARANTINE_DIRECTORY,
]);

async function noteForeignFiles(
  files: FileSystem,
  dataDirectory: string,
  inspection: LogInspection,
  live: boolean,
): Promise<Finding[]> {
  const sealed = new Set(inspection.segments.slice(0, -1).map(({ name }) => parseSegmentName(name)));
  const notes: Finding[] = [];
  for (const name of await listIfThere(files, dataDirectory)) {
    const isTemporary = name.endsWith(TEMPORARY_SUFFIX) && KNOWN.has(name.slice(0, -TEMPORARY_SUFFIX.length));
    if (KNOWN.has(name) || isRepairDirectory(name) || (isTemporary && live)) continue;
    notes.push(isTemporary ? leftover(name) : unknown(name));
  }
  for (const name of await listIfThere(files, `${dataDirectory}/${LOG_DIRECTORY}`)) {
    const indexed = parseIndexName(name);
    const isIndex = indexed !== undefined && (live || sealed.has(indexed));
    if (parseSegmentName(name) !== undefined || isIndex) continue;
    if (!isLeftover(name) && indexed === undefined) notes.push(unknown(shownPath(name)));
    else if (!live) notes.push(leftover(shownPath(name)));
  }
  for (const name of await listIfThere(files, `${dataDirectory}/${TORN_DIRECTORY}`))
    notes.push(
      note(
        "torn",
        `${TORN_DIRECTORY}/${name}`,
        "nothing",
        "bytes of an unfinished write that a start has cut",
        "remove it when nobody wants to look at it",
      ),
    );
  return notes;
}

async function listIfThere(files: FileSystem, directory: string): Promise<string[]> {
  return (await files.exists(directory)) ? files.list(directory) : [];
}

const leftover = (file: string): Finding =>
  note("unknown-file", file, "no half-made file", "one that a crash left", "the next start removes it");

const unknown = (file: string): Finding =>
  note("unknown-file", file, "files of the log", "a file that the log does not know", "move it elsewhere");

function tornNote(torn: { file: string; position: number; bytes: number }): Finding {
  return {
    ...note(
      "torn",
      torn.file,
      "the end of the log",
      `${torn.bytes} bytes of an unfinished write`,
      "the next start keeps them aside and cuts them",
    ),
    position: torn.position,
  };
}

function note(code: FindingCode, file: string, expected: string, found: string, advice: string): Finding {
  return { code, file, expected, found, advice };
}
