/**
 * The state's fingerprint: SHA-256 over its live keys in order of their UTF-8 bytes. Two states are equal at an offset
 * exactly when their digests at one time are; how they came there leaves no trace.
 *
 *   for each key: key, content type and value, each as a u32 little-endian length and UTF-8 (raw) bytes; then expiry and
 *   revision as little-endian doubles
 */
import { createHash, type Hash } from "node:crypto";
import { copyBytes } from "../bytes.js";
import type { GiveWay } from "../give-way.js";
import { slotsInOrder } from "./key-order.js";
import type { KvState } from "./state.js";

/** Many small pieces are gathered for one call of the hash. */
const GATHERED_BYTES = 64 * 1024;

/** `at`: keys that expired by then count as gone. */
export function digestOf({ table }: KvState, at: number, giveWay: GiveWay): string {
  const hash = new GatheringHash();
  for (const slot of slotsInOrder(table, at, giveWay)) {
    const memory = table.memoryAt(slot);
    const keyStart = table.positionAt(slot);
    const keyEnd = keyStart + table.keyBytesAt(slot);
    hash.bytes(memory, keyStart, keyEnd);
    hash.text(table.contentTypeAt(slot));
    hash.bytes(memory, keyEnd, keyEnd + table.valueBytesAt(slot));
    hash.double(table.expiresAt(slot));
    hash.double(table.revisionAt(slot));
    giveWay();
  }
  return hash.digest();
}

class GatheringHash {
  readonly #hash: Hash = createHash("sha256");
  readonly #buffer = Buffer.allocUnsafe(GATHERED_BYTES);
  #filled = 0;
  #text = "";
  #textBytes = Buffer.alloc(0);

  /** source[from, end) with its length before it. */
  bytes(source: Buffer, from: number, end: number): void {
    this.#length(end - from);
    if (end - from > GATHERED_BYTES) {
      this.#flush();
      this.#hash.update(source.subarray(from, end));
      return;
    }
    this.#makeRoom(end - from);
    copyBytes(source, from, end, this.#buffer, this.#filled);
    this.#filled += end - from;
  }

  /** Most come many times in a row. */
  text(value: string): void {
    if (value !== this.#text) {
      this.#text = value;
      this.#textBytes = Buffer.from(value);
    }
    this.bytes(this.#textBytes, 0, this.#textBytes.length);
  }

  double(value: number): void {
    this.#makeRoom(8);
    this.#filled = this.#buffer.writeDoubleLE(value, this.#filled);
  }

  digest(): string {
    this.#flush();
    return this.#hash.digest("hex");
  }

  #length(bytes: number): void {
    this.#makeRoom(4);
    this.#filled = this.#buffer.writeUInt32LE(bytes, this.#filled);
  }

  #makeRoom(bytes: number): void {
    if (this.#filled + bytes > GATHERED_BYTES) this.#flush();
  }

  #flush(): void {
    this.#hash.update(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }
}
