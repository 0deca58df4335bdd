/** Consume, ack, nack, extend: what a consumer may rely on. */
import { describe, expect, it } from "vitest";
import { type PartialConfig, queue } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";

const q = "jobs";
const bytes = (text: string): Uint8Array => Buffer.from(text);

async function withQueue(config: PartialConfig = {}): Promise<TestStore> {
  const t = await TestStore.open();
  await t.ok(queue.create, { queue: q, config });
  return t;
}

async function publish(t: TestStore, text: string, more: object = {}): Promise<string> {
  return (await t.ok(queue.publish, { queue: q, payload: bytes(text), ...more })).messageId;
}

async function consume(t: TestStore, consumer = "c", count = 1) {
  return (await t.ok(queue.consume, { queue: q, consumer, count })).messages;
}

async function texts(t: TestStore, count = 100): Promise<string[]> {
  return (await consume(t, "c", count)).map(({ payload }) => Buffer.from(payload).toString());
}

describe("a delivery", () => {
  it("brings payload, headers, id, receipt, attempt and deadline", async () => {
    const t = await withQueue();
    const messageId = await publish(t, "work", { headers: { a: "1", ü: "" }, priority: 7, maxRetries: 2 });
    t.now += 10;
    const [delivered] = await consume(t);
    expect(messageId).toBe("2-0");
    expect(delivered).toEqual({
      messageId,
      receipt: "3-0",
      payload: new Uint8Array(bytes("work")),
      headers: { a: "1", ü: "" },
      priority: 7,
      retryCount: 0,
      maxRetries: 2,
      attempt: 1,
      publishedAt: t.now - 10,
      deadline: t.now + 30_000,
    });
  });

  it("goes by priority, then publish, and a redelivered message keeps its place", async () => {
    const t = await withQueue();
    for (const [text, priority] of [
      ["a", 5],
      ["b", 9],
      ["c", 0],
      ["d", 5],
    ] as const) {
      await publish(t, text, { priority });
    }
    const [b, a] = await consume(t, "c", 2);
    expect(Buffer.from(a!.payload).toString()).toBe("a");
    await t.ok(queue.nack, { queue: q, messageId: a!.messageId, receipt: a!.receipt });
    await t.ok(queue.nack, { queue: q, messageId: b!.messageId });
    expect(await texts(t)).toEqual(["b", "a", "d", "c"]);
    expect(await texts(t)).toEqual([]);
  });

  it("is not given twice inside its deadline, and again when it has passed", async () => {
    const t = await withQueue({ ackDeadlineMs: 1_000 });
    await publish(t, "a");
    expect(await consume(t)).toHaveLength(1);
    t.now += 999;
    expect(await consume(t)).toHaveLength(0);
    t.now += 1;
    expect(await consume(t, "other")).toMatchObject([{ retryCount: 1, attempt: 2 }]);
  });

  it("takes the consumer's own deadline, and an extended one", async () => {
    const t = await withQueue({ ackDeadlineMs: 1_000 });
    await publish(t, "a");
    const { messages } = await t.ok(queue.consume, { queue: q, consumer: "c", ackDeadlineMs: 100 });
    t.now += 99;
    const name = { queue: q, messageId: messages[0]!.messageId, receipt: messages[0]!.receipt };
    expect(await t.ok(queue.extend, { ...name, ackDeadlineMs: 500 })).toEqual({ deadline: t.now + 500 });
    t.now += 499;
    expect(await consume(t)).toEqual([]);
    await t.ok(queue.ack, name);
  });

  it("cannot be acked, nacked or extended by an old receipt, and nothing changes", async () => {
    const t = await withQueue({ ackDeadlineMs: 1_000 });
    await publish(t, "a");
    const [first] = await consume(t, "one");
    t.now += 1_000;
    const [second] = await consume(t, "two");
    const records = t.log.endOffset;
    const old = { queue: q, messageId: first!.messageId, receipt: first!.receipt };
    expect(await t.refused(queue.ack, old)).toBe("QUEUE_RECEIPT_STALE");
    expect(await t.refused(queue.nack, old)).toBe("QUEUE_RECEIPT_STALE");
    expect(await t.refused(queue.extend, old)).toBe("QUEUE_RECEIPT_STALE");
    expect(await t.refused(queue.ack, { ...old, receipt: "nonsense" })).toBe("QUEUE_RECEIPT_STALE");
    expect(t.log.endOffset).toBe(records);
    await t.ok(queue.ack, { ...old, receipt: second!.receipt });
    expect(await t.refused(queue.ack, { ...old, receipt: second!.receipt })).toBe("QUEUE_RECEIPT_STALE");
  });

  it("whose deadline has passed cannot be acked, though nothing was appended yet", async () => {
    const t = await withQueue({ ackDeadlineMs: 1_000 });
    const messageId = await publish(t, "a");
    const [delivered] = await consume(t);
    t.now += 1_000;
    const { receipt } = delivered!;
    expect(await t.refused(queue.ack, { queue: q, messageId, receipt })).toBe("QUEUE_RECEIPT_STALE");
    expect(await t.refused(queue.ack, { queue: q, messageId })).toBe("QUEUE_MESSAGE_NOT_FOUND");
  });

  it("is acked by the message id alone while it is open", async () => {
    const t = await withQueue();
    const messageId = await publish(t, "a");
    expect(await t.refused(queue.ack, { queue: q, messageId })).toBe("QUEUE_MESSAGE_NOT_FOUND");
    await consume(t);
    await t.ok(queue.ack, { queue: q, messageId });
    expect(await t.refused(queue.ack, { queue: q, messageId })).toBe("QUEUE_MESSAGE_NOT_FOUND");
    for (const nonsense of ["", "0-0", "01-0", "9007199254740993-0", "1-0-0", "x"]) {
      const name = { queue: q, messageId: nonsense };
      expect(await t.refused(queue.ack, name)).toBe("QUEUE_MESSAGE_NOT_FOUND");
    }
  });

  it("belongs to its queue", async () => {
    const t = await withQueue();
    await t.ok(queue.create, { queue: "other" });
    const messageId = await publish(t, "a");
    const [delivered] = await consume(t);
    expect(await t.refused(queue.ack, { queue: "other", messageId })).toBe("QUEUE_MESSAGE_NOT_FOUND");
    await t.ok(queue.ack, { queue: q, messageId, receipt: delivered!.receipt });
  });
});

describe("retries", () => {
  it("end in the dead letter queue after max_retries + 1 deliveries", async () => {
    const t = await withQueue({ maxRetries: 2 });
    const messageId = await publish(t, "a");
    const outcomes: unknown[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      expect(await consume(t)).toMatchObject([{ attempt, retryCount: attempt - 1 }]);
      outcomes.push(await t.ok(queue.nack, { queue: q, messageId }));
    }
    expect(outcomes).toEqual([
      { outcome: "waiting", retryCount: 1 },
      { outcome: "waiting", retryCount: 2 },
      { outcome: "dead", retryCount: 3 },
    ]);
    expect(await consume(t)).toEqual([]);
    const { messages } = await t.answer(queue.deadLetters, { queue: q, limit: 10 });
    expect(messages).toMatchObject([{ messageId, death: { reason: "max_retries", at: t.now } }]);
  });

  it("end at once when the consumer rejects", async () => {
    const t = await withQueue();
    const messageId = await publish(t, "a");
    await consume(t);
    expect(await t.ok(queue.nack, { queue: q, messageId, requeue: false })).toEqual({
      outcome: "dead",
      retryCount: 1,
    });
    expect(await t.answer(queue.get, { queue: q, messageId })).toMatchObject({
      state: "dead",
      death: { reason: "rejected" },
    });
  });

  it.each([
    [1, { outcome: "expired", retryCount: 1 }, { expired: 2, dead: 0, nacked: 0, timedOut: 0 }],
    [0, { outcome: "dead", retryCount: 1 }, { expired: 0, dead: 2, nacked: 1, timedOut: 1 }],
  ])("end when one of %s fails past the message's ttl", async (maxRetries, nacked, counted) => {
    const t = await withQueue({ maxRetries, messageTtlMs: 10, ackDeadlineMs: 20 });
    const messageId = await publish(t, "nacked");
    await publish(t, "timed out");
    await consume(t, "c", 2);
    t.now += 10;
    expect(await t.ok(queue.nack, { queue: q, messageId })).toEqual(nacked);
    t.now += 10;
    await t.ok(queue.due, { limit: 1 });
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject(counted);
  });

  it("wait as the backoff says, bounded, or as the nack says", async () => {
    const backoff = { type: "exponential", delayMs: 100, maxDelayMs: 250 } as const;
    const t = await withQueue({ maxRetries: 9, backoff });
    const messageId = await publish(t, "a");
    for (const delay of [100, 200, 250, 250]) {
      expect(await consume(t)).toHaveLength(1);
      await t.ok(queue.nack, { queue: q, messageId });
      t.now += delay - 1;
      expect(await consume(t)).toEqual([]);
      t.now += 1;
    }
    expect(await consume(t)).toHaveLength(1);
    expect(await t.ok(queue.nack, { queue: q, messageId, delayMs: 0 })).toMatchObject({ outcome: "waiting" });
    await consume(t);
    expect(await t.ok(queue.nack, { queue: q, messageId, delayMs: 7 })).toMatchObject({ outcome: "delayed" });
    t.now += 7;
    expect(await consume(t)).toHaveLength(1);
  });

  it("are not forgotten by a restart", async () => {
    const t = await withQueue({ ackDeadlineMs: 1_000, maxRetries: 1 });
    await publish(t, "a");
    await consume(t);
    t.now += 1_000;
    expect(await consume(t)).toHaveLength(1);
    const again = await TestStore.open({ log: t.log, now: t.now + 1_000 });
    expect(await consume(again)).toEqual([]);
    expect(await again.answer(queue.stats, { queue: q })).toMatchObject({
      dead: 1,
      consumed: 2,
      timedOut: 2,
    });
  });
});

describe("a batch", () => {
  it("of acks takes each for itself", async () => {
    const t = await withQueue();
    await publish(t, "a");
    await publish(t, "b");
    const [a, b] = await consume(t, "c", 2);
    const answer = await t.ok(queue.ackMany, {
      queue: q,
      deliveries: [
        { messageId: a!.messageId, receipt: a!.receipt },
        { messageId: a!.messageId, receipt: a!.receipt },
        { messageId: b!.messageId, receipt: a!.receipt },
        { messageId: "77-0" },
        { messageId: b!.messageId },
      ],
    });
    expect(answer).toEqual({ acked: 2, results: ["acked", "stale", "stale", "not_found", "acked"] });
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ acked: 2, inFlight: 0 });
  });

  it("of deliveries has a receipt for each, after what time did in the same record", async () => {
    const t = await withQueue({ ackDeadlineMs: 100 });
    await publish(t, "a");
    await publish(t, "b");
    await consume(t);
    t.now += 100;
    const messages = await consume(t, "d", 5);
    expect(messages.map(({ receipt }) => receipt)).toEqual(["5-1", "5-2"]);
    for (const { messageId, receipt } of messages) await t.ok(queue.ack, { queue: q, messageId, receipt });
  });

  it("stops at the bytes that one answer may have, but always has one", async () => {
    const t = await withQueue();
    for (let each = 0; each < 4; each++) {
      await t.ok(queue.publish, { queue: q, payload: new Uint8Array(1 << 20) });
    }
    for (let each = 0; each < 6; each++) {
      await t.ok(queue.publish, { queue: q, payload: new Uint8Array(1 << 20), priority: 1 });
    }
    expect(await consume(t, "c", 100)).toHaveLength(8);
    expect(await consume(t, "c", 100)).toHaveLength(2);
  });
});

describe("the prefetch limit", () => {
  it("bounds what one consumer holds, until it says something of it or time does", async () => {
    const t = await withQueue({ prefetchLimit: 2, ackDeadlineMs: 1_000 });
    for (const text of ["a", "b", "c", "d"]) await publish(t, text);
    const held = await consume(t, "one", 5);
    expect(held).toHaveLength(2);
    expect(await consume(t, "one", 5)).toEqual([]);
    expect(await consume(t, "two", 1)).toHaveLength(1);
    await t.ok(queue.ack, { queue: q, messageId: held[0]!.messageId });
    expect(await consume(t, "one", 5)).toHaveLength(1);
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ consumers: 2, inFlight: 3 });
    t.now += 1_000;
    expect(await consume(t, "one", 5)).toHaveLength(2);
  });
});
