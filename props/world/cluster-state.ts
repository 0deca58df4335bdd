/**
 * The state of a node in a simulated set, as small as a state can be: how far it is, and a digest of every record up to there. Folded
 * from a snapshot and the log behind it, and then from what the log tells as appended, as the real one is.
 */
import {
  type AppendedRecord,
  offset as asOffset,
  crc32,
  type EventLog,
  type FileSystem,
  LOG_DIRECTORY,
  type LogPosition,
  type Offset,
  parseSegmentName,
  parseSnapshotName,
  readWholeFile,
  replaceFile,
  SNAPSHOT_DIRECTORY,
  snapshotName,
} from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import { PromiseBroken } from "../checkers/promise-broken.js";

const SNAPSHOT_BYTES_MAX = 4096;

export interface Folded {
  readonly offset: number;
  readonly digest: number | string;
}

/** The smallest state that there is. */
export interface Digest extends Folded {
  readonly digest: number;
}

const NOTHING: Digest = { offset: 0, digest: 0 };

export function fold(state: Digest, { offset, kind, body, timestamp }: AppendedRecord): Digest {
  if (offset !== state.offset + 1)
    throw new PromiseBroken("applied once", `offset ${offset} was applied after ${state.offset}`);
  const head = Buffer.from(`${offset} ${kind} ${timestamp} `);
  return { offset, digest: crc32(body, crc32(head, state.digest)) };
}

interface StoredSnapshot extends Digest {
  /** Which log it is of. */
  readonly position: LogPosition;
}

export interface FoundSnapshot extends StoredSnapshot {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The newest snapshot of this log in the directory; one that was taken of an end that was cut since is passed over. */
export async function newestSnapshot(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  last = log.endOffset,
): Promise<FoundSnapshot | undefined> {
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  if (!(await files.exists(directory))) return undefined;
  const named = (await files.list(directory))
    .map((name) => ({ name, offset: parseSnapshotName(name)?.offset ?? 0 }))
    .filter(({ offset }) => offset > 0 && offset <= last)
    .sort((a, b) => b.offset - a.offset);
  for (const { name } of named) {
    const bytes = await readWholeFile(files, `${directory}/${name}`, SNAPSHOT_BYTES_MAX);
    const stored = JSON.parse(Buffer.from(bytes).toString()) as StoredSnapshot;
    if (await log.agrees(stored.position)) return { ...stored, name, bytes };
  }
  return undefined;
}

/**
 * The log is about to be cut after `last`: snapshots of what comes after go.
 * @throws ReplicationError REPLICATION_CUT_TOO_DEEP when what is left could not be folded.
 */
export async function cutSnapshots(files: FileSystem, dataDirectory: string, last: Offset): Promise<void> {
  const segments = await files.list(`${dataDirectory}/${LOG_DIRECTORY}`);
  const [first = 1] = segments.flatMap((name) => parseSegmentName(name) ?? []).sort((a, b) => a - b);
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  const named = (await files.exists(directory)) ? await files.list(directory) : [];
  const at = (name: string): number => parseSnapshotName(name)?.offset ?? 0;
  const isKept = (name: string): boolean => at(name) >= first - 1 && at(name) <= last;
  if (first > 1 && last >= first - 1 && !named.some(isKept))
    throw new ReplicationError("REPLICATION_CUT_TOO_DEEP", `no snapshot is left of offset ${last} or before`);
  for (const name of named) if (at(name) > last) await files.remove(`${directory}/${name}`);
  if (named.length > 0) await files.syncDirectory(directory);
}

/** Whether the state could be folded if the log ended here: from its beginning, or from a snapshot of this log. */
export async function canFoldTo(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  last: Offset,
): Promise<boolean> {
  return log.firstOffset <= 1 || (await newestSnapshot(files, dataDirectory, log, last)) !== undefined;
}

/** The state at the end of the log, from the files alone. */
export async function foldFiles(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  last = log.endOffset,
): Promise<Digest> {
  const snapshot = await newestSnapshot(files, dataDirectory, log);
  let state: Digest = snapshot ?? NOTHING;
  if (state.offset + 1 < log.firstOffset)
    throw new PromiseBroken("gap", `the state ends at ${state.offset}, the log begins at ${log.firstOffset}`);
  if (state.offset > last)
    throw new PromiseBroken("snapshot", `a snapshot of ${state.offset} beside a log that ends at ${last}`);
  if (state.offset === last) return state;
  for await (const batch of log.read(asOffset(state.offset + 1), { last }))
    for (const record of batch) state = fold(state, record);
  return state;
}

/** Writes the state at the durable end as a snapshot. */
export async function takeSnapshot(
  files: FileSystem,
  dataDirectory: string,
  log: EventLog,
  timestamp: number,
): Promise<number> {
  const { offset, digest } = await foldFiles(files, dataDirectory, log, log.durableOffset);
  if (offset === 0) return 0;
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  await files.makeDirectory(directory);
  const name = snapshotName(timestamp, asOffset(offset));
  const stored: StoredSnapshot = { offset, digest, position: await log.positionAt(asOffset(offset)) };
  await replaceFile(files, directory, name, Buffer.from(JSON.stringify(stored)));
  return offset;
}
