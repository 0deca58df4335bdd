/**
 * Decides several operations as one: each sees what those before it did, and the first that is refused refuses all, so that
 * there is one record or none. Knows nothing of what the operations are.
 */
import { BEFORE_FIRST, type Offset, offset } from "../../log/index.js";
import type {
  Accepted,
  Context,
  Decision,
  Reader,
  Rejection,
  StoreEvent,
  StoreRules,
  StoreView,
} from "../decision.js";
import type { BatchCommand, Precondition, RevisionsQuery } from "./contract.js";
import { storeOverlay } from "./overlay.js";

/** Refuses with BATCH_PRECONDITION_FAILED, or as the operation refuses that `operation_index` names, from 0. */
export function batch<Answer>(
  state: StoreView,
  { preconditions, steps }: BatchCommand<Answer>,
  context: Context,
  rules: StoreRules,
): Decision<readonly Answer[]> {
  for (const [index, precondition] of preconditions.entries()) {
    const refused = check(state, precondition, context.now);
    if (refused !== undefined) return { ...refused, details: { precondition_index: index } };
  }
  const overlay = storeOverlay(state);
  const events: StoreEvent[] = [];
  const parts: { readonly accepted: Accepted<Answer>; readonly place: number }[] = [];
  let seen: number = BEFORE_FIRST;
  for (const [index, step] of steps.entries()) {
    const decision = step.decide(overlay.view, context, rules);
    seen = Math.max(seen, decision.seen);
    if (decision.type === "rejected") return refusedAt(index, step.name, decision, state.nextOffset);
    parts.push({ accepted: decision, place: events.length });
    for (const event of decision.events) {
      overlay.apply(event);
      events.push(event);
    }
  }
  return {
    type: "accepted",
    events,
    answer: (at, first) => parts.map(({ accepted, place }) => accepted.answer(at, first + place)),
    seen: existing(seen, state.nextOffset),
  };
}

function refusedAt(index: number, name: string, rejection: Rejection, nextOffset: Offset): Rejection {
  return {
    ...rejection,
    message: `operation ${index} (${name}): ${rejection.message}`,
    seen: existing(rejection.seen, nextOffset),
    details: { ...rejection.details, operation_index: index },
  };
}

/** What an operation saw of its own batch is in no record when nothing is appended: it waits for the end instead. */
function existing(seen: number, nextOffset: Offset): Offset {
  return offset(Math.min(seen, nextOffset - 1));
}

function check({ kv }: StoreView, { key, revision }: Precondition, now: number): Rejection | undefined {
  const found = kv.look(key, now)?.revision ?? BEFORE_FIRST;
  if (found === revision) return undefined;
  return {
    type: "rejected",
    code: "BATCH_PRECONDITION_FAILED",
    message: `a key has revision ${found}, not ${revision}`,
    seen: kv.lastChange(key),
  };
}

/** The keys' revisions, in the order asked for; 0 where the key is not there. */
export const revisions: Reader<RevisionsQuery, readonly Offset[]> = ({ kv }, { keys }, { now }) => {
  let seen: number = BEFORE_FIRST;
  const answer = keys.map((key) => {
    seen = Math.max(seen, kv.lastChange(key));
    return kv.look(key, now)?.revision ?? BEFORE_FIRST;
  });
  return { type: "seen", answer, seen: offset(seen) };
};
