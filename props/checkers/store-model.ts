/**
 * A queue and some keys as one sequential object, for the linearizability checker: what `queue-model.ts` and `key-model.ts`
 * say of each, one line of offsets for all of them, and atomic batches, whose parts happen at one offset or not at all.
 * (Linearizability is local only while no call touches two objects. A batch does.)
 *
 * A call that was under way when its server was killed has happened by then or never does: it has no output, and the kill is its end.
 */
import { type KeyInput, type KeyOutput, type KeyState, keyModel } from "./key-model.js";
import { type Call, checkLinearizable, type Model } from "./linearizability.js";
import { PromiseBroken } from "./promise-broken.js";
import { type QueueInput, type QueueModelState, type QueueOutput, queueModel } from "./queue-model.js";

/** Ack a delivery, set a key, publish a message: together. */
export interface BatchInput {
  readonly type: "batch";
  readonly messageId: string;
  readonly receipt: string;
  readonly key: string;
  readonly value: string;
  readonly payload: string;
  readonly priority: number;
}

export type StoreInput =
  | { readonly on: "queue"; readonly call: QueueInput }
  | { readonly on: "key"; readonly key: string; readonly call: KeyInput }
  | { readonly on: "both"; readonly call: BatchInput };

export type StoreOutput =
  | { readonly on: "queue"; readonly answer: QueueOutput }
  | { readonly on: "key"; readonly answer: KeyOutput }
  | { readonly on: "both"; readonly answer: "notOpen" }
  | { readonly on: "both"; readonly answer: "done"; readonly offset: number; readonly id: string };

export interface StoreState {
  readonly queue: QueueModelState;
  readonly keys: Readonly<Record<string, KeyState>>;
  /** Of the last change whose offset was told. */
  readonly offset: number;
}

export type StoreCall = Call<StoreInput, StoreOutput>;

export function storeModel(maxRetries: number): Model<StoreState, StoreInput, StoreOutput> {
  const queues = queueModel(maxRetries);
  const fingerprintOfKey = ([key, state]: readonly [string, KeyState]): string =>
    `${key}:${keyModel.fingerprint(state)}`;
  return {
    initial: { queue: queues.initial, keys: {}, offset: 0 },
    fingerprint: ({ queue, keys, offset }) =>
      `${offset}/${queues.fingerprint(queue)}/${Object.entries(keys).sort(byName).map(fingerprintOfKey).join("/")}`,
    next: (before, input, output) => {
      const offset = offsetOf(output);
      if (offset === undefined) return after(queues, before, input, output);
      return offset > before.offset ? after(queues, { ...before, offset }, input, output) : [];
    },
  };
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : a > b ? 1 : 0;

type Queues = Model<QueueModelState, QueueInput, QueueOutput>;

function after(
  queues: Queues,
  state: StoreState,
  input: StoreInput,
  output: StoreOutput | undefined,
): StoreState[] {
  switch (input.on) {
    case "queue": {
      if (output !== undefined && output.on !== "queue") return [];
      return queues.next(state.queue, input.call, output?.answer).map((queue) => ({ ...state, queue }));
    }
    case "key":
      if (output !== undefined && output.on !== "key") return [];
      return afterKeyCall(state, input.key, input.call, output?.answer);
    case "both":
      if (output !== undefined && output.on !== "both") return [];
      return afterBatch(queues, state, input.call, output);
  }
}

function afterKeyCall(
  state: StoreState,
  key: string,
  call: KeyInput,
  answer: KeyOutput | undefined,
): StoreState[] {
  const before = state.keys[key] ?? keyModel.initial;
  return keyModel
    .next(before, call, answer)
    .map((one) => ({ ...state, keys: { ...state.keys, [key]: one } }));
}

function afterBatch(
  queues: Queues,
  state: StoreState,
  batch: BatchInput,
  output: (StoreOutput & { on: "both" }) | undefined,
): StoreState[] {
  const { messageId, receipt, key, value, payload, priority } = batch;
  const ack = { type: "ack", messageId, receipt } as const;
  if (output?.answer === "notOpen")
    return queues.next(state.queue, ack, { type: "notOpen" }).map((queue) => ({ ...state, queue }));
  const publish = { type: "publish", messages: [{ payload, priority }] } as const;
  const { offset: before } = state.queue;
  const offset = output?.offset;
  // Where the batch was not heard of, its offset is some greater one: to the parts, any that is.
  const acked = queues.next(state.queue, ack, { type: "acked", offset: offset ?? before + 1 });
  // All parts have one offset, and each part asks for a greater one than before it.
  const published =
    output === undefined
      ? acked.map((queue) => withMessage(queue, payload, priority, before))
      : acked.flatMap((queue) =>
          queues.next({ ...queue, offset: before }, publish, { type: "published", ids: [output.id] }),
        );
  return published.flatMap((queue) =>
    afterKeyCall({ ...state, queue }, key, { type: "set", value }, { type: "written", revision: offset }),
  );
}

function withMessage(
  queue: QueueModelState,
  payload: string,
  priority: number,
  offset: number,
): QueueModelState {
  const message = { payload, priority, id: undefined, retries: 0, receipt: undefined };
  return { ...queue, offset, messages: [...queue.messages, message] };
}

/** The offset of the change that this output tells of, if it does. */
function offsetOf(output: StoreOutput | undefined): number | undefined {
  if (output === undefined) return undefined;
  if (output.on === "both") return output.answer === "done" ? output.offset : undefined;
  const { answer } = output;
  switch (answer.type) {
    case "written":
    case "incremented":
      return answer.revision;
    case "acked":
    case "nacked":
      return answer.offset;
    case "published":
      return offsetIn(answer.ids[0]);
    case "delivered":
      return offsetIn(answer.messages[0]?.receipt);
    default:
      return undefined;
  }
}

/** Ids and receipts begin with the offset of the change that made them. */
function offsetIn(name: string | undefined): number | undefined {
  return name === undefined ? undefined : Number(name.split("-")[0]);
}

/** Throws when no order of the calls explains what the callers of the queue and of the keys heard. */
export function checkStoreLinearizable(history: readonly StoreCall[], maxRetries: number): void {
  const verdict = checkLinearizable(storeModel(maxRetries), withSeenMessages(history));
  if (verdict.type === "linearizable") return;
  if (verdict.type === "undecided") throw new PromiseBroken("linearizable", verdict.reason);
  const lines = (some: readonly StoreCall[]): string => some.map(lineOf).join("\n");
  throw new PromiseBroken(
    "linearizable",
    `a queue and its keys\nin order so far:\n${lines(verdict.furthest.slice(-12))}\nand then none of:\n${lines(verdict.stuck)}`,
  );
}

/** An unanswered publish or batch whose messages were delivered has happened, and their ids are known: no need to guess. */
function withSeenMessages(history: readonly StoreCall[]): StoreCall[] {
  const ids = new Map<string, string>();
  for (const { output } of history)
    if (output?.on === "queue" && output.answer.type === "delivered")
      for (const { payload, messageId } of output.answer.messages) ids.set(payload, messageId);
  return history.map((call) => {
    const output = call.output === undefined ? seen(call.input, ids) : undefined;
    return output === undefined ? call : { ...call, output };
  });
}

function seen(input: StoreInput, idOf: ReadonlyMap<string, string>): StoreOutput | undefined {
  if (input.on === "both") {
    const id = idOf.get(input.call.payload);
    const offset = offsetIn(id);
    return id === undefined || offset === undefined ? undefined : { on: "both", answer: "done", offset, id };
  }
  if (input.on !== "queue" || input.call.type !== "publish") return undefined;
  const ids = input.call.messages.flatMap(({ payload }) => idOf.get(payload) ?? []);
  if (ids.length < input.call.messages.length) return undefined;
  return { on: "queue", answer: { type: "published", ids } };
}

function lineOf({ began, ended, input, output }: StoreCall): string {
  return `  ${began}–${ended} ${JSON.stringify(input)} → ${JSON.stringify(output) ?? "unanswered"}`;
}
