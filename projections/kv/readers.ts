/**
 * Queries of the key-value projection. Each says with its answer the offset of the last change that the answer tells of: the
 * store lets nothing leave before that is committed.
 */
import { type Offset, RECORD_BODY_BYTES_MAX } from "../../log/index.js";
import type { Reader, Rejection, Seen } from "../decision.js";
import {
  type ByteString,
  type EntriesAnswer,
  type EntriesQuery,
  type GetRangeQuery,
  JSON_TYPE,
  type KeyQuery,
  type KeysQuery,
  type KvEntry,
  type KvStats,
  type KvView,
  type ScanAnswer,
  type ScanQuery,
  type StoredValue,
  TEXT_TYPE,
} from "./contract.js";
import { keyNotFound, lastChangeOf, rejected } from "./decisions.js";
import { PATTERN_LENGTH_MAX } from "./glob.js";

type Nothing = Record<string, never>;

function seen<Answer>(answer: Answer, offset: Offset): Seen<Answer> {
  return { type: "seen", answer, seen: offset };
}

export const get: Reader<KeyQuery, KvEntry | undefined> = ({ kv }, { key }, { now }) => {
  const entry = kv.read(key, now);
  return seen(entry, entry?.revision ?? kv.lastChange(key));
};

export const exists: Reader<KeyQuery, { exists: boolean }> = ({ kv }, { key }, { now }) =>
  seen({ exists: kv.readHead(key, now) !== undefined }, kv.lastChange(key));

/** In the order asked; undefined for keys that are not there. Refuses with KV_VALUES_TOO_LARGE. */
export const getMany: Reader<KeysQuery, readonly (KvEntry | undefined)[]> = ({ kv }, { keys }, { now }) => {
  const entries: (KvEntry | undefined)[] = [];
  let bytes = 0;
  for (const key of keys) {
    const entry = kv.read(key, now);
    bytes += entry?.bytes.length ?? 0;
    if (bytes > RECORD_BODY_BYTES_MAX) return tooLarge(lastChangeOf(kv, keys));
    entries.push(entry);
  }
  return seen(entries, lastChangeOf(kv, keys));
};

/** One answer shows as much as one record may set. A few names can ask for very much. */
function tooLarge(seen: Offset): Rejection {
  const message = `the values take more than ${RECORD_BODY_BYTES_MAX} bytes together; ask for fewer keys at once`;
  return rejected("KV_VALUES_TOO_LARGE", message, seen);
}

/** Refuses with KV_RANGE_INVALID (limit), KV_PATTERN_INVALID, KV_CURSOR_INVALID. */
export const scan: Reader<ScanQuery, ScanAnswer> = (
  { kv },
  query,
  { now, random },
): Seen<ScanAnswer> | Rejection => {
  if (!Number.isSafeInteger(query.limit) || query.limit < 1) {
    return rejected("KV_RANGE_INVALID", "a limit must be a whole number from 1");
  }
  const page = kv.scan(query, now, random);
  switch (page.type) {
    case "page":
      return seen(page.answer, kv.lastOffset);
    case "cursor":
      return rejected(
        "KV_CURSOR_INVALID",
        "the cursor is not of this run of the server; start again without one",
      );
    case "pattern":
      return rejected(
        "KV_PATTERN_INVALID",
        `a pattern has at most ${PATTERN_LENGTH_MAX} characters, closes its sets and does not end in a lone backslash`,
      );
  }
};

/** Refuses as scan does, and with KV_VALUES_TOO_LARGE. Does not count as an access. */
export const entries: Reader<EntriesQuery, EntriesAnswer> = (state, { of, bytesMax }, context) => {
  const { kv } = state;
  const { now } = context;
  const shownBytes = (keys: readonly string[]): number =>
    bytesMax === undefined ? 0 : keys.reduce((sum, key) => sum + (kv.look(key, now)?.valueBytes ?? 0), 0);
  const there = (keys: readonly string[]): EntriesAnswer["entries"] =>
    keys.flatMap((key) => entryOf(kv, key, now, bytesMax !== undefined));
  if ("keys" in of) {
    const lastChange = lastChangeOf(kv, of.keys);
    if (shownBytes(of.keys) > RECORD_BODY_BYTES_MAX) return tooLarge(lastChange);
    return seen({ entries: there(of.keys) }, lastChange);
  }
  // A cursor stands between pages only: where the values are too many bytes for one answer, the page is made smaller.
  for (let limit = of.limit; ; limit = Math.ceil(limit / 4)) {
    const page = scan(state, { ...of, limit }, context);
    if (page.type === "rejected") return page;
    const { keys, cursor } = page.answer;
    if (shownBytes(keys) > (bytesMax ?? 0) && limit > 1) continue;
    const found = { entries: there(keys) };
    return seen(cursor === undefined ? found : { ...found, cursor }, page.seen);
  }
};

/** None when the key is not there. */
function entryOf(kv: KvView, key: string, now: number, withValue: boolean): EntriesAnswer["entries"] {
  const head = kv.look(key, now);
  if (head === undefined) return [];
  const value = withValue ? kv.get(key, now)?.bytes : undefined;
  return [value === undefined ? { key, head } : { key, head, value }];
}

/** Where the chain of the key's events ends, and whether the key is there. */
export const chain: Reader<
  KeyQuery,
  { readonly offset: Offset; readonly isWhole: boolean; readonly isThere: boolean }
> = ({ kv }, { key }, { now }) => {
  const isThere = kv.look(key, now) !== undefined;
  return seen({ ...kv.chainOf(key), isThere }, kv.lastChange(key));
};

export const size: Reader<Nothing, { size: number }> = ({ kv }, _query, { now }) =>
  seen({ size: kv.size(now) }, kv.lastOffset);

/** Ms until the key expires, null when it never does. Refuses with KV_KEY_NOT_FOUND. */
export const ttl: Reader<KeyQuery, { ttlMs: number | null }> = ({ kv }, { key }, { now }) => {
  const entry = kv.look(key, now);
  if (entry === undefined) return keyNotFound(kv.lastChange(key));
  return seen({ ttlMs: entry.expiresAt === 0 ? null : entry.expiresAt - now }, entry.revision);
};

/** The bytes from `start` to `end`, both inclusive; empty when the range holds none. Refuses with KV_RANGE_INVALID. */
export const getRange: Reader<GetRangeQuery, StoredValue | undefined> = ({ kv }, query, { now }) => {
  const { key, start, end } = query;
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) {
    return rejected("KV_RANGE_INVALID", "a range is given by whole numbers");
  }
  const entry = kv.read(key, now);
  if (entry === undefined) return seen(undefined, kv.lastChange(key));
  const { length } = entry.bytes;
  const from = Math.max(0, start < 0 ? length + start : start);
  const last = end < 0 ? length + end : end;
  const bytes = entry.bytes.slice(from, Math.max(from, last + 1)) as ByteString;
  // A part of a JSON text is text, whatever the whole was.
  const isPart = bytes.length < length && entry.contentType === JSON_TYPE;
  return seen({ bytes, contentType: isPart ? TEXT_TYPE : entry.contentType }, entry.revision);
};

/** In bytes; 0 when the key is not there. */
export const length: Reader<KeyQuery, { length: number }> = ({ kv }, { key }, { now }) =>
  seen({ length: kv.look(key, now)?.valueBytes ?? 0 }, kv.lastChange(key));

/** "string" for every key that is there: the one data type so far. */
export const type: Reader<KeyQuery, { type: string | undefined }> = ({ kv }, { key }, { now }) =>
  seen({ type: kv.look(key, now) === undefined ? undefined : "string" }, kv.lastChange(key));

export const randomKey: Reader<Nothing, { key: string | undefined }> = ({ kv }, _query, { now, random }) =>
  seen({ key: kv.randomKey(now, random) }, kv.lastOffset);

export const stats: Reader<Nothing, KvStats> = ({ kv }, _query, { now }) =>
  seen(kv.stats(now), kv.lastOffset);
