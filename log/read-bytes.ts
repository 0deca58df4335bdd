/**
 * Reads bytes of a file, all that were asked for, or as many as the disk gives back. A bad sector is damage at its place, as a flipped bit
 * is: what lies before it is still good, and whoever reads says what is lost. An error that tells of this process (no right, no
 * descriptor) says nothing of the file and stays one.
 */
import { errnoOf } from "./errors.js";
import type { FileHandle } from "./file-system.js";

/** What the system reads at least, so that no less is lost. */
const PAGE_BYTES = 4096;

/** Where the page ends that a byte lies in: what lies behind may be readable again. */
export const pageEnd = (position: number): number => position - (position % PAGE_BYTES) + PAGE_BYTES;

/** What a disk says when it does not give bytes back that it was given. */
export const isUnreadable = (error: unknown): boolean => errnoOf(error) === "EIO";

export interface GivenBytes {
  readonly bytes: Uint8Array;
  /** Directly behind `bytes`, where the disk gives none back. Undefined: it gave all that there are. */
  readonly lostAt: number | undefined;
}

/** Up to `count` bytes from `position`, into `memory` if that is given; fewer only where the file ends. */
export async function readFully(
  handle: FileHandle,
  position: number,
  count: number,
  memory?: Uint8Array,
): Promise<Uint8Array> {
  const bytes = memory?.subarray(0, count) ?? Buffer.allocUnsafeSlow(count);
  let filled = 0;
  while (filled < count) {
    const got = await handle.read(filled === 0 ? bytes : bytes.subarray(filled), position + filled);
    if (got === 0) break;
    filled += got;
  }
  return filled === count ? bytes : bytes.subarray(0, filled);
}

/** As `readFully`; fewer also where the disk does not give back what follows. */
export async function readGiven(
  handle: FileHandle,
  position: number,
  count: number,
  memory?: Uint8Array,
): Promise<GivenBytes> {
  try {
    return { bytes: await readFully(handle, position, count, memory), lostAt: undefined };
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return await readPages(handle, position, count);
  }
}

/** A page at a time, in memory of its own: a read that failed does not say how far it would have come. */
async function readPages(handle: FileHandle, position: number, count: number): Promise<GivenBytes> {
  const bytes = Buffer.allocUnsafeSlow(count);
  for (let filled = 0; filled < count; ) {
    const at = position + filled;
    const wanted = Math.min(count - filled, pageEnd(at) - at);
    try {
      const page = await readFully(handle, at, wanted);
      bytes.set(page, filled);
      filled += page.length;
      if (page.length < wanted) return { bytes: bytes.subarray(0, filled), lostAt: undefined };
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return { bytes: bytes.subarray(0, filled), lostAt: at };
    }
  }
  return { bytes, lostAt: undefined };
}

/** Where the disk gives nothing back first, between `from` and `end`; undefined when it does everywhere. */
export async function firstLost(handle: FileHandle, from: number, end: number): Promise<number | undefined> {
  for (let at = from; at < end; at += LOOK_BYTES) {
    const { lostAt } = await readGiven(handle, at, Math.min(LOOK_BYTES, end - at));
    if (lostAt !== undefined) return lostAt;
  }
  return undefined;
}

const LOOK_BYTES = 1024 * 1024;
