/**
 * Keeps records that are about to be cut off, because the log that this one follows has others in their place: as a data directory of
 * their own, which every reader of logs can read.
 */

import { assert, LogError } from "./errors.js";
import type { EventLog, LogPosition } from "./event-log.js";
import {
  DIVERGED_DIRECTORY,
  divergedName,
  IDENTITY_FILE,
  LOG_DIRECTORY,
  parseDivergedName,
  segmentName,
} from "./file-names.js";
import { createFile, type FileSystem, readWholeFile, replaceFile } from "./file-system.js";
import { openLogView } from "./log-view.js";
import { resumePoints, segmentBytes } from "./segment-extent.js";
import { offset as asOffset, type Offset } from "./units.js";

/** What is being kept has this name until it is whole. */
const UNFINISHED = "unfinished";
const SMALL_FILE_BYTES_MAX = 4096;

export interface KeptRecords {
  /** Below the data directory. */
  readonly directory: string;
  /** Ms since 1970: when they were kept. */
  readonly keptAt: number;
  readonly first: Offset;
  readonly last: Offset;
  readonly records: number;
  /** Of the segment files. */
  readonly bytes: number;
}

/**
 * Keeps the records after `last` under `diverged/<now>-<first>-<last>-<lineage, 8 digits>/`, durably, then cuts the log after `last`. Ended
 * anywhere, it may be called again: what is kept already is not kept twice. Undefined when there is nothing after `last`.
 * @throws LogError as `truncate`.
 */
export async function keepDiverged(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  last: Offset,
  now: number,
): Promise<KeptRecords | undefined> {
  const end = log.endOffset;
  if (end <= last) return undefined;
  await log.whenCommitted(end);
  // Refuses before anything is kept that will not be cut.
  log.segmentStart(last);
  const kept =
    (await keptBefore(files, dataDirectory, asOffset(last + 1), await log.positionAt(end))) ??
    (await keep(files, dataDirectory, log, last, Math.floor(now)));
  await log.truncate(last);
  return kept;
}

/** Whether a directory is called as those are in which records were kept: no log goes on from them, so they have no snapshots. */
export const isDiverged = (directory: string): boolean =>
  parseDivergedName(directory.replace(/\/+$/, "").split("/").at(-1) ?? "") !== undefined;

/** What was kept of diverged ends and replaced logs, oldest first. */
export async function listDiverged(files: FileSystem, dataDirectory: string): Promise<KeptRecords[]> {
  const directory = `${dataDirectory}/${DIVERGED_DIRECTORY}`;
  if (!(await files.exists(directory))) return [];
  const kept: KeptRecords[] = [];
  for (const name of await files.list(directory)) {
    const parsed = parseDivergedName(name);
    if (parsed === undefined) continue;
    const { keptAt, first, last } = parsed;
    kept.push({
      directory: `${DIVERGED_DIRECTORY}/${name}`,
      keptAt,
      first,
      last,
      records: last - first + 1,
      bytes: await bytesOf(files, `${directory}/${name}/${LOG_DIRECTORY}`),
    });
  }
  return kept.sort((a, b) => a.keptAt - b.keptAt);
}

/** A directory below `diverged/` that gets its name when it is whole. Whatever an earlier one left is gone. */
export class DivergedDirectory {
  readonly #files: FileSystem;
  readonly #dataDirectory: string;
  readonly path: string;
  readonly logPath: string;

  private constructor(files: FileSystem, dataDirectory: string) {
    this.#files = files;
    this.#dataDirectory = dataDirectory;
    this.path = `${dataDirectory}/${DIVERGED_DIRECTORY}/${UNFINISHED}`;
    this.logPath = `${this.path}/${LOG_DIRECTORY}`;
  }

  static async begin(files: FileSystem, dataDirectory: string): Promise<DivergedDirectory> {
    const directory = new DivergedDirectory(files, dataDirectory);
    await files.makeDirectory(directory.logPath);
    await directory.#clear();
    return directory;
  }

  /** Removes what lies in one that was never finished; the empty directories stay. */
  static async clearUnfinished(files: FileSystem, dataDirectory: string): Promise<void> {
    const directory = new DivergedDirectory(files, dataDirectory);
    if (await files.exists(directory.logPath)) await directory.#clear();
  }

  async #clear(): Promise<void> {
    for (const path of [this.logPath, this.path])
      for (const name of await this.#files.list(path))
        if (name !== LOG_DIRECTORY) await this.#files.remove(`${path}/${name}`);
  }

  /** A small file of the data directory, as it is; none if there is none. */
  async copySmallFile(name: string): Promise<void> {
    const path = `${this.#dataDirectory}/${name}`;
    if (!(await this.#files.exists(path))) return;
    await replaceFile(
      this.#files,
      this.path,
      name,
      await readWholeFile(this.#files, path, SMALL_FILE_BYTES_MAX),
    );
  }

  /** Durable under its name, with everything in it, whose content is. */
  async finish(first: Offset, last: Offset, lineageId: string, keptAt: number): Promise<KeptRecords> {
    const parent = `${this.#dataDirectory}/${DIVERGED_DIRECTORY}`;
    await this.#files.syncDirectory(this.logPath);
    await this.#files.syncDirectory(this.path);
    const bytes = await bytesOf(this.#files, this.logPath);
    let name = divergedName(keptAt, first, last, lineageId);
    for (let ms = keptAt + 1; await this.#files.exists(`${parent}/${name}`); ms++)
      name = divergedName(ms, first, last, lineageId);
    await this.#files.rename(this.path, `${parent}/${name}`);
    await this.#files.syncDirectory(parent);
    const directory = `${DIVERGED_DIRECTORY}/${name}`;
    return { directory, keptAt, first, last, records: last - first + 1, bytes };
  }
}

async function keep(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  last: Offset,
  now: number,
): Promise<KeptRecords> {
  const end = log.endOffset;
  const position = await log.positionAt(end);
  const view = await openLogView(files, dataDirectory, { last: end });
  const staged = await DivergedDirectory.begin(files, dataDirectory);
  for (const extent of view.extents.filter(({ lastOffset }) => lastOffset > last)) {
    const cut = extent.firstOffset <= last;
    const from = cut ? (await resumePoints(files, dataDirectory, extent, [last])).get(last) : undefined;
    assert(!cut || from !== undefined, "the extent holds the record");
    const name = segmentName(from?.offset ?? extent.firstOffset);
    await createFile(files, `${staged.logPath}/${name}`, segmentBytes(files, dataDirectory, extent, from));
  }
  await staged.copySmallFile(IDENTITY_FILE);
  // Nothing is cut before what was kept reads as the end of this very log.
  const copy = await openLogView(files, staged.path);
  assert(await copy.agrees(position), "what was kept is the end of the log");
  return await staged.finish(asOffset(last + 1), end, position.lineageId, now);
}

/** The same records, kept when a cut was begun that did not come to its end. */
async function keptBefore(
  files: FileSystem,
  dataDirectory: string,
  first: Offset,
  position: LogPosition,
): Promise<KeptRecords | undefined> {
  for (const kept of await listDiverged(files, dataDirectory)) {
    if (kept.first !== first || kept.last !== position.offset) continue;
    if (await holds(files, `${dataDirectory}/${kept.directory}`, position)) return kept;
  }
  return undefined;
}

/** A damaged one does not. */
async function holds(files: FileSystem, directory: string, position: LogPosition): Promise<boolean> {
  try {
    return await (await openLogView(files, directory)).agrees(position);
  } catch (error) {
    if (error instanceof LogError) return false;
    throw error;
  }
}

async function bytesOf(files: FileSystem, directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await files.list(directory))
    bytes += (await files.stat(`${directory}/${name}`))?.bytes ?? 0;
  return bytes;
}
