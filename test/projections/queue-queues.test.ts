/** Whole queues: create, delete, purge, the dead letter queue, and time that passes when nobody calls. */
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import {
  batch,
  DEFAULT_QUEUE_CONFIG,
  type Headers,
  type PartialConfig,
  type QueueRules,
  queue,
  type Step,
} from "../../projections/index.js";
import type { EventRef, QueueView } from "../../projections/queue/contract.js";
import { queueOverlay } from "../../projections/queue/overlay.js";
import { TestStore } from "../support/kv-store.js";

const q = "jobs";

async function withQueue(config: PartialConfig = {}, rules: Partial<QueueRules> = {}): Promise<TestStore> {
  const t = await TestStore.open({ queueRules: rules });
  await t.ok(queue.create, { queue: q, config });
  return t;
}

async function publish(t: TestStore, more: object = {}): Promise<string> {
  return (await t.ok(queue.publish, { queue: q, payload: new Uint8Array([1]), ...more })).messageId;
}

/** Messages that consumers rejected, oldest death first. */
async function withDead(t: TestStore, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let each = 0; each < count; each++) {
    const messageId = await publish(t);
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await t.ok(queue.nack, { queue: q, messageId, requeue: false });
    ids.push(messageId);
  }
  return ids;
}

async function consumed(t: TestStore): Promise<string> {
  const { messages } = await t.ok(queue.consume, { queue: q, consumer: "c" });
  return messages[0]!.messageId;
}

describe("create", () => {
  it("is done once; an existing queue keeps its configuration", async () => {
    const t = await TestStore.open();
    const config = { ...DEFAULT_QUEUE_CONFIG, maxDepth: 7 };
    expect(await t.ok(queue.create, { queue: q, config: { maxDepth: 7 } })).toEqual({
      created: true,
      config,
    });
    const records = t.log.endOffset;
    expect(await t.ok(queue.create, { queue: q, config: { maxDepth: 8 } })).toEqual({
      created: false,
      config,
    });
    expect(t.log.endOffset).toBe(records);
  });

  it.each<[string, PartialConfig]>([
    ["depth", { maxDepth: 0 }],
    ["depth", { maxDepth: 1.5 }],
    ["deadline", { ackDeadlineMs: 0 }],
    ["deadline", { ackDeadlineMs: 1e15 }],
    ["retries", { maxRetries: -1 }],
    ["priority", { priority: 10 }],
    ["prefetch limit", { prefetchLimit: Number.NaN }],
    ["fixed backoff", { backoff: { type: "fixed", delayMs: 0, maxDelayMs: 0 } }],
    ["bound of the backoff", { backoff: { type: "exponential", delayMs: 2, maxDelayMs: 1 } }],
    ["ttl", { messageTtlMs: -1 }],
    ["window", { dedupWindowMs: Number.POSITIVE_INFINITY }],
  ])("refuses a bad %s", async (_what, config) => {
    const t = await TestStore.open();
    expect(await t.refused(queue.create, { queue: q, config })).toBe("QUEUE_CONFIG_INVALID");
    expect(await t.answer(queue.list, {})).toEqual({ queues: [] });
  });

  it("refuses names that cannot be used, and more queues than accepted", async () => {
    const t = await TestStore.open({ queueRules: { queuesMax: 1 } });
    for (const name of ["", "\ud800", "ä".repeat(129)]) {
      expect(await t.refused(queue.create, { queue: name })).toBe("QUEUE_NAME_INVALID");
    }
    await t.ok(queue.create, { queue: "ä".repeat(128) });
    expect(await t.refused(queue.create, { queue: q })).toBe("QUEUE_TOO_MANY");
  });
});

describe("a queue that is not there", () => {
  it("is said to be missing by everything but delete", async () => {
    const t = await TestStore.open();
    const [name, messageId] = [{ queue: q }, "1-0"];
    const one = { ...name, payload: new Uint8Array() };
    expect(await t.refused(queue.publish, one)).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.publishMany, { ...name, messages: [one] })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.consume, { ...name, consumer: "c" })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.ack, { ...name, messageId })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.ackMany, { ...name, deliveries: [{ messageId }] })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.nack, { ...name, messageId })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.extend, { ...name, messageId })).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.purge, name)).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.requeueDead, name)).toBe("QUEUE_NOT_FOUND");
    expect(await t.refused(queue.purgeDead, name)).toBe("QUEUE_NOT_FOUND");
    expect(await t.askRefused(queue.stats, name)).toBe("QUEUE_NOT_FOUND");
    expect(await t.askRefused(queue.peek, { ...name, limit: 1 })).toBe("QUEUE_NOT_FOUND");
    expect(await t.askRefused(queue.deadLetters, { ...name, limit: 1 })).toBe("QUEUE_NOT_FOUND");
    expect(await t.askRefused(queue.get, { ...name, messageId })).toBe("QUEUE_NOT_FOUND");
    expect(await t.ok(queue.delete, name)).toEqual({ deleted: false });
    expect(t.log.endOffset).toBe(0);
  });

  it("waits for its deletion to be committed before it is said to be missing", async () => {
    const t = await withQueue();
    t.log.hold();
    void t.run(queue.delete, { queue: q });
    let answered = false;
    const refused = t.ask(queue.stats, { queue: q }).finally(() => {
      answered = true;
    });
    await Promise.resolve();
    expect(answered).toBe(false);
    t.log.release();
    expect(await refused).toMatchObject({ code: "QUEUE_NOT_FOUND" });
  });
});

describe("delete", () => {
  it("takes every message with it, whatever its state; the next of that name begins anew", async () => {
    const t = await withQueue({ ackDeadlineMs: 100 });
    const empty = t.store.digest();
    const [dead] = await withDead(t, 1);
    const held = await publish(t, { dedupKey: "k" });
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await publish(t);
    await publish(t, { delayMs: 50 });
    expect(await t.ok(queue.delete, { queue: q })).toEqual({ deleted: true });
    expect(t.store.nextDue()).toBeUndefined();
    t.now += 1_000;
    expect(await t.ok(queue.due, { limit: 10 })).toEqual({ passed: 0 });
    await t.ok(queue.create, { queue: q });
    for (const messageId of [dead!, held]) {
      expect(await t.refused(queue.ack, { queue: q, messageId })).toBe("QUEUE_MESSAGE_NOT_FOUND");
    }
    expect(await t.ok(queue.publish, { queue: q, payload: new Uint8Array(), dedupKey: "k" })).toMatchObject({
      duplicate: false,
    });
    expect(t.store.digest()).not.toBe(empty);
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ published: 1, waiting: 1, dead: 0 });
  });

  it("gives back the memory that the queue was charged", async () => {
    const t = await withQueue({}, { memoryBytesMax: 2_000 });
    for (let round = 0; round < 50; round++) {
      await publish(t, { payload: new Uint8Array(1_000), dedupKey: `k${round}` });
      expect(await t.refused(queue.publish, { queue: q, payload: new Uint8Array(1_000) })).toBe(
        "QUEUE_MEMORY_FULL",
      );
      await t.ok(queue.delete, { queue: q });
      await t.ok(queue.create, { queue: q });
    }
  });
});

describe("purge", () => {
  it("removes what waits and what is delayed, and leaves deliveries and dead letters", async () => {
    const t = await withQueue();
    const [dead] = await withDead(t, 1);
    const held = await publish(t);
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await publish(t);
    await publish(t, { delayMs: 1_000 });
    await publish(t, { ttlMs: 1_000 });
    expect(await t.ok(queue.purge, { queue: q })).toEqual({ purged: 3 });
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({
      waiting: 0,
      delayed: 0,
      inFlight: 1,
      dead: 1,
      purged: 3,
    });
    const records = t.log.endOffset;
    expect(await t.ok(queue.purge, { queue: q })).toEqual({ purged: 0 });
    expect(t.log.endOffset).toBe(records);
    await t.ok(queue.ack, { queue: q, messageId: held });
    expect(await t.answer(queue.get, { queue: q, messageId: dead! })).toMatchObject({ state: "dead" });
  });
});

describe("the dead letter queue", () => {
  it("is listed in order of death, in pages that survive what is removed between them", async () => {
    const t = await withQueue();
    const ids = await withDead(t, 5);
    const first = await t.answer(queue.deadLetters, { queue: q, limit: 2 });
    expect(first.messages.map(({ messageId }) => messageId)).toEqual(ids.slice(0, 2));
    await t.ok(queue.requeueDead, { queue: q, messageId: ids[1]! });
    const { cursor } = first;
    const second = await t.answer(queue.deadLetters, { queue: q, limit: 3, cursor });
    expect(second.messages.map(({ messageId }) => messageId)).toEqual(ids.slice(2));
    expect(second.cursor).toBeUndefined();
    expect(await t.askRefused(queue.deadLetters, { queue: q, limit: 3, cursor: "x" })).toBe(
      "QUEUE_MESSAGE_NOT_FOUND",
    );
  });

  it("gives back one or the oldest, at their old places and as if never delivered", async () => {
    const t = await withQueue();
    const ids = await withDead(t, 3);
    const last = await publish(t);
    const { requeueDead } = queue;
    expect(await t.refused(requeueDead, { queue: q, messageId: last })).toBe("QUEUE_MESSAGE_NOT_FOUND");
    expect(await t.ok(requeueDead, { queue: q, messageId: ids[2]! })).toEqual({ requeued: 1, remaining: 2 });
    expect(await t.ok(requeueDead, { queue: q, limit: 1 })).toEqual({ requeued: 1, remaining: 1 });
    const { messages } = await t.ok(queue.consume, { queue: q, consumer: "c", count: 9 });
    expect(messages.map(({ messageId, attempt }) => [messageId, attempt])).toEqual([
      [ids[0], 1],
      [ids[2], 1],
      [last, 1],
    ]);
  });

  it("gives back nothing when not all that is asked for fits", async () => {
    const t = await withQueue({ maxDepth: 2 });
    await withDead(t, 2);
    await publish(t);
    expect(await t.refused(queue.requeueDead, { queue: q })).toBe("QUEUE_FULL");
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ dead: 2, waiting: 1 });
    expect(await t.ok(queue.requeueDead, { queue: q, limit: 1 })).toEqual({ requeued: 1, remaining: 1 });
  });

  it("gives back in the places that time has freed, and says so: the queue never holds more than its depth", async () => {
    const t = await withQueue({ maxDepth: 1, ackDeadlineMs: 10, maxRetries: 0 });
    const counts = () => t.answer(queue.stats, { queue: q });
    await withDead(t, 1);
    await publish(t, { ttlMs: 10 });
    t.now += 10;
    expect(await t.ok(queue.requeueDead, { queue: q })).toEqual({ requeued: 1, remaining: 0 });
    expect(await counts()).toMatchObject({ waiting: 1, dead: 0, expired: 1 });
    await t.ok(queue.nack, { queue: q, messageId: await consumed(t), requeue: false });
    await publish(t);
    const overdue = await consumed(t);
    t.now += 10;
    expect(await t.ok(queue.requeueDead, { queue: q })).toEqual({ requeued: 1, remaining: 1 });
    expect(await counts()).toMatchObject({ waiting: 1, inFlight: 0, dead: 1, timedOut: 1 });
    expect((await t.answer(queue.get, { queue: q, messageId: overdue })).state).toBe("dead");
  });

  it("gives a batch back no more than one request, however many of its operations ask", async () => {
    const t = await withQueue({}, { batchMax: 3 });
    const [first] = await withDead(t, 5);
    const requeue = (more: object) => ({
      name: "queue.dlq_requeue",
      step: {
        decide: (...[state, now, rules]: Parameters<Step<unknown>["decide"]>) =>
          queue.requeueDead(state, { queue: q, ...more }, now, rules),
      },
    });
    const all = { preconditions: [], steps: [requeue({ messageId: first }), requeue({}), requeue({})] };
    expect(await t.refused(batch, all)).toBe("QUEUE_LIMIT_INVALID");
    const some = { preconditions: [], steps: [requeue({ limit: 1 }), requeue({})] };
    expect(await t.ok(batch, some)).toEqual([
      { requeued: 1, remaining: 4 },
      { requeued: 2, remaining: 2 },
    ]);
  });

  it("gives a batch its letters one by one without walking past those before", () => {
    const ref = (place: number) => ({ offset: offset(1), place });
    const letters = Array.from({ length: 500 }, (_, place) => ({
      ...{ ref: ref(place), state: "dead", death: { ref: ref(place), reason: "rejected", at: 0 } },
    }));
    let walked = 0;
    const deadLetters: QueueView["deadLetters"] = (_queue, limit, after) => {
      const page = letters.slice(after === undefined ? 0 : after.place + 1).slice(0, limit);
      walked += page.length;
      return page as never;
    };
    const below = {
      queue: () => ({ name: q, dead: 500 }),
      message: (_: string, { place }: EventRef) => letters[place],
    };
    const { view, apply } = queueOverlay({ ...below, deadLetters } as never);
    for (const letter of letters) {
      expect(view.deadLetters(q, 1)).toEqual([letter]);
      apply({ type: "queue.dead_requeued", queue: q, message: letter.ref }, 0);
    }
    expect(view.deadLetters(q, 1)).toEqual([]);
    expect(walked).toBeLessThan(4 * letters.length);
    const reason = { reason: "rejected", by: "nack", retryCount: 1 } as const;
    for (const place of [7, 3])
      apply({ type: "queue.died", queue: q, message: ref(place), ...reason }, place);
    expect(view.deadLetters(q, 9).map((letter) => letter.ref.place)).toEqual([7, 3]);
    expect(view.deadLetters(q, 1).map((letter) => letter.ref.place)).toEqual([7]);
  });

  it("is emptied by its own purge, and bounded: a queue with too many takes no more", async () => {
    const t = await withQueue({}, { deadLettersMax: 2 });
    await withDead(t, 2);
    expect(await t.refused(queue.publish, { queue: q, payload: new Uint8Array() })).toBe("QUEUE_FULL");
    expect(await t.ok(queue.purgeDead, { queue: q })).toEqual({ purged: 2 });
    expect(await t.ok(queue.purgeDead, { queue: q })).toEqual({ purged: 0 });
    await publish(t);
  });
});

describe("time", () => {
  it("passes for whoever is due, soonest first, by `due`, which `nextDue` asks for", async () => {
    const t = await withQueue({ ackDeadlineMs: 300 });
    await t.ok(queue.create, { queue: "other" });
    await publish(t);
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await publish(t, { delayMs: 100 });
    await t.ok(queue.publish, { queue: "other", payload: new Uint8Array(), ttlMs: 200 });
    const start = t.now;
    for (const [after, counts] of [
      [100, { waiting: 1, inFlight: 1 }],
      [200, { waiting: 1, inFlight: 1 }],
      [300, { waiting: 2, inFlight: 0 }],
    ] as const) {
      expect(t.store.nextDue()).toBe(start + after);
      t.now = start + after - 1;
      expect(await t.ok(queue.due, { limit: 10 })).toEqual({ passed: 0 });
      t.now = start + after;
      expect(await t.ok(queue.due, { limit: 10 })).toEqual({ passed: 1 });
      expect(await t.answer(queue.stats, { queue: q })).toMatchObject(counts);
    }
    expect(t.store.nextDue()).toBeUndefined();
    expect(await t.answer(queue.stats, { queue: "other" })).toMatchObject({ expired: 1, waiting: 0 });
  });

  it("passes for many a part at a time, each record bounded", async () => {
    const t = await withQueue();
    await t.ok(queue.publishMany, {
      queue: q,
      messages: Array.from({ length: 700 }, () => ({ payload: new Uint8Array(), delayMs: 10 })),
    });
    t.now += 10;
    const passed: number[] = [];
    do passed.push((await t.ok(queue.due, { limit: 300 })).passed);
    while (passed.at(-1) !== 0);
    expect(passed).toEqual([300, 300, 100, 0]);
    const { messages } = await t.ok(queue.consume, { queue: q, consumer: "c", count: 1_000 });
    expect(messages).toHaveLength(700);
  });

  it("passes for no more than fits into the smallest record that a log may be held to", async () => {
    const t = await TestStore.open();
    const backoff = { type: "fixed", delayMs: 1_000, maxDelayMs: 1_000 } as const;
    const names = [0, 1, 2].map((n) => `${n}${"ü".repeat(127)}`);
    for (const name of names) {
      await t.ok(queue.create, { queue: name, config: { ackDeadlineMs: 5, backoff } });
      const messages = Array.from({ length: 400 }, () => ({ payload: new Uint8Array(), maxRetries: 1_000 }));
      await t.ok(queue.publishMany, { queue: name, messages });
      await t.ok(queue.consume, { queue: name, consumer: "c", count: 1_000 });
    }
    t.now += 10;
    const records = t.log.records.length;
    let passed = 0;
    for (let more = 1; more > 0; passed += more) more = (await t.ok(queue.due, { limit: 1_000 })).passed;
    expect(passed).toBe(1_200);
    const sizes = t.log.records.slice(records).map(({ body }) => body.length);
    expect(Math.max(...sizes)).toBeLessThan(65_536);
    expect(Math.max(...sizes)).toBeGreaterThan(50_000);
  });

  it("passes beside a command for no more than leaves it room in such a record", async () => {
    const long = `q${"ü".repeat(127)}`;
    const message = { payload: new Uint8Array(), ttlMs: 5 };
    for (const take of [true, false]) {
      const t = await TestStore.open();
      await t.ok(queue.create, { queue: long, config: { maxDepth: 400 } });
      await t.ok(queue.publishMany, { queue: long, messages: Array.from({ length: 400 }, () => message) });
      t.now += 5;
      if (take) await t.ok(queue.consume, { queue: long, consumer: "c" });
      else await t.ok(queue.publish, { queue: long, ...message });
      const { length } = t.log.records.at(-1)!.body;
      expect(length).toBeLessThan(32_768);
      expect(length).toBeGreaterThan(20_000);
    }
  });
});

describe("readers", () => {
  it("list queues sorted, and show the stats of each to whoever measures", async () => {
    const t = await TestStore.open();
    for (const name of ["b", "a", "ä"]) await t.ok(queue.create, { queue: name });
    expect(await t.answer(queue.list, {})).toEqual({ queues: ["a", "b", "ä"] });
    expect(t.store.queueStats().map(({ name }) => name)).toEqual(["a", "b", "ä"]);
  });

  it("peek in the order of consuming, without a delivery", async () => {
    const t = await withQueue();
    const headers: Headers = { h: "v" };
    const low = await publish(t, { priority: 1, headers });
    const high = await publish(t, { priority: 9 });
    await publish(t, { delayMs: 1 });
    const records = t.log.endOffset;
    const { messages } = await t.answer(queue.peek, { queue: q, limit: 10 });
    expect(messages.map(({ messageId }) => messageId)).toEqual([high, low]);
    expect(messages[1]).toMatchObject({ state: "waiting", headers, payload: new Uint8Array([1]) });
    expect(t.log.endOffset).toBe(records);
    for (const limit of [0, 1_001, 1.5]) {
      expect(await t.askRefused(queue.peek, { queue: q, limit })).toBe("QUEUE_LIMIT_INVALID");
    }
  });

  it("peek past however many have expired, and see the others in order", async () => {
    const t = await withQueue();
    const there: { messageId: string; priority: number }[] = [];
    for (let round = 0; round < 40; round++) {
      const messages = Array.from({ length: 100 }, (_, at) => ({
        payload: new Uint8Array(),
        priority: (round + at) % 10,
        ttlMs: at % 9 === 0 || (round + at) % 10 < 2 ? 100 : 10,
      }));
      const published = await t.ok(queue.publishMany, { queue: q, messages });
      for (const [at, { messageId }] of published.messages.entries()) {
        const { priority = 0, ttlMs = 0 } = messages[at] ?? {};
        if (ttlMs === 100) there.push({ messageId, priority });
      }
    }
    t.now += 50;
    const wanted = there.sort((a, b) => b.priority - a.priority).map(({ messageId }) => messageId);
    const { messages } = await t.answer(queue.peek, { queue: q, limit: 1_000 });
    expect(messages.map(({ messageId }) => messageId)).toEqual(wanted.slice(0, 1_000));
  });

  it("give no more bytes at once than an answer may have", async () => {
    const t = await withQueue();
    const payload = new Uint8Array(1 << 20);
    for (let each = 0; each < 10; each++) await publish(t, { payload });
    const peeked = await t.answer(queue.peek, { queue: q, limit: 10 });
    expect(peeked.messages).toHaveLength(8);
    for (;;) {
      const { messages } = await t.ok(queue.consume, { queue: q, consumer: "c" });
      const [delivered] = messages;
      if (delivered === undefined) break;
      await t.ok(queue.nack, { queue: q, messageId: delivered.messageId, requeue: false });
    }
    const first = await t.answer(queue.deadLetters, { queue: q, limit: 10 });
    expect(first.messages).toHaveLength(8);
    const rest = await t.answer(queue.deadLetters, { queue: q, limit: 10, cursor: first.cursor });
    expect([rest.messages.length, rest.cursor]).toEqual([2, undefined]);
  });

  it("show one message by its id, with its delivery", async () => {
    const t = await withQueue();
    const messageId = await publish(t);
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    expect(await t.answer(queue.get, { queue: q, messageId })).toMatchObject({
      messageId,
      state: "in_flight",
      delivery: { consumer: "c", deadline: t.now + 30_000 },
    });
    expect(await t.askRefused(queue.get, { queue: q, messageId: "9-9" })).toBe("QUEUE_MESSAGE_NOT_FOUND");
  });
});

describe("memory of what is not there any more", () => {
  const one = { queue: q, payload: new Uint8Array(100), dedupKey: "k".repeat(200) };

  it("of message keys is given back after their window, also in a queue where nobody publishes", async () => {
    const t = await withQueue({ dedupWindowMs: 1_000 }, { memoryBytesMax: 1_000 });
    await t.ok(queue.publish, one);
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await t.ok(queue.ack, { queue: q, messageId: "2-0" });
    await t.ok(queue.create, { queue: "other" });
    const other = { queue: "other", payload: new Uint8Array(500) };
    expect(await t.refused(queue.publish, other)).toBe("QUEUE_MEMORY_FULL");
    t.now += 999;
    expect(t.store.reclaimExpired(t.now, 100)).toBe(0);
    t.now += 1;
    expect(t.store.reclaimExpired(t.now, 100)).toBe(1);
    expect(t.store.reclaimExpired(t.now, 100)).toBe(0);
    await t.ok(queue.publish, other);
  });

  it("does not forget a key again when the clock was set back after its window", async () => {
    const t = await withQueue({ dedupWindowMs: 1_000 });
    await t.ok(queue.publish, one);
    t.now += 1_000;
    t.store.reclaimExpired(t.now, 100);
    t.now -= 500;
    expect(await t.ok(queue.publish, one)).toMatchObject({ duplicate: false });
    expect(await t.ok(queue.publish, one)).toMatchObject({ duplicate: true, messageId: "3-0" });
  });

  it("of purged messages is given back at once, as far as others may have it", async () => {
    const t = await withQueue({}, { memoryBytesMax: 1_000 });
    const large = { queue: q, payload: new Uint8Array(700) };
    await t.ok(queue.publish, large);
    expect(await t.refused(queue.publish, large)).toBe("QUEUE_MEMORY_FULL");
    await t.ok(queue.purge, { queue: q });
    await t.ok(queue.publish, large);
  });
});
