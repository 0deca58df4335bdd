/** Reads the configuration for a command: the file, this process's environment, and the command's flags. */
import { readConfigFile } from "../config/config-file.js";
import { firstSet } from "../config/environment.js";
import { type Config, type Loaded, loadConfig } from "../config/load.js";
import { configFailure } from "./failure.js";

export interface ConfigRequest {
  /** `--config`; else ANNALS_CONFIG; else config.yml here, if there. */
  readonly file?: string | undefined;
  readonly flags: Readonly<Record<string, string>>;
}

export interface Read {
  readonly loaded: Loaded;
  /** The file that was read, or undefined when there is none. */
  readonly file: string | undefined;
}

/** @throws ConfigFileError when a named file cannot be read. */
export async function readConfig(request: ConfigRequest): Promise<Read> {
  const file = readConfigFile(request.file ?? firstSet(process.env, "ANNALS_CONFIG"));
  const sources = { environment: process.env, flags: request.flags };
  if (file === undefined) return { loaded: loadConfig(sources), file: undefined };
  // The parser takes 20 ms to load, which a start without a file does without.
  const { readYaml } = await import("../config/yaml-source.js");
  return { loaded: loadConfig({ ...sources, file: readYaml(file.name, file.text) }), file: file.name };
}

/** @throws CliFailure naming the first mistake. */
export async function requireConfig(request: ConfigRequest): Promise<Config> {
  const { loaded } = await readConfig(request);
  if (!loaded.ok) throw configFailure(loaded.mistakes);
  return loaded.config;
}
