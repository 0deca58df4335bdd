/**
 * A walk over every key, a page at a time. The cursor is a slot number and the name of the table's incarnation: slots belong to
 * one run of the process, so a cursor from another run is refused rather than followed to the wrong place.
 *
 * A page's work is bounded, whatever the query finds: it may hold fewer keys than asked for, none even, and still have a cursor.
 */
import { assert } from "../../log/index.js";
import type { ScanPage, ScanQuery } from "./contract.js";
import { type Glob, parseGlob } from "./glob.js";
import type { KeyTable } from "./key-table.js";

export const SCAN_LIMIT_MAX = 10_000;
/** Slots one page looks at, and steps it spends on matching: some milliseconds each. */
const SLOTS_MAX = 50_000;
const STEPS_MAX = 2_000_000;
/** Bytes of keys after which a page ends. */
const KEYS_BYTES_MAX = 4 << 20;
const CURSOR = /^([0-9a-f]{8})\.(0|[1-9][0-9]{0,9})$/;

/** `limit` is a whole number from 1. */
export function scanPage(table: KeyTable, incarnation: string, query: ScanQuery, now: number): ScanPage {
  assert(Number.isInteger(query.limit) && query.limit > 0, "a scan's limit is a whole number from 1");
  let slot = 0;
  if (query.cursor !== undefined) {
    const [, name, from] = CURSOR.exec(query.cursor) ?? [];
    if (name !== incarnation) return { type: "cursor" };
    slot = Number(from);
  }
  let glob: Glob | undefined;
  if (query.pattern !== undefined) {
    glob = parseGlob(query.pattern);
    if (glob === undefined) return { type: "pattern" };
  }
  // Bytes decide, so that a key is decoded only when it is wanted. No key is, and so none begins, ill-formed.
  if (query.prefix?.isWellFormed() === false) return { type: "page", answer: { keys: [] } };
  const prefix = query.prefix === undefined ? undefined : Buffer.from(query.prefix);
  const limit = Math.min(query.limit, SCAN_LIMIT_MAX);
  const end = Math.min(table.slotEnd, slot + SLOTS_MAX);
  const keys: string[] = [];
  let bytes = 0;
  while (slot < end && keys.length < limit && bytes < KEYS_BYTES_MAX && (glob?.steps ?? 0) < STEPS_MAX) {
    const key = prefix === undefined || table.keyBegins(slot, prefix) ? table.keyAt(slot) : undefined;
    if (key !== undefined && !table.isExpired(slot, now) && (glob === undefined || glob.matches(key))) {
      keys.push(key);
      bytes += table.keyBytesAt(slot);
    }
    slot++;
  }
  return slot < table.slotEnd
    ? { type: "page", answer: { keys, cursor: `${incarnation}.${slot}` } }
    : { type: "page", answer: { keys } };
}
