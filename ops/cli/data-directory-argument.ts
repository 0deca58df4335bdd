/** The DIR of `verify`, `dump` and `repair`: a data directory that is there. A wrong path is a usage mistake, not damage. */
import { resolve } from "node:path";
import { LOG_DIRECTORY, realFileSystem } from "../../log/index.js";
import { CliFailure, exitCodes } from "./failure.js";

/** @throws CliFailure when there is no log. */
export async function existingDataDirectory(argument: string): Promise<string> {
  const directory = resolve(argument);
  if (await realFileSystem.exists(`${directory}/${LOG_DIRECTORY}`)) return directory;
  const missing = (await realFileSystem.exists(directory)) ? "holds no log" : "does not exist";
  throw new CliFailure(exitCodes.usage, `${directory} ${missing}; name the data_dir of a server`);
}
