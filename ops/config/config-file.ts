/** Finds and reads the configuration file: the one that was named, else `config.yml` here if there is one. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { errnoOf } from "../../log/index.js";

const DEFAULT_FILE = "config.yml";
const BYTES_MAX = 1_048_576;

/** A named file that cannot be read; the message says which and why. */
export class ConfigFileError extends Error {
  readonly file: string;

  constructor(file: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ConfigFileError";
    this.file = file;
  }
}

/** @throws ConfigFileError when the file was named and is not there, or cannot be read. */
export function readConfigFile(named: string | undefined): { name: string; text: string } | undefined {
  const name = named ?? DEFAULT_FILE;
  try {
    return { name, text: readBounded(name) };
  } catch (error) {
    const errno = errnoOf(error);
    if (named === undefined && errno === "ENOENT") return undefined;
    if (error instanceof ConfigFileError || errno === undefined) throw error;
    throw new ConfigFileError(name, errno === "ENOENT" ? "no such file" : `cannot be read (${errno})`, error);
  }
}

function readBounded(name: string): string {
  const file = openSync(name, "r");
  try {
    const { size } = fstatSync(file);
    if (size > BYTES_MAX)
      throw new ConfigFileError(name, `${size} bytes, more than the ${BYTES_MAX} expected`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}
