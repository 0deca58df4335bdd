/** Where a path really is, or would be: without links, as far as they lead anywhere. Whether one place lies in another the text of two paths does not tell. */
import { realpath } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { errnoOf } from "../../log/index.js";

export async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errnoOf(error) === undefined || dirname(path) === path) throw error;
    return join(await realPlace(dirname(path)), basename(path));
  }
}

/** Of absolute paths; a directory lies in itself. */
export async function liesIn(path: string, directory: string): Promise<boolean> {
  return `${await realPlace(path)}${sep}`.startsWith(`${await realPlace(directory)}${sep}`);
}
