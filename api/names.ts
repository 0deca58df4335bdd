/**
 * The rules that every key and every text obeys, whatever door and operation it comes through, so that one key gets the
 * same verdict everywhere. The fields that hold keys have the same names in every operation: `key`, `destination`,
 * `keys`, and `key` in `pairs`.
 */
import { type Refusal, refusal } from "./errors.js";
import type { ApiLimits } from "./options.js";

/** Why this can't be a key, or undefined. Any Unicode is fine, NUL included. */
export function keyProblem(key: string, keyBytesMax: number): string | undefined {
  if (key === "") return "a key must not be empty";
  if (!key.isWellFormed()) return "a key must be well-formed Unicode (no lone surrogates)";
  // A UTF-16 unit takes at most three bytes of UTF-8, so most keys need no counting.
  if (key.length * 3 > keyBytesMax && Buffer.byteLength(key) > keyBytesMax) {
    return `a key may have ${keyBytesMax} bytes at most`;
  }
  return undefined;
}

interface NamedFields {
  readonly key?: unknown;
  readonly destination?: unknown;
  readonly value?: unknown;
  readonly keys?: unknown;
  readonly pairs?: unknown;
}

/** Refuses a bad key, a text that is no Unicode, or too many items, wherever they stand in a checked input. */
export function refuseNames(input: NamedFields, limits: ApiLimits): Refusal | undefined {
  const { keyBytesMax, batchItemsMax } = limits;
  if (typeof input.key === "string") {
    const problem = keyProblem(input.key, keyBytesMax);
    if (problem !== undefined) return refusal("KV_KEY_INVALID", problem);
  }
  if (typeof input.value === "string" && !input.value.isWellFormed()) return notText();
  if (typeof input.destination === "string") {
    const problem = keyProblem(input.destination, keyBytesMax);
    if (problem !== undefined) return refusal("KV_KEY_INVALID", problem);
  }
  if (Array.isArray(input.keys)) return refuseKeys(input.keys, keyBytesMax, batchItemsMax);
  if (Array.isArray(input.pairs)) return refusePairs(input.pairs, limits);
  return undefined;
}

function refuseKeys(
  keys: readonly unknown[],
  keyBytesMax: number,
  batchItemsMax: number,
): Refusal | undefined {
  if (keys.length > batchItemsMax) return tooMany(keys.length, batchItemsMax);
  for (const key of keys) {
    const problem = keyProblem(String(key), keyBytesMax);
    if (problem !== undefined) return refusal("KV_KEY_INVALID", problem);
  }
  return undefined;
}

function refusePairs(pairs: readonly NamedFields[], limits: ApiLimits): Refusal | undefined {
  if (pairs.length > limits.batchItemsMax) return tooMany(pairs.length, limits.batchItemsMax);
  for (const { key, value } of pairs) {
    const problem = keyProblem(String(key), limits.keyBytesMax);
    if (problem !== undefined) return refusal("KV_KEY_INVALID", problem);
    if (typeof value === "string" && !value.isWellFormed()) return notText();
  }
  return undefined;
}

/** How many keys, pairs, messages or events an input lists; 1 of what names a single one. By these names every write has its list. */
export function itemsOf(input: unknown): number {
  const { keys, pairs, messages, events }: Readonly<Record<string, unknown>> = Object(input);
  const list = keys ?? pairs ?? messages ?? events;
  return Array.isArray(list) ? Math.max(1, list.length) : 1;
}

export function tooMany(count: number, most: number): Refusal {
  return refusal("API_BATCH_TOO_LARGE", `${count} items in one request; ${most} is the most`);
}

function notText(): Refusal {
  return refusal("KV_VALUE_NOT_TEXT", "a text value must be well-formed Unicode (no lone surrogates)");
}
