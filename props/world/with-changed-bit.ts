import type { Random } from "./fate.js";

/** Where lengths and checksums stand: there a changed bit does most. */
const HEAD_BYTES = 12;

/** What a way makes of a piece when it garbles it. */
export function withChangedBit(bytes: Uint8Array, random: Random): Uint8Array {
  const within = random() < 0.5 ? Math.min(HEAD_BYTES, bytes.length) : bytes.length;
  const at = Math.floor(random() * within);
  const changed = Uint8Array.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  return changed;
}
