/**
 * How much of the disk is taken by what was put aside: the ends that a log lost to another one, torn ends, what was damaged, what a repair
 * replaced. It is for people to look at. No log reads it back, and but for `quarantine/` none removes it either.
 */
import { DIVERGED_DIRECTORY, isRepairDirectory, QUARANTINE_DIRECTORY, TORN_DIRECTORY } from "./file-names.js";
import type { FileSystem } from "./file-system.js";

export type PutAsidePlace = "diverged" | "quarantine" | "repair" | "torn";

/** Bytes of its files. */
export type PutAside = Readonly<Record<PutAsidePlace, number>>;

/** @throws what the file system throws, also when something is removed meanwhile. */
export async function measurePutAside(files: FileSystem, dataDirectory: string): Promise<PutAside> {
  const bytes = { diverged: 0, quarantine: 0, repair: 0, torn: 0 };
  for (const name of await files.list(dataDirectory)) {
    const place = placeOf(name);
    if (place !== undefined) bytes[place] += await bytesBelow(files, `${dataDirectory}/${name}`);
  }
  return bytes;
}

function placeOf(name: string): PutAsidePlace | undefined {
  if (name === DIVERGED_DIRECTORY) return "diverged";
  if (name === QUARANTINE_DIRECTORY) return "quarantine";
  if (name === TORN_DIRECTORY) return "torn";
  return isRepairDirectory(name) ? "repair" : undefined;
}

async function bytesBelow(files: FileSystem, path: string): Promise<number> {
  const status = await files.stat(path);
  if (status?.type !== "directory") return status?.bytes ?? 0;
  let bytes = 0;
  for (const name of await files.list(path)) bytes += await bytesBelow(files, `${path}/${name}`);
  return bytes;
}
