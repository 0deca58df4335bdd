/** Deciders about keys rather than values: delete, expire, persist, rename, copy, flush. */
import { BEFORE_FIRST } from "../../log/index.js";
import type { Decider, Decision } from "../decision.js";
import type {
  CopyCommand,
  DeleteCommand,
  ExpireCommand,
  KeyDeleted,
  KeyQuery,
  KeySet,
  KeysQuery,
  KvEntry,
  KvView,
  RenameCommand,
} from "./contract.js";
import {
  accepted,
  acceptSets,
  checkKey,
  checkKeys,
  expiresAtOf,
  keyNotFound,
  lastChangeOf,
  rejected,
  unchanged,
} from "./decisions.js";
import { bytesOf } from "./values.js";

export function deletion(kv: KvView, key: string): KeyDeleted {
  return { type: "kv.deleted", key, previous: kv.previousOf(key) };
}

/** Removes the key; no event when it is not there. Refuses with KV_KEY_INVALID, KV_REVISION_MISMATCH. */
export const deleteKey: Decider<DeleteCommand, { deleted: boolean }> = ({ kv }, command, context, rules) => {
  const { key, ifRevision } = command;
  const refused = checkKey(key, rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.look(key, context.now);
  if (ifRevision !== undefined && ifRevision !== (current?.revision ?? 0)) {
    return rejected("KV_REVISION_MISMATCH", "the key has another revision", kv.lastChange(key));
  }
  if (current === undefined) return unchanged({ deleted: false }, kv.lastChange(key));
  return accepted([deletion(kv, key)], () => ({ deleted: true }));
};

/** Removes all of the keys that are there, in one record. A key named twice counts once. */
export const deleteMany: Decider<KeysQuery, { deleted: number }> = ({ kv }, command, context, rules) => {
  const refused = checkKeys(command.keys, rules.kv);
  if (refused !== undefined) return refused;
  const present = [...new Set(command.keys)].filter((key) => kv.look(key, context.now) !== undefined);
  if (present.length === 0) return unchanged({ deleted: 0 }, lastChangeOf(kv, command.keys));
  return accepted(
    present.map((key) => deletion(kv, key)),
    () => ({ deleted: present.length }),
  );
};

/** Gives the key an expiry or moves the one it has; false when the key is not there. */
export const expire: Decider<ExpireCommand, { result: boolean }> = ({ kv }, command, context, rules) => {
  const { key, expiry } = command;
  const refused = checkKey(key, rules.kv);
  if (refused !== undefined) return refused;
  const expiresAt = expiresAtOf(expiry, context.now);
  if (typeof expiresAt !== "number") return expiresAt;
  if (kv.look(key, context.now) === undefined) return unchanged({ result: false }, kv.lastChange(key));
  const previous = kv.previousOf(key);
  return accepted([{ type: "kv.expiry_changed", key, expiresAt, previous }], () => ({ result: true }));
};

/** Takes the key's expiry away; false when it has none or is not there. */
export const persist: Decider<KeyQuery, { result: boolean }> = ({ kv }, { key }, context, rules) => {
  const refused = checkKey(key, rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.look(key, context.now);
  if (current === undefined || current.expiresAt === 0) {
    return unchanged({ result: false }, kv.lastChange(key));
  }
  const previous = current.revision;
  return accepted([{ type: "kv.expiry_changed", key, expiresAt: 0, previous }], () => ({ result: true }));
};

/** Moves value and expiry over whatever the destination held; to itself it changes nothing. */
export const rename: Decider<RenameCommand, { renamed: true }> = ({ kv }, command, context, rules) => {
  const { key, destination } = command;
  const refused = checkKeys([key, destination], rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.get(key, context.now);
  if (current === undefined) return keyNotFound(kv.lastChange(key));
  if (key === destination) return unchanged({ renamed: true }, current.revision);
  return acceptSets(
    kv,
    rules,
    context,
    [copyOf(kv, current, destination)],
    () => ({ renamed: true }),
    [deletion(kv, key)],
    [key],
  );
};

/** As rename, but leaves everything as it is when the destination is there. */
export const renameIfAbsent: Decider<RenameCommand, { renamed: boolean }> = (
  state,
  command,
  context,
  rules,
): Decision<{ renamed: boolean }> => {
  const { kv } = state;
  const refused = checkKeys([command.key, command.destination], rules.kv);
  if (refused !== undefined) return refused;
  if (kv.look(command.key, context.now) === undefined) return keyNotFound(kv.lastChange(command.key));
  if (kv.look(command.destination, context.now) !== undefined) {
    return unchanged({ renamed: false }, lastChangeOf(kv, [command.key, command.destination]));
  }
  return rename(state, command, context, rules);
};

/** Copies value and expiry; false when the source is not there, or the destination is and may not be replaced. */
export const copy: Decider<CopyCommand, { copied: boolean }> = ({ kv }, command, context, rules) => {
  const { key, destination, replace } = command;
  const refused = checkKeys([key, destination], rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.get(key, context.now);
  const seen = lastChangeOf(kv, [key, destination]);
  if (current === undefined) return unchanged({ copied: false }, seen);
  if (!replace && kv.look(destination, context.now) !== undefined) return unchanged({ copied: false }, seen);
  if (key === destination) return unchanged({ copied: true }, seen);
  return acceptSets(kv, rules, context, [copyOf(kv, current, destination)], () => ({ copied: true }));
};

/** Removes every key at once, where the rules allow it. Answers how many were there. */
export const flush: Decider<Record<string, never>, { flushed: number }> = (
  { kv },
  _command,
  context,
  rules,
) => {
  if (!rules.kv.allowFlush) {
    return rejected("KV_FLUSH_NOT_ALLOWED", "flushing is not allowed by the configuration", BEFORE_FIRST);
  }
  const flushed = kv.size(context.now);
  if (flushed === 0) return unchanged({ flushed }, kv.lastOffset);
  return accepted([{ type: "kv.flushed" }], () => ({ flushed }));
};

function copyOf(kv: KvView, entry: KvEntry, destination: string): KeySet {
  return {
    type: "kv.set",
    key: destination,
    value: bytesOf(entry.bytes),
    contentType: entry.contentType,
    expiresAt: entry.expiresAt,
    previous: kv.previousOf(destination),
  };
}
