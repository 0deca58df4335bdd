/**
 * The state's fingerprint: SHA-256 over its live keys in order of their UTF-16 code units. Two states are equal at an offset
 * exactly when their digests at one time are; how they came there leaves no trace.
 *
 *   for each key: key, content type and value, each as a u32 little-endian length and UTF-8 (raw) bytes; then expiry and
 *   revision as little-endian doubles
 */
import { createHash } from "node:crypto";
import type { KvState } from "./state.js";
import { bytesOf } from "./values.js";

/** `at`: keys that expired by then count as gone. */
export function digestOf(state: KvState, at: number): string {
  const { table } = state;
  const live: [key: string, slot: number][] = [];
  for (const slot of table.slots()) {
    const key = table.keyAt(slot);
    if (key !== undefined && !table.isExpired(slot, at)) live.push([key, slot]);
  }
  live.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const hash = createHash("sha256");
  const numbers = Buffer.alloc(16);
  const length = Buffer.alloc(4);
  const add = (bytes: Buffer): void => {
    length.writeUInt32LE(bytes.length);
    hash.update(length).update(bytes);
  };
  for (const [key, slot] of live) {
    add(Buffer.from(key));
    add(Buffer.from(table.contentTypeAt(slot)));
    add(bytesOf(table.valueAt(slot)));
    numbers.writeDoubleLE(table.expiresAt(slot), 0);
    numbers.writeDoubleLE(table.revisionAt(slot), 8);
    hash.update(numbers);
  }
  return hash.digest("hex");
}
