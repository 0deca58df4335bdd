/** Deciders that replace whole values: set, getset, and the atomic sets of many keys. */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Decider, Decision, Rejection, StoreRules } from "../decision.js";
import type {
  GetSetCommand,
  KeySet,
  KvEntry,
  KvView,
  Pair,
  SetAnswer,
  SetCommand,
  SetManyCommand,
  StoredValue,
} from "./contract.js";
import {
  acceptSets,
  checkContentType,
  checkKey,
  checkValue,
  expiresAtOf,
  lastChangeOf,
  rejected,
  unchanged,
} from "./decisions.js";
import { storedValue } from "./values.js";

/**
 * Sets one key. A key's earlier expiry goes unless `keepTtl`.
 * Refuses with KV_KEY_INVALID, KV_VALUE_TOO_LARGE, KV_VALUE_NOT_TEXT, KV_CONTENT_TYPE_INVALID, KV_OPTIONS_CONFLICT,
 * KV_EXPIRY_INVALID, KV_REVISION_MISMATCH, KV_MEMORY_FULL.
 */
export const set: Decider<SetCommand, SetAnswer> = ({ kv }, command, context, rules) => {
  const { key, value, contentType, expiry, nx, xx, keepTtl } = command;
  const refused = checkPair(command, rules) ?? checkOptions(command);
  if (refused !== undefined) return refused;
  const asked = expiry === undefined ? 0 : expiresAtOf(expiry, context.now);
  if (typeof asked !== "number") return asked;

  const current = kv.look(key, context.now);
  const revision = current?.revision ?? BEFORE_FIRST;
  if (command.ifRevision !== undefined && command.ifRevision !== revision) {
    return rejected("KV_REVISION_MISMATCH", "the key has another revision", kv.lastChange(key));
  }
  const old = command.get === true ? oldValue(kv, key, context.now) : {};
  if ((nx === true && current !== undefined) || (xx === true && current === undefined)) {
    const answer = { written: false, revision, created: false, ...old };
    return showing(unchanged(answer, kv.lastChange(key)), old);
  }
  const expiresAt = keepTtl === true ? (current?.expiresAt ?? 0) : asked;
  const event: KeySet = {
    type: "kv.set",
    key,
    value,
    contentType,
    expiresAt,
    previous: current?.revision ?? kv.previousOf(key),
  };
  const created = current === undefined;
  const answer = (offset: Offset) => ({ written: true, revision: offset, created, ...old });
  return showing(acceptSets(kv, rules, context, [event], answer), old);
};

/** Sets one key and gives back what was there. Drops the expiry, as set does. */
export const getSet: Decider<GetSetCommand, { old?: StoredValue }> = ({ kv }, command, context, rules) => {
  const refused = checkPair(command, rules);
  if (refused !== undefined) return refused;
  const answer = oldValue(kv, command.key, context.now);
  return showing(
    acceptSets(kv, rules, context, [setOf(kv, command)], () => answer),
    answer,
  );
};

/** Sets all keys in one record; of a key named twice the last wins. Answers how many keys were written. */
export const setMany: Decider<SetManyCommand, { written: number }> = ({ kv }, command, context, rules) => {
  const pairs = distinctPairs(command.pairs, rules);
  if ("type" in pairs) return pairs;
  if (pairs.size === 0) return unchanged({ written: 0 }, BEFORE_FIRST);
  const sets = Array.from(pairs.values(), (pair) => setOf(kv, pair));
  return acceptSets(kv, rules, context, sets, () => ({ written: sets.length }));
};

/** Sets all keys in one record if none of them is there, else nothing. */
export const setManyIfAbsent: Decider<SetManyCommand, { written: boolean }> = (
  { kv },
  command,
  context,
  rules,
) => {
  const pairs = distinctPairs(command.pairs, rules);
  if ("type" in pairs) return pairs;
  if (pairs.size === 0) return unchanged({ written: true }, BEFORE_FIRST);
  for (const key of pairs.keys()) {
    if (kv.look(key, context.now) !== undefined) {
      return unchanged({ written: false }, lastChangeOf(kv, pairs.keys()));
    }
  }
  const sets = Array.from(pairs.values(), (pair) => setOf(kv, pair));
  return acceptSets(kv, rules, context, sets, () => ({ written: true }));
};

function oldValue(kv: KvView, key: string, now: number): { old?: StoredValue } {
  const current = kv.get(key, now);
  return current === undefined ? {} : { old: storedValue(current) };
}

function showing<Answer>(decision: Decision<Answer>, { old }: { old?: StoredValue }): Decision<Answer> {
  if (old === undefined || decision.type === "rejected") return decision;
  return { ...decision, shownBytes: old.bytes.length };
}

function checkPair(pair: Pair, rules: StoreRules): Rejection | undefined {
  return (
    checkKey(pair.key, rules.kv) ?? checkValue(pair.value, rules.kv) ?? checkContentType(pair.contentType)
  );
}

function checkOptions({ nx, xx, keepTtl, expiry }: SetCommand): Rejection | undefined {
  if (nx === true && xx === true) return rejected("KV_OPTIONS_CONFLICT", "nx and xx exclude each other");
  if (keepTtl === true && expiry !== undefined) {
    return rejected("KV_OPTIONS_CONFLICT", "keepttl and an expiry exclude each other");
  }
  return undefined;
}

function distinctPairs(pairs: readonly Pair[], rules: StoreRules): Map<string, Pair> | Rejection {
  const distinct = new Map<string, Pair>();
  for (const pair of pairs) {
    const refused = checkPair(pair, rules);
    if (refused !== undefined) return refused;
    distinct.set(pair.key, pair);
  }
  return distinct;
}

function setOf(kv: KvView, { key, value, contentType }: Pair): KeySet {
  return { type: "kv.set", key, value, contentType, expiresAt: 0, previous: kv.previousOf(key) };
}

/** The key's next value, its expiry kept. */
export function rewritten(
  kv: KvView,
  key: string,
  current: KvEntry | undefined,
  value: string | Uint8Array,
  contentType: string,
): KeySet {
  return {
    type: "kv.set",
    key,
    value,
    contentType,
    expiresAt: current?.expiresAt ?? 0,
    previous: current?.revision ?? kv.previousOf(key),
  };
}
