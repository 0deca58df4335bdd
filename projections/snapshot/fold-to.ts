import type { LogReader } from "../../log/index.js";
import type { FoldedState, FoldToOptions, SnapshotDirectory } from "./contract.js";

export async function foldTo(
  _log: LogReader,
  _snapshots: SnapshotDirectory | undefined,
  _options: FoldToOptions,
): Promise<FoldedState> {
  throw new Error("not written yet");
}
