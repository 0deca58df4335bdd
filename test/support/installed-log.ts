/** The beginning of a follower: another node's first records, installed into a directory that has none. */
import { type FileSystem, Installation, type OpenedLog, type RecordRun } from "../../log/index.js";
import { logOptions } from "./test-log.js";

export async function installed(
  files: FileSystem,
  dataDirectory: string,
  { identity: { clusterId } }: OpenedLog,
  runs: readonly RecordRun[],
): Promise<void> {
  const installation = await Installation.begin({
    ...logOptions(dataDirectory, { files }),
    clusterId,
    isHeld: false,
  });
  for (const run of runs) await installation.receive(run);
  await installation.commit({ oldEnd: undefined });
}
