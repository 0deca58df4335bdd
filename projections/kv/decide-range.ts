/** Deciders that change part of a value, counted in bytes. All keep the key's expiry. */
import type { Decider } from "../decision.js";
import {
  type AppendCommand,
  BYTES_TYPE,
  JSON_TYPE,
  type KvEntry,
  type SetRangeCommand,
  TEXT_TYPE,
  type ValueInput,
} from "./contract.js";
import { rewritten } from "./decide-set.js";
import { acceptSets, checkKey, checkValue, checkValueBytes, rejected, unchanged } from "./decisions.js";
import { bytesOf, inputBuffer } from "./values.js";

/** Adds at the end of the value; creates the key when it is not there. Answers the length after. */
export const append: Decider<AppendCommand, { length: number }> = ({ kv }, command, context, rules) => {
  const { key, value } = command;
  const refused = checkKey(key, rules.kv) ?? checkValue(value, rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.get(key, context.now);
  const added = inputBuffer(value);
  if (current !== undefined && added.length === 0) {
    return unchanged({ length: current.bytes.length }, current.revision);
  }
  const length = (current?.bytes.length ?? 0) + added.length;
  const tooLarge = checkValueBytes(length, rules.kv);
  if (tooLarge !== undefined) return { ...tooLarge, seen: kv.lastChange(key) };
  const whole = current === undefined ? added : Buffer.concat([bytesOf(current.bytes), added], length);
  const event = rewritten(kv, key, current, whole, typeAfterEdit(current, value));
  return acceptSets(kv, rules, context, [event], () => ({ length }));
};

/**
 * Writes over the value from a byte offset on; a gap before it is filled with zero bytes. Writing nothing changes nothing.
 * Refuses with KV_KEY_INVALID, KV_RANGE_INVALID, KV_VALUE_TOO_LARGE, KV_VALUE_NOT_TEXT, KV_MEMORY_FULL.
 */
export const setRange: Decider<SetRangeCommand, { length: number }> = ({ kv }, command, context, rules) => {
  const { key, value, offset } = command;
  const refused = checkKey(key, rules.kv) ?? checkValue(value, rules.kv);
  if (refused !== undefined) return refused;
  if (!Number.isSafeInteger(offset) || offset < 0) {
    return rejected("KV_RANGE_INVALID", "a byte offset must be a whole number from 0");
  }
  const current = kv.get(key, context.now);
  const before = current?.bytes.length ?? 0;
  const written = inputBuffer(value);
  if (written.length === 0) return unchanged({ length: before }, kv.lastChange(key));
  const tooLarge = checkValueBytes(offset + written.length, rules.kv);
  if (tooLarge !== undefined) return tooLarge;
  const length = Math.max(before, offset + written.length);
  const whole = Buffer.alloc(length);
  if (current !== undefined) whole.write(current.bytes, 0, "latin1");
  whole.set(written, offset);
  const event = rewritten(kv, key, current, whole, typeAfterEdit(current, value));
  return acceptSets(kv, rules, context, [event], () => ({ length }));
};

/** An edit keeps the type, save that edited JSON may be JSON no more: it becomes text. */
function typeAfterEdit(current: KvEntry | undefined, value: ValueInput): string {
  if (current === undefined) return typeof value === "string" ? TEXT_TYPE : BYTES_TYPE;
  return current.contentType === JSON_TYPE ? TEXT_TYPE : current.contentType;
}
