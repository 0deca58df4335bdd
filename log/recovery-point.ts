/**
 * The recovery point: a small side file with the last offset known durable, so that recovery can tell a torn end from
 * lost data, and whether the last stop was clean. It is noted off the hot path and may lag; it never runs ahead.
 *
 *   place bytes field     meaning                                              checked on read
 *    0     8    magic     "ANNALRPT"                                            equal
 *    8     2    version   format version, 1                                     known; else LOG_VERSION_UNKNOWN
 *   10     2    clean     1 after a clean stop, else 0                          0 or 1
 *   12     4    crc       chained crc of the record at `durable` (0 if none)    -
 *   16     8    durable   last offset known durable                             a safe integer
 *   24     8    tail      base offset of the tail segment then                  a safe integer
 *   32     4    checksum  CRC-32 of bytes 0..31                                 equal
 *
 * Example, durable = 258, crc = 0x11223344, tail = 1, clean:
 *   414e4e414c525054 0100 0100 44332211 0201000000000000 0100000000000000 2afb5a0f
 */
import { crc32 } from "./checksum.js";
import { ADVICE_RECOVERY_POINT } from "./corruption.js";
import { LogError } from "./errors.js";
import { RECOVERY_POINT_FILE } from "./file-names.js";
import { type FileSystem, readWholeFile, replaceFile } from "./file-system.js";
import { isUnreadable } from "./read-bytes.js";
import { offset as asOffset, type Offset } from "./units.js";

export interface RecoveryPoint {
  readonly durable: Offset;
  /** Chained crc of the record at `durable`. */
  readonly crc: number;
  /** Base offset of the tail segment when the point was noted: a log whose last segment is older has lost one. */
  readonly tail: Offset;
  /** True when the log was closed at `durable` and nothing was written after it. */
  readonly clean: boolean;
}

const MAGIC = "ANNALRPT";
const VERSION = 1;
const BYTES = 36;

export function encodeRecoveryPoint(point: RecoveryPoint): Uint8Array {
  const bytes = Buffer.alloc(BYTES);
  bytes.write(MAGIC, 0, "latin1");
  bytes.writeUInt16LE(VERSION, 8);
  bytes.writeUInt16LE(point.clean ? 1 : 0, 10);
  bytes.writeUInt32LE(point.crc, 12);
  bytes.writeBigUInt64LE(BigInt(point.durable), 16);
  bytes.writeBigUInt64LE(BigInt(point.tail), 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 32), 0), 32);
  return bytes;
}

export type RecoveryPointFault =
  | "unreadable"
  | "length"
  | "magic"
  | "version"
  | "checksum"
  | "clean"
  | "durable"
  | "tail";

/** Decodes a recovery point, or says what is wrong with it. Never throws, whatever the bytes. */
export function decodeRecoveryPoint(
  bytes: Uint8Array,
): RecoveryPoint | Exclude<RecoveryPointFault, "unreadable"> {
  if (bytes.length !== BYTES) return "length";
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, BYTES);
  if (file.toString("latin1", 0, 8) !== MAGIC) return "magic";
  const checksumHolds = file.readUInt32LE(32) === crc32(file.subarray(0, 32), 0);
  // A sound file of another version is another release's; a damaged version byte is damage.
  if (!checksumHolds) return "checksum";
  if (file.readUInt16LE(8) !== VERSION) return "version";
  const clean = file.readUInt16LE(10);
  if (clean > 1) return "clean";
  const durable = Number(file.readBigUInt64LE(16));
  if (!Number.isSafeInteger(durable)) return "durable";
  const tail = Number(file.readBigUInt64LE(24));
  if (!Number.isSafeInteger(tail)) return "tail";
  return { durable: asOffset(durable), crc: file.readUInt32LE(12), tail: asOffset(tail), clean: clean === 1 };
}

/**
 * The recovery point of a data directory, or undefined when there is none yet.
 * @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN.
 */
export async function readRecoveryPoint(
  files: FileSystem,
  dataDirectory: string,
): Promise<RecoveryPoint | undefined> {
  const path = `${dataDirectory}/${RECOVERY_POINT_FILE}`;
  if (!(await files.exists(path))) return undefined;
  let fault: RecoveryPointFault;
  try {
    const decoded = decodeRecoveryPoint(await readWholeFile(files, path, BYTES));
    if (typeof decoded === "object") return decoded;
    fault = decoded;
  } catch (error) {
    if (!(error instanceof RangeError) && !isUnreadable(error)) throw error;
    fault = isUnreadable(error) ? "unreadable" : "length";
  }
  if (fault === "version") {
    throw new LogError("LOG_VERSION_UNKNOWN", `${path} was written by another release of Annals`, {
      file: path,
      expected: VERSION,
    });
  }
  throw new LogError(
    "LOG_CORRUPT",
    `the recovery point ${path} is damaged (${fault}): without it a lost end of the log could pass for a torn write`,
    { file: path, found: fault, advice: ADVICE_RECOVERY_POINT },
  );
}

/** Durable, and whole whenever the power goes: there is the old point or the new one. */
export async function writeRecoveryPoint(
  files: FileSystem,
  dataDirectory: string,
  point: RecoveryPoint,
): Promise<void> {
  await replaceFile(files, dataDirectory, RECOVERY_POINT_FILE, encodeRecoveryPoint(point));
}
