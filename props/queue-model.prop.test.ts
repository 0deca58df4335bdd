/**
 * A queue against a list of messages.
 *
 * 1. Nothing is lost or doubled: published = waiting + delayed + in flight + acked + dead + purged + expired, each as the model
 *    counts it, after every step.
 * 2. Messages come by (priority, place of publish), also after a redelivery, with the model's attempt count; never a message
 *    whose delivery is open, never one before its time or past its ttl; at most max_retries + 1 deliveries.
 * 3. What is said of a delivery that is not open any more is refused and changes nothing.
 * 4. A refused command appends nothing; a full queue takes none of many messages, and none holds more than its depth.
 * 5. A restart at any point changes nothing: the digest after the replay is the digest before.
 * 6. Nothing waits for longer than `nextDue` says: with nothing due by then, `due` says nothing.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  type AckManyAnswer,
  type NewMessage,
  type Outcome,
  type QueueConfig,
  queue,
} from "../projections/index.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { type ModelMessage, QueueModel, type Refused } from "./model/queue-model.js";
import { runs } from "./run-settings.js";

const START_MS = 1_700_000_000_000;
const NAME = "jobs";

interface Real {
  t: TestStore;
  /** Every delivery that was ever made. */
  readonly receipts: { id: string; receipt: string }[];
}
type Step = fc.AsyncCommand<QueueModel, Real>;

const happened = {
  steps: 0,
  published: 0,
  duplicates: 0,
  delivered: 0,
  redelivered: 0,
  overtaken: 0,
  acked: 0,
  stale: 0,
  full: 0,
  died: 0,
  expired: 0,
  purged: 0,
  revived: 0,
  givenBack: 0,
  restarts: 0,
  timesPassed: 0,
};

/** One step: what the store answers must be what the model says, and afterwards they must agree on everything. */
function step(name: string, run: (model: QueueModel, real: Real) => Promise<void>): Step {
  return {
    check: () => true,
    run: async (model, real) => {
      happened.steps++;
      await run(model, real);
      await expectAgreement(model, real);
    },
    toString: () => name,
  };
}

async function expectAgreement(model: QueueModel, { t }: Real): Promise<void> {
  const stats = await t.answer(queue.stats, { queue: NAME });
  const count = (...states: Parameters<QueueModel["in"]>) => model.in(...states).length;
  expect(stats).toMatchObject({
    ...model.counts,
    waiting: count("waiting"),
    delayed: count("delayed"),
    inFlight: count("in_flight"),
    dead: count("dead"),
    purged: count("purged"),
    expired: count("expired"),
    consumers: new Set(model.in("in_flight").map(({ consumer }) => consumer)).size,
  });
  const there = stats.waiting + stats.delayed + stats.inFlight + stats.dead;
  expect(stats.published).toBe(there + stats.acked + stats.purged + stats.expired);
  expect(there - stats.dead).toBeLessThanOrEqual(stats.config.maxDepth);
  const live = (message: ModelMessage) => message.expiresAt === 0 || message.expiresAt > model.now;
  const { messages } = await t.answer(queue.peek, { queue: NAME, limit: 100 });
  expect(messages.map(({ messageId, retryCount }) => [messageId, retryCount])).toEqual(
    model
      .inOrder()
      .filter(live)
      .map(({ id, retryCount }) => [id, retryCount]),
  );
  const next = t.store.nextDue();
  expect(next !== undefined && next <= model.now).toBe(model.due().length > 0);
}

/** The answer, or undefined when it was rightly refused; then nothing was appended. */
async function agreed<Answer>(
  t: TestStore,
  run: () => Promise<Outcome<Answer>>,
  expected: object | Refused | undefined,
): Promise<Answer | undefined> {
  const before = t.log.endOffset;
  const outcome = await run();
  if (expected !== undefined && "refused" in expected) {
    expect(outcome).toMatchObject({ type: "rejected", code: expected.refused });
    expect(t.log.endOffset).toBe(before);
    return undefined;
  }
  expect(outcome).toMatchObject({ type: "done" });
  return outcome.type === "done" ? outcome.answer : undefined;
}

function publish(messages: readonly NewMessage[], many: boolean): Step {
  const told = messages.map(({ payload: _, ...rest }) => rest);
  return step(`publish ${JSON.stringify(told)}${many ? " as many" : ""}`, async (model, { t }) => {
    const expected = model.publish(messages);
    const answer = await agreed(
      t,
      async () => {
        if (many) return t.run(queue.publishMany, { queue: NAME, messages });
        const one = await t.run(queue.publish, { queue: NAME, ...messages[0]! });
        return one.type === "done" ? { ...one, answer: { messages: [one.answer] } } : one;
      },
      expected,
    );
    if (answer === undefined || "refused" in expected) {
      happened.full++;
      return;
    }
    const ids = new Set(model.messages.map(({ id }) => id));
    expect(answer.messages).toHaveLength(expected.length);
    for (const [index, { message, duplicate }] of expected.entries()) {
      const { messageId, duplicate: saidDuplicate } = answer.messages[index]!;
      expect(saidDuplicate).toBe(duplicate);
      if (duplicate) happened.duplicates++;
      else {
        expect(ids.has(messageId)).toBe(false);
        message.id = messageId;
        happened.published++;
      }
      expect(messageId).toBe(message.id);
    }
  });
}

function consume(consumer: string, count: number, ackDeadlineMs: number | undefined): Step {
  return step(`consume ${count} by ${consumer}, ${ackDeadlineMs} ms`, async (model, { t, receipts }) => {
    const waitingLonger = new Set(model.in("waiting"));
    const expected = model.consume(consumer, count, ackDeadlineMs);
    const { messages } = await t.ok(queue.consume, { queue: NAME, consumer, count, ackDeadlineMs });
    expect(messages.map(({ messageId }) => messageId)).toEqual(expected.map(({ id }) => id));
    for (const [index, delivered] of messages.entries()) {
      const message = expected[index]!;
      expect(delivered).toMatchObject({
        priority: message.priority,
        retryCount: message.retryCount,
        attempt: message.deliveries,
        deadline: message.deadline,
        payload: message.message.payload,
        headers: message.message.headers ?? {},
      });
      expect(delivered.attempt).toBeLessThanOrEqual(message.maxRetries + 1);
      expect(receipts.map(({ receipt }) => receipt)).not.toContain(delivered.receipt);
      message.receipt = delivered.receipt;
      receipts.push({ id: message.id, receipt: delivered.receipt });
      happened.delivered++;
      if (delivered.attempt > 1) happened.redelivered++;
      if ([...waitingLonger].some(({ order, state }) => order < message.order && state === "waiting")) {
        happened.overtaken++;
      }
    }
  });
}

type Saying = { readonly how: "ack" | "nack" | "reject" | "extend"; readonly delayMs: number | undefined };

/** Says something of a delivery that was made once, be it open or not. */
function say(which: number, withReceipt: boolean, { how, delayMs }: Saying): Step {
  const name = `${how} delivery ${which}${withReceipt ? "" : " by id"}, ${delayMs} ms`;
  return step(name, async (model, { t, receipts }) => {
    const { id, receipt } = receipts[which % Math.max(1, receipts.length)] ?? { id: "1-0", receipt: "1-0" };
    const meant = { queue: NAME, messageId: id, ...(withReceipt ? { receipt } : {}) };
    const open = model.open(id, withReceipt ? receipt : undefined);
    if ("refused" in open) happened.stale++;
    if (how === "ack") {
      if (await agreed(t, () => t.run(queue.ack, meant), open)) model.ack(open as ModelMessage);
    } else if (how === "extend") {
      const ackDeadlineMs = (delayMs ?? 0) + 1;
      const answer = await agreed(t, () => t.run(queue.extend, { ...meant, ackDeadlineMs }), open);
      if (answer === undefined) return;
      (open as ModelMessage).deadline = model.now + ackDeadlineMs;
      expect(answer.deadline).toBe(model.now + ackDeadlineMs);
    } else {
      const requeue = how === "nack";
      const answer = await agreed(t, () => t.run(queue.nack, { ...meant, requeue, delayMs }), open);
      if (answer === undefined) return;
      model.nack(open as ModelMessage, requeue, delayMs);
      expect(answer.outcome).toBe((open as ModelMessage).state);
    }
  });
}

function ackMany(which: readonly number[]): Step {
  return step(`ack deliveries ${which.join(" ")}`, async (model, { t, receipts }) => {
    const meant = which.map((each) => receipts[each % Math.max(1, receipts.length)]);
    const deliveries = meant.map((each) => ({
      messageId: each?.id ?? "1-0",
      receipt: each?.receipt ?? "1-0",
    }));
    const expected = deliveries.map(({ messageId, receipt }): AckManyAnswer["results"][number] => {
      const open = model.open(messageId, receipt);
      if ("refused" in open) return "stale";
      model.ack(open);
      return "acked";
    });
    const answer = await t.ok(queue.ackMany, { queue: NAME, deliveries });
    expect(answer.results).toEqual(expected);
  });
}

/** Of consumes whose answers never left, be they open or not. */
function giveBack(which: readonly number[]): Step {
  return step(`give back deliveries ${which.join(" ")}`, async (model, { t, receipts }) => {
    const meant = [...new Set(which.map((each) => receipts[each % Math.max(1, receipts.length)]))];
    const deliveries = meant.flatMap((each) =>
      each === undefined ? [] : [{ messageId: each.id, receipt: each.receipt }],
    );
    const givenBack = deliveries.filter(({ messageId, receipt }) => {
      const open = model.open(messageId, receipt);
      if ("refused" in open) return false;
      model.giveBack(open);
      return true;
    }).length;
    expect(await t.ok(queue.giveBack, { queue: NAME, deliveries })).toEqual({ givenBack });
    happened.givenBack += givenBack;
  });
}

const purge = step("purge", async (model, { t }) => {
  const purged = model.purge("waiting", "delayed");
  expect(await t.ok(queue.purge, { queue: NAME })).toEqual({ purged });
});

const purgeDead = step("purge the dead", async (model, { t }) => {
  const purged = model.purge("dead");
  expect(await t.ok(queue.purgeDead, { queue: NAME })).toEqual({ purged });
});

const listDead = step("list the dead", async (model, { t }) => {
  const listed: string[] = [];
  for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
    const page = await t.answer(queue.deadLetters, { queue: NAME, limit: 2, cursor });
    listed.push(...page.messages.map(({ messageId }) => messageId));
    cursor = page.cursor;
  }
  expect(listed).toEqual(model.dead().map(({ id }) => id));
});

function requeueDead(which: number | undefined, limit: number): Step {
  return step(`requeue dead ${which ?? `up to ${limit}`}`, async (model, { t }) => {
    const dead = model.dead();
    const letters = which === undefined ? dead.slice(0, limit) : dead.slice(which % 5, (which % 5) + 1);
    const messageId = letters[0]?.id ?? "1-0";
    const command = { queue: NAME, ...(which === undefined ? { limit } : { messageId }) };
    const nobody: Refused = { refused: "QUEUE_MESSAGE_NOT_FOUND" };
    const expected = which !== undefined && letters.length === 0 ? nobody : model.requeueDead(letters);
    const answer = await agreed(t, () => t.run(queue.requeueDead, command), expected);
    if (answer === undefined) return;
    expect(answer).toEqual({ requeued: letters.length, remaining: model.dead().length });
    happened.revived += letters.length;
  });
}

const due = (limit: number): Step =>
  step(`due, up to ${limit}`, async (model, { t }) => {
    const passed = model.passTime(limit);
    expect(await t.ok(queue.due, { limit })).toEqual({ passed });
    happened.timesPassed += passed;
  });

const moveClock = (ms: number): Step =>
  step(`clock +${ms} ms`, async (model, { t }) => {
    model.now += ms;
    t.now += ms;
  });

const restart = step("restart", async (_model, real) => {
  const { now, log, store } = real.t;
  const before = store.digest(now);
  await store.close();
  real.t = await TestStore.open({ now, log: new MemoryLog({ records: log.records, batchRecords: 3 }) });
  expect(real.t.store.digest(now)).toBe(before);
  happened.restarts++;
});

// ---- what is drawn ----

const optionally = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const span = fc.constantFrom(0, 1, 40, 100, 250);
const message: fc.Arbitrary<NewMessage> = fc.record({
  payload: fc.uint8Array({ maxLength: 5 }),
  priority: optionally(fc.constantFrom(0, 4, 9)),
  maxRetries: optionally(fc.nat({ max: 2 })),
  headers: optionally(fc.dictionary(fc.string({ minLength: 1, maxLength: 3 }), fc.string({ maxLength: 3 }))),
  delayMs: optionally(span),
  ttlMs: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: span }),
  dedupKey: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom("k", "l") },
  ),
});
const saying: fc.Arbitrary<Saying> = fc.record({
  how: fc.constantFrom<Saying["how"][]>("ack", "nack", "nack", "reject", "extend"),
  delayMs: optionally(span),
});
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: message.map((one) => publish([one], false)) },
  {
    weight: 3,
    arbitrary: fc.array(message, { minLength: 1, maxLength: 3 }).map((many) => publish(many, true)),
  },
  {
    weight: 8,
    arbitrary: fc
      .tuple(
        fc.constantFrom("a", "b"),
        fc.integer({ min: 1, max: 3 }),
        optionally(fc.constantFrom(1, 50, 400)),
      )
      .map((drawn) => consume(...drawn)),
  },
  { weight: 8, arbitrary: fc.tuple(fc.nat(), fc.boolean(), saying).map((drawn) => say(...drawn)) },
  { weight: 2, arbitrary: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }).map(ackMany) },
  { weight: 2, arbitrary: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }).map(giveBack) },
  { weight: 4, arbitrary: fc.constantFrom(1, 30, 60, 100, 300).map(moveClock) },
  { weight: 3, arbitrary: fc.constantFrom(1, 3, 100).map(due) },
  { weight: 2, arbitrary: fc.constant(restart) },
  { weight: 1, arbitrary: fc.constantFrom(purge, purgeDead, listDead, listDead) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(optionally(fc.nat()), fc.integer({ min: 1, max: 4 }))
      .map((drawn) => requeueDead(...drawn)),
  },
);
const config: fc.Arbitrary<QueueConfig> = fc.record({
  maxDepth: fc.constantFrom(3, 6, 50),
  ackDeadlineMs: fc.constant(100),
  maxRetries: fc.nat({ max: 2 }),
  priority: fc.constantFrom(0, 5),
  prefetchLimit: fc.constantFrom(0, 0, 2),
  backoff: fc.constantFrom<QueueConfig["backoff"][]>(
    { type: "none", delayMs: 0, maxDelayMs: 0 },
    { type: "fixed", delayMs: 50, maxDelayMs: 50 },
    { type: "exponential", delayMs: 30, maxDelayMs: 70 },
  ),
  messageTtlMs: fc.constantFrom(0, 0, 300),
  dedupWindowMs: fc.constantFrom(0, 200),
});

describe("a queue", () => {
  it("is a list of messages, through restarts and time", async () => {
    await fc.assert(
      fc.asyncProperty(
        config,
        fc.commands([anyStep], { maxCommands: 100, size: "max" }),
        async (settings, steps) => {
          const model = new QueueModel(START_MS, settings);
          const real: Real = { t: await TestStore.open({ now: START_MS }), receipts: [] };
          await real.t.ok(queue.create, { queue: NAME, config: settings });
          await fc.asyncModelRun(() => ({ model, real }), steps);
          happened.acked += model.counts.acked;
          happened.died += model.counts.deadLettered;
          happened.expired += model.in("expired").length;
          happened.purged += model.in("purged").length;
        },
      ),
      runs(150) as fc.Parameters<[QueueConfig, Iterable<Step>]>,
    );
  });

  afterAll(() => {
    expect(happened.steps, "steps").toBeGreaterThan(3_000);
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
  });
});
