/** Runs what a request asks for and tells the observer how it went. The one place where a bug in an operation is caught. */
import { errorTable, type Refusal } from "./errors.js";
import { Call, type Caller, type Desk } from "./operations/call.js";
import type { Later } from "./operations/reply.js";

/**
 * Calls `done` with what came of it, at once or later; never throws and never rejects, as long as `done` doesn't.
 * `name` is the operation's. A callback instead of one more promise: there is one of these per request.
 */
export function runMeasured<Result extends { readonly type: string }>(
  desk: Desk,
  name: string,
  caller: Caller,
  run: (call: Call) => Later<Result | Refusal>,
  done: (result: Result | Refusal, waitedMs: number) => void,
): void {
  const { stopwatch } = desk.options;
  const startedAt = stopwatch();
  const call = new Call(desk, name, caller);
  let later: Later<Result | Refusal>;
  try {
    later = run(call);
  } catch (error) {
    later = call.failure(error);
  }
  const finish = (result: Result | Refusal): void => {
    const status = result.type === "refused" ? "error" : "success";
    const durationMs = stopwatch() - startedAt - call.waitedMs;
    desk.options.observer.operationFinished(name, status, durationMs, subjectOf(call, result));
    done(result, call.waitedMs);
  };
  if (later instanceof Promise) later.then(finish, (error: unknown) => finish(call.failure(error)));
  else finish(later);
}

/** What isn't there is not named in metrics: a client could name anything. */
function subjectOf(call: Call, result: { readonly type: string } | Refusal): string | undefined {
  if (call.subject === undefined || !isRefusal(result)) return call.subject;
  const { status } = errorTable[result.code];
  return status === 400 || status === 404 || status === 422 ? "" : call.subject;
}

function isRefusal(result: { readonly type: string }): result is Refusal {
  return result.type === "refused";
}
