/**
 * The DIR of the commands that look at a data directory: one that is there. A wrong path is a usage mistake; a directory that has lost its
 * log is damaged, and whoever reads it says so. And the place for a new one.
 */
import { dirname, resolve } from "node:path";
import {
  errnoOf,
  IDENTITY_FILE,
  LOG_DIRECTORY,
  RECOVERY_POINT_FILE,
  realFileSystem,
} from "../../log/index.js";
import { LEADERSHIP_FILE } from "../../replication/index.js";
import { CliFailure, exitCodes } from "./failure.js";
import { realPlace } from "./real-place.js";

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

/**
 * The absolute path of a place for a data directory of its own. One in another data directory would be that server's: it clears away what
 * an unfinished full sync left, and reads what is under `snapshots` and `log`.
 * @throws CliFailure when it lies in a data directory.
 */
export async function separateDataDirectory(flag: string, argument: string): Promise<string> {
  const directory = resolve(argument);
  const place = await realPlace(directory);
  for (let inner = place, outer = dirname(place); outer !== inner; inner = outer, outer = dirname(outer))
    if (await isServers(outer))
      throw new CliFailure(
        exitCodes.usage,
        `${flag} ${argument} lies in the data directory ${outer}; choose a place outside of it`,
      );
  return directory;
}

/** A replica has the one file before its first sync, every other server the two others. */
async function isServers(directory: string): Promise<boolean> {
  try {
    if (await isThere(`${directory}/${LEADERSHIP_FILE}`)) return true;
    return (
      (await isThere(`${directory}/${IDENTITY_FILE}`)) && (await isThere(`${directory}/${LOG_DIRECTORY}`))
    );
  } catch (error) {
    // What this user may not look at leads to no place either: whoever opens that says why.
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
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
