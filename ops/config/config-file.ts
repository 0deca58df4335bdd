/** Finds and reads the configuration file: the one that was named, else `config.yml` here if there is one. */
import { isUtf8 } from "node:buffer";
import { closeSync, openSync, readSync } from "node:fs";
import { errnoOf } from "../../log/index.js";

const DEFAULT_FILE = "config.yml";
const BYTES_MAX = 1_048_576;
const NEWLINE = 0x0a;

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
    // Not by its size: a device or a pipe tells none, and may never end.
    const bytes = Buffer.alloc(BYTES_MAX + 1);
    let length = 0;
    for (let read = 1; read > 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, { offset: length });
    if (length > BYTES_MAX) throw new ConfigFileError(name, `more than the ${BYTES_MAX} bytes expected`);
    return textOf(name, bytes.subarray(0, length));
  } finally {
    closeSync(file);
  }
}

/** Decoded leniently, a path in another encoding would be that of another file. */
function textOf(name: string, bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString("utf8");
  let line = 1;
  let start = 0;
  for (let end = bytes.indexOf(NEWLINE); end !== -1 && isUtf8(bytes.subarray(start, end)); line++) {
    start = end + 1;
    end = bytes.indexOf(NEWLINE, start);
  }
  throw new ConfigFileError(name, `line ${line} is not UTF-8`);
}
