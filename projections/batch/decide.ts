/**
 * Decides several operations as one: each sees what those before it did, and the first that is refused refuses all, so that
 * there is one record or none. Knows nothing of what the operations are.
 */
import { BEFORE_FIRST, type Offset, offset, unreachable } from "../../log/index.js";
import type {
  Accepted,
  Context,
  Decision,
  Reader,
  Rejection,
  Step,
  StoreEvent,
  StoreRules,
  StoreView,
} from "../decision.js";
import { idOf, parseId } from "../queue/ids.js";
import { standing } from "../stream/decisions.js";
import {
  BATCH_VALUES_BYTES_MAX,
  type Precondition,
  type Unchanged,
  type UnchangedQuery,
} from "./contract.js";
import { OverlaidStore } from "./overlay.js";

export interface BatchCommand<Answer> {
  readonly preconditions: readonly Precondition[];
  /** In order; `name` is the operation's, for the refusal that names it. */
  readonly steps: readonly { readonly name: string; readonly step: Step<Answer> }[];
}

/** Refuses with BATCH_PRECONDITION_FAILED, BATCH_VALUES_TOO_LARGE, or as the operation refuses that `operation_index` names, from 0. */
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
  const events: StoreEvent[] = [];
  const view = new OverlaidStore(state, context.now, events);
  const parts: { readonly accepted: Accepted<Answer>; readonly place: number }[] = [];
  let seen: number = BEFORE_FIRST;
  let bytes = 0;
  let index = -1;
  for (const { name, step } of steps) {
    index += 1;
    const decision = step.decide(view, context, rules);
    seen = Math.max(seen, decision.seen);
    if (decision.type === "rejected") return refusedAt(index, name, decision, state.nextOffset);
    parts.push({ accepted: decision, place: events.length });
    for (const event of decision.events) {
      events.push(event);
      if (event.type === "kv.set") bytes += event.value.length;
    }
    bytes += decision.shownBytes ?? 0;
    if (bytes > BATCH_VALUES_BYTES_MAX) return refusedAt(index, name, tooLarge(seen), state.nextOffset);
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

function check(state: StoreView, precondition: Precondition, now: number): Rejection | undefined {
  switch (precondition.type) {
    case "revision": {
      const { key, revision } = precondition;
      const found = state.kv.look(key, now)?.revision ?? BEFORE_FIRST;
      return found === revision
        ? undefined
        : failed(`a key has revision ${found}, not ${revision}`, state.kv.lastChange(key));
    }
    case "unchanged": {
      const { key, revision, since } = precondition;
      const found = state.kv.look(key, now)?.revision ?? BEFORE_FIRST;
      // A key that came and went is at 0 again, and one that expired had its last event long ago: neither test does alone.
      return found === revision && !state.kv.mayHaveChanged(key, since)
        ? undefined
        : failed("a watched key has changed", state.kv.lastChange(key));
    }
    case "receipt": {
      const { queue, messageId, receipt } = precondition;
      const ref = parseId(messageId);
      const delivery = ref && state.queue.message(queue, ref)?.delivery;
      const isOpen = delivery !== undefined && delivery.deadline > now && idOf(delivery.receipt) === receipt;
      return isOpen ? undefined : failed("the delivery that the receipt names is not open", ended(state));
    }
    case "length": {
      const { stream, length } = precondition;
      const found = standing(state.stream, stream, now);
      const end = found.type === "live" ? found.facts.end : 0;
      return end === length ? undefined : failed(`the stream has length ${end}, not ${length}`, ended(state));
    }
    default:
      return unreachable(precondition);
  }
}

/** The end of the log: a refusal that tells of a queue or a stream waits for everything. */
const ended = ({ nextOffset }: StoreView): Offset => offset(nextOffset - 1);

function failed(message: string, seen: Offset): Rejection {
  return { type: "rejected", code: "BATCH_PRECONDITION_FAILED", message, seen };
}

function tooLarge(seen: number): Rejection {
  const message = `the values of one batch, written and shown, take at most ${BATCH_VALUES_BYTES_MAX} bytes`;
  return { type: "rejected", code: "BATCH_VALUES_TOO_LARGE", message, seen: offset(seen) };
}

/** What is executed when the caller has no transaction. Refuses with BATCH_TRANSACTION_NOT_FOUND. */
export function noTransaction(): Decision<readonly never[]> {
  const message = "this client has no open transaction: it was executed, discarded or forgotten";
  return { type: "rejected", code: "BATCH_TRANSACTION_NOT_FOUND", message, seen: BEFORE_FIRST };
}

/** What holds as long as the keys stay as they are, in the order asked for. */
export const unchanged: Reader<UnchangedQuery, readonly Unchanged[]> = ({ kv }, { keys }, { now }) => {
  let seen: number = BEFORE_FIRST;
  const answer = keys.map((key): Unchanged => {
    seen = Math.max(seen, kv.lastChange(key));
    const revision = kv.look(key, now)?.revision ?? BEFORE_FIRST;
    return { type: "unchanged", key, revision, since: kv.lastOffset };
  });
  return { type: "seen", answer, seen: offset(seen) };
};
