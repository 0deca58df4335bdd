/** Copies bytes between files through a bounded buffer. */
import { LogError } from "./errors.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { CHUNK_BYTES, readFully } from "./segment-reader.js";

/** Copies [position, end) of `from` to `to`, to begin at `target`. Durable after a sync of `to`. */
export async function copyBytes(
  from: FileHandle,
  position: number,
  end: number,
  to: FileHandle,
  target: number,
): Promise<void> {
  for (let at = position; at < end; at += CHUNK_BYTES) {
    const count = Math.min(CHUNK_BYTES, end - at);
    const bytes = await readFully(from, at, count);
    if (bytes.length < count)
      throw new LogError("LOG_FAILED", "a file became shorter while it was read", {
        expected: count,
        found: bytes.length,
      });
    await to.write(bytes, target + at - position);
  }
}

/** Copies a whole file to a name that must be free, and syncs it. The name is durable after a sync of its directory. */
export async function copyFile(files: FileSystem, from: string, to: string): Promise<void> {
  const source = await files.open(from, "read");
  try {
    const copy = await files.open(to, "create");
    try {
      await copyBytes(source, 0, await source.size(), copy, 0);
      await copy.sync();
    } finally {
      await copy.close();
    }
  } finally {
    await source.close();
  }
}
