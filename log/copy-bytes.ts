/** Copies bytes between files through a bounded buffer. */
import { LogError } from "./errors.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { pageEnd, readFully, readGiven } from "./read-bytes.js";
import { CHUNK_BYTES } from "./segment-reader.js";

/** Bytes of a file that the disk does not give back. */
export interface LostBytes {
  /** Below the data directory. */
  readonly file: string;
  readonly position: number;
  readonly bytes: number;
}

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

/** Copies a file, whole or up to `end`, to a name that must be free, and syncs it. The name is durable after a sync of its directory. */
export function copyFile(files: FileSystem, from: string, to: string, end?: number): Promise<void> {
  return intoNewFile(files, from, to, async (source, copy) =>
    copyBytes(source, 0, end ?? (await source.size()), copy, 0),
  );
}

/**
 * As `copyFile`, of a file that may lie on bad sectors: every byte that the disk gives back to its place, zeros for the others, of which it
 * tells.
 */
export function copyReadable(
  files: FileSystem,
  from: string,
  to: string,
): Promise<Omit<LostBytes, "file">[]> {
  return intoNewFile(files, from, to, async (source, copy) => {
    const size = await source.size();
    const lost: { position: number; bytes: number }[] = [];
    await copy.truncate(size);
    for (let at = 0; at < size; ) {
      const { bytes, lostAt } = await readGiven(source, at, Math.min(CHUNK_BYTES, size - at));
      if (bytes.length > 0) await copy.write(bytes, at);
      else if (lostAt === undefined) break;
      at += bytes.length;
      if (lostAt === undefined) continue;
      at = Math.min(pageEnd(lostAt), size);
      const last = lost.at(-1);
      if (last !== undefined && last.position + last.bytes === lostAt) last.bytes += at - lostAt;
      else lost.push({ position: lostAt, bytes: at - lostAt });
    }
    return lost;
  });
}

async function intoNewFile<Result>(
  files: FileSystem,
  from: string,
  to: string,
  fill: (source: FileHandle, copy: FileHandle) => Promise<Result>,
): Promise<Result> {
  const source = await files.open(from, "read");
  try {
    const copy = await files.open(to, "create");
    try {
      const result = await fill(source, copy);
      await copy.sync();
      return result;
    } finally {
      await copy.close();
    }
  } finally {
    await source.close();
  }
}
