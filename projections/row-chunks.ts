/**
 * Memory for rows of one width, in chunks that are added and never copied; a table that doubled would hold its old half until a collection.
 * Only the first one begins small and doubles up to a whole chunk: most tables of a small store never need more.
 */
import { lastingMemory } from "./lasting-memory.js";

const ROWS_MIN = 64;

/** More room, all zeros, seen as words and as doubles. Answers for how many rows there is room now. */
export function addRows(
  words: Uint32Array[],
  doubles: Float64Array[],
  rowBytes: number,
  chunkRows: number,
): number {
  const first = words[0];
  const rows = first === undefined ? 0 : first.byteLength / rowBytes;
  const isWhole = rows === chunkRows;
  const memory = lastingMemory(rowBytes * (isWhole ? chunkRows : Math.max(ROWS_MIN, 2 * rows)));
  const added = new Uint32Array(memory);
  if (!isWhole && first !== undefined) added.set(first);
  words[isWhole ? words.length : 0] = added;
  doubles[isWhole ? doubles.length : 0] = new Float64Array(memory);
  return isWhole ? words.length * chunkRows : memory.byteLength / rowBytes;
}
