/**
 * A write whose input was checked: what is decided, and how its answer is told. Every operation that may be a part of a batch
 * is prepared so; run alone it goes straight to the store.
 */
import type { Offset } from "../../log/index.js";
import type { Context, Decider, Decision, Step, StoreRules, StoreView } from "../../projections/index.js";
import type { Refusal } from "../errors.js";
import type { Call } from "./call.js";
import { type OnceKey, replyForm } from "./once.js";
import type { Later, Reply } from "./reply.js";

/** A refusal of `decide` is a value of the projections; one that `map` makes of an answer is of the doors. */
export interface Write extends Step<Reply> {
  readonly type: "write";
  /** On its own; `once` when the caller knows more of the request than the call. */
  run(call: Call, once?: OnceKey): Later<Reply>;
}

export type Preparation = Write | Refusal;

export function write<Command, Answer>(
  decide: Decider<Command, Answer>,
  command: Command,
  map: (answer: Answer, offset: Offset) => Reply,
): Write {
  return new PreparedWrite(decide, command, map);
}

class PreparedWrite<Command, Answer> implements Write {
  readonly type = "write";
  readonly #decide: Decider<Command, Answer>;
  readonly #command: Command;
  readonly #map: (answer: Answer, offset: Offset) => Reply;

  constructor(
    decide: Decider<Command, Answer>,
    command: Command,
    map: (answer: Answer, offset: Offset) => Reply,
  ) {
    this.#decide = decide;
    this.#command = command;
    this.#map = map;
  }

  run(call: Call, once = call.once): Later<Reply> {
    if (once !== undefined) return call.executeOnce(once, this, replyForm);
    return call.execute(this.#decide, this.#command, this.#map);
  }

  decide(state: StoreView, context: Context, rules: StoreRules): Decision<Reply> {
    const decision = this.#decide(state, this.#command, context, rules);
    if (decision.type === "rejected") return decision;
    const { events, seen, shownBytes } = decision;
    return {
      type: "accepted",
      events,
      answer: (offset, place) => this.#map(decision.answer(offset, place), offset),
      seen,
      shownBytes,
    };
  }
}
