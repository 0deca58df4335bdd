/**
 * Keeps what a damaged segment looked like before it is replaced or cut: a second name of the file, and beside it what was wrong. For
 * people only; nothing reads it back. Bounded: the newest are kept, so that a disk that goes bad again and again does not fill itself.
 */
import type { Finding } from "./corruption.js";
import {
  LOG_DIRECTORY,
  parseQuarantinedName,
  QUARANTINE_DIRECTORY,
  quarantinedName,
  quarantineNoteName,
  segmentName,
} from "./file-names.js";
import { type FileSystem, replaceFile } from "./file-system.js";
import type { Offset } from "./units.js";

/** Of these, together no more than so many bytes; the newest stays whatever its size. */
const QUARANTINED_MAX = 16;
const QUARANTINED_BYTES_MAX = 1024 * 1024 * 1024;

export interface QuarantinedSegment {
  /** Below the data directory. */
  readonly file: string;
  /** The segment's base offset. */
  readonly base: Offset;
  /** Ms since 1970. */
  readonly keptAt: number;
  readonly bytes: number;
}

/**
 * Gives the segment file a second name under `quarantine/`, durably, with a note of what was found. Undefined when there is no such file.
 * The caller puts another file into its place, by a rename; who changes it in place takes a copy first (`ownFile`).
 */
export async function quarantineSegment(
  files: FileSystem,
  dataDirectory: string,
  base: Offset,
  finding: Finding,
  now: number,
): Promise<QuarantinedSegment | undefined> {
  const path = `${dataDirectory}/${LOG_DIRECTORY}/${segmentName(base)}`;
  const status = await files.stat(path);
  if (status === undefined) return undefined;
  const directory = `${dataDirectory}/${QUARANTINE_DIRECTORY}`;
  await files.makeDirectory(directory);
  let keptAt = Math.floor(now);
  while (await files.exists(`${directory}/${quarantinedName(base, keptAt)}`)) keptAt += 1;
  const name = quarantinedName(base, keptAt);
  const { bytes } = status;
  const note = { segment: `${LOG_DIRECTORY}/${segmentName(base)}`, keptAt, bytes, finding };
  // The note first: a file without a word would say nothing.
  await replaceFile(
    files,
    directory,
    quarantineNoteName(name),
    Buffer.from(`${JSON.stringify(note, null, 2)}\n`),
  );
  const kept = `${directory}/${name}`;
  // A directory in its place has no second name, and no file can be put over it.
  if (status.type === "directory") await files.rename(path, kept);
  else await files.link(path, kept);
  await files.syncDirectory(directory);
  return { file: `${QUARANTINE_DIRECTORY}/${name}`, base, keptAt, bytes };
}

/** What is kept, newest first. */
export async function listQuarantined(
  files: FileSystem,
  dataDirectory: string,
): Promise<QuarantinedSegment[]> {
  const directory = `${dataDirectory}/${QUARANTINE_DIRECTORY}`;
  if (!(await files.exists(directory))) return [];
  const kept: QuarantinedSegment[] = [];
  for (const name of await files.list(directory)) {
    const parsed = parseQuarantinedName(name);
    const status = parsed === undefined ? undefined : await files.stat(`${directory}/${name}`);
    // A directory that stood in the place of a segment is nobody's to remove.
    if (parsed === undefined || status?.type !== "file") continue;
    kept.push({ file: `${QUARANTINE_DIRECTORY}/${name}`, ...parsed, bytes: status.bytes });
  }
  return kept.sort((a, b) => b.keptAt - a.keptAt || b.base - a.base);
}

/** Lets the oldest go that are too many, and notes whose segment is not there. */
export async function pruneQuarantine(files: FileSystem, dataDirectory: string): Promise<void> {
  const directory = `${dataDirectory}/${QUARANTINE_DIRECTORY}`;
  const notes = new Set<string>();
  let bytes = 0;
  let removed = 0;
  for (const [i, kept] of (await listQuarantined(files, dataDirectory)).entries()) {
    const name = kept.file.slice(QUARANTINE_DIRECTORY.length + 1);
    bytes += kept.bytes;
    if (i === 0 || (i < QUARANTINED_MAX && bytes <= QUARANTINED_BYTES_MAX)) {
      notes.add(quarantineNoteName(name));
      continue;
    }
    await files.remove(`${directory}/${name}`);
    removed += 1;
  }
  for (const name of removed === 0 && notes.size === 0 ? [] : await files.list(directory)) {
    if (!name.endsWith(".json") || notes.has(name)) continue;
    await files.remove(`${directory}/${name}`);
    removed += 1;
  }
  if (removed > 0) await files.syncDirectory(directory);
}
