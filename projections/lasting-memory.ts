/**
 * Memory outside V8's heap for what a projection holds for long: blocks, rows, columns, cells.
 *
 * V8 counts the bytes of ArrayBuffers and collects its whole heap for every 20 MB or so by which they grow. While a state is built from a log
 * such a collection finds nothing to free, and took a tenth of a replay. SharedArrayBuffers are not counted; nothing here is shared with a
 * thread. Not counted at all, the memory of a state that was closed would stay until V8 had a reason of its own to look, so
 * V8 is told now and then of what was taken meanwhile, and looks: what nobody holds any more is at most that, and one state.
 */

/** Bytes taken until V8 is told. */
const TAKEN_BYTES_MAX = 128 * 1024 * 1024;
/** V8 begins a collection when it counts 64 MiB more than after the last one (`kExternalAllocationSoftLimit` of its heap). */
const TOLD_BYTES = 96 * 1024 * 1024;

let taken = 0;

/** All zeros. */
export function lastingMemory(bytes: number): SharedArrayBuffer {
  taken += bytes;
  if (taken >= TAKEN_BYTES_MAX) {
    taken = 0;
    tell();
  }
  return new SharedArrayBuffer(bytes);
}

/** Memory that is counted, never touched (so the system gives no page for it) and dropped at once. */
function tell(): void {
  try {
    void new ArrayBuffer(TOLD_BYTES).byteLength;
  } catch (error) {
    // Address space is short: V8 has collected before it said so.
    if (!(error instanceof RangeError)) throw error;
  }
}
