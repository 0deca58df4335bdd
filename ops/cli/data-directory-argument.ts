/**
 * The DIR of the commands that look at a data directory: one that is there. A wrong path is a usage mistake; a directory that has lost its
 * log is damaged, and whoever reads it says so.
 */
import { resolve } from "node:path";
import {
  errnoOf,
  IDENTITY_FILE,
  LOG_DIRECTORY,
  RECOVERY_POINT_FILE,
  realFileSystem,
} from "../../log/index.js";
import { CliFailure, exitCodes } from "./failure.js";

/** Any of them tells that a server was here. */
const TRACES = [LOG_DIRECTORY, RECOVERY_POINT_FILE, IDENTITY_FILE];

/** @throws CliFailure when it is no data directory. */
export async function existingDataDirectory(argument: string): Promise<string> {
  // Resolved it would be wherever the command runs.
  if (argument === "")
    throw new CliFailure(exitCodes.usage, "an empty path is no directory; name the data_dir of a server");
  const directory = resolve(argument);
  for (const name of TRACES) if (await isThere(`${directory}/${name}`)) return directory;
  const missing = (await isThere(directory)) ? "holds no log" : "does not exist";
  throw new CliFailure(exitCodes.usage, `${directory} ${missing}; name the data_dir of a server`);
}

async function isThere(path: string): Promise<boolean> {
  try {
    return await realFileSystem.exists(path);
  } catch (error) {
    // What should be a directory on the way there is a file.
    if (errnoOf(error) === "ENOTDIR") return false;
    throw error;
  }
}
