/** Runs what a request asks for and tells the observer how it went. The one place where a bug in an operation is caught. */
import type { Refusal } from "./errors.js";
import { Call, type Desk } from "./operations/call.js";
import type { OnceKey } from "./operations/once.js";
import type { Later } from "./operations/reply.js";

export interface Caller {
  readonly requestId: string;
  /** The id that the caller chose, if any; it is kept in the record. */
  readonly causeId: string | undefined;
  /** Of a write that must happen once. */
  readonly once: OnceKey | undefined;
}

/**
 * Calls `done` with what came of it, at once or later; never throws and never rejects, as long as `done` doesn't.
 * `name` is the operation's. A callback instead of one more promise: there is one of these per request.
 */
export function runMeasured<Result extends { readonly type: string }>(
  desk: Desk,
  name: string,
  caller: Caller,
  run: (call: Call) => Later<Result | Refusal>,
  done: (result: Result | Refusal) => void,
): void {
  const { stopwatch } = desk.options;
  const startedAt = stopwatch();
  const call = new Call(desk, name, caller.requestId, caller.causeId, caller.once);
  let later: Later<Result | Refusal>;
  try {
    later = run(call);
  } catch (error) {
    later = call.failure(error);
  }
  const finish = (result: Result | Refusal): void => {
    const status = result.type === "refused" ? "error" : "success";
    desk.options.observer.operationFinished(name, status, stopwatch() - startedAt);
    done(result);
  };
  if (later instanceof Promise) later.then(finish, (error: unknown) => finish(call.failure(error)));
  else finish(later);
}
