/** `annals serve`: runs the server until a signal or a failure ends it. Here signals and endings become exit codes. */
import type { Command } from "commander";
import { unreachable } from "../../log/index.js";
import { isLoopback } from "../../replication/index.js";
import type { Config } from "../config/load.js";
import { describeMistake } from "../config/origin.js";
import { createLogger, type Logger } from "../logging.js";
import type { Ending, Listening, ServerProcess } from "../server-process.js";
import { version } from "../version.js";
import { separateDataDirectory } from "./data-directory-argument.js";
import { type ConfigRequest, readConfig, requireConfig } from "./effective-config.js";
import { CliFailure, exitCodes, verdictOf } from "./failure.js";
import { checkHealth } from "./health-check.js";
import { colour, talk, writeLine } from "./output.js";

interface ServeOptions {
  readonly config?: string;
  readonly dataDir?: string;
  readonly host?: string;
  readonly port?: string;
  readonly role?: string;
  readonly masterAddress?: string;
  readonly replicaListen?: string;
  readonly autoReconnect?: boolean | string;
  readonly healthCheck?: boolean;
}

export function addServe(program: Command): void {
  program
    .command("serve")
    .description("run the server")
    .option("-c, --config <file>", "configuration file (default: config.yml here, if there)")
    .option("--data-dir <directory>", "where everything is kept (default: ./data)")
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .option("--port <number>", "port to listen on, 0 for any free one (default: 15500)")
    .option("--role <role>", "standalone, master or replica (default: standalone)")
    .option("--master-address <address>", "replication address of the node to follow, as a replica")
    .option("--replica-listen <address>", "address to listen on for other nodes (default: 127.0.0.1:15501)")
    .option("--auto-reconnect [on]", "whether a replica connects again by itself (default: true)")
    .option("--health-check", "ask a running server whether it is ready: exit 0 or 1")
    .action(serve);
}

async function serve(options: ServeOptions): Promise<void> {
  const request = { file: options.config, flags: flagsOf(options) };
  if (options.healthCheck === true) return checkHealth(request);
  const hangUp = listenForHangUp();
  const config = await requireConfig(request);
  await separateDataDirectory("data_dir", config.values.data_dir);
  const logger = createLogger({
    level: config.values["logging.level"],
    format: config.values["logging.format"],
  });
  warnAtStart(config, logger);
  // Loading the rooms is most of a start, and only the server needs them: the other commands do without.
  const { createServer } = await import("../main.js");
  const server = createServer(config, logger);
  onSignals(server, request, logger);
  if (hangUp()) void reload(server, request, logger);
  const ending = await server.run(hint);
  endWith(ending, logger);
}

function flagsOf(options: ServeOptions): Record<string, string> {
  const given: readonly [string, string | undefined][] = [
    ["data-dir", options.dataDir],
    ["host", options.host],
    ["port", options.port],
    ["role", options.role],
    ["master-address", options.masterAddress],
    ["replica-listen", options.replicaListen],
    ["auto-reconnect", options.autoReconnect === undefined ? undefined : String(options.autoReconnect)],
  ];
  return Object.fromEntries(given.flatMap(([flag, text]) => (text === undefined ? [] : [[flag, text]])));
}

function warnAtStart(config: Config, logger: Logger): void {
  const host = config.values["server.host"];
  if (!isLoopback(host))
    logger.warn(
      { host },
      "listening beyond this machine without authentication: whoever reaches the port may read and write everything",
    );
  if (config.inert.length > 0)
    logger.warn(
      { keys: config.inert.map(({ path }) => path) },
      "these documented settings have no effect in this release",
    );
  for (const warning of config.warnings) logger.warn({ warning }, "environment");
}

/** For people only: machines read the line `listening`. */
function hint({ url }: Listening): void {
  if (process.stdout.isTTY !== true) return;
  const shown = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:");
  writeLine(
    colour(process.stdout, 32, `Annals ${version} at ${shown}  docs ${shown}/docs  stop with Ctrl-C`),
  );
}

function onSignals(server: ServerProcess, request: ConfigRequest, logger: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping)
      end(exitCodes.failed, `second ${signal}: stopped at once; the next start checks the log's end`);
    stopping = true;
    void server.stop(signal);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("SIGHUP", () => void reload(server, request, logger));
  const bug = (error: unknown): void => {
    logger.fatal({ err: error }, "a bug: the process stops");
    end(
      exitCodes.failed,
      `stopped by a bug: ${verdictOf(error).line}; please report it with the log's last line`,
    );
  };
  process.on("uncaughtException", bug);
  process.on("unhandledRejection", bug);
}

/** A SIGHUP that nobody hears ends the process. Answers for whether one came until it is asked; who asks hears the next ones. */
function listenForHangUp(): () => boolean {
  let came = false;
  const hear = (): void => {
    came = true;
  };
  process.on("SIGHUP", hear);
  return () => {
    process.off("SIGHUP", hear);
    return came;
  };
}

/** A configuration with a mistake changes nothing. */
async function reload(server: ServerProcess, request: ConfigRequest, logger: Logger): Promise<void> {
  try {
    const { loaded } = await readConfig(request);
    if (loaded.ok) server.reload(loaded.config.values);
    else
      logger.error(
        { mistakes: loaded.mistakes.map(describeMistake) },
        "configuration not read again: it has mistakes",
      );
  } catch (error) {
    logger.error({ err: error }, "configuration not read again");
  }
}

function endWith(ending: Ending, logger: Logger): void {
  switch (ending.type) {
    case "stopped":
      logger.info("stopped");
      end(exitCodes.done);
      break;
    case "late": {
      const why = `not stopped within shutdown.timeout_ms (${ending.timeoutMs} ms)`;
      fail(logger, new CliFailure(exitCodes.failed, `${why}; the next start checks the log's end`));
      break;
    }
    case "storage-failed": {
      const { line } = verdictOf(ending.error);
      fail(logger, new CliFailure(exitCodes.storageFailed, line, ending.error));
      break;
    }
    case "not-started":
      fail(logger, ending.error);
      break;
    default:
      unreachable(ending);
  }
}

function fail(logger: Logger, error: unknown): void {
  const { exitCode, line } = verdictOf(error);
  logger.fatal({ err: error, exitCode }, "stopped");
  end(exitCode, line);
}

/** Ends at once: after a failure something may hang (a dead disk), and what had to be finished is finished. */
function end(exitCode: number, line?: string): void {
  if (line !== undefined) talk(`annals: ${line}`);
  process.exit(exitCode);
}
