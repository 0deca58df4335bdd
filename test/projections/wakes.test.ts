/** Who waits is told when what happened is committed, and nobody pays when nobody waits. */
import { describe, expect, it } from "vitest";
import { queue, Wakes } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";

const q = "jobs";
const payload = new Uint8Array([1]);

async function withListener(): Promise<{ t: TestStore; rings: () => number; stop: () => void }> {
  const t = await TestStore.open();
  await t.ok(queue.create, { queue: q, config: { ackDeadlineMs: 100 } });
  await t.ok(queue.create, { queue: "other" });
  let rings = 0;
  const stop = t.store.wakes.on(`queue:${q}`, () => rings++);
  return { t, rings: () => rings, stop };
}

describe("a wake", () => {
  it("comes when a message may be consumed, and not for another queue", async () => {
    const { t, rings, stop } = await withListener();
    await t.ok(queue.publish, { queue: "other", payload });
    expect(rings()).toBe(0);
    await t.ok(queue.publish, { queue: q, payload });
    expect(rings()).toBe(1);
    stop();
    await t.ok(queue.publish, { queue: q, payload });
    expect(rings()).toBe(1);
  });

  it("waits until the record is committed", async () => {
    const { t, rings } = await withListener();
    t.log.hold();
    const published = t.run(queue.publish, { queue: q, payload });
    await Promise.resolve();
    expect(rings()).toBe(0);
    t.log.release();
    await published;
    expect(rings()).toBe(1);
  });

  it("never comes for what a failed log has not kept", async () => {
    const { t, rings } = await withListener();
    t.log.hold();
    const published = t.run(queue.publish, { queue: q, payload });
    t.log.fail();
    await expect(published).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(rings()).toBe(0);
  });

  it("comes with what time does, with a nack, an ack, a revival and the queue's end", async () => {
    const { t, rings } = await withListener();
    await t.ok(queue.publish, { queue: q, payload, delayMs: 10 });
    expect(rings()).toBe(0);
    t.now += 10;
    await t.ok(queue.due, { limit: 1 });
    expect(rings()).toBe(1);
    const messageId = "3-0";
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    expect(rings()).toBe(1);
    await t.ok(queue.nack, { queue: q, messageId, requeue: false });
    await t.ok(queue.requeueDead, { queue: q });
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    t.now += 100;
    await t.ok(queue.due, { limit: 1 });
    await t.ok(queue.consume, { queue: q, consumer: "c" });
    await t.ok(queue.ack, { queue: q, messageId });
    await t.ok(queue.delete, { queue: q });
    expect(rings()).toBe(6);
  });
});

describe("wakes", () => {
  it("tell each listener for itself, however often it listens, also while they ring", () => {
    const wakes = new Wakes();
    const heard: string[] = [];
    const listener = () => heard.push("twice");
    const stops = [wakes.on("queue:a", listener), wakes.on("queue:a", listener)];
    wakes.on("queue:a", () => {
      heard.push("once");
      wakes.on("queue:a", () => heard.push("late"));
      stops.pop()?.();
    });
    wakes.ring("queue:a");
    expect(heard).toEqual(["twice", "twice", "once"]);
    wakes.ring("queue:b");
    expect(heard).toHaveLength(3);
    stops.pop()?.();
    heard.length = 0;
    wakes.ring("queue:a");
    expect(heard).toEqual(["once", "late"]);
  });

  it("know when nobody listens any more", () => {
    const wakes = new Wakes();
    const stop = wakes.on("stream:a", () => undefined);
    expect([wakes.areHeard, wakes.isHeard("stream:a"), wakes.isHeard("stream:b")]).toEqual([
      true,
      true,
      false,
    ]);
    stop();
    stop();
    expect([wakes.areHeard, wakes.isHeard("stream:a")]).toEqual([false, false]);
  });
});
