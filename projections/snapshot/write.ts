import type { FileSystem } from "../../log/index.js";
import type { Fold } from "../fold.js";
import type { SnapshotInfo, SnapshotMark, WriteSnapshotOptions } from "./contract.js";

export async function writeSnapshot(
  _files: FileSystem,
  _directory: string,
  _fold: Fold,
  _mark: SnapshotMark,
  _options: WriteSnapshotOptions,
): Promise<SnapshotInfo> {
  throw new Error("not written yet");
}
