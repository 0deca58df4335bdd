/**
 * CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320), the checksum of everything in the log.
 *
 * `crc32(bytes, seed)` continues from the CRC of what came before, so that crc32(ab) = crc32(b, crc32(a)).
 * Node has it built in since 20.15; elsewhere the `crc` package does the same, and a test holds the two equal.
 */
import * as zlib from "node:zlib";
import crcPackageCrc32 from "crc/calculators/crc32";

export type Crc32 = (bytes: Uint8Array, seed: number) => number;

// The package takes a previous crc of 0 for a start without the initial inversion, which is another checksum: no previous
// crc at all is what continues from 0.
export const portableCrc32: Crc32 = (bytes, seed) =>
  crcPackageCrc32(bytes, seed === 0 ? undefined : seed) >>> 0;

/**
 * Node's own implementation, or undefined where Node is too old to have one. For no bytes it can answer 0
 * whatever the seed (zlib takes a null pointer, which an empty view may have, for a question after the initial value).
 */
export const nativeCrc32: Crc32 | undefined = withEmpty(
  "crc32" in zlib && typeof zlib.crc32 === "function" ? (zlib.crc32 as Crc32) : undefined,
);

function withEmpty(native: Crc32 | undefined): Crc32 | undefined {
  return native && ((bytes, seed) => (bytes.length === 0 ? seed : native(bytes, seed)));
}

export const crc32: Crc32 = nativeCrc32 ?? portableCrc32;

/** Up to here tables in JavaScript are faster than Node's own, of which a call alone costs what 150 bytes do. */
const TABLES_BYTES_MAX = 512;

/**
 * crc32(view[from, end), seed), for what is short and many: no call into the runtime, and no view, for each. Of 16 bytes each has a table, which
 * holds what the byte does to the crc from where it stands ("slicing by 16", Intel 2006).
 */
export function crc32In(view: DataView, from: number, end: number, seed: number): number {
  const count = end - from;
  if (count > TABLES_BYTES_MAX)
    return crc32(new Uint8Array(view.buffer, view.byteOffset + from, count), seed);
  let crc = ~seed;
  let at = from;
  for (; at + 16 <= end; at += 16) {
    crc =
      ofWord(crc ^ view.getInt32(at, true), 12) ^
      ofWord(view.getInt32(at + 4, true), 8) ^
      ofWord(view.getInt32(at + 8, true), 4) ^
      ofWord(view.getInt32(at + 12, true), 0);
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ (BEFORE[(crc ^ view.getUint8(at)) & 0xff] ?? 0);
  return ~crc >>> 0;
}

/** What four bytes, read as a little-endian word, do to the crc when `behind` bytes follow them. */
function ofWord(word: number, behind: number): number {
  return (
    (BEFORE[256 * (behind + 3) + (word & 0xff)] ?? 0) ^
    (BEFORE[256 * (behind + 2) + ((word >>> 8) & 0xff)] ?? 0) ^
    (BEFORE[256 * (behind + 1) + ((word >>> 16) & 0xff)] ?? 0) ^
    (BEFORE[256 * behind + (word >>> 24)] ?? 0)
  );
}

const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;

/** BEFORE[256 · n + b]: what the byte b does to the crc when n bytes follow it. */
const BEFORE = tablesByPlace();

function tablesByPlace(): Int32Array {
  const tables = new Int32Array(16 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256] ?? 0;
    tables[at] = (before >>> 8) ^ (tables[before & 0xff] ?? 0);
  }
  return tables;
}

/** Product of two polynomials modulo the CRC's, in its reflected form (as in zlib's `crc32_combine`). */
function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) !== 0 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}

/** POWERS[k] is x^(8 · 2^k): what 2^k bytes do to a crc that stands before them. */
const POWERS: readonly number[] = powersOfOneByte();

function powersOfOneByte(): number[] {
  const powers: number[] = [ONE >>> 8];
  for (let k = 1; k < 32; k++) {
    const before = powers[k - 1] ?? ONE;
    powers.push(multiply(before, before));
  }
  return powers;
}

/** What a crc becomes when `count` (< 2^32) zero bytes of a pure remainder follow: crc32(b, s) = shift(s, |b|) ^ crc32(b, 0). */
export function shiftCrc(crc: number, count: number): number {
  let shifted = crc >>> 0;
  for (let k = 0, rest = count; rest > 0; k++, rest = Math.floor(rest / 2))
    if (rest % 2 === 1) shifted = multiply(POWERS[k] ?? ONE, shifted);
  return shifted;
}

/**
 * CRCs of any ranges of one piece of memory, each at the cost of at most two blocks, however long the range: one pass
 * notes the crc up to every block border, and the rest is arithmetic. It keeps the search for records in hostile bytes
 * linear, where computing each candidate's crc could be quadratic.
 */
export class CrcRanges {
  static readonly #blockBytes = 256;
  readonly #bytes: Uint8Array;
  readonly #upTo: Uint32Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    const block = CrcRanges.#blockBytes;
    this.#upTo = new Uint32Array(Math.floor(bytes.length / block) + 1);
    for (let i = 1; i < this.#upTo.length; i++)
      this.#upTo[i] = crc32(bytes.subarray((i - 1) * block, i * block), this.#upTo[i - 1] ?? 0);
  }

  /** crc32(bytes[from, end), seed). */
  crc(from: number, end: number, seed: number): number {
    return (this.#prefix(end) ^ shiftCrc((this.#prefix(from) ^ seed) >>> 0, end - from)) >>> 0;
  }

  #prefix(end: number): number {
    const block = Math.floor(end / CrcRanges.#blockBytes);
    const from = block * CrcRanges.#blockBytes;
    const crc = this.#upTo[block] ?? 0;
    return from === end ? crc : crc32(this.#bytes.subarray(from, end), crc);
  }
}
