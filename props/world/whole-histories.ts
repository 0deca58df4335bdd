/**
 * Random histories over every projection at once – keys, queues, streams, kept answers – on few names, so that they meet. Each
 * step does what it can where the state stands; what is refused leaves no record. They say nothing of what is right:
 * they make states in which as much as possible is at stake.
 */
import fc from "fast-check";
import {
  asIs,
  kv,
  type Outcome,
  once,
  type Producer,
  queue,
  type Reader,
  stream,
  TEXT_TYPE,
} from "../../projections/index.js";
import type { TestStore } from "../../test/support/kv-store.js";
import type { Operation } from "../model/kv-model.js";
import { operation, runOperation } from "../model/kv-operations.js";

export const QUEUES = ["jobs", "mails"];
export const STREAMS = ["room/a", "room/b", "ds/fork", "ds/short"];
export const ANSWER_KEYS = ["once-1", "once-2", "once-3"];
export const CONSUMERS = ["anna", "ben"];
export const PRODUCERS = ["p1", "p2"];
export const DEDUP_KEYS = ["d1", "d2"];

const QUEUE_STEPS = [
  "createQueue",
  "publish",
  "publish",
  "publish",
  "publish",
  "consume",
  "consume",
  "consume",
  "ack",
  "nack",
  "nack",
  "reject",
  "extend",
  "due",
  "purge",
  "deleteQueue",
  "requeueDead",
  "purgeDead",
] as const;
const STREAM_STEPS = [
  "createStream",
  "createStream",
  "fork",
  "fork",
  "append",
  "append",
  "append",
  "produce",
  "close",
  "trim",
  "touch",
  "deleteStream",
  "sweep",
] as const;

export type WholeStep =
  | { readonly type: "kv"; readonly operation: Operation; readonly laterMs: number }
  | {
      readonly type: (typeof QUEUE_STEPS)[number] | (typeof STREAM_STEPS)[number] | "once" | "deleteKey";
      /** What the step draws its choices from. */
      readonly n: number;
      readonly laterMs: number;
    };

const laterMs = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 900 }));
const stepOf = <Type extends string>(types: readonly Type[]) =>
  fc.record({ type: fc.constantFrom(...types), n: fc.noBias(fc.nat({ max: 9_999 })), laterMs });

export const wholeStep: fc.Arbitrary<WholeStep> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant("kv" as const), operation, laterMs }) },
  { weight: 8, arbitrary: stepOf(QUEUE_STEPS) },
  { weight: 6, arbitrary: stepOf(STREAM_STEPS) },
  { weight: 1, arbitrary: stepOf(["once" as const, "deleteKey" as const]) },
);

const pick = <Item>(items: readonly Item[], n: number): Item => items[n % items.length] as Item;
const bytes = (text: string): Uint8Array => Buffer.from(text);

/** One history on one store. */
export class WholeHistory {
  readonly t: TestStore;
  /** Messages that were given out, by queue. */
  readonly #given = new Map<string, string[]>();
  /** The next number of each producer in each stream. */
  readonly #seqs = new Map<string, number>();

  constructor(t: TestStore) {
    this.t = t;
  }

  /** Makes what most steps need. */
  async begin(): Promise<void> {
    for (const n of [0, 1]) await this.#queueStep("createQueue", n);
    for (const n of [0, 1]) await this.#streamStep("createStream", n + 2);
  }

  async run(step: WholeStep): Promise<void> {
    this.t.now += step.laterMs;
    if (step.type === "kv") await runOperation(this.t, step.operation);
    else if (step.type === "once") await runOnce(this.t, step.n);
    else if (step.type === "deleteKey") await deleteAnyKey(this.t, step.n);
    else if (isOneOf(QUEUE_STEPS, step.type)) await this.#queueStep(step.type, step.n);
    else await this.#streamStep(step.type, step.n);
  }

  async #queueStep(type: (typeof QUEUE_STEPS)[number], n: number): Promise<void> {
    const { t } = this;
    const name = pick(QUEUES, n);
    const consumer = pick(CONSUMERS, n >> 1);
    switch (type) {
      case "createQueue":
        await t.run(queue.create, { queue: name, config: configOf(n) });
        return;
      case "publish":
        await t.run(queue.publish, { queue: name, ...messageOf(n) });
        return;
      case "consume":
        await this.#consume(name, { consumer, count: 1 + (n % 3), ackDeadlineMs: 200 + (n % 900) });
        return;
      case "due":
        await t.run(queue.due, { limit: 1 + (n % 8) });
        return;
      case "purge":
      case "purgeDead":
        // Seldom: what a purge took away says little.
        if (n % 4 === 0) await t.run(queue[type], { queue: name });
        return;
      case "deleteQueue":
        if (n % 5 === 0) await t.run(queue.delete, { queue: name });
        return;
      case "requeueDead":
        await t.run(queue.requeueDead, { queue: name, limit: 1 });
        return;
      default:
        await this.#deliveryStep(type, name, n);
    }
  }

  async #deliveryStep(type: "ack" | "nack" | "reject" | "extend", name: string, n: number): Promise<void> {
    const { t } = this;
    const messageId = pick(this.#given.get(name) ?? [], n);
    if (messageId === undefined) return;
    if (type === "ack") await t.run(queue.ack, { queue: name, messageId });
    else if (type === "extend") await t.run(queue.extend, { queue: name, messageId, ackDeadlineMs: 500 });
    else {
      const delayMs = n % 3 === 0 ? 300 : 0;
      await t.run(queue.nack, { queue: name, messageId, delayMs, requeue: type === "nack" });
    }
  }

  async #consume(
    name: string,
    how: { readonly consumer: string; readonly count: number; readonly ackDeadlineMs: number },
  ): Promise<void> {
    const outcome = await this.t.run(queue.consume, { queue: name, ...how });
    if (outcome.type === "rejected") return;
    const given = this.#given.get(name) ?? [];
    for (const { messageId } of outcome.answer.messages) given.unshift(messageId);
    this.#given.set(name, given.slice(0, 6));
  }

  async #streamStep(type: (typeof STREAM_STEPS)[number], n: number): Promise<void> {
    const { t } = this;
    const name = pick(STREAMS, n);
    switch (type) {
      case "createStream":
        await t.run(stream.create, {
          name,
          contentType: pick(["text/plain", "Application/JSON"], n),
          ...lifeOf(t, n),
        });
        return;
      case "fork":
        await runFork(t, n);
        return;
      case "append":
        await t.run(stream.append, {
          name,
          messages: messagesOf(n),
          ...(n % 3 === 0 ? { writerSeq: `w${n}` } : {}),
        });
        return;
      case "produce":
        await t.run(stream.append, { name, messages: messagesOf(n), producer: this.#producer(name, n) });
        return;
      case "close":
        if (n % 3 > 0) return;
        await t.run(stream.append, {
          name,
          messages: n % 2 === 0 ? [] : messagesOf(n),
          close: true,
          ...(n % 2 === 0 ? { producer: this.#producer(name, n) } : {}),
        });
        return;
      case "trim":
        await t.run(stream.trim, { name, before: n % 6 });
        return;
      case "touch":
        await t.run(stream.touch, { name });
        return;
      case "deleteStream":
        if (n % 2 === 0) await t.run(stream.delete, { name });
        return;
      case "sweep":
        await t.run(stream.sweep, { budget: 3 });
        return;
    }
  }

  /** Mostly the one that comes next. */
  #producer(name: string, n: number): Producer {
    const id = pick(PRODUCERS, n);
    const own = `${name} ${id}`;
    const seq = n % 9 === 0 ? 0 : (this.#seqs.get(own) ?? 0);
    this.#seqs.set(own, seq + 1);
    return { id, epoch: 0, seq };
  }
}

const isOneOf = <Type extends string>(types: readonly Type[], type: string): type is Type =>
  (types as readonly string[]).includes(type);

/** One that is there. */
async function deleteAnyKey(t: TestStore, n: number): Promise<void> {
  const page = await ask(t, kv.scan, { limit: 100 });
  const key = pick(page?.keys ?? [], n);
  if (key !== undefined) await t.run(kv.delete, { key });
}

async function runOnce(t: TestStore, n: number): Promise<void> {
  const set = { key: pick(["a", "b"], n), value: `once ${n}`, contentType: TEXT_TYPE };
  await t.run(once<{ revision: number }>, {
    key: pick(ANSWER_KEYS, n),
    fingerprint: Buffer.alloc(32, n % 5),
    committed: t.log.committedOffset,
    step: { decide: (state, context, rules) => kv.set(state, set, context, rules) },
    keep: (answer) => ({
      status: 200,
      revision: n % 2 === 0 ? (answer.revision as never) : undefined,
      body: JSON.stringify(answer),
    }),
  });
}

/** The answer, if there is one. */
async function ask<Query, Answer>(
  t: TestStore,
  read: Reader<Query, Answer>,
  query: Query,
): Promise<Answer | undefined> {
  const outcome: Outcome<Answer> = await t.store.query(read, query, t.context(), asIs);
  return outcome.type === "done" ? outcome.answer : undefined;
}

const configOf = (n: number) => ({
  maxRetries: n % 3,
  priority: n % 10,
  prefetchLimit: n % 4,
  messageTtlMs: n % 5 === 0 ? 1_500 : 0,
  dedupWindowMs: n % 2 === 0 ? 2_000 : 60_000,
  backoff: { type: pick(["none", "fixed", "exponential"] as const, n), delayMs: 100, maxDelayMs: 900 },
});

const messageOf = (n: number) => ({
  payload: bytes(n % 7 === 0 ? "" : `message ${n}`.repeat(1 + (n % 40))),
  ...(n % 3 === 0 ? { headers: { name: `é ${n}`, other: "" } } : {}),
  ...(n % 4 === 0 ? { delayMs: 1 + (n % 700) } : {}),
  ...(n % 5 === 0 ? { ttlMs: 1 + (n % 2_000) } : {}),
  ...(n % 2 === 0 ? { priority: n % 10 } : {}),
  ...(n % 6 === 0 ? { maxRetries: n % 4 } : {}),
  ...(n % 3 === 1 ? { dedupKey: pick(DEDUP_KEYS, n >> 2) } : {}),
});

const messagesOf = (n: number) =>
  Array.from({ length: 1 + (n % 3) }, (_, index) => ({ bytes: `${n} ${index} `.repeat(1 + (n % 9)) }));

const lifeOf = (t: TestStore, n: number) => ({
  fingerprint: n % 2 === 0 ? "" : `made with ${n}`,
  retention: {
    ...(n % 4 === 1 ? { count: 1 + (n % 5) } : {}),
    ...(n % 4 === 2 ? { bytes: 20 + (n % 90) } : {}),
    ...(n % 3 === 0 ? { ageMs: 400 + (n % 900) } : {}),
  },
  lifetime:
    n % 5 === 0 ? { ttlMs: 500 + (n % 900) } : n % 5 === 1 ? { expiresAt: t.now + 1_000 + (n % 3_000) } : {},
  ...(n % 2 === 0 ? { messages: messagesOf(n) } : {}),
  ...(n % 11 === 0 ? { closed: true } : {}),
});

async function runFork(t: TestStore, n: number): Promise<void> {
  const source = pick(STREAMS, n);
  const found = await ask(t, stream.head, { name: source });
  if (found === undefined) return;
  const at = found.earliest + (n % (found.facts.end - found.earliest + 1));
  await t.run(stream.create, {
    name: pick(STREAMS, n >> 2),
    contentType: found.facts.contentType,
    fork: { source, sourceId: found.facts.id, at },
    ...(n % 3 === 0 ? { messages: messagesOf(n) } : {}),
  });
}
