/**
 * CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320), the checksum of everything in the log.
 *
 * `crc32(bytes, seed)` continues from the CRC of what came before, so that crc32(ab) = crc32(b, crc32(a)).
 * Node has it built in since 20.15; elsewhere the `crc` package does the same, and a test holds the two equal.
 */
import * as zlib from "node:zlib";
import crcPackageCrc32 from "crc/calculators/crc32";

export type Crc32 = (bytes: Uint8Array, seed: number) => number;

export const portableCrc32: Crc32 = (bytes, seed) => crcPackageCrc32(bytes, seed) >>> 0;

/** Node's own implementation, or undefined where Node is too old to have one. */
export const nativeCrc32: Crc32 | undefined =
  "crc32" in zlib && typeof zlib.crc32 === "function" ? (zlib.crc32 as Crc32) : undefined;

export const crc32: Crc32 = nativeCrc32 ?? portableCrc32;
