/**
 * How much work an operation on a queue is, counted in looks at rows and not in time: no more than grows with the logarithm of
 * what waits, and the same whatever that is when everything goes at once.
 */
import { afterEach, describe, expect, it, vi } from "vitest";
import { queue } from "../../projections/index.js";
import { Column } from "../../projections/kv/column.js";
import { Bucket } from "../../projections/kv/hash-index.js";
import { MessageRows } from "../../projections/queue/message-rows.js";
import { TestStore } from "../support/kv-store.js";

const q = "jobs";
const SMALL = 1_000;
const LARGE = 32_000;
const payload = new Uint8Array([1]);

let steps = 0;
/** Counts every look at a message's row, at what is known of its delivery or death, and at a slot of an index. */
function count(): void {
  const counted = <Parts extends object>(parts: Parts, ...methods: (keyof Parts)[]): void => {
    for (const method of methods) {
      const original = parts[method] as (...args: unknown[]) => unknown;
      vi.spyOn(parts as Record<string, () => unknown>, String(method)).mockImplementation(function (
        this: unknown,
        ...args: unknown[]
      ) {
        steps++;
        return original.apply(this, args);
      } as () => unknown);
    }
  };
  counted(MessageRows.prototype, "word", "double", "setWord", "setDouble");
  counted(Column.prototype, "get", "set");
  counted(Bucket.prototype, "slotAt", "hashAt");
}
afterEach(() => vi.restoreAllMocks());

async function filled(messages: number, more: () => object = () => ({})): Promise<TestStore> {
  const t = await TestStore.open({ queueRules: { deadLettersMax: 1_000_000 } });
  const wide = { maxDepth: 1_000_000, ackDeadlineMs: 1_000_000 };
  await t.ok(queue.create, { queue: q, config: wide });
  for (let done = 0; done < messages; done += 1_000) {
    const many = Array.from({ length: 1_000 }, (_, at) => ({
      payload,
      priority: (done + at * 7) % 10,
      ...more(),
    }));
    await t.ok(queue.publishMany, { queue: q, messages: many });
  }
  return t;
}

async function stepsOf(run: () => Promise<unknown>): Promise<number> {
  count();
  steps = 0;
  await run();
  vi.restoreAllMocks();
  return steps;
}

const consume = (t: TestStore, count = 1) => t.ok(queue.consume, { queue: q, consumer: "c", count });

async function inFlight(messages: number): Promise<TestStore> {
  const t = await filled(messages);
  for (let done = 0; done < messages; done += 1_000) await consume(t, 1_000);
  return t;
}

async function dead(messages: number): Promise<TestStore> {
  const t = await filled(messages);
  for (let done = 0; done < messages; done += 1_000) {
    for (const { messageId } of (await consume(t, 1_000)).messages) {
      await t.ok(queue.nack, { queue: q, messageId, requeue: false });
    }
  }
  return t;
}

type Fill = (messages: number) => Promise<TestStore>;
type Run = (t: TestStore) => Promise<unknown>;

const withKeys: Fill = (messages) => {
  let key = 0;
  return filled(messages, () => ({ dedupKey: `key ${key++}` }));
};

/** With how many messages; returns the steps of both. */
async function both(fill: Fill, run: Run): Promise<readonly [small: number, large: number]> {
  const [small, large] = [await fill(SMALL), await fill(LARGE)];
  return [await stepsOf(() => run(small)), await stepsOf(() => run(large))];
}

describe("what an operation costs with 64 times as many messages", () => {
  it.each<[string, Fill, Run]>([
    ["a publish", (n) => filled(n), (t) => t.ok(queue.publish, { queue: q, payload, priority: 9 })],
    ["a publish with a key", withKeys, (t) => t.ok(queue.publish, { queue: q, payload, dedupKey: "new" })],
    ["a consume", (n) => filled(n), (t) => consume(t)],
    ["a peek", filled, (t) => t.answer(queue.peek, { queue: q, limit: 10 })],
    ["an ack", inFlight, async (t) => t.ok(queue.ack, { queue: q, messageId: "2-500" })],
    ["a nack", inFlight, async (t) => t.ok(queue.nack, { queue: q, messageId: "2-500" })],
    [
      "a passed deadline",
      inFlight,
      async (t) => {
        t.now += 2_000_000;
        await t.ok(queue.due, { limit: 1 });
      },
    ],
    ["a requeue of the oldest dead letter", dead, (t) => t.ok(queue.requeueDead, { queue: q, limit: 1 })],
    [
      "the last dead letters",
      dead,
      async (t) => {
        const { deadLettered } = await t.answer(queue.stats, { queue: q });
        const cursor = `${t.log.endOffset - 5}-0`;
        expect((await t.answer(queue.deadLetters, { queue: q, limit: 100, cursor })).messages).toHaveLength(
          5,
        );
        return deadLettered;
      },
    ],
  ])("%s: a few times as much at most", async (_name, fill, run) => {
    const [small, large] = await both(fill, run);
    expect(small).toBeGreaterThan(0);
    expect(large).toBeLessThan(3 * small + 20);
  });

  it("a peek past messages that have expired and nobody has told of yet: a look at each", async () => {
    const t = await filled(LARGE, () => ({ ttlMs: 10 }));
    t.now += 10;
    const steps = await stepsOf(async () => {
      expect((await t.answer(queue.peek, { queue: q, limit: 10 })).messages).toEqual([]);
    });
    // Those that it goes past in order are a thousand.
    expect(steps).toBeLessThan(LARGE + 200 * 1_000);
  });

  it.each<[string, Fill, Run]>([
    ["the statistics", filled, (t) => t.answer(queue.stats, { queue: q })],
    ["a purge", filled, (t) => t.ok(queue.purge, { queue: q })],
    [
      "a purge of messages with a ttl",
      (n) => filled(n, () => ({ ttlMs: 1e9 })),
      (t) => t.ok(queue.purge, { queue: q }),
    ],
    [
      "a purge of delayed messages",
      (n) => filled(n, () => ({ delayMs: 1e9 })),
      (t) => t.ok(queue.purge, { queue: q }),
    ],
    ["a purge of dead letters", dead, (t) => t.ok(queue.purgeDead, { queue: q })],
    ["a delete of a queue that waits", withKeys, (t) => t.ok(queue.delete, { queue: q })],
    ["a delete of a queue in flight", inFlight, (t) => t.ok(queue.delete, { queue: q })],
  ])("%s: the same", async (_name, fill, run) => {
    // One message of another queue is left, so that the table cannot go as a whole.
    const other: Fill = async (messages) => {
      const t = await fill(messages);
      await t.ok(queue.create, { queue: "other" });
      await t.ok(queue.publish, { queue: "other", payload });
      return t;
    };
    const [small, large] = await both(other, run);
    expect(large).toBe(small);
    expect(large).toBeLessThan(100);
  });
});

describe("what a command does on its way", () => {
  it("takes back a few of a million purged messages, so that the next commands are not slow either", async () => {
    const t = await filled(LARGE);
    await consume(t);
    await t.ok(queue.purge, { queue: q });
    expect(await stepsOf(() => t.ok(queue.publish, { queue: q, payload }))).toBeLessThan(200);
    expect(t.store.reclaimExpired(t.now, 1_000)).toBe(1_000);
  });

  it("forgets a few of many keys whose window has passed", async () => {
    const t = await withKeys(LARGE);
    t.now += 1e9;
    expect(await stepsOf(() => t.ok(queue.publish, { queue: q, payload, dedupKey: "new" }))).toBeLessThan(
      200,
    );
    expect(t.store.reclaimExpired(t.now, 1_000)).toBe(1_000);
  });
});
