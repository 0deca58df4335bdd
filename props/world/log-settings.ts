/** Settings of a log in a simulated world: everything small, so that a short run rolls, waits and fills. */
import type { FsyncMode, OpenLogOptions } from "../../log/index.js";
import { type SeededClock, seededBytes } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";

export const DATA_DIRECTORY = "/data";

export function worldLogOptions(
  disk: SimulatedDisk,
  files: SimulatedMount,
  clock: Pick<SeededClock, "now">,
  fsyncMode: FsyncMode,
): OpenLogOptions {
  return {
    fsyncMode,
    fsyncIntervalMs: 1,
    segmentBytes: 4096,
    segmentAgeMs: 0,
    reserveBytes: 0,
    recordBytesMax: 64 * 1024,
    pendingBytesMax: 1024 * 1024,
    dataDirectory: DATA_DIRECTORY,
    files,
    now: clock.now,
    randomBytes: seededBytes(disk.random),
    holder: "a test",
  };
}
