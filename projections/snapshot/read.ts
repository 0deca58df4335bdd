import type { FileSystem } from "../../log/index.js";
import type { Fold } from "../fold.js";
import type { ListedSnapshot, ReadSnapshotOptions, SnapshotInfo, VerifiedSnapshot } from "./contract.js";

export async function readSnapshot(
  _files: FileSystem,
  _path: string,
  _fold: Fold,
  _options: ReadSnapshotOptions = {},
): Promise<SnapshotInfo> {
  throw new Error("not written yet");
}

/** Header and end only. */
export async function inspectSnapshot(_files: FileSystem, _path: string): Promise<SnapshotInfo> {
  throw new Error("not written yet");
}

/** Every byte; builds no state. */
export async function verifySnapshot(
  _files: FileSystem,
  _path: string,
  _options: ReadSnapshotOptions = {},
): Promise<VerifiedSnapshot> {
  throw new Error("not written yet");
}

/** Oldest first. */
export async function listSnapshots(_files: FileSystem, _directory: string): Promise<ListedSnapshot[]> {
  throw new Error("not written yet");
}
