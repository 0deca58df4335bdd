/** Small pieces of bytes: copied, and cut as strings. Each is one call where the runtime's own way costs more than the work. */

/** What `toString` calls after checking its arguments; the checks would be a twentieth of a replay. Of any view on bytes. */
interface Slices {
  latin1Slice(this: Uint8Array, from: number, end: number): string;
  utf8Slice(this: Uint8Array, from: number, end: number): string;
}

const slices = Buffer.prototype as unknown as Slices;

/** bytes[from, end) as a string of its own, one character for each byte. */
export function latin1(bytes: Uint8Array, from: number, end: number): string {
  return slices.latin1Slice.call(bytes, from, end);
}

/** bytes[from, end), which are UTF-8, as text; a byte order mark stays. */
export function utf8(bytes: Uint8Array, from: number, end: number): string {
  return slices.utf8Slice.call(bytes, from, end);
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
