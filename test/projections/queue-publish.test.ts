/** Publishing: delays, ttl, message keys, bounds, and many at once. */
import { describe, expect, it } from "vitest";
import {
  batch,
  type NewMessage,
  type PartialConfig,
  type QueueRules,
  queue,
  type Step,
} from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";

const q = "jobs";
const payload = new Uint8Array([1, 2, 3]);

async function withQueue(config: PartialConfig = {}, rules: Partial<QueueRules> = {}): Promise<TestStore> {
  const t = await TestStore.open({ queueRules: rules });
  await t.ok(queue.create, { queue: q, config });
  return t;
}

async function consumed(t: TestStore): Promise<number> {
  return (await t.ok(queue.consume, { queue: q, consumer: "c", count: 100 })).messages.length;
}

describe("a message", () => {
  it.each([["delayMs", 50] as const, ["deliverAt", 1_000_050] as const])(
    "waits for its %s, also through a restart",
    async (field, value) => {
      const t = await withQueue();
      await t.ok(queue.publish, { queue: q, payload, [field]: value });
      const again = await TestStore.open({ log: t.log, now: t.now + 49 });
      expect(await consumed(again)).toBe(0);
      again.now += 1;
      expect(await consumed(again)).toBe(1);
    },
  );

  it("with a time of delivery in the past is there at once", async () => {
    const t = await withQueue();
    await t.ok(queue.publish, { queue: q, payload, deliverAt: 5 });
    expect(await consumed(t)).toBe(1);
  });

  it("is gone when its ttl or the queue's has passed before it was delivered", async () => {
    const t = await withQueue({ messageTtlMs: 100, ackDeadlineMs: 500 });
    await t.ok(queue.publish, { queue: q, payload });
    await t.ok(queue.publish, { queue: q, payload, ttlMs: 0 });
    await t.ok(queue.publish, { queue: q, payload, ttlMs: 101 });
    t.now += 100;
    expect(await consumed(t)).toBe(2);
    t.now += 500;
    expect(await consumed(t)).toBe(1);
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ expired: 2 });
  });

  it.each<[string, Partial<NewMessage>, string]>([
    ["priority above 9", { priority: 10 }, "QUEUE_MESSAGE_INVALID"],
    ["broken priority", { priority: 0.5 }, "QUEUE_MESSAGE_INVALID"],
    ["negative retries", { maxRetries: -1 }, "QUEUE_MESSAGE_INVALID"],
    ["empty header name", { headers: { "": "x" } }, "QUEUE_MESSAGE_INVALID"],
    ["header that is not text", { headers: { a: "\udc00" } }, "QUEUE_MESSAGE_INVALID"],
    ["header that is too long", { headers: { a: "x".repeat(16_384) } }, "QUEUE_MESSAGE_INVALID"],
    ["empty key", { dedupKey: "" }, "QUEUE_MESSAGE_INVALID"],
    ["long key", { dedupKey: "x".repeat(257) }, "QUEUE_MESSAGE_INVALID"],
    ["negative delay", { delayMs: -1 }, "QUEUE_TIME_INVALID"],
    ["delay in the wrong unit", { delayMs: 1e12 }, "QUEUE_TIME_INVALID"],
    ["delay and time", { delayMs: 1, deliverAt: 1 }, "QUEUE_TIME_INVALID"],
    ["time that no clock shows", { deliverAt: 9e15 }, "QUEUE_TIME_INVALID"],
    ["broken ttl", { ttlMs: Number.NaN }, "QUEUE_TIME_INVALID"],
    ["large payload", { payload: new Uint8Array(1_001) }, "QUEUE_PAYLOAD_TOO_LARGE"],
    ["text that is long in bytes only", { payload: "€".repeat(334) }, "QUEUE_PAYLOAD_TOO_LARGE"],
    ["text that is no Unicode", { payload: "a\udc00" }, "QUEUE_MESSAGE_INVALID"],
  ])("with a %s is refused, alone and among others", async (_what, wrong, code) => {
    const t = await withQueue({}, { payloadBytesMax: 1_000 });
    const records = t.log.endOffset;
    expect(await t.refused(queue.publish, { queue: q, payload, ...wrong })).toBe(code);
    const messages = [{ payload }, { payload, ...wrong }];
    expect(await t.refused(queue.publishMany, { queue: q, messages })).toBe(code);
    expect(t.log.endOffset).toBe(records);
  });

  it("may be empty, and is what was published byte for byte", async () => {
    const t = await withQueue();
    const all = [
      new Uint8Array(),
      Uint8Array.from({ length: 256 }, (_, at) => at),
      new Uint8Array(200_000).fill(7),
    ];
    await t.ok(queue.publishMany, { queue: q, messages: all.map((each) => ({ payload: each })) });
    const again = await TestStore.open({ log: t.log });
    const { messages } = await again.ok(queue.consume, { queue: q, consumer: "c", count: 3 });
    expect(
      messages.map((message) => Buffer.from(message.payload).equals(all[messages.indexOf(message)]!)),
    ).toEqual([true, true, true]);
  });

  it.each(["", "plain", "grüße, €, \u{1f600}, \0", "\ufeffmark", "€".repeat(100_000)])(
    "of text is the same as its UTF-8, kept and measured: %.20s",
    async (text) => {
      const [asText, asBytes] = [await withQueue(), await withQueue()];
      for (const [t, each] of [
        [asText, text],
        [asBytes, new Uint8Array(Buffer.from(text))],
      ] as const) {
        const step = {
          name: "queue.publish",
          step: {
            decide: (...[state, now, rules]: Parameters<Step<unknown>["decide"]>) =>
              queue.publish(state, { queue: q, payload: each }, now, rules),
          },
        };
        await t.ok(queue.publish, { queue: q, payload: each });
        await t.ok(batch<unknown>, { preconditions: [], steps: [step, step] });
      }
      expect(asText.log.records.map(({ body }) => Buffer.from(body).toString("hex"))).toEqual(
        asBytes.log.records.map(({ body }) => Buffer.from(body).toString("hex")),
      );
      expect(asText.store.digest()).toBe(asBytes.store.digest());
      expect(await consumed(asText)).toBe(3);
    },
  );
});

describe("a message key", () => {
  it("answers the first message's id within the window, also when that is gone, also after a restart", async () => {
    const t = await withQueue({ dedupWindowMs: 100 });
    const first = await t.ok(queue.publish, { queue: q, payload, dedupKey: "k" });
    expect(await consumed(t)).toBe(1);
    await t.ok(queue.ack, { queue: q, messageId: first.messageId });
    const again = await TestStore.open({ log: t.log, now: t.now + 99 });
    const { messageId } = first;
    expect(await again.ok(queue.publish, { queue: q, payload, dedupKey: "k" })).toEqual({
      messageId,
      duplicate: true,
    });
    again.now += 1;
    const next = await again.ok(queue.publish, { queue: q, payload, dedupKey: "k" });
    expect(next.duplicate).toBe(false);
    expect(next.messageId).not.toBe(messageId);
  });

  it("that comes twice in one request is published once", async () => {
    const t = await withQueue();
    const { messages } = await t.ok(queue.publishMany, {
      queue: q,
      messages: [{ payload }, { payload, dedupKey: "k" }, { payload, dedupKey: "k" }, { payload }],
    });
    expect(messages.map(({ messageId }) => messageId)).toEqual(["2-0", "2-1", "2-1", "2-2"]);
    expect(messages.map(({ duplicate }) => duplicate)).toEqual([false, false, true, false]);
    expect(await consumed(t)).toBe(3);
  });

  it("is one of its queue, and ignored where there is no window", async () => {
    const t = await withQueue({ dedupWindowMs: 0 });
    await t.ok(queue.create, { queue: "other" });
    const message = { payload, dedupKey: "k" };
    for (const name of [q, q, "other"]) {
      expect((await t.ok(queue.publish, { queue: name, ...message })).duplicate).toBe(false);
    }
    expect((await t.ok(queue.publish, { queue: "other", ...message })).duplicate).toBe(true);
    const two = await t.ok(queue.publishMany, { queue: q, messages: [message, message] });
    expect(two.messages.map(({ duplicate }) => duplicate)).toEqual([false, false]);
  });
});

describe("a full queue", () => {
  it("counts waiting, delayed and in flight, and takes all of many messages or none", async () => {
    const t = await withQueue({ maxDepth: 4 });
    await t.ok(queue.publish, { queue: q, payload });
    expect(await consumed(t)).toBe(1);
    await t.ok(queue.publish, { queue: q, payload });
    await t.ok(queue.publish, { queue: q, payload, delayMs: 10 });
    const records = t.log.endOffset;
    const two = { queue: q, messages: [{ payload }, { payload }] };
    expect(await t.refused(queue.publishMany, two)).toBe("QUEUE_FULL");
    expect(t.log.endOffset).toBe(records);
    await t.ok(queue.publish, { queue: q, payload });
    expect(await t.refused(queue.publish, { queue: q, payload })).toBe("QUEUE_FULL");
    await t.ok(queue.ack, { queue: q, messageId: "2-0" });
    await t.ok(queue.publish, { queue: q, payload });
  });

  it("has room again when time has passed, in the same record as what fills it", async () => {
    const t = await withQueue({ maxDepth: 1, maxRetries: 0, ackDeadlineMs: 100 });
    await t.ok(queue.publish, { queue: q, payload, ttlMs: 10 });
    t.now += 10;
    const records = t.log.endOffset;
    const second = await t.ok(queue.publish, { queue: q, payload });
    expect([t.log.endOffset, second.messageId]).toEqual([records + 1, `${records + 1}-1`]);
    expect(await consumed(t)).toBe(1);
    t.now += 100;
    await t.ok(queue.publish, { queue: q, payload });
    expect(await t.answer(queue.stats, { queue: q })).toMatchObject({ expired: 1, dead: 1, waiting: 1 });
  });

  it("takes no more than the memory of all queues together", async () => {
    const t = await withQueue({}, { memoryBytesMax: 10_000 });
    await t.ok(queue.create, { queue: "other" });
    const large = { payload: new Uint8Array(4_000) };
    await t.ok(queue.publish, { queue: q, ...large });
    const { messageId } = await t.ok(queue.publish, { queue: "other", ...large });
    expect(await t.refused(queue.publish, { queue: q, ...large })).toBe("QUEUE_MEMORY_FULL");
    await t.ok(queue.consume, { queue: "other", consumer: "c" });
    await t.ok(queue.ack, { queue: "other", messageId });
    await t.ok(queue.publish, { queue: q, ...large });
  });

  it("refuses none and more than a request may have", async () => {
    const t = await withQueue({}, { batchMax: 2 });
    for (const count of [0, 3]) {
      const messages = Array.from({ length: count }, () => ({ payload }));
      expect(await t.refused(queue.publishMany, { queue: q, messages })).toBe("QUEUE_LIMIT_INVALID");
    }
    for (const count of [0, 3, 1.5]) {
      expect(await t.refused(queue.consume, { queue: q, consumer: "c", count })).toBe("QUEUE_LIMIT_INVALID");
    }
    expect(await t.refused(queue.consume, { queue: q, consumer: "" })).toBe("QUEUE_CONSUMER_INVALID");
    const late = { queue: q, consumer: "c", ackDeadlineMs: 0 };
    expect(await t.refused(queue.consume, late)).toBe("QUEUE_TIME_INVALID");
  });
});
