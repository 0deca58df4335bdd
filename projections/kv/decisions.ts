/**
 * What every key-value decider is made of: how to accept and to refuse, the checks that come before anything is looked at, and
 * room in memory. All pure.
 */
import { BEFORE_FIRST, type Offset, offset } from "../../log/index.js";
import type { Accepted, Context, Decision, Rejection, StoreEvent, StoreRules } from "../decision.js";
import { namesThatFit, ROUND_BYTES_MAX } from "../round-bytes.js";
import { WELL_KNOWN_TYPES } from "./codec.js";
import type { Expiry, KeyEvicted, KeySet, KvRejectionCode, KvRules, KvView, ValueInput } from "./contract.js";
import { EVICTIONS_MAX } from "./eviction.js";
import { KEYS_MAX } from "./key-table.js";
import { inputBytes } from "./values.js";

/** The latest time a Date can show: an expiry beyond it is a mistake of units. */
const TIME_MAX_MS = 8_640_000_000_000_000;
const CONTENT_TYPE_LENGTH_MAX = 255;
const CONTENT_TYPE = /^[\x20-\x7e]+$/;

export function rejected(code: KvRejectionCode, message: string, seen: Offset = BEFORE_FIRST): Rejection {
  return { type: "rejected", code, message, seen };
}

/** Something happened. The answer waits for its own record, which comes after everything it was decided on. */
export function accepted<Answer>(
  events: readonly StoreEvent[],
  answer: (offset: Offset) => Answer,
): Accepted<Answer> {
  return { type: "accepted", events, answer, seen: BEFORE_FIRST };
}

/** Nothing had to happen. The answer waits for the last change that it tells of. */
export function unchanged<Answer>(answer: Answer, seen: Offset): Accepted<Answer> {
  return { type: "accepted", events: [], answer: () => answer, seen };
}

export const keyNotFound = (seen: Offset): Rejection =>
  rejected("KV_KEY_NOT_FOUND", "the key does not exist", seen);

export function checkKey(key: string, rules: KvRules): Rejection | undefined {
  if (key.length === 0) return rejected("KV_KEY_INVALID", "a key must not be empty");
  if (!key.isWellFormed()) return rejected("KV_KEY_INVALID", "a key must be well-formed Unicode");
  // A character is at most three bytes a code unit, so most keys need no count.
  if (key.length * 3 > rules.keyBytesMax && Buffer.byteLength(key) > rules.keyBytesMax) {
    return rejected("KV_KEY_INVALID", `a key must not be longer than ${rules.keyBytesMax} bytes in UTF-8`);
  }
  return undefined;
}

export function checkKeys(keys: Iterable<string>, rules: KvRules): Rejection | undefined {
  for (const key of keys) {
    const refused = checkKey(key, rules);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

export function checkValue(value: ValueInput, rules: KvRules): Rejection | undefined {
  if (typeof value === "string" && !value.isWellFormed()) {
    return rejected("KV_VALUE_NOT_TEXT", "a text value must be well-formed Unicode");
  }
  return checkValueBytes(inputBytes(value), rules);
}

export function checkValueBytes(bytes: number, rules: KvRules): Rejection | undefined {
  if (bytes <= rules.valueBytesMax) return undefined;
  return rejected("KV_VALUE_TOO_LARGE", `a value must not be longer than ${rules.valueBytesMax} bytes`);
}

export function checkContentType(contentType: string): Rejection | undefined {
  if (WELL_KNOWN_TYPES.includes(contentType)) return undefined;
  if (contentType.length <= CONTENT_TYPE_LENGTH_MAX && CONTENT_TYPE.test(contentType)) return undefined;
  return rejected(
    "KV_CONTENT_TYPE_INVALID",
    `a content type is 1 to ${CONTENT_TYPE_LENGTH_MAX} printable ASCII characters`,
  );
}

/** The absolute time that an expiry means, ms since 1970; a rejection when it means none, or one in the past. */
export function expiresAtOf(expiry: Expiry, now: number): number | Rejection {
  const { type, value } = expiry;
  if (!Number.isSafeInteger(value) || value <= 0) {
    return rejected("KV_EXPIRY_INVALID", "an expiry must be a whole number greater than 0");
  }
  const inMs = type === "seconds" || type === "unix_seconds" ? value * 1000 : value;
  const expiresAt = type === "seconds" || type === "milliseconds" ? now + inMs : inMs;
  if (expiresAt > TIME_MAX_MS) return rejected("KV_EXPIRY_INVALID", "an expiry lies too far in the future");
  if (expiresAt <= now) return rejected("KV_EXPIRY_INVALID", "an absolute expiry must lie in the future");
  return expiresAt;
}

/** The latest of several last changes. */
export function lastChangeOf(kv: KvView, keys: Iterable<string>): Offset {
  let last = 0;
  for (const key of keys) last = Math.max(last, kv.lastChange(key));
  return offset(last);
}

/**
 * Accepts sets (of different keys) if there is room for them, evicting others in the same record if the policy says so.
 * `others` are the command's further events, `removed` the keys that they remove, `kept` keys that must not be evicted for it.
 */
export function acceptSets<Answer>(
  kv: KvView,
  rules: StoreRules,
  context: Context,
  sets: readonly KeySet[],
  answer: (offset: Offset) => Answer,
  others: readonly StoreEvent[] = [],
  removed: readonly string[] = [],
): Decision<Answer> {
  const evicted = makeRoom(kv, rules.kv, context, sets, removed);
  if ("type" in evicted) return evicted;
  if (evicted.length === 0 && others.length === 0) return accepted(sets, answer);
  return accepted([...evicted, ...others, ...sets], answer);
}

/** What an eviction takes in a record beside the key, at most. */
const EVICTION_BYTES = 24;
/** Of a command that did not ask for them: they fit beside its own event into any record. */
const EVICTED_BYTES_MAX = ROUND_BYTES_MAX / 2;

function makeRoom(
  kv: KvView,
  rules: KvRules,
  context: Context,
  sets: readonly KeySet[],
  removed: readonly string[],
): readonly KeyEvicted[] | Rejection {
  let growth = 0;
  let newKeys = -removed.length;
  for (const { key, value, contentType } of sets) {
    const before = kv.chargedFor(key);
    if (before === 0) newKeys++;
    growth += kv.chargeOf(key, inputBytes(value), contentType) - before;
  }
  for (const key of removed) growth -= kv.chargedFor(key);
  if (newKeys > 0 && kv.keysHeld + newKeys > KEYS_MAX) {
    return rejected("KV_MEMORY_FULL", `the store holds at most ${KEYS_MAX} keys`, kv.lastOffset);
  }
  const excess = kv.memoryBytes + growth - rules.maxMemoryBytes;
  if (excess <= 0 || growth <= 0) return [];
  const spare = new Set(removed);
  for (const { key } of sets) spare.add(key);
  const candidates = kv.evictions().candidates(rules.evictionPolicy, excess, context.random, spare);
  // Over a limit that was lowered, one command cannot free it all; it may pass if it leaves less than it found.
  const keys = excess > growth ? namesThatFit(candidates, EVICTION_BYTES, EVICTED_BYTES_MAX) : candidates;
  let freed = 0;
  for (const key of keys) freed += kv.chargedFor(key);
  const isPart = candidates.length === EVICTIONS_MAX || keys.length < candidates.length;
  if (freed < excess && !(isPart && freed > growth)) {
    return rejected("KV_MEMORY_FULL", "the memory limit is reached", kv.lastOffset);
  }
  return keys.map((key) => ({ type: "kv.evicted", key, previous: kv.previousOf(key) }));
}
