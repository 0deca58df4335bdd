/**
 * Makes a segment file this log's alone before it is changed in place. A sealed segment may be shared: a backup on the same
 * file system keeps a second name of it. It never changes – except when it becomes the tail again, because the newer ones
 * were cut off or a power cut took the name of one that was just made. Then what is written must not reach the backup.
 */
import { copyFile } from "./copy-bytes.js";
import { NEW_SUFFIX } from "./file-names.js";
import type { FileSystem } from "./file-system.js";

/**
 * After any crash the name stands for the old file or for its copy, both with the same bytes: up to `end`, for whoever cuts it there and
 * may not be able to read the rest.
 */
export async function ownFile(
  files: FileSystem,
  directory: string,
  name: string,
  end?: number,
): Promise<void> {
  const path = `${directory}/${name}`;
  const status = await files.stat(path);
  if (status === undefined || status.links < 2) return;
  const copy = `${path}${NEW_SUFFIX}`;
  if (await files.exists(copy)) await files.remove(copy);
  await copyFile(files, path, copy, end);
  await files.rename(copy, path);
  await files.syncDirectory(directory);
}
