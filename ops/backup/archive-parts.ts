/** Small questions about a log and what an archive has of it. */
import {
  errnoOf,
  type FileSystem,
  type Identity,
  LogError,
  type LogView,
  type SegmentExtent,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import type { Manifest, SegmentEntry } from "./manifest.js";

export function identityOf({ identity }: LogView, dataDirectory: string): Identity {
  if (identity !== undefined) return identity;
  throw new LogError("LOG_CORRUPT", `${dataDirectory} has a log but no identity file`, {
    directory: dataDirectory,
  });
}

/** Whether the object has exactly the records of the extent, by the fingerprint of its last one. */
export function isAllOf(entry: SegmentEntry, extent: SegmentExtent): boolean {
  const { firstOffset, lastOffset, lastCrc, header } = extent;
  return (
    entry.baseOffset === firstOffset &&
    entry.endOffset === lastOffset &&
    entry.endCrc === lastCrc &&
    entry.lineageId === header.lineageId
  );
}

/** Changes when a snapshot comes or goes. */
export async function snapshotFileNames(files: FileSystem, dataDirectory: string): Promise<string> {
  try {
    return (await files.list(`${dataDirectory}/${SNAPSHOT_DIRECTORY}`)).join();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "";
    throw error;
  }
}

/** The epochs of [first, last], oldest first: what the archive knew, and what the log that continues it knows. */
export function epochsOf(
  before: Manifest | undefined,
  view: LogView,
  first: number,
  last: number,
): Manifest["epochs"] {
  const own = new Set(view.epochs.map(({ lineageId }) => lineageId));
  const older = view.epochs.length === 0 ? [] : (before?.epochs ?? []);
  const all = [...older.filter(({ lineageId }) => !own.has(lineageId)), ...view.epochs];
  return all.filter((entry, i) => entry.first <= last && (all[i + 1]?.first ?? last + 1) > first);
}
