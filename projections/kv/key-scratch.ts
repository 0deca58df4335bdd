/**
 * A key as bytes with their hash, for as long as nobody asks for another: a command looks its key up several times on the way
 * from decision to answer, and is encoded once.
 */
import type { KeyHash } from "./key-hash.js";

/** A scratch buffer that one huge key made larger than this is let go with the next key. */
const SCRATCH_BYTES_KEPT = 65_536;
/** Up to here a loop is faster than a call into the runtime. */
const LOOP_LENGTH_MAX = 48;

export class KeyScratch {
  readonly #hash: KeyHash;
  #key = "";
  bytes = Buffer.allocUnsafe(256);
  length = 0;
  hash: number;

  constructor(hash: KeyHash) {
    this.#hash = hash;
    this.hash = hash(this.bytes, 0, 0);
  }

  /**
   * Itself, showing `key`: `bytes` up to `length` are its UTF-8. Valid until the next call. What is not well-formed has no
   * UTF-8 of its own; it is shown as empty, which no key is.
   */
  encode(key: string): this {
    if (key === this.#key) return this;
    this.length = this.#short(key) ?? this.#any(key);
    this.hash = this.#hash(this.bytes, 0, this.length);
    this.#key = key;
    return this;
  }

  /** Short and all ASCII, or undefined. */
  #short(key: string): number | undefined {
    if (key.length > LOOP_LENGTH_MAX) return undefined;
    const { bytes } = this;
    for (let at = 0; at < key.length; at++) {
      const code = key.charCodeAt(at);
      if (code >= 0x80) return undefined;
      bytes[at] = code;
    }
    return key.length;
  }

  #any(key: string): number {
    if (!key.isWellFormed()) return 0;
    const bytesMax = key.length * 3;
    if (bytesMax > this.bytes.length || this.bytes.length > SCRATCH_BYTES_KEPT) {
      this.bytes = Buffer.allocUnsafe(Math.max(256, bytesMax));
    }
    return this.bytes.write(key, 0, "utf8");
  }
}
