/** Reads the configuration for a command: the file, this process's environment, and the command's flags. */
import { resolve } from "node:path";
import { directoryAddress } from "../backup/directory-address.js";
import { readConfigFile } from "../config/config-file.js";
import { firstSet } from "../config/environment.js";
import { archiveInside, type Config, type Loaded, loadConfig } from "../config/load.js";
import { configFailure } from "./failure.js";
import { liesIn } from "./real-place.js";

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
  if (file === undefined) return { loaded: await linksFollowed(loadConfig(sources)), file: undefined };
  // The parser takes 20 ms to load, which a start without a file does without.
  const { readYaml } = await import("../config/yaml-source.js");
  const loaded = loadConfig({ ...sources, file: readYaml(file.name, file.text) });
  return { loaded: await linksFollowed(loaded), file: file.name };
}

async function linksFollowed(loaded: Loaded): Promise<Loaded> {
  if (!loaded.ok) return loaded;
  const { values } = loaded.config;
  const archive = directoryAddress(values["archive.url"]);
  if (archive === undefined || !(await liesIn(archive, resolve(values.data_dir)))) return loaded;
  return { ok: false, mistakes: [archiveInside(loaded.config)] };
}

/** @throws CliFailure naming the first mistake. */
export async function requireConfig(request: ConfigRequest): Promise<Config> {
  const { loaded } = await readConfig(request);
  if (!loaded.ok) throw configFailure(loaded.mistakes);
  return loaded.config;
}
