/** The operations of consumers: take messages, and say what became of them. */
import { type TSchema, Type } from "@sinclair/typebox";
import {
  type ConsumeAnswer,
  type ConsumeCommand,
  type Context,
  type Decision,
  queue,
  type StoreRules,
  type StoreView,
} from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { Json, JsonObject } from "../json-write.js";
import type { Attempt } from "../waiting-room.js";
import type { Call } from "./call.js";
import { closed, LogOffset, Success } from "./fields.js";
import {
  DeliveredFields,
  defineQueueOperation,
  deliveredJson,
  MessageId,
  millis,
  PayloadType,
  QueueName,
  Receipt,
  seconds,
  UnixMs,
} from "./queue-fields.js";
import { type Later, type Reply, written } from "./reply.js";
import { write } from "./write.js";

const AckDeadline = seconds("Time to acknowledge, instead of the queue's.");

const ConsumeInput = Type.Object(
  {
    queue: QueueName,
    consumer_id: Type.String({ description: "Who takes it; whom the prefetch limit is counted for." }),
    count: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000,
        description: "At most so many messages, answered as a list. Fewer come when fewer wait.",
      }),
    ),
    wait_secs: Type.Optional(
      seconds("When there is nothing, wait so long for something. Cut to the server's longest wait."),
    ),
    ack_deadline_secs: Type.Optional(AckDeadline),
    type: Type.Optional(PayloadType),
  },
  closed,
);

const Many = Type.Object({
  messages: Type.Array(Type.Object({ message_id: MessageId, ...DeliveredFields })),
  log_offset: LogOffset,
});

const nullable = (fields: Readonly<Record<string, TSchema>>) =>
  Object.fromEntries(
    Object.entries(fields).map(([name, schema]) => [name, Type.Union([schema, Type.Null()])]),
  );

const restFields = nullable({ message_id: MessageId, ...DeliveredFields });

/** The documented body: the message's fields at the top, all null when there is none. */
const RestConsumed = Type.Union([Type.Object({ ...restFields, log_offset: LogOffset }), Many]);
const NO_MESSAGE: JsonObject = Object.fromEntries(Object.keys(restFields).map((name) => [name, null]));

function restConsumed(payload: Json): Json {
  if (!isObject(payload)) return payload;
  const { message, log_offset } = payload;
  if (message === undefined) return payload;
  if (!isObject(message)) return { ...NO_MESSAGE, log_offset };
  const { id, ...rest } = message;
  return { message_id: id, ...rest, log_offset };
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

export const consume = defineQueueOperation({
  name: "queue.consume",
  kind: "write",
  summary: "Take the next message",
  description:
    "With `wait_secs` the answer waits for a message. A client that goes away while it waits, or closes its side of the connection, takes none, and one that is gone before the answer begins to leave gives back what it was given, without a retry; later only the deadline does. Through POST nothing in between repeats the request by itself, as it may a GET.",
  input: ConsumeInput,
  output: Type.Union([
    Type.Object({
      message: Type.Union([Type.Object({ id: MessageId, ...DeliveredFields }), Type.Null()]),
      log_offset: LogOffset,
    }),
    Many,
  ]),
  errors: [
    ...(["QUEUE_NOT_FOUND", "QUEUE_CONSUMER_INVALID", "QUEUE_TIME_INVALID", "QUEUE_LIMIT_INVALID"] as const),
    "API_WAITING_FULL",
  ],
  rest: [
    {
      method: "GET",
      path: "/queue/{queue}/consume/{consumer_id}",
      shape: restConsumed,
      output: RestConsumed,
    },
    {
      method: "POST",
      path: "/queue/{queue}/consume/{consumer_id}",
      shape: restConsumed,
      output: RestConsumed,
    },
  ],
  run(input, call) {
    const { count, type } = input;
    const command: ConsumeCommand = {
      queue: input.queue,
      consumer: input.consumer_id,
      count,
      ackDeadlineMs: millis(input.ack_deadline_secs),
    };
    const map = ({ messages }: ConsumeAnswer, offset: number): Json => {
      if (count !== undefined) {
        const list = messages.map((each) => ({ message_id: each.messageId, ...deliveredJson(each, type) }));
        return { messages: list, log_offset: offset };
      }
      const [first] = messages;
      const message = first === undefined ? null : { id: first.messageId, ...deliveredJson(first, type) };
      return { message, log_offset: offset };
    };
    const waitMs = Math.min(millis(input.wait_secs) ?? 0, call.limits.waitMsMax);
    if (waitMs > 0 && call.once !== undefined) {
      return refusal("API_IDEMPOTENCY_KEY_INVALID", "a consume that waits takes no key; leave wait_secs out");
    }
    const attempt = () => take(command, call, map);
    const consumed = (): Later<Reply> =>
      waitMs === 0
        ? attempt().reply
        : call.desk.waitingRoom.wait(call, `queue:${input.queue}`, waitMs, attempt);
    if (!isOverdue(input.queue, call)) return whileThere(call, consumed());
    return whileThere(
      call,
      letPass(input.queue, call).then((refused) => refused ?? consumed()),
    );
  },
});

/** A consumer that says that it sends no more may be gone: until its answer is made it is taken for gone, and what it was given goes back. */
function whileThere(call: Call, reply: Later<Reply>): Later<Reply> {
  if (!(reply instanceof Promise)) return reply;
  const stay = call.onAbandoned(() => undefined);
  return reply.finally(stay);
}

/** A consume goes past so many messages whose time has passed; past more it would hold up everybody else. */
const OVERDUE_MAX = 1_000;

const isOverdue = (name: string, call: Call): boolean =>
  call.query(queue.isOverdue, { queue: name, limit: OVERDUE_MAX }, (is) => is) === true;

/** Does what the timer does, which may be as far behind: after a stop, or when very many are due at one moment. */
async function letPass(name: string, call: Call): Promise<Refusal | undefined> {
  while (isOverdue(name, call) && !call.isAbandoned) {
    const passed = { type: "passed" } as const;
    const round = await call.execute(queue.due, { limit: OVERDUE_MAX }, () => passed);
    if (round.type === "refused") return round;
  }
  return undefined;
}

/** Consumes, and notes in the same turn whether there was anything for this consumer, or for any. */
function take(
  command: ConsumeCommand,
  call: Call,
  map: (answer: ConsumeAnswer, offset: number) => Json,
): Attempt<Reply> {
  let found: Attempt<Reply>["found"] = "settled";
  const noting = (
    state: StoreView,
    wanted: ConsumeCommand,
    context: Context,
    rules: StoreRules,
  ): Decision<ConsumeAnswer> => {
    const decision = queue.consume(state, wanted, context, rules);
    if (decision.type === "accepted" && !decision.events.some(({ type }) => type === "queue.delivered")) {
      // What waits although this consumer gets nothing is beyond its prefetch limit.
      const waiting = state.queue.queue(wanted.queue)?.waiting ?? 0;
      found = waiting > 0 ? "passed_over" : "nothing";
    }
    return decision;
  };
  const reply = write(noting, command, (answer, offset): Reply => {
    const reply = written(map(answer, offset), offset);
    // With an idempotency key the answer is kept, and a repeat of the request gets it: the messages are that client's.
    if (call.once !== undefined || answer.messages.length === 0) return reply;
    return { ...reply, unsent: () => giveBack(command.queue, answer, call) };
  }).run(call);
  return { found, reply };
}

/**
 * Where that is not possible (the log has failed, or is full) the messages stay in flight until their deadline, as they do when the client
 * goes away after the first byte has left: what it has got then nobody knows.
 */
function giveBack(name: string, { messages }: ConsumeAnswer, call: Call): void {
  try {
    const later = call.execute(queue.giveBack, { queue: name, deliveries: messages }, () => undefined);
    if (later instanceof Promise) later.catch((error: unknown) => call.failure(error));
  } catch (error) {
    call.failure(error);
  }
}

const delivery = { message_id: MessageId, receipt: Type.Optional(Receipt) };
const deliveryErrors = ["QUEUE_NOT_FOUND", "QUEUE_MESSAGE_NOT_FOUND", "QUEUE_RECEIPT_STALE"] as const;

interface DeliveryInput {
  queue: string;
  message_id: string;
  receipt?: string;
}

const named = ({ queue: name, message_id, receipt }: DeliveryInput) => ({
  queue: name,
  messageId: message_id,
  receipt,
});

export const ack = defineQueueOperation({
  name: "queue.ack",
  kind: "write",
  summary: "Acknowledge a message",
  description: "It is done and gone.",
  input: Type.Object({ queue: QueueName, ...delivery }, closed),
  output: Type.Object({ success: Success, log_offset: LogOffset }),
  errors: deliveryErrors,
  rest: [{ method: "POST", path: "/queue/{queue}/ack" }],
  prepare(input) {
    return write(queue.ack, named(input), (_answer, offset) =>
      written({ success: true, log_offset: offset }, offset),
    );
  },
});

export const ackBatch = defineQueueOperation({
  name: "queue.ack_batch",
  kind: "write",
  summary: "Acknowledge several messages",
  description: "Each for itself: one that can't be acknowledged hinders no other. `results` has their order.",
  input: Type.Object({ queue: QueueName, messages: Type.Array(Type.Object(delivery, closed)) }, closed),
  output: Type.Object({
    acked: Type.Integer(),
    results: Type.Array(
      Type.Union([Type.Literal("acked"), Type.Literal("not_found"), Type.Literal("stale")]),
    ),
    log_offset: LogOffset,
  }),
  errors: ["QUEUE_NOT_FOUND", "QUEUE_LIMIT_INVALID"],
  rest: [{ method: "POST", path: "/queue/{queue}/ack/batch" }],
  prepare(input) {
    const deliveries = input.messages.map(({ message_id, receipt }) => ({ messageId: message_id, receipt }));
    return write(queue.ackMany, { queue: input.queue, deliveries }, ({ acked, results }, offset) =>
      written({ acked, results, log_offset: offset }, offset),
    );
  },
});

export const nack = defineQueueOperation({
  name: "queue.nack",
  kind: "write",
  summary: "Give a message back",
  description:
    "It is delivered again, after its last retry it goes to the dead letter queue; with `requeue` false at once.",
  input: Type.Object(
    {
      queue: QueueName,
      ...delivery,
      requeue: Type.Optional(Type.Boolean({ description: "Default true in the envelope." })),
      delay_secs: Type.Optional(seconds("Not again before so long, instead of the queue's backoff.")),
    },
    closed,
  ),
  output: Type.Object({
    success: Success,
    outcome: Type.Union([
      Type.Literal("waiting"),
      Type.Literal("delayed"),
      Type.Literal("dead"),
      Type.Literal("expired"),
    ]),
    retry_count: Type.Integer(),
    log_offset: LogOffset,
  }),
  errors: [...deliveryErrors, "QUEUE_TIME_INVALID"],
  rest: [{ method: "POST", path: "/queue/{queue}/nack", required: ["requeue"] }],
  prepare(input) {
    const command = { ...named(input), requeue: input.requeue, delayMs: millis(input.delay_secs) };
    return write(queue.nack, command, ({ outcome, retryCount }, offset) =>
      written({ success: true, outcome, retry_count: retryCount, log_offset: offset }, offset),
    );
  },
});

export const extend = defineQueueOperation({
  name: "queue.extend",
  kind: "write",
  summary: "Ask for more time",
  description: "The deadline becomes this long from now.",
  input: Type.Object(
    { queue: QueueName, ...delivery, ack_deadline_secs: Type.Optional(AckDeadline) },
    closed,
  ),
  output: Type.Object({ success: Success, deadline_at: UnixMs, log_offset: LogOffset }),
  errors: [...deliveryErrors, "QUEUE_TIME_INVALID"],
  rest: [{ method: "POST", path: "/queue/{queue}/extend" }],
  prepare(input) {
    const command = { ...named(input), ackDeadlineMs: millis(input.ack_deadline_secs) };
    return write(queue.extend, command, ({ deadline }, offset) =>
      written({ success: true, deadline_at: deadline, log_offset: offset }, offset),
    );
  },
});

export const deliveryOperations = [consume, ack, ackBatch, nack, extend];
