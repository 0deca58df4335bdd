// The hash of keys against the published algorithm, written down here once more in another way, and against known values.
import { describe, expect, it } from "vitest";
import { keyHash } from "../../projections/kv/key-hash.js";
import { seededRandom, seed as testSeed } from "../../props/run-settings.js";

type State = [v0: number, v1: number, v2: number, v3: number];

const WORD = 2 ** 32;
const rotate = (word: number, by: number): number =>
  ((word * 2 ** by) % WORD) + Math.floor(word / 2 ** (32 - by));
const xor = (a: number, b: number): number => (a ^ b) >>> 0;

/** One SipRound on 32-bit words. */
function round(v: State): void {
  const mix = (a: 0 | 2, b: 1 | 3, by: number): void => {
    v[a] = (v[a] + v[b]) % WORD;
    v[b] = xor(rotate(v[b], by), v[a]);
  };
  mix(0, 1, 5);
  v[0] = rotate(v[0], 16);
  mix(2, 3, 8);
  mix(0, 3, 7);
  mix(2, 1, 13);
  v[2] = rotate(v[2], 16);
}

/** HalfSipHash-c-d with 32 bits of output. */
function halfSipHash(c: number, d: number, seed: Uint8Array, message: Uint8Array): number {
  const key = new DataView(seed.buffer, seed.byteOffset);
  const [k0, k1] = [key.getUint32(0, true), key.getUint32(4, true)];
  const v: State = [k0, k1, xor(0x6c796765, k0), xor(0x74656462, k1)];
  // Zeros up to whole words; the length's lowest byte is the last of all.
  const padded = new Uint8Array(4 * (Math.floor(message.length / 4) + 1));
  padded.set(message);
  padded[padded.length - 1] = message.length & 0xff;
  for (let at = 0; at < padded.length; at += 4) {
    const word = new DataView(padded.buffer).getUint32(at, true);
    v[3] = xor(v[3], word);
    for (let times = 0; times < c; times++) round(v);
    v[0] = xor(v[0], word);
  }
  v[2] = xor(v[2], 0xff);
  for (let times = 0; times < d; times++) round(v);
  return xor(v[1], v[3]);
}

const counting = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => at);
const KEY = counting(8);

describe("key hash", () => {
  it("has a reference that yields the published values of HalfSipHash-2-4", () => {
    const found = [0, 1, 2, 3].map((length) => halfSipHash(2, 4, KEY, counting(length)));
    // The authors' first four, as little-endian words: a9359f5b 27475ab8 fa62a603 8afee704.
    expect(found).toEqual([0x5b9f35a9, 0xb85a4727, 0x03a662fa, 0x04e7fe8a]);
  });

  it("yields the values that Linux tests its HalfSipHash-1-3 with", () => {
    const hash = keyHash(KEY);
    const found = [0, 1, 2, 3, 4, 5, 6, 7].map((length) => hash(counting(length), 0, length));
    const published = [
      0x5814c896, 0xe7e864ca, 0xbc4b0e30, 0x01539939, 0x7e059ea6, 0x88e3d89b, 0xa0080b65, 0x9d38d9d6,
    ];
    expect(found).toEqual(published);
  });

  it("is the reference with one and three rounds, for any seed, any bytes and any place in a buffer", () => {
    const random = seededRandom(testSeed);
    const bytes = (length: number): Uint8Array =>
      Uint8Array.from({ length }, () => Math.floor(random() * 256));
    for (let run = 0; run < 600; run++) {
      const seed = bytes(8);
      const source = bytes(run);
      const start = Math.floor(random() * Math.min(9, run));
      const end = run - Math.floor(random() * Math.min(5, run - start));
      expect(keyHash(seed)(source, start, end), `seed ${testSeed}`).toBe(
        halfSipHash(1, 3, seed, source.slice(start, end)),
      );
    }
  });
});
