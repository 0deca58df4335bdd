/** Small pieces of bytes: copied, and cut as strings. Each is one call where the runtime's own way costs more than the work. */

/** What `toString` calls after checking its arguments; the checks would be a twentieth of a replay. */
interface Sliceable {
  latin1Slice(from: number, end: number): string;
  utf8Slice(from: number, end: number): string;
}

/** bytes[from, end) as a string of its own, one character for each byte. */
export function latin1(bytes: Buffer, from: number, end: number): string {
  return (bytes as unknown as Sliceable).latin1Slice(from, end);
}

/** bytes[from, end), which are UTF-8, as text; a byte order mark stays. */
export function utf8(bytes: Buffer, from: number, end: number): string {
  return (bytes as unknown as Sliceable).utf8Slice(from, end);
}

/** Up to here a loop is faster than a call into the runtime, which needs a view on the source. */
const LOOP_BYTES_MAX = 24;

/** Copies source[from, end) to `target` from `at` on. They do not overlap. */
export function copyBytes(
  source: Uint8Array,
  from: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - from > LOOP_BYTES_MAX) {
    // A view made straight on the memory: `subarray` of a Buffer costs twice as much.
    target.set(new Uint8Array(source.buffer, source.byteOffset + from, end - from), at);
    return;
  }
  for (let each = from, to = at; each < end; each++, to++) target[to] = source[each] ?? 0;
}
