/**
 * The queues as a batch sees them, against a store that executes the same operations one by one.
 *
 * 1. Each operation is accepted or refused over the overlay as it would be alone after those before it, with the same answer;
 *    the ids of the batch's own messages are the places of their events in its record.
 * 2. After each the overlay shows the same counts, the same state of every message, and the same open deliveries.
 * 3. What the operations did, appended as one record, leaves the same queues as executing them one by one.
 * 4. The view below is never changed.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import {
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type Decider,
  type EventRef,
  type PublishAnswer,
  type PublishManyAnswer,
  type QueueEvent,
  type QueueView,
  queue,
  queueOverlay,
  type StoreView,
} from "../projections/index.js";
import { TEST_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { runs } from "./run-settings.js";

const NAMES = ["a", "b"] as const;
const CONSUMERS = ["c", "d"] as const;
const RULES = {
  kv: TEST_RULES,
  queue: { ...DEFAULT_QUEUE_RULES, queuesMax: 2, deadLettersMax: 4 },
  stream: DEFAULT_STREAM_RULES,
};
const happened = { operations: 0, refused: 0, duplicates: 0, several: 0, recreated: 0, revived: 0, freed: 0 };

/** One operation of a batch, ready to be decided; `which` picks a message of those that were there before. */
interface Operation {
  readonly what: string;
  readonly decide: Decider<never, unknown>;
  readonly command: object;
}

/** The view that deciders get, taken out of a store by a decider that decides nothing. */
async function viewOf(t: TestStore): Promise<StoreView> {
  let view: StoreView | undefined;
  const look: Decider<object, undefined> = (state) => {
    view = state;
    return { type: "accepted", events: [], answer: () => undefined, seen: offset(0) };
  };
  await t.run(look, {});
  return view!;
}

/** Queues with messages in every state; returns the places of all that were published. */
async function prepared(maxDepth: number): Promise<{ t: TestStore; refs: EventRef[] }> {
  const t = await TestStore.open({ queueRules: RULES.queue });
  const refs: EventRef[] = [];
  const config = { maxDepth, maxRetries: 1, ackDeadlineMs: 100, prefetchLimit: 4 };
  await t.ok(queue.create, { queue: "a", config });
  const publish = async (more: object): Promise<void> => {
    const { messageId } = await t.ok(queue.publish, { queue: "a", payload: new Uint8Array(9), ...more });
    const [record, place] = messageId.split("-").map(Number);
    refs.push({ offset: offset(record!), place: place! });
  };
  for (const more of [{ dedupKey: "k" }, {}, { maxRetries: 0 }, { priority: 9 }]) await publish(more);
  const { messages } = await t.ok(queue.consume, { queue: "a", consumer: "c", count: 2 });
  await t.ok(queue.nack, { queue: "a", messageId: messages[0]!.messageId, requeue: false });
  await t.ok(queue.consume, { queue: "a", consumer: "d", count: 1, ackDeadlineMs: 10_000 });
  if (maxDepth > 4)
    for (const more of [{ delayMs: 50 }, { ttlMs: 60 }, { delayMs: 5_000 }]) await publish(more);
  return { t, refs };
}

/** What anybody may ask of a view, without what only a committed record has. */
function shown(view: QueueView, refs: readonly EventRef[], now: number): unknown {
  return NAMES.map((name) => {
    const { lastOffset: _, ...head } = view.queue(name) ?? { lastOffset: 0 };
    return {
      head,
      held: CONSUMERS.map((consumer) => view.heldBy(name, consumer)),
      key: view.published(name, "k", now) !== undefined,
      dead: view.deadLetters(name, 100).map(({ ref }) => ref),
      messages: refs.map((ref) => {
        const { death, ...message } = view.message(name, ref) ?? { death: undefined };
        return [message, death?.reason];
      }),
    };
  });
}

/** The ids of messages that this answer says to have published. */
function freshIds(answer: unknown): string[] {
  const one = answer as Partial<PublishAnswer & PublishManyAnswer>;
  if (one.messages !== undefined) return one.messages.flatMap(freshIds);
  return one.duplicate === false ? [one.messageId!] : [];
}

/** An answer without the ids of messages that were published after `last`. */
function withoutNewIds(answer: unknown, last: number): unknown {
  return JSON.parse(JSON.stringify(answer), (key, value: unknown) =>
    key === "messageId" && Number.parseInt(String(value), 10) > last ? "new" : value,
  );
}

async function expectSame(maxDepth: number, later: number, operations: readonly Operation[]): Promise<void> {
  const { t, refs } = await prepared(maxDepth);
  const twin = await TestStore.open({
    queueRules: RULES.queue,
    now: t.now,
    log: new MemoryLog({ records: t.log.records }),
  });
  t.now = twin.now = t.now + later;
  const last = t.log.endOffset;
  const below = await viewOf(t);
  const before = shown(below.queue, refs, t.now);
  const overlay = queueOverlay(below.queue);
  const events: QueueEvent[] = [];
  const newIds: string[] = [];
  for (const { decide, command } of operations) {
    const decision = decide({ ...below, queue: overlay.view }, command as never, t.context(), RULES);
    const outcome = await twin.run(decide, command as never);
    happened.operations++;
    if (decision.type === "rejected" || outcome.type === "rejected") {
      expect(decision).toMatchObject({ type: "rejected", code: "code" in outcome ? outcome.code : "none" });
      happened.refused++;
    } else {
      const answer = decision.answer(offset(last + 1), events.length);
      expect(withoutNewIds(answer, last)).toEqual(withoutNewIds(outcome.answer, last));
      if (decision.events.length > 1) happened.several++;
      for (const event of decision.events as QueueEvent[]) {
        overlay.apply(event, events.length);
        events.push(event);
        if (event.type === "queue.dead_requeued") happened.revived++;
        if (event.type === "queue.expired" || event.type === "queue.died") happened.freed++;
      }
      newIds.push(...freshIds(answer));
      if (JSON.stringify(answer).includes('"duplicate":true')) happened.duplicates++;
      if (command === RECREATE.command && "created" in (answer as object)) happened.recreated++;
    }
    const twinView = (await viewOf(twin)).queue;
    expect(shown(overlay.view, refs, t.now)).toEqual(shown(twinView, refs, t.now));
  }
  expect(shown(below.queue, refs, t.now)).toEqual(before);
  const published = events.flatMap(({ type }, at) => (type === "queue.published" ? `${last + 1}-${at}` : []));
  expect(newIds).toEqual(published);
  const all: Decider<object, undefined> = () => ({
    type: "accepted",
    events,
    answer: () => undefined,
    seen: offset(0),
  });
  await t.run(all, {});
  const stats = (each: TestStore) => each.store.queueStats().map(({ lastOffset: _, ...rest }) => rest);
  expect(stats(t)).toEqual(stats(twin));
}

const RECREATE: Operation = {
  what: "create a",
  decide: queue.create as Decider<never, unknown>,
  command: { queue: "a", config: { maxDepth: 2, dedupWindowMs: 50 } },
};

function operation<Command>(
  what: string,
  decide: Decider<Command, unknown>,
  command: Command & object,
): Operation {
  return { what, decide: decide as Decider<never, unknown>, command };
}

const payload = new Uint8Array(3);
const name = fc.constantFrom("a", "a", "a", "b");
const messageId = fc.constantFrom("2-0", "3-0", "4-0", "5-0", "9-0", "10-0", "11-0", "77-0");
const delivery = fc.record({
  messageId,
  receipt: fc.constantFrom(undefined, undefined, "6-0", "6-1", "8-0"),
});
const message = fc.record({
  payload: fc.constant(payload),
  delayMs: fc.constantFrom(undefined, 0, 30),
  dedupKey: fc.constantFrom(undefined, undefined, "k", "l"),
});
const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
  fc
    .tuple(name, message)
    .map(([q, one]) => operation(`publish to ${q}`, queue.publish, { queue: q, ...one })),
  fc
    .tuple(name, fc.array(message, { minLength: 1, maxLength: 3 }))
    .map(([q, messages]) => operation(`publish to ${q}`, queue.publishMany, { queue: q, messages })),
  fc.tuple(name, delivery).map(([q, one]) => operation(`ack of ${q}`, queue.ack, { queue: q, ...one })),
  fc
    .tuple(name, fc.array(delivery, { minLength: 1, maxLength: 4 }))
    .map(([q, deliveries]) => operation(`ack of ${q}`, queue.ackMany, { queue: q, deliveries })),
  fc
    .tuple(name, delivery, fc.boolean(), fc.constantFrom(undefined, 0, 20))
    .map(([q, one, requeue, delayMs]) =>
      operation(`nack of ${q}`, queue.nack, { queue: q, ...one, requeue, delayMs }),
    ),
  fc.tuple(name, delivery).map(([q, one]) => operation(`extend of ${q}`, queue.extend, { queue: q, ...one })),
  fc
    .tuple(name, fc.constantFrom(undefined, "5-0", "3-0"), fc.constantFrom(1, 5))
    .map(([q, id, limit]) =>
      operation(`requeue dead of ${q}`, queue.requeueDead, { queue: q, messageId: id, limit }),
    ),
  fc.constantFrom(
    RECREATE,
    operation("purge a", queue.purge, { queue: "a" }),
    operation("purge the dead of a", queue.purgeDead, { queue: "a" }),
    operation("delete a", queue.delete, { queue: "a" }),
    operation("create b", queue.create, { queue: "b" }),
  ),
);

describe("the queues in a batch", () => {
  it("are as if its operations had come one by one", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(4, 7, 100),
        fc.constantFrom(0, 55, 99, 100, 500),
        fc.array(anyOperation, { minLength: 1, maxLength: 12 }),
        expectSame,
      ),
      runs(300) as fc.Parameters<Parameters<typeof expectSame>>,
    );
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
  });
});
