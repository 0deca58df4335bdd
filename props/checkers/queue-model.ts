/**
 * One queue as a sequential object, for the linearizability checker: messages in the order of their publishes, each waiting
 * or in flight, with publish, consume, ack, nack, the passing of every open deadline, and counts.
 *
 * A message is known by its payload, which no other has: who published it may never have heard its id. What an unanswered
 * consume took is in flight under a receipt that nobody holds, until its deadline passes. Whoever changes the queue later has
 * a greater offset: ids and receipts name it.
 */
import { type Call, checkLinearizable, type Model } from "./linearizability.js";
import { PromiseBroken } from "./promise-broken.js";

export type QueueInput =
  | { readonly type: "publish"; readonly messages: readonly { payload: string; priority: number }[] }
  | { readonly type: "consume"; readonly count: number }
  | { readonly type: "ack"; readonly messageId: string; readonly receipt: string }
  | { readonly type: "nack"; readonly messageId: string; readonly receipt: string }
  /** The clock was moved past every deadline before. */
  | { readonly type: "passDeadlines" }
  | { readonly type: "count" };

export interface Delivered {
  readonly payload: string;
  readonly messageId: string;
  readonly receipt: string;
  /** From 1. */
  readonly attempt: number;
}

export type QueueOutput =
  | { readonly type: "published"; readonly ids: readonly string[] }
  | { readonly type: "delivered"; readonly messages: readonly Delivered[] }
  | { readonly type: "acked"; readonly offset: number }
  | {
      readonly type: "nacked";
      readonly dead: boolean;
      readonly retryCount: number;
      readonly offset: number;
    }
  /** The receipt is not of an open delivery. */
  | { readonly type: "notOpen" }
  | { readonly type: "passed"; readonly count: number }
  | { readonly type: "counted"; readonly waiting: number; readonly inFlight: number; readonly dead: number };

interface Message {
  readonly payload: string;
  readonly priority: number;
  /** Undefined until an answer names it. */
  readonly id: string | undefined;
  readonly retries: number;
  /** Undefined = waiting. */
  readonly receipt: string | undefined;
}

export interface QueueModelState {
  /** In the order of their publishes. */
  readonly messages: readonly Message[];
  readonly dead: number;
  /** Of the last change whose offset was told. */
  readonly offset: number;
}

/** The receipt of a delivery that nobody heard of. */
const UNHEARD = "?";

type Next = readonly QueueModelState[];

/** `maxRetries`: failed deliveries after which one more is the last. */
export function queueModel(maxRetries: number): Model<QueueModelState, QueueInput, QueueOutput> {
  return {
    initial: { messages: [], dead: 0, offset: 0 },
    fingerprint: ({ messages, dead, offset }) =>
      `${offset};${dead};${messages.map((m) => `${m.payload},${m.id ?? ""},${m.retries},${m.receipt ?? ""}`).join(";")}`,
    next: (before, input, output) => {
      const offset = offsetOf(output);
      if (offset !== undefined && offset <= before.offset) return [];
      const state = offset === undefined ? before : { ...before, offset };
      switch (input.type) {
        case "publish":
          return afterPublish(state, input.messages, output);
        case "consume":
          return afterConsume(state, input.count, output);
        case "ack":
          return afterAck(state, input.receipt, output);
        case "nack":
          return afterNack(state, input.receipt, output, maxRetries);
        case "passDeadlines":
          return afterPassing(state, output, maxRetries);
        case "count":
          return afterCount(state, output);
      }
    },
  };
}

/** The offset of the change that this output tells of, if it does. */
function offsetOf(output: QueueOutput | undefined): number | undefined {
  switch (output?.type) {
    case "published":
      return Number(output.ids[0]?.split("-")[0]);
    case "delivered": {
      const first = output.messages[0];
      return first === undefined ? undefined : Number(first.receipt.split("-")[0]);
    }
    case "acked":
    case "nacked":
      return output.offset;
    default:
      return undefined;
  }
}

function afterPublish(
  state: QueueModelState,
  published: readonly { payload: string; priority: number }[],
  output: QueueOutput | undefined,
): Next {
  if (output !== undefined && (output.type !== "published" || output.ids.length !== published.length))
    return [];
  const fresh = published.map(
    (message, index): Message => ({ ...message, id: output?.ids[index], retries: 0, receipt: undefined }),
  );
  const after = { ...state, messages: [...state.messages, ...fresh] };
  return output === undefined ? [after, state] : [after];
}

function afterConsume(state: QueueModelState, count: number, output: QueueOutput | undefined): Next {
  const waiting = state.messages.filter(({ receipt }) => receipt === undefined);
  // A stable sort: among equals the order of the publishes stays.
  const taken = waiting.toSorted((a, b) => b.priority - a.priority).slice(0, count);
  if (output === undefined) {
    if (taken.length === 0) return [state];
    const inFlight = state.messages.map((m) => (taken.includes(m) ? { ...m, receipt: UNHEARD } : m));
    return [state, { ...state, messages: inFlight }];
  }
  if (output.type !== "delivered" || output.messages.length !== taken.length) return [];
  const told = new Map<Message, Delivered>();
  for (const [index, message] of taken.entries()) {
    const one = output.messages[index];
    if (one === undefined || one.payload !== message.payload || one.attempt !== message.retries + 1)
      return [];
    if (message.id !== undefined && message.id !== one.messageId) return [];
    told.set(message, one);
  }
  const messages = state.messages.map((message) => {
    const one = told.get(message);
    return one === undefined ? message : { ...message, id: one.messageId, receipt: one.receipt };
  });
  return [{ ...state, messages }];
}

function afterAck(state: QueueModelState, receipt: string, output: QueueOutput | undefined): Next {
  const open = state.messages.find((message) => message.receipt === receipt);
  const without = { ...state, messages: state.messages.filter((message) => message !== open) };
  if (output === undefined) return open === undefined ? [state] : [state, without];
  if (output.type === "acked") return open === undefined ? [] : [without];
  return output.type === "notOpen" && open === undefined ? [state] : [];
}

/** The state after this delivery has failed. */
function failed(state: QueueModelState, delivery: Message, maxRetries: number): QueueModelState {
  if (delivery.retries + 1 > maxRetries)
    return {
      ...state,
      messages: state.messages.filter((message) => message !== delivery),
      dead: state.dead + 1,
    };
  const again = { ...delivery, receipt: undefined, retries: delivery.retries + 1 };
  return { ...state, messages: state.messages.map((message) => (message === delivery ? again : message)) };
}

function afterNack(
  state: QueueModelState,
  receipt: string,
  output: QueueOutput | undefined,
  maxRetries: number,
): Next {
  const open = state.messages.find((message) => message.receipt === receipt);
  if (open === undefined) return output === undefined || output.type === "notOpen" ? [state] : [];
  const after = failed(state, open, maxRetries);
  if (output === undefined) return [state, after];
  if (output.type !== "nacked" || output.dead !== after.dead > state.dead) return [];
  return output.retryCount === open.retries + 1 ? [after] : [];
}

function afterPassing(state: QueueModelState, output: QueueOutput | undefined, maxRetries: number): Next {
  const open = state.messages.filter(({ receipt }) => receipt !== undefined);
  const after = open.reduce((before, message) => failed(before, message, maxRetries), state);
  if (output === undefined) return [state, after];
  return output.type === "passed" && output.count === open.length ? [after] : [];
}

function afterCount(state: QueueModelState, output: QueueOutput | undefined): Next {
  if (output === undefined) return [state];
  if (output.type !== "counted" || output.dead !== state.dead) return [];
  const inFlight = state.messages.filter(({ receipt }) => receipt !== undefined).length;
  const isRight = output.inFlight === inFlight && output.waiting === state.messages.length - inFlight;
  return isRight ? [state] : [];
}

export type QueueCall = Call<QueueInput, QueueOutput>;

/** Throws when no order of the calls explains what one queue's callers heard. */
export function checkQueueLinearizable(history: readonly QueueCall[], maxRetries: number): void {
  const verdict = checkLinearizable(queueModel(maxRetries), withSeenPublishes(history));
  if (verdict.type === "linearizable") return;
  if (verdict.type === "undecided") throw new PromiseBroken("linearizable", verdict.reason);
  const lines = (some: readonly QueueCall[]): string => some.map(lineOf).join("\n");
  throw new PromiseBroken(
    "linearizable",
    `the queue\nin order so far:\n${lines(verdict.furthest.slice(-12))}\nand then none of:\n${lines(verdict.stuck)}`,
  );
}

/** An unanswered publish whose messages were delivered has happened, and their ids are known: no need to guess. */
function withSeenPublishes(history: readonly QueueCall[]): QueueCall[] {
  const ids = new Map<string, string>();
  for (const { output } of history)
    if (output?.type === "delivered")
      for (const { payload, messageId } of output.messages) ids.set(payload, messageId);
  return history.map((call) => {
    if (call.output !== undefined || call.input.type !== "publish") return call;
    const seen = call.input.messages.flatMap(({ payload }) => ids.get(payload) ?? []);
    if (seen.length < call.input.messages.length) return call;
    return { ...call, output: { type: "published", ids: seen } };
  });
}

function lineOf(call: QueueCall): string {
  return `  ${call.began}–${call.ended} ${JSON.stringify(call.input)} → ${JSON.stringify(call.output) ?? "unanswered"}`;
}
