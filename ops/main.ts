/** The composition root: the real rooms, wired. Everything below takes what it needs from here; nothing reaches around. */
import { buildServer } from "../api/index.js";
import { openLog, realFileSystem } from "../log/index.js";
import { openStore } from "../projections/index.js";
import type { Config } from "./config/load.js";
import type { Logger } from "./logging.js";
import { ServerProcess } from "./server-process.js";

/** A server that has not started yet: `run` starts it. */
export function createServer(config: Config, logger: Logger): ServerProcess {
  return new ServerProcess({ files: realFileSystem, openLog, openStore, buildServer }, config, logger);
}
