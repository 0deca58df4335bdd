/** Counting: 64-bit signed integers kept as decimal text, exact to the last digit. */
import type { Decider } from "../decision.js";
import { type ByteString, type IncrementCommand, TEXT_TYPE } from "./contract.js";
import { rewritten } from "./decide-set.js";
import { acceptSets, checkKey, rejected } from "./decisions.js";

const INTEGER_MIN = -(2n ** 63n);
const INTEGER_MAX = 2n ** 63n - 1n;
/** The one way to write each integer: no sign for zero, no plus, no leading zeros or spaces. */
const CANONICAL_INTEGER = /^(?:0|-?[1-9][0-9]{0,18})$/;

/**
 * Adds to the integer that the key holds (0 when it is not there); keeps the expiry and leaves text.
 * Refuses with KV_KEY_INVALID, KV_NOT_AN_INTEGER, KV_INTEGER_OVERFLOW, KV_MEMORY_FULL.
 */
export const increment: Decider<IncrementCommand, { value: bigint }> = ({ kv }, command, context, rules) => {
  const { key, amount } = command;
  const refused = checkKey(key, rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.get(key, context.now);
  const before = current === undefined ? 0n : integerOf(current.bytes);
  if (before === undefined) {
    return rejected("KV_NOT_AN_INTEGER", "the value is not a 64-bit integer", kv.lastChange(key));
  }
  const value = before + amount;
  if (!isInt64(amount) || !isInt64(value)) {
    return rejected("KV_INTEGER_OVERFLOW", "the result does not fit 64 bits", kv.lastChange(key));
  }
  const event = rewritten(kv, key, current, value.toString(), TEXT_TYPE);
  return acceptSets(kv, rules, context, [event], () => ({ value }));
};

const isInt64 = (value: bigint): boolean => value >= INTEGER_MIN && value <= INTEGER_MAX;

function integerOf(bytes: ByteString): bigint | undefined {
  if (!CANONICAL_INTEGER.test(bytes)) return undefined;
  const value = BigInt(bytes);
  return isInt64(value) ? value : undefined;
}
