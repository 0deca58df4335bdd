/** A read of the past, the same through every door. What is wrong with its input is told before anything is replayed. */
import type { Call } from "../operations/call.js";
import type { Operation } from "../operations/operation.js";
import type { Answered, Later, Reply } from "../operations/reply.js";
import type { Moment } from "../past.js";

/** The operation as it would have answered then. */
export function readAt(operation: Operation, input: unknown, at: Moment, call: Call): Later<Reply> {
  const refused = operation.check(input, call.limits);
  if (refused !== undefined) return refused;
  if (operation.subject !== undefined) call.subject = operation.subject(input);
  return call.lookBack<Answered>((past, signal) => past.read(operation.name, input, at, signal));
}
