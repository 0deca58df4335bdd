/**
 * The data directory: that it exists, that nobody else has it, and who it belongs to. It knows nothing of records.
 *
 * `identity.json` is written once, before the first segment, and never changes: a log without it has lost a file.
 */
import { ADVICE_IDENTITY } from "./corruption.js";
import { readDirectoryFormat } from "./directory-format.js";
import { errnoOf, errorMessage, LogError } from "./errors.js";
import {
  FOLLOWING_FILE,
  IDENTITY_FILE,
  INSTALLING_FILE,
  isRestoringDraft,
  LOCK_FILE,
  LOG_DIRECTORY,
  RESTORING_FILE,
} from "./file-names.js";
import {
  type DirectoryLock,
  type FileSystem,
  LockHeldError,
  readWholeFile,
  replaceFile,
} from "./file-system.js";
import { ID_BYTES } from "./format.js";
import { isUnreadable } from "./read-bytes.js";
import { type RecoveryPoint, readRecoveryPoint } from "./recovery-point.js";
import { listSegments } from "./segment-chain.js";
import type { Identity } from "./settings.js";

const IDENTITY_BYTES_MAX = 4096;
const ID_PATTERN = /^[0-9a-f]{32}$/;

/** What the system says when a path cannot serve as a data directory, whatever we do. */
export const UNUSABLE: ReadonlySet<string> = new Set([
  "ENOTDIR",
  "EISDIR",
  "EEXIST",
  "EACCES",
  "EPERM",
  "EROFS",
  "ELOOP",
  "ENAMETOOLONG",
  // As below /proc, where nothing can be made.
  "ENOENT",
]);

export interface DataDirectory {
  readonly path: string;
  readonly logPath: string;
  readonly lock: DirectoryLock;
}

/**
 * Makes the directory if it is missing and takes its lock, which the system gives back when the process dies.
 * @throws LogError LOG_LOCKED, LOG_DIRECTORY_UNUSABLE, LOG_VERSION_UNKNOWN, LOG_CORRUPT.
 */
export async function openDataDirectory(
  files: FileSystem,
  path: string,
  holder: string,
): Promise<DataDirectory> {
  try {
    // Before the lock, which is a file too: what a later release wrote stays as it is.
    await readDirectoryFormat(files, path);
    await files.makeDirectory(path);
    const lock = await files.lock(`${path}/${LOCK_FILE}`, holder);
    const logPath = `${path}/${LOG_DIRECTORY}`;
    try {
      await files.makeDirectory(logPath);
    } catch (error) {
      await lock.release();
      throw error;
    }
    return { path, logPath, lock };
  } catch (error) {
    throw explain(error, path);
  }
}

/** Makes the directory if it is missing. @throws LogError LOG_DIRECTORY_UNUSABLE. */
export async function makeUsable(files: FileSystem, path: string): Promise<void> {
  try {
    await files.makeDirectory(path);
  } catch (error) {
    throw explain(error, path);
  }
}

function explain(error: unknown, path: string): unknown {
  if (error instanceof LockHeldError) {
    const message = `the data directory ${path} is in use by ${error.holder}`;
    return new LogError("LOG_LOCKED", message, { directory: path, holder: error.holder }, error);
  }
  const errno = errnoOf(error);
  if (errno === undefined || !UNUSABLE.has(errno)) return error;
  const why = errorMessage(error);
  const message = `${path} cannot be used as a data directory (${why}); it must be a directory that this process may write`;
  return new LogError("LOG_DIRECTORY_UNUSABLE", message, { directory: path, found: errno }, error);
}

/** @throws LogError LOG_RESTORE_UNFINISHED when a restore into the directory did not come to its end. */
export async function checkIsNotRestoring(files: FileSystem, dataDirectory: string): Promise<void> {
  const isThere = (await files.stat(dataDirectory))?.type === "directory";
  const names = isThere ? await files.list(dataDirectory) : [];
  // A draft says that the mark was about to be made; a log that is there was no restore's then.
  const isMarked =
    names.includes(RESTORING_FILE) || (names.some(isRestoringDraft) && !names.includes(IDENTITY_FILE));
  if (!isMarked) return;
  const file = `${dataDirectory}/${RESTORING_FILE}`;
  const message = `a restore or migration into ${dataDirectory} was not finished: what is there is not whole`;
  throw new LogError("LOG_RESTORE_UNFINISHED", message, { directory: dataDirectory, file });
}

/** As `checkIsNotRestoring`; also LOG_INSTALL_UNFINISHED, for whoever does not own the directory and can't end it. */
export async function checkIsWhole(files: FileSystem, dataDirectory: string): Promise<void> {
  await checkIsNotRestoring(files, dataDirectory);
  const file = `${dataDirectory}/${INSTALLING_FILE}`;
  if (!(await files.exists(file))) return;
  const message = `the log of another node is being put into ${dataDirectory}: what is there is not whole`;
  throw new LogError("LOG_INSTALL_UNFINISHED", message, { directory: dataDirectory, file });
}

/** What the small files of a directory say of its log. */
export interface DirectoryState {
  readonly recoveryPoint: RecoveryPoint | undefined;
  readonly identity: Identity | undefined;
  readonly isFollowing: boolean;
}

/** To be read before the log: what they tell of must be there. @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN. */
export async function readDirectoryState(files: FileSystem, dataDirectory: string): Promise<DirectoryState> {
  const recoveryPoint = await readRecoveryPoint(files, dataDirectory);
  const follows = await isFollowing(files, dataDirectory);
  return { recoveryPoint, isFollowing: follows, identity: await readIdentity(files, dataDirectory) };
}

/** Whether the directory's log follows another one, or followed when it was open last: see `following.ts`. */
export function isFollowing(files: FileSystem, dataDirectory: string): Promise<boolean> {
  return files.exists(`${dataDirectory}/${FOLLOWING_FILE}`);
}

export async function markFollowing(files: FileSystem, dataDirectory: string, since: number): Promise<void> {
  const text = `${JSON.stringify({ since: Math.floor(since) })}\n`;
  await replaceFile(files, dataDirectory, FOLLOWING_FILE, Buffer.from(text));
}

export async function unmarkFollowing(files: FileSystem, dataDirectory: string): Promise<void> {
  await files.remove(`${dataDirectory}/${FOLLOWING_FILE}`);
  await files.syncDirectory(dataDirectory);
}

/** The identity of the directory, or undefined in one that has none yet. @throws LogError LOG_CORRUPT. */
export async function readIdentity(files: FileSystem, directory: string): Promise<Identity | undefined> {
  const path = `${directory}/${IDENTITY_FILE}`;
  if (!(await files.exists(path))) return undefined;
  try {
    const text = Buffer.from(await readWholeFile(files, path, IDENTITY_BYTES_MAX)).toString("utf8");
    const parsed: unknown = JSON.parse(text);
    if (isIdentity(parsed)) return { clusterId: parsed.clusterId, nodeId: parsed.nodeId };
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof RangeError) && !isUnreadable(error))
      throw error;
  }
  const message = `${path} is damaged: expected JSON with clusterId and nodeId, 32 hex digits each`;
  throw new LogError("LOG_CORRUPT", message, { file: path, advice: ADVICE_IDENTITY });
}

function isIdentity(value: unknown): value is Identity {
  if (typeof value !== "object" || value === null) return false;
  if (!("clusterId" in value) || !("nodeId" in value)) return false;
  const { clusterId, nodeId } = value;
  return (
    typeof clusterId === "string" &&
    typeof nodeId === "string" &&
    ID_PATTERN.test(clusterId) &&
    ID_PATTERN.test(nodeId)
  );
}

/** Draws the ids of a new cluster of one node, or of a new node of `clusterId`, and makes them durable. */
export async function createIdentity(
  files: FileSystem,
  directory: string,
  randomBytes: (count: number) => Uint8Array,
  clusterId = randomId(randomBytes),
): Promise<Identity> {
  const identity = { clusterId, nodeId: randomId(randomBytes) };
  await replaceFile(files, directory, IDENTITY_FILE, encodeIdentity(identity));
  return identity;
}

export function encodeIdentity({ clusterId, nodeId }: Identity): Uint8Array {
  return Buffer.from(`${JSON.stringify({ clusterId, nodeId }, null, 2)}\n`);
}

export function randomId(randomBytes: (count: number) => Uint8Array): string {
  return Buffer.from(randomBytes(ID_BYTES)).toString("hex");
}

/**
 * Refuses a log without an identity: it cannot say whose it is, and a new identity would make it another's.
 * @throws LogError LOG_CORRUPT.
 */
export async function checkIdentityIsThere(
  files: FileSystem,
  directory: DataDirectory,
  identity: Identity | undefined,
): Promise<void> {
  if (identity !== undefined) return;
  const segments = await listSegments(files, directory.logPath);
  if (segments.length === 0) return;
  const file = `${directory.path}/${IDENTITY_FILE}`;
  throw new LogError("LOG_CORRUPT", `${file} is missing although there is a log`, {
    file,
    segments: segments.length,
    advice: ADVICE_IDENTITY,
  });
}
