/**
 * The version of a data directory as a whole: which formats may be in it. A release reads every version up to its own, and refuses a
 * later one before it has written anything, for what it does not know may be anywhere in there: in a header, in an event.
 *
 *   version   what may be there that the one before did not have
 *   1         (the file `format.json` is missing)
 *   2         snapshots of format 2
 *   3         the marks `following.json` and `installing.json`: a log that is another node's, or is being replaced
 *
 * The version is that of what is there, not of who opened it: it is raised, durably, before the first thing is written that an
 * earlier release does not read, and until then that release opens the directory. A new directory begins at the newest.
 * Manifests of backups carry it along. Whoever adds a format, or a kind or version of an event, adds a line here; a test holds
 * the table against all of them.
 */
import { errnoOf, LogError } from "./errors.js";
import { FORMAT_FILE } from "./file-names.js";
import { type FileSystem, readWholeFile, replaceFile } from "./file-system.js";

export const DIRECTORY_FORMAT_VERSION = 3;
const FORMAT_BYTES_MAX = 4096;

/** @throws LogError LOG_VERSION_UNKNOWN when a later release wrote it, LOG_CORRUPT. */
export async function readDirectoryFormat(files: FileSystem, dataDirectory: string): Promise<number> {
  const path = `${dataDirectory}/${FORMAT_FILE}`;
  const text = await readIfThere(files, path);
  if (text === undefined) return 1;
  const found = versionIn(text);
  if (found === undefined) {
    const message = `${path} is damaged: expected JSON with formatVersion, a whole number from 1. Restore it from a backup of this data directory; if this release wrote here last, remove it and start again`;
    throw new LogError("LOG_CORRUPT", message, { file: path });
  }
  if (found > DIRECTORY_FORMAT_VERSION) {
    const message = `the data directory ${dataDirectory} has format version ${found}, this release reads 1 to ${DIRECTORY_FORMAT_VERSION}: a later release wrote it`;
    throw new LogError("LOG_VERSION_UNKNOWN", message, {
      file: path,
      expected: DIRECTORY_FORMAT_VERSION,
      found,
    });
  }
  return found;
}

/** Durable when it resolves; from then on an earlier release refuses the directory. Nothing happens where it is the newest already. */
export async function raiseDirectoryFormat(files: FileSystem, dataDirectory: string): Promise<void> {
  if ((await readDirectoryFormat(files, dataDirectory)) === DIRECTORY_FORMAT_VERSION) return;
  const text = `${JSON.stringify({ formatVersion: DIRECTORY_FORMAT_VERSION })}\n`;
  await replaceFile(files, dataDirectory, FORMAT_FILE, Buffer.from(text));
}

/** Nothing of a file that is too large. Not asked for first: a restore removes what an unfinished one left. */
async function readIfThere(files: FileSystem, path: string): Promise<string | undefined> {
  try {
    return Buffer.from(await readWholeFile(files, path, FORMAT_BYTES_MAX)).toString("utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (error instanceof RangeError) return "";
    throw error;
  }
}

/** What a later release adds beside the number is passed over. */
function versionIn(text: string): number | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== "object" || parsed === null || !("formatVersion" in parsed)) return undefined;
    const { formatVersion } = parsed;
    const isVersion = typeof formatVersion === "number" && Number.isSafeInteger(formatVersion);
    return isVersion && formatVersion >= 1 ? formatVersion : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
