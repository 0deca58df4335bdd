/** Runs what was asked of the past, the same through every door: checked first, let go when the client goes away. */
import { type Refusal, refusal } from "../errors.js";
import type { Call } from "../operations/call.js";
import type { Operation } from "../operations/operation.js";
import type { Answered, Later, Reply } from "../operations/reply.js";
import type { Moment, Past } from "../past.js";

/** Runs a read of the past, until the client goes away. */
export async function lookBack<Answer>(
  call: Call,
  look: (past: Past, signal: AbortSignal) => Promise<Answer | Refusal>,
): Promise<Answer | Refusal> {
  const { past } = call.desk.options;
  if (past === undefined) return refusal("API_DISABLED", "looking back is switched off (past.folds_max)");
  const gone = new AbortController();
  const stay = call.onAbandoned(() => gone.abort());
  try {
    return await look(past, gone.signal);
  } finally {
    stay();
  }
}

/** An operation as it would have answered then. What is wrong with its input is told before anything is replayed. */
export function readAt(operation: Operation, input: unknown, at: Moment, call: Call): Later<Reply> {
  const refused = operation.check(input, call.limits);
  if (refused !== undefined) return refused;
  if (operation.subject !== undefined) call.subject = operation.subject(input);
  return lookBack<Answered>(call, (past, signal) => past.read(operation.name, input, at, signal));
}
