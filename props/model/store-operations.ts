/**
 * Random operations on a few keys, queues and streams, alone, in batches and with idempotency keys. Nothing is said of their
 * answers: they are for histories of which only the log and the state count. Some are refused; most meet what others did.
 */
import fc from "fast-check";
import {
  batch,
  type ConsumeCommand,
  type DeliveredMessage,
  kv,
  type NewMessage,
  once,
  points,
  queue,
  type Step,
  stream,
  TEXT_TYPE,
} from "../../projections/index.js";
import type { TestStore } from "../../test/support/kv-store.js";
import { batchOf, stepOf } from "./batches.js";
import { stepOfOperation, writeOperation } from "./kv-operations.js";

/** What earlier operations left that later ones speak of. */
export class Deliveries {
  readonly #receipts: { readonly queue: string; readonly messageId: string; readonly receipt: string }[] = [];

  heard(queueName: string, messages: readonly DeliveredMessage[]): void {
    for (const { messageId, receipt } of messages)
      this.#receipts.push({ queue: queueName, messageId, receipt });
  }

  /** Mostly one of the last ones. */
  named(which: number): { queue: string; messageId: string; receipt: string } {
    const { length } = this.#receipts;
    return this.#receipts[length - 1 - (which % Math.max(1, length))] ?? NO_DELIVERY;
  }
}
const NO_DELIVERY = { queue: "jobs", messageId: "1-0", receipt: "1-0" };

export interface StoreOperation {
  readonly name: string;
  /** False for what no batch may contain. */
  readonly inBatch: boolean;
  /** So much time passes before it. */
  readonly clockMs?: number;
  readonly step: (state: { readonly t: TestStore; readonly deliveries: Deliveries }) => Step<unknown>;
}

const optionally = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const queueName = fc.constantFrom("jobs", "mails");
const streamName = fc.constantFrom("room/a", "room/b", "ds/c");
const span = fc.constantFrom(0, 1, 60, 300);
const limit = fc.integer({ min: 1, max: 4 });

const simple = <Drawn>(
  name: string,
  drawn: fc.Arbitrary<Drawn>,
  step: (drawn: Drawn) => Step<unknown>,
): fc.Arbitrary<StoreOperation> =>
  drawn.map((one) => ({ name: `${name} ${fc.stringify(one)}`, inBatch: true, step: () => step(one) }));

const fixed = (name: string, step: Step<unknown>): StoreOperation => ({
  name,
  inBatch: true,
  step: () => step,
});

const keys = simple("kv", writeOperation, stepOfOperation);

const config = fc.record({
  maxDepth: fc.constantFrom(4, 50),
  ackDeadlineMs: fc.constantFrom(100, 5_000),
  maxRetries: fc.nat({ max: 1 }),
  messageTtlMs: fc.constantFrom(0, 0, 400),
  dedupWindowMs: fc.constantFrom(0, 300),
  backoff: fc.constantFrom(
    { type: "none" as const, delayMs: 0, maxDelayMs: 0 },
    { type: "exponential" as const, delayMs: 30, maxDelayMs: 70 },
  ),
});
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.integer({ min: 100, max: 900 }).map((length) => new Uint8Array(length).fill(length)),
);
const plain: fc.Arbitrary<NewMessage> = fc.record({ payload });
const message: fc.Arbitrary<NewMessage> = fc.record({
  payload,
  priority: optionally(fc.constantFrom(0, 9)),
  headers: optionally(fc.dictionary(fc.string({ minLength: 1, maxLength: 3 }), fc.string({ maxLength: 3 }))),
  delayMs: optionally(span),
  ttlMs: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, span),
  dedupKey: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, fc.constantFrom("k", "l")),
});

interface Saying {
  readonly how: "ack" | "nack" | "reject" | "extend";
  /** 0 = the last delivery that was heard of. */
  readonly which: number;
  readonly ms: number;
}

function sayOf(saying: Saying): StoreOperation {
  const { how, which, ms } = saying;
  return {
    name: `say ${fc.stringify(saying)}`,
    inBatch: true,
    step: ({ deliveries }) => {
      const meant = deliveries.named(which);
      if (how === "ack") return stepOf(queue.ack, meant);
      if (how === "extend") return stepOf(queue.extend, { ...meant, ackDeadlineMs: ms + 1_000 });
      return stepOf(queue.nack, {
        ...meant,
        requeue: how === "nack",
        ...(how === "nack" ? { delayMs: ms } : {}),
      });
    },
  };
}

const say = fc
  .record({
    how: fc.constantFrom<Saying["how"][]>("ack", "nack", "reject", "extend"),
    which: fc.nat({ max: 5 }),
    ms: span,
  })
  .map(sayOf);

function consumeOf(command: ConsumeCommand): StoreOperation {
  return {
    name: `consume ${fc.stringify(command)}`,
    inBatch: false,
    step: ({ deliveries }) => ({
      decide: (state, context, rules) => {
        const decision = queue.consume(state, command, context, rules);
        if (decision.type === "rejected") return decision;
        return {
          ...decision,
          answer: (offset, place) => {
            const answer = decision.answer(offset, place);
            deliveries.heard(command.queue, answer.messages);
            return answer;
          },
        };
      },
    }),
  };
}

const consume = fc
  .record({ queue: queueName, consumer: fc.constantFrom("a", "b"), count: limit })
  .map(consumeOf);

const alone = (operation: fc.Arbitrary<StoreOperation>): fc.Arbitrary<StoreOperation> =>
  operation.map((one) => ({ ...one, inBatch: false }));

const queues = fc.oneof(
  {
    weight: 2,
    arbitrary: alone(
      simple("create", fc.record({ queue: queueName, config }), (c) => stepOf(queue.create, c)),
    ),
  },
  {
    weight: 6,
    arbitrary: simple(
      "publish",
      fc.record({ queue: queueName, messages: fc.array(message, { minLength: 1, maxLength: 3 }) }),
      (c) => stepOf(queue.publishMany, c),
    ),
  },
  { weight: 6, arbitrary: consume },
  { weight: 5, arbitrary: say },
  { weight: 2, arbitrary: alone(simple("due", fc.record({ limit }), (c) => stepOf(queue.due, c))) },
  {
    weight: 2,
    arbitrary: alone(
      simple("requeue", fc.record({ queue: queueName, limit }), (c) => stepOf(queue.requeueDead, c)),
    ),
  },
  {
    weight: 1,
    arbitrary: alone(
      simple(
        "end",
        fc.record({ queue: queueName, how: fc.constantFrom("purge", "purgeDead", "delete") }),
        ({ queue: name, how }) => stepOf<{ queue: string }, unknown>(queue[how], { queue: name }),
      ),
    ),
  },
);

const body = fc.record(
  {
    bytes: fc.oneof(fc.string({ maxLength: 8 }), payload),
    tag: fc.constantFrom("made", "sold"),
    metadata: fc.constant("{}"),
  },
  { requiredKeys: ["bytes"] },
);
const retention = fc.record(
  {
    count: fc.integer({ min: 1, max: 6 }),
    bytes: fc.integer({ min: 1, max: 400 }),
    ageMs: fc.integer({ min: 1, max: 3_000 }),
  },
  { requiredKeys: [] },
);
const producer = fc.record({ id: fc.constantFrom("p", "q"), epoch: fc.constant(0), seq: fc.nat({ max: 2 }) });
const lifetime = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  fc.record({ ttlMs: fc.integer({ min: 1, max: 3_000 }) }),
);
const create = fc.record({
  name: streamName,
  retention,
  lifetime,
  messages: fc.array(body, { maxLength: 2 }),
});

/** Forks name their source by its creation, which only the store knows. */
const fork = fc.record({ name: streamName, source: streamName, at: fc.nat({ max: 3 }) }).map(
  ({ name, source, at }): StoreOperation => ({
    name: `fork ${source} at ${at} as ${name}`,
    inBatch: true,
    step: () => ({
      decide: (state, context, rules) => {
        const sourceId = state.stream.find(source)?.id ?? { offset: state.nextOffset, place: 0 };
        const command = { name, contentType: TEXT_TYPE, fork: { source, sourceId, at } };
        return stream.getOrCreate(state, command, context, rules);
      },
    }),
  }),
);

const streams = fc.oneof(
  {
    weight: 3,
    arbitrary: simple("create", create, (c) => stepOf(stream.getOrCreate, { ...c, contentType: TEXT_TYPE })),
  },
  { weight: 1, arbitrary: fork },
  {
    weight: 8,
    arbitrary: simple(
      "append",
      fc.record(
        { name: streamName, messages: fc.array(body, { minLength: 1, maxLength: 4 }), producer },
        { requiredKeys: ["name", "messages"] },
      ),
      (c) => stepOf(stream.append, c),
    ),
  },
  {
    weight: 2,
    arbitrary: simple("trim", fc.record({ name: streamName, before: fc.nat({ max: 6 }) }), (c) =>
      stepOf(stream.trim, c),
    ),
  },
  {
    weight: 2,
    arbitrary: simple(
      "end",
      fc.record({ name: streamName, how: fc.constantFrom("close", "delete", "touch") }),
      ({ name, how }) => {
        if (how === "close") return stepOf(stream.append, { name, messages: [], close: true });
        return how === "delete" ? stepOf(stream.delete, { name }) : stepOf(stream.touch, { name });
      },
    ),
  },
  { weight: 1, arbitrary: simple("sweep", fc.record({ budget: limit }), (c) => stepOf(stream.sweep, c)) },
);

const single = fc.oneof(
  { weight: 5, arbitrary: keys },
  { weight: 6, arbitrary: queues },
  { weight: 5, arbitrary: streams },
);

const several: fc.Arbitrary<StoreOperation> = fc
  .array(
    single.filter(({ inBatch }) => inBatch),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => ({
    name: `batch of ${parts.map(({ name }) => name).join(", ")}`,
    inBatch: false,
    step: (state) => stepOf(batch<unknown>, batchOf(parts.map(({ step }) => step(state)))),
  }));

/** A request that may come twice. */
const kept: fc.Arbitrary<StoreOperation> = fc
  .tuple(fc.constantFrom("first", "second", "third"), fc.oneof(single, several))
  .map(([key, operation]) => ({
    name: `with the key ${key}: ${operation.name}`,
    inBatch: false,
    step: (state) =>
      stepOf(once<unknown>, {
        key,
        fingerprint: new Uint8Array(32).fill(operation.name.length),
        committed: state.t.store.offset,
        step: operation.step(state),
        keep: () => ({ status: 200, revision: undefined, body: operation.name }),
      }),
  }));

const named = simple("name a point", fc.stringMatching(/^[a-z]{1,2}$/), (name) =>
  stepOf(points.name, { name }),
);

export const storeOperation: fc.Arbitrary<StoreOperation> = fc
  .oneof(
    { weight: 1, arbitrary: named },
    { weight: 8, arbitrary: single },
    { weight: 2, arbitrary: several },
    { weight: 1, arbitrary: kept },
  )
  .map((operation) => ({ ...operation, toString: () => operation.name }));

const ofJobs = (count: number) => ({ queue: "jobs" as const, count });
const publishJobs = simple(
  "publish",
  fc.record({ queue: fc.constant("jobs"), messages: fc.array(plain, { minLength: 1, maxLength: 2 }) }),
  (c) => stepOf(queue.publishMany, c),
);
const consumeJobs = fc.constant(consumeOf({ ...ofJobs(3), consumer: "a" }));
const sayOfLast = (how: Saying["how"]) => fc.constant(sayOf({ how, which: 0, ms: 0 }));
const emptyDead = fc.constantFrom(
  fixed("requeue the dead", stepOf(queue.requeueDead, { queue: "jobs", limit: 2 })),
  fixed("purge the dead", stepOf(queue.purgeDead, { queue: "jobs" })),
);

/** A stream with this ttl, whatever was there before. */
function renewed(ttlMs: number): fc.Arbitrary<StoreOperation>[] {
  const name = "room/b";
  const command = { name, contentType: TEXT_TYPE, lifetime: { ttlMs } };
  return [
    fc.constant(fixed("delete", stepOf(stream.delete, { name }))),
    fc.constant(fixed("create with a ttl", stepOf(stream.getOrCreate, command))),
  ];
}

/** Everything up to the end, which only the store knows. */
const trimAll: Step<unknown>["decide"] = (state, context, rules) => {
  const before = state.stream.find("room/a")?.end ?? 0;
  return stream.trim(state, { name: "room/a", before }, context, rules);
};

const A_KEY = { key: "a", value: "1", contentType: TEXT_TYPE };

/** Operations that only mean something in this order, and that single ones would seldom come in. */
export const STORIES: readonly (readonly fc.Arbitrary<StoreOperation>[])[] = [
  [publishJobs, consumeJobs, sayOfLast("ack")],
  [publishJobs, consumeJobs, sayOfLast("nack"), consumeJobs, sayOfLast("extend")],
  [publishJobs, consumeJobs, sayOfLast("reject"), emptyDead],
  [publishJobs, fc.constant(fixed("purge", stepOf(queue.purge, { queue: "jobs" })))],
  ["publish", "delete", "create"].map((what) => {
    const mails = { queue: "mails" };
    if (what === "publish")
      return fc.constant(fixed(what, stepOf(queue.publish, { ...mails, payload: new Uint8Array(9) })));
    return fc.constant(
      fixed(what, what === "delete" ? stepOf(queue.delete, mails) : stepOf(queue.create, mails)),
    );
  }),
  [
    ...renewed(100_000),
    fc.constant({ ...fixed("touch", stepOf(stream.touch, { name: "room/b" })), clockMs: 5_000 }),
  ],
  [
    ...renewed(1_000),
    fc.constant({ ...fixed("sweep", stepOf(stream.sweep, { budget: 9 })), clockMs: 5_000 }),
  ],
  [
    fc.constant(
      fixed("append", stepOf(stream.append, { name: "room/a", messages: [{ bytes: "1" }, { bytes: "2" }] })),
    ),
    fc.constant({ name: "trim all", inBatch: true, step: () => ({ decide: trimAll }) }),
  ],
  [
    fc.constant(fixed("set", stepOf(kv.set, A_KEY))),
    fc.constant(
      fixed("expire", stepOf(kv.expire, { key: "a", expiry: { type: "milliseconds", value: 900 } })),
    ),
    simple("kv", writeOperation, stepOfOperation).map((operation) => ({ ...operation, clockMs: 1_000 })),
  ],
  [fc.constant(fixed("set", stepOf(kv.set, A_KEY))), fc.constant(fixed("flush", stepOf(kv.flush, {})))],
  [
    fc.constant(fixed("set", stepOf(kv.set, A_KEY))),
    fc.constant(fixed("delete", stepOf(kv.delete, { key: "a" }))),
  ],
  ["b", "c", "d"].map((key) =>
    fc.constant(
      fixed(
        `set ${key} for an hour`,
        stepOf(kv.set, { ...A_KEY, key, expiry: { type: "seconds", value: 3_600 } }),
      ),
    ),
  ),
  [
    ...renewed(100_000),
    fc.constant(fixed("close", stepOf(stream.append, { name: "room/b", messages: [], close: true }))),
  ],
  [
    fc.constant(
      fixed(
        "publish with a ttl",
        stepOf(queue.publish, { queue: "jobs", payload: new Uint8Array(1), ttlMs: 100 }),
      ),
    ),
    fc.constant({ ...fixed("due", stepOf(queue.due, { limit: 9 })), clockMs: 1_000 }),
  ],
];

/** Before anything else: operations on what is not there are refused. */
export const OPENING: readonly StoreOperation[] = [
  fixed("create jobs", stepOf(queue.create, { queue: "jobs", config: { maxRetries: 1 } })),
  fixed("create mails", stepOf(queue.create, { queue: "mails" })),
  fixed("create room/a", stepOf(stream.getOrCreate, { name: "room/a", contentType: TEXT_TYPE })),
];

/** Runs it; a refusal is an answer too. */
export async function runStoreOperation(
  t: TestStore,
  deliveries: Deliveries,
  { step }: StoreOperation,
): Promise<void> {
  const { decide } = step({ t, deliveries });
  await t.run((state, _, context, rules) => decide(state, context, rules), {});
}
