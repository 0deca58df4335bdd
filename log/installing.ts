/**
 * The steps by which an installed log gets into place, from the files alone: `Installation` does them, and whoever opens a directory in
 * which they were begun does them again (`installation.ts` says why that is safe).
 */
import { DivergedDirectory, type KeptRecords } from "./diverged.js";
import { errnoOf, LogError } from "./errors.js";
import {
  FOLLOWING_FILE,
  IDENTITY_FILE,
  INCOMING_DIRECTORY,
  INSTALLING_FILE,
  LOG_DIRECTORY,
  parseSegmentName,
  RECOVERY_POINT_FILE,
  SNAPSHOT_DIRECTORY,
} from "./file-names.js";
import { type FileSystem, readWholeFile, replaceFile } from "./file-system.js";
import { openUnmarkedView } from "./log-view.js";
import { encodeRecoveryPoint, type RecoveryPoint } from "./recovery-point.js";
import { listSegments } from "./segment-chain.js";
import { offset as asOffset, type Offset } from "./units.js";

const SMALL_FILES = [IDENTITY_FILE, RECOVERY_POINT_FILE, FOLLOWING_FILE] as const;
const SMALL_FILE_BYTES_MAX = 4096;

export function isInstalling(files: FileSystem, dataDirectory: string): Promise<boolean> {
  return files.exists(`${dataDirectory}/${INSTALLING_FILE}`);
}

/** Whether a log can be opened there: there is one, or an installation of one has to be ended. */
export async function holdsLog(files: FileSystem, dataDirectory: string): Promise<boolean> {
  if (await isInstalling(files, dataDirectory)) return true;
  return (await listSegments(files, `${dataDirectory}/${LOG_DIRECTORY}`)).length > 0;
}

/** What an opening does first: ends an installation that was decided, and removes what one that was not has left, or a cut that was not. */
export async function endInstallation(files: FileSystem, dataDirectory: string): Promise<void> {
  if (await isInstalling(files, dataDirectory)) await rollForward(files, dataDirectory);
  else await clearIncoming(files, dataDirectory);
  await DivergedDirectory.clearUnfinished(files, dataDirectory);
}

/** The files besides the segments that make `incoming/` a data directory of a node that follows. */
export async function placeSmallFiles(
  files: FileSystem,
  incoming: string,
  identity: Uint8Array,
  point: RecoveryPoint,
  since: number,
): Promise<void> {
  await replaceFile(files, incoming, IDENTITY_FILE, identity);
  await replaceFile(files, incoming, RECOVERY_POINT_FILE, encodeRecoveryPoint(point));
  await replaceFile(files, incoming, FOLLOWING_FILE, jsonOf({ since: Math.floor(since) }));
}

/** From now on the new log is the log. */
export async function markInstalling(files: FileSystem, dataDirectory: string, since: number): Promise<void> {
  await replaceFile(files, dataDirectory, INSTALLING_FILE, jsonOf({ since: Math.floor(since) }));
}

/** Puts what lies in `incoming/` into place. Can be interrupted anywhere and done again. */
export async function rollForward(files: FileSystem, dataDirectory: string): Promise<void> {
  const incoming = `${dataDirectory}/${INCOMING_DIRECTORY}`;
  for (const directory of [LOG_DIRECTORY, SNAPSHOT_DIRECTORY]) {
    const [source, target] = [`${incoming}/${directory}`, `${dataDirectory}/${directory}`];
    await files.makeDirectory(target);
    for (const name of await files.list(target)) await files.remove(`${target}/${name}`);
    // A name that is removed and given again must not be undone half.
    await files.syncDirectory(target);
    for (const name of await files.list(source)) await files.link(`${source}/${name}`, `${target}/${name}`);
    await files.syncDirectory(target);
  }
  for (const name of SMALL_FILES) {
    const bytes = await readWholeFile(files, `${incoming}/${name}`, SMALL_FILE_BYTES_MAX);
    await replaceFile(files, dataDirectory, name, bytes);
  }
  await files.remove(`${dataDirectory}/${INSTALLING_FILE}`);
  await files.syncDirectory(dataDirectory);
  await clearIncoming(files, dataDirectory);
}

/** Removes what lies in `incoming/`; the empty directories stay. */
export async function clearIncoming(files: FileSystem, dataDirectory: string): Promise<void> {
  const incoming = `${dataDirectory}/${INCOMING_DIRECTORY}`;
  if (!(await files.exists(incoming))) return;
  for (const name of await files.list(incoming)) {
    const path = `${incoming}/${name}`;
    if (name !== LOG_DIRECTORY && name !== SNAPSHOT_DIRECTORY) {
      await files.remove(path);
      continue;
    }
    for (const inner of await files.list(path)) await files.remove(`${path}/${inner}`);
    await files.syncDirectory(path);
  }
  await files.syncDirectory(incoming);
}

/**
 * Keeps the old log, which nobody has open, as it is: sound or not, each file gets a second name under `diverged/`. Undefined when
 * there is none.
 */
export async function keepOldLog(
  files: FileSystem,
  dataDirectory: string,
  now: number,
): Promise<KeptRecords | undefined> {
  const logDirectory = `${dataDirectory}/${LOG_DIRECTORY}`;
  const segments = await listSegments(files, logDirectory);
  const first = parseSegmentName(segments[0] ?? "");
  const tail = parseSegmentName(segments.at(-1) ?? "");
  if (first === undefined || tail === undefined) return undefined;
  const end = await oldEnd(files, dataDirectory, tail);
  const kept = await DivergedDirectory.begin(files, dataDirectory);
  for (const name of segments) await files.link(`${logDirectory}/${name}`, `${kept.logPath}/${name}`);
  for (const name of [IDENTITY_FILE, RECOVERY_POINT_FILE]) await kept.copySmallFile(name);
  return kept.finish(first, end.last, end.lineageId, Math.floor(now));
}

/** Where the old log ends, as far as it can be told: it may be damaged, which is why it is replaced. */
async function oldEnd(
  files: FileSystem,
  dataDirectory: string,
  tail: Offset,
): Promise<{ last: Offset; lineageId: string }> {
  try {
    const view = await openUnmarkedView(files, dataDirectory, {});
    return { last: view.endOffset, lineageId: view.epochs.at(-1)?.lineageId ?? "0".repeat(32) };
  } catch (error) {
    if (!(error instanceof LogError) && errnoOf(error) === undefined) throw error;
    return { last: asOffset(tail), lineageId: "0".repeat(32) };
  }
}

function jsonOf(value: Readonly<Record<string, number>>): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
