/** What one side of a connection has written, as whole frames: how it began, and the last of it, for whoever delivers them again. */

const HEADER_BYTES = 16;
/** Of a beginning that are kept: a greeting, and what follows at once. */
const BEGINNING_BYTES = 16 * 1024;
const LATEST = 8;

export class SentFrames {
  #beginning: Uint8Array[] = [];
  #beginningBytes = 0;
  /** Of a frame that is not whole yet. */
  #parts: Uint8Array[] = [];
  #latest: Uint8Array[] = [];

  /** True when what was written until now ends with a whole frame. A frame is never begun in the middle of a piece. */
  written(bytes: Uint8Array): boolean {
    if (this.#beginningBytes < BEGINNING_BYTES) {
      this.#beginning.push(bytes);
      this.#beginningBytes += bytes.length;
    }
    this.#parts.push(bytes);
    const frame = Buffer.concat(this.#parts);
    if (frame.length < HEADER_BYTES || frame.length < HEADER_BYTES + frame.readUInt32LE(0)) return false;
    this.#parts = [];
    this.#latest.push(frame);
    if (this.#latest.length > LATEST) this.#latest.shift();
    return true;
  }

  /** The last frame, or one that was sent a little before; `share` in [0, 1). */
  latest(share: number): Uint8Array | undefined {
    const back = Math.floor(share * share * this.#latest.length);
    return this.#latest[this.#latest.length - 1 - back];
  }

  /** All that was written first, as far as it is kept. */
  get beginning(): readonly Uint8Array[] {
    return this.#beginning;
  }
}
