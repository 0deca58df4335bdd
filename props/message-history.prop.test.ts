/**
 * The life of a message, page by page, is what the log says of it: every event that names it, and the one that swept it away with
 * others (a purge, the end of its queue), seen by what the state has of it before and after. It is over when the message is gone.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  decodeEvents,
  type EventRef,
  Fold,
  type LifePlace,
  messageIdOf,
  messageLife,
  queue,
  type StoreEvent,
} from "../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../test/support/kv-store.js";
import { MODEL_START_MS } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";
import { WholeHistory, type WholeStep, wholeStep } from "./world/whole-histories.js";

const history = fc.array(
  wholeStep.filter(({ type }) => /queue|publish|consume|ack|reject|extend|due|purge|requeue|kv/i.test(type)),
  { minLength: 60, maxLength: 160, size: "max" },
);

const happened: Record<string, number> = {};
const note = (what: string): void => {
  happened[what] = (happened[what] ?? 0) + 1;
};

interface Told {
  readonly offset: number;
  readonly place: number;
  readonly type: string;
}

interface Message {
  readonly queue: string;
  readonly ref: EventRef;
  readonly told: Told[];
  isThere: boolean;
}

const SWEEPS = new Set(["queue.purged", "queue.dead_purged", "queue.deleted"]);

function names(event: StoreEvent, { queue: name, ref }: Message): boolean {
  return (
    "message" in event &&
    event.queue === name &&
    event.message.offset === ref.offset &&
    event.message.place === ref.place
  );
}

/** Every message of the history, each with what was told of it. */
function livesOf({ log }: TestStore): readonly Message[] {
  const fold = new Fold({ rules: TEST_STORE_RULES });
  const messages: Message[] = [];
  for (const record of log.records) {
    const { offset } = record;
    const { events } = decodeEvents(record);
    events.forEach((event, place) => {
      if (event.type !== "queue.published") return;
      const told = [{ offset, place, type: event.type }];
      messages.push({ queue: event.queue, ref: { offset, place }, told, isThere: true });
    });
    fold.take(record);
    for (const message of messages) {
      if (!message.isThere) continue;
      events.forEach((event, place) => {
        if (names(event, message)) message.told.push({ offset, place, type: event.type });
      });
      message.isThere = fold.queue.message(message.queue, message.ref) !== undefined;
      if (message.isThere || events.some((event) => names(event, message) && isEnd(event))) continue;
      const place = events.findIndex(
        (event) => SWEEPS.has(event.type) && "queue" in event && event.queue === message.queue,
      );
      message.told.push({ offset, place, type: events[place]?.type ?? "nothing" });
    }
  }
  return messages;
}

const isEnd = ({ type }: StoreEvent): boolean => type === "queue.acked" || type === "queue.expired";

async function lifeOf(t: TestStore, message: Message, limit: number, recordsMax: number) {
  const last = await t.answer(queue.lifeEnd, { queue: message.queue });
  const told: Told[] = [];
  let place: LifePlace | undefined;
  for (;;) {
    const page = await messageLife(t.store, {
      queue: message.queue,
      message: message.ref,
      last,
      place,
      limit,
      recordsMax,
    });
    if (page.type !== "page") throw new Error(page.type);
    for (const { offset, place: at, event, time, cause } of page.events) {
      expect(time).toBe(t.log.records[offset - 1]?.timestamp);
      expect(cause.command).toBe("test");
      told.push({ offset, place: at, type: event.type });
    }
    if (page.next === undefined) return { told, isOver: page.isOver };
    expect(page.isOver).toBe(false);
    note("pages");
    place = page.next;
  }
}

describe("the life of a message", () => {
  it("is told whole, whatever the pages", async () => {
    const limits = fc.integer({ min: 1, max: 4 });
    const reads = fc.integer({ min: 1, max: 60 });
    await fc.assert(
      fc.asyncProperty(history, limits, reads, async (steps, limit, recordsMax) => {
        const t = await TestStore.open({ now: MODEL_START_MS });
        const whole = new WholeHistory(t);
        await whole.begin();
        for (const step of steps) await whole.run(step);
        for (const message of livesOf(t)) {
          const { told, isOver } = await lifeOf(t, message, limit, recordsMax);
          expect(told, messageIdOf(message.ref)).toEqual(message.told);
          expect(isOver).toBe(!message.isThere);
          for (const { type } of told) note(type);
          note(isOver ? "over" : "alive");
          const nobody = { ...message, queue: "nobody's" };
          await expect(lifeOf(t, nobody, limit, recordsMax)).rejects.toThrow("not_found");
        }
      }),
      runs(40) as fc.Parameters<[WholeStep[], number, number]>,
    );
  });

  afterAll(() => {
    const kinds = ["published", "delivered", "acked", "requeued", "died", "deadline_extended", "released"];
    const ends = ["expired", "dead_requeued", "purged", "dead_purged", "deleted"];
    for (const kind of [...kinds, ...ends]) expect(happened[`queue.${kind}`], kind).toBeGreaterThan(2);
    for (const what of ["pages", "over", "alive"]) expect(happened[what], what).toBeGreaterThan(5);
  });
});
