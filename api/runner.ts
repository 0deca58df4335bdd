/** Runs what a request asks for and tells the observer how it went. The one place where a bug in an operation is caught. */
import type { ErrorCode, Refusal } from "./errors.js";
import { forwarderOf } from "./forwarding.js";
import { Call, type Caller, type Desk } from "./operations/call.js";
import type { Later, Published } from "./operations/reply.js";
import { DURABLE_STREAMS } from "./options.js";

interface Measured {
  readonly type: string;
  readonly published?: readonly Published[];
}

/**
 * Calls `done` with what came of it, at once or later; never throws and never rejects, as long as `done` doesn't.
 * `name` is the operation's. A callback instead of one more promise: there is one of these per request.
 */
export function runMeasured<Result extends Measured>(
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
    // What is sent on is an operation of the node that runs it.
    if (forwarderOf(desk.options, result) === undefined) {
      desk.options.observer.operationFinished(name, status, durationMs, subjectOf(call, result));
    }
    if ("published" in result) notePublished(desk, result.published);
    done(result, call.waitedMs);
  };
  if (later instanceof Promise) later.then(finish, (error: unknown) => finish(call.failure(error)));
  else finish(later);
}

/** Refusals that only a queue or a room that is there gives. */
const OF_WHAT_IS_THERE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(["QUEUE_FULL", "QUEUE_MEMORY_FULL", "QUEUE_MESSAGE_NOT_FOUND", "QUEUE_RECEIPT_STALE"] as const),
  ...(["STREAM_CLOSED", "STREAM_CONTENT_TYPE_MISMATCH", "STREAM_EXISTS"] as const),
  ...(["STREAM_OFFSET_BEYOND_END", "STREAM_OFFSET_MISMATCH", "STREAM_OFFSET_TRIMMED"] as const),
  ...(["STREAM_PRODUCERS_FULL", "STREAM_PRODUCER_EPOCH_START", "STREAM_PRODUCER_GAP"] as const),
  ...(["STREAM_PRODUCER_STALE"] as const),
]);

/**
 * What isn't there, or may not be, is not named in metrics: a client could name anything. A status does not tell it: rooms are
 * documented to answer 400 for most refusals, and what is too large is refused without looking for its room.
 */
function subjectOf(call: Call, result: { readonly type: string } | Refusal): string | undefined {
  const { subject } = call;
  if (subject === undefined || subject === DURABLE_STREAMS || !isRefusal(result)) return subject;
  return OF_WHAT_IS_THERE.has(result.code) ? subject : "";
}

function notePublished(desk: Desk, published: readonly Published[] = []): void {
  for (const { room, eventType, count } of published) {
    desk.options.observer.eventsPublished(room, eventType, count);
  }
}

function isRefusal(result: { readonly type: string }): result is Refusal {
  return result.type === "refused";
}
