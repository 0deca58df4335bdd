/**
 * Promise: the segment files of nodes with the same log are byte-identical. What a node has written ahead behind its last record is zeros
 * and no part of it, nor is a tail segment without a record: the next record decides what its header says. Nodes that began with a full sync lack the oldest files; the others are compared.
 */
import { type FileSystem, LOG_DIRECTORY, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../log/index.js";
import { PromiseBroken } from "./promise-broken.js";

/** By file name; without the zeros at the end. */
export type SegmentFiles = ReadonlyMap<string, Uint8Array>;

export async function segmentFiles(files: FileSystem, dataDirectory: string): Promise<SegmentFiles> {
  const directory = `${dataDirectory}/${LOG_DIRECTORY}`;
  const found = new Map<string, Uint8Array>();
  for (const name of await files.list(directory)) {
    if (parseSegmentName(name) === undefined) continue;
    const handle = await files.open(`${directory}/${name}`, "read");
    try {
      const bytes = new Uint8Array(await handle.size());
      let at = 0;
      for (let read = -1; at < bytes.length && read !== 0; at += read)
        read = await handle.read(bytes.subarray(at), at);
      const written = withoutZeros(bytes.subarray(0, at));
      if (written.length > SEGMENT_HEADER_BYTES) found.set(name, written);
    } finally {
      await handle.close();
    }
  }
  return found;
}

/** @returns how many pairs of files were compared */
export function checkByteEqual(
  a: { readonly node: string; readonly segments: SegmentFiles },
  b: { readonly node: string; readonly segments: SegmentFiles },
): number {
  let compared = 0;
  for (const [name, bytes] of a.segments) {
    const other = b.segments.get(name);
    if (other === undefined) continue;
    compared += 1;
    const at = firstDifference(bytes, other);
    if (at !== undefined)
      throw new PromiseBroken(
        "byte-equal",
        `${name} of ${a.node} (${bytes.length} bytes) and of ${b.node} (${other.length} bytes) differ at byte ${at}`,
      );
  }
  const newest = (segments: SegmentFiles): string | undefined => [...segments.keys()].sort().at(-1);
  if (newest(a.segments) !== newest(b.segments))
    throw new PromiseBroken(
      "byte-equal",
      `the newest segment of ${a.node} is ${newest(a.segments)}, of ${b.node} ${newest(b.segments)}`,
    );
  return compared;
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  if (Buffer.compare(a, b) === 0) return undefined;
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at += 1) if (a[at] !== b[at]) return at;
  return shorter;
}

function withoutZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(0, end);
}
