/**
 * The hash of a key's bytes: HalfSipHash-1-3 (Aumasson and Bernstein; Linux has it for its own tables), 32 bits under a
 * secret seed. Without a secret anybody could choose keys that all fall into one place of the index, and each of their
 * requests would walk past all the others. The seed never shows: no answer and no order follows from a hash.
 */

/** bytes[start, end) → 0..2^32-1. */
export type KeyHash = (bytes: Uint8Array, start: number, end: number) => number;

export const HASH_SEED_BYTES = 8;

/** `seed`: eight bytes that nobody outside knows. */
export function keyHash(seed: Uint8Array): KeyHash {
  const k0 = word(seed, 0);
  const k1 = word(seed, 4);
  return (bytes, start, end) => {
    let v0 = k0;
    let v1 = k1;
    let v2 = k0 ^ 0x6c796765;
    let v3 = k1 ^ 0x74656462;
    const words = (end - start) >>> 2;
    // One round for each word and one for the rest with the length, then three more with nothing.
    for (let step = 0; step <= words + 3; step++) {
      let message = 0;
      if (step < words) message = word(bytes, start + 4 * step);
      else if (step === words) message = lastWord(bytes, start, end);
      else if (step === words + 1) v2 ^= 0xff;
      v3 ^= message;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= message;
    }
    return (v1 ^ v3) >>> 0;
  };
}

function word(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  );
}

/** The up to three bytes that fill no word, and the length's lowest byte above them. */
function lastWord(bytes: Uint8Array, start: number, end: number): number {
  let last = (end - start) << 24;
  const rest = (end - start) & 3;
  for (let each = 0; each < rest; each++) last |= (bytes[end - rest + each] ?? 0) << (8 * each);
  return last;
}
