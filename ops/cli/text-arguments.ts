/** Names and places as the commands take them: what can be seen to be none is refused before any work. */
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { InvalidArgumentError } from "commander";

/** An empty place would be wherever the command runs: a variable that is not set, most likely. */
export function nonEmpty(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("Expected a text that is not empty.");
}

/** Absolute; a file that may be put there whole, as far as its directory tells: in the place of none, or of another file. */
export function fileToReplace(text: string): string {
  const path = resolve(nonEmpty(text));
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile() === false) throw new InvalidArgumentError(`${path} is no file.`);
  if (statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory() === true) return path;
  throw new InvalidArgumentError(`${dirname(path)} is no directory.`);
}
