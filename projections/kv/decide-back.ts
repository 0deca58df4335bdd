/** Deciders that bring back what was: a key as one of its revisions left it, or many keys as they were at a moment. */
import { unreachable } from "../../log/index.js";
import type { Decider, Rejection } from "../decision.js";
import type {
  FoundRevision,
  KeySet,
  KeyThen,
  KvEvent,
  KvView,
  RestoreAnswer,
  RestoreChange,
  RestoreCommand,
  RevertAnswer,
  RevertCommand,
} from "./contract.js";
import { deletion } from "./decide-keys.js";
import { acceptSets, checkKey, checkKeys, rejected, unchanged } from "./decisions.js";
import { byteStringOf } from "./values.js";

/**
 * Writes what a revision left, as a new event. An expiry that has passed by now is left out: the value is what is wanted back.
 * Refuses with KV_KEY_INVALID, KV_REVISION_NOT_FOUND, KV_REVISION_RETIRED, KV_REVISION_REMOVED, KV_HISTORY_TOO_LONG,
 * KV_REVISION_MISMATCH, KV_MEMORY_FULL.
 */
export const revert: Decider<RevertCommand, RevertAnswer> = ({ kv }, command, context, rules) => {
  const { key, found } = command;
  const refused = checkKey(key, rules.kv);
  if (refused !== undefined) return refused;
  const current = kv.look(key, context.now);
  if (command.ifRevision !== undefined && command.ifRevision !== (current?.revision ?? 0)) {
    return rejected("KV_REVISION_MISMATCH", "the key has another revision", kv.lastChange(key));
  }
  if (found.type !== "value") return notToBeHad(found);
  const { value, contentType } = found;
  const expiresAt = found.expiresAt > context.now ? found.expiresAt : 0;
  const event: KeySet = { type: "kv.set", key, value, contentType, expiresAt, previous: kv.previousOf(key) };
  return acceptSets(kv, rules, context, [event], (revision) => ({ revision, expiresAt }));
};

function notToBeHad(found: Exclude<FoundRevision, { type: "value" }>): Rejection {
  switch (found.type) {
    case "removal":
      return rejected("KV_REVISION_REMOVED", "this revision removed the key; delete it to have that again");
    case "not_found":
      return rejected("KV_REVISION_NOT_FOUND", "this is no revision of the key");
    case "retired":
      return rejected("KV_REVISION_RETIRED", "retention has removed this revision from the log");
    case "too_long":
      return rejected("KV_HISTORY_TOO_LONG", "its value lies too many changes of the expiry before it");
    default:
      return unreachable(found);
  }
}

/**
 * Makes keys what they were, in one record; changes nothing of those that are. What had an expiry that has passed by now is
 * gone, as it would be had nobody changed it. With `dryRun` nothing happens and the answer says what would.
 * Refuses with KV_KEY_INVALID, KV_MEMORY_FULL.
 */
export const restore: Decider<RestoreCommand, RestoreAnswer> = ({ kv }, command, context, rules) => {
  const refused = checkKeys(
    command.keys.map(({ key }) => key),
    rules.kv,
  );
  if (refused !== undefined) return refused;
  const changes: RestoreChange[] = [];
  const sets: KeySet[] = [];
  const deletions: KvEvent[] = [];
  for (const then of command.keys) {
    const change = changeTo(kv, then, context.now);
    if (change === undefined) continue;
    changes.push({ key: then.key, change, revision: kv.look(then.key, context.now)?.revision ?? 0 });
    if (change === "deleted" || then.was === undefined) deletions.push(deletion(kv, then.key));
    else sets.push({ type: "kv.set", key: then.key, ...then.was, previous: kv.previousOf(then.key) });
  }
  const answer: RestoreAnswer = { changes };
  if (changes.length === 0) return unchanged(answer, kv.lastOffset);
  const removed = changes.flatMap(({ key, change }) => (change === "deleted" ? [key] : []));
  const decision = acceptSets(kv, rules, context, sets, () => answer, deletions, removed);
  // What would be refused is refused.
  return command.dryRun && decision.type === "accepted" ? unchanged(answer, kv.lastOffset) : decision;
};

/** Undefined when the key is what it was. */
function changeTo(kv: KvView, { key, was }: KeyThen, now: number): RestoreChange["change"] | undefined {
  const isThere = was !== undefined && (was.expiresAt === 0 || was.expiresAt > now);
  const current = kv.get(key, now);
  if (!isThere) return current === undefined ? undefined : "deleted";
  if (current === undefined) return "created";
  if (current.contentType !== was.contentType || current.bytes !== byteStringOf(was.value)) return "replaced";
  return current.expiresAt === was.expiresAt ? undefined : "expiry_changed";
}
