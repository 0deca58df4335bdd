/** Runs what a request asks for and tells the observer how it went. The one place where a bug in an operation is caught. */
import type { Refusal } from "./errors.js";
import { Call, type Desk } from "./operations/call.js";
import type { Later } from "./operations/operation.js";

export interface Caller {
  readonly requestId: string;
  /** The id that the caller chose, if any; it is kept in the record. */
  readonly causeId: string | undefined;
}

/** Never throws and never rejects. `name` is the operation's. */
export function runMeasured<Result extends { readonly type: string }>(
  desk: Desk,
  name: string,
  caller: Caller,
  run: (call: Call) => Later<Result | Refusal>,
): Later<Result | Refusal> {
  const { stopwatch } = desk.options;
  const startedAt = stopwatch();
  const call = new Call(desk, name, caller.requestId, caller.causeId);
  let later: Later<Result | Refusal>;
  try {
    later = run(call);
  } catch (error) {
    later = call.failure(error);
  }
  if (!(later instanceof Promise)) return finished(desk, name, later, startedAt);
  return later.then(
    (result) => finished(desk, name, result, startedAt),
    (error: unknown) => finished(desk, name, call.failure(error), startedAt),
  );
}

function finished<Result extends { readonly type: string }>(
  desk: Desk,
  name: string,
  result: Result,
  startedAt: number,
): Result {
  const { observer, stopwatch } = desk.options;
  observer.operationFinished(name, result.type === "refused" ? "error" : "success", stopwatch() - startedAt);
  return result;
}
