/**
 * Decides a request that carries a key: the first time as ever, with the answer put into the same record; every further time
 * nothing happens and that answer is given again. A refusal is not kept: the same request may succeed later.
 *
 * The answer is known before the record is appended, because its offset is: appends are synchronous.
 */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Context, Decision, Reader, Rejection, Step, StoreRules, StoreView } from "../decision.js";
import type { AnswerText, IdempotencyRejectionCode, KeptAnswer, RequestAnswered } from "./contract.js";
import { answerBytes } from "./state.js";

/** What a kept answer is looked for by. */
interface KeptRequest {
  readonly key: string;
  readonly fingerprint: Uint8Array;
  /** True when it is known to be no repeat, though it may look like one: then a key that was used is used for another request. */
  readonly isNew?: boolean;
  /** The log's committed offset when the request came in: an answer beyond it is still on its way. */
  readonly committed: Offset;
}

export interface OnceCommand<Answer> extends KeptRequest {
  readonly step: Step<Answer>;
  /** The answer as it is kept; undefined when it is none to keep. */
  keep(answer: Answer): AnswerText | undefined;
}

export type OnceAnswer<Answer> =
  | { readonly type: "first"; readonly answer: Answer }
  | { readonly type: "again"; readonly kept: KeptAnswer };

/** Refuses with IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_ANSWER_TOO_LARGE, and as the request itself. */
export function once<Answer>(
  state: StoreView,
  command: OnceCommand<Answer>,
  context: Context,
  rules: StoreRules,
): Decision<OnceAnswer<Answer>> {
  const { key, fingerprint, step } = command;
  const kept = state.idempotency.get(key, context.now);
  if (kept !== undefined) return refused(kept, command) ?? again(kept);
  const decision = step.decide(state, context, rules);
  if (decision.type === "rejected") return decision;
  const answer = decision.answer(state.nextOffset, 0);
  const text = command.keep(answer);
  if (text === undefined) {
    return { ...decision, answer: (at, place) => ({ type: "first", answer: decision.answer(at, place) }) };
  }
  // Answered and not kept, a repeat would be done again.
  if (answerBytes(key, text.body) > rules.idempotency.bytesMax) return tooLarge(decision.seen);
  const expiresAt = context.now + rules.idempotency.windowMs;
  const answered: RequestAnswered = { type: "idempotency.answered", key, fingerprint, expiresAt, ...text };
  return {
    type: "accepted",
    events: [...decision.events, answered],
    answer: () => ({ type: "first", answer }),
    seen: decision.seen,
  };
}

/** The answer that is kept for the request, if any, and the refusals of `once`: for whoever must read before it decides. */
export const keptAnswer: Reader<KeptRequest, KeptAnswer | undefined> = (
  { idempotency },
  request,
  { now },
) => {
  const kept = idempotency.get(request.key, now);
  if (kept === undefined) return { type: "seen", answer: undefined, seen: BEFORE_FIRST };
  return refused(kept, request) ?? { type: "seen", answer: kept, seen: kept.offset };
};

function again<Answer>(kept: KeptAnswer): Decision<OnceAnswer<Answer>> {
  return { type: "accepted", events: [], answer: () => ({ type: "again", kept }), seen: kept.offset };
}

function refused(kept: KeptAnswer, { fingerprint, isNew, committed }: KeptRequest): Rejection | undefined {
  if (isNew === true || Buffer.compare(kept.fingerprint, fingerprint) !== 0) {
    return rejected("IDEMPOTENCY_KEY_REUSED", "the key was used for another request", kept);
  }
  if (kept.offset > committed) {
    // It tells nothing of the first request but that it came, so it need not wait for it.
    return rejected("IDEMPOTENCY_IN_PROGRESS", "the first request with this key is still on its way");
  }
  return undefined;
}

function tooLarge(seen: Offset): Rejection {
  const message = "the answer is too large to be kept for a repeat: ask for less, or without a key";
  return { type: "rejected", code: "IDEMPOTENCY_ANSWER_TOO_LARGE", message, seen };
}

function rejected(code: IdempotencyRejectionCode, message: string, kept?: KeptAnswer): Rejection {
  return { type: "rejected", code, message, seen: kept?.offset ?? BEFORE_FIRST };
}
