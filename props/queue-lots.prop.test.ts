/**
 * Messages that go many at once, in several queues that share one table, while their memory is taken back at any pace.
 *
 * 1. At the event they are gone, all of them and no other: counts, memory charged, and what can be found by id.
 * 2. However much was taken back so far – in slices, by what is published meanwhile, or nothing – the digest is that of a replay.
 * 3. What was taken back is used again: the table never has more slots than messages were there at once.
 * 4. When nothing is left, or when all has been taken back, what is charged is exactly what is there.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Fold } from "../projections/fold.js";
import { type EventRef, type QueueConfig, queue } from "../projections/index.js";
import { keyChargeOf } from "../projections/queue/dedup-keys.js";
import { digestOf } from "../projections/queue/digest.js";
import { parseId } from "../projections/queue/ids.js";
import { chargeOf } from "../projections/queue/message-table.js";
import { TEST_STORE_RULES, TestStore } from "../test/support/kv-store.js";
import { runs, seededRandom } from "./run-settings.js";

const QUEUES = ["a", "b", "c"];
const WINDOW_MS = 500;
const config: Partial<QueueConfig> = { ackDeadlineMs: 1e9, maxRetries: 0, dedupWindowMs: WINDOW_MS };

interface Message {
  readonly ref: EventRef;
  readonly bytes: number;
  state: "ready" | "in_flight" | "dead";
}
interface Key {
  readonly key: string;
  readonly until: number;
}
interface Room {
  messages: Message[];
  keys: Key[];
}

const happened = {
  purged: 0,
  deadPurged: 0,
  deleted: 0,
  reclaimed: 0,
  pending: 0,
  emptied: 0,
  forgotten: 0,
  foundGone: 0,
};

/** A store that decides, a state of our own that folds its records and is reclaimed as we like, and lists that say what is there. */
class World {
  readonly fold = new Fold({ rules: TEST_STORE_RULES });
  readonly state = this.fold.queue;
  readonly rooms = new Map<string, Room>();
  gone: { readonly queue: string; readonly ref: EventRef }[] = [];
  most = 0;
  #keys = 0;
  readonly t: TestStore;
  readonly random: () => number;

  constructor(t: TestStore, random: () => number) {
    this.t = t;
    this.random = random;
    t.log.appended.subscribe((record) => this.fold.take(record));
  }

  upTo(end: number): number {
    return Math.floor(this.random() * end);
  }

  async step(): Promise<void> {
    const name = QUEUES[this.upTo(QUEUES.length)] ?? "a";
    const room = this.rooms.get(name);
    if (room === undefined) {
      await this.t.ok(queue.create, { queue: name, config });
      this.rooms.set(name, { messages: [], keys: [] });
      return;
    }
    const moves = [
      () => this.#publish(name, room),
      () => this.#publish(name, room),
      () => this.#consume(name, room),
      () => this.#consume(name, room),
      () => this.#bury(name, room),
      () => this.#bury(name, room),
      () => this.#bury(name, room),
      () => this.#remove(name, room, "purge"),
      () => this.#remove(name, room, "purgeDead"),
      () => this.#purgeManyDead(name, room),
      () => this.#remove(name, room, "delete"),
      async () => {
        this.t.now += this.upTo(WINDOW_MS);
      },
    ];
    await moves[this.upTo(moves.length)]?.();
  }

  async #publish(name: string, room: Room): Promise<void> {
    const messages = Array.from({ length: 1 + this.upTo(120) }, () => ({
      payload: new Uint8Array(this.upTo(300)),
      ...(this.upTo(3) === 0 ? { delayMs: 1e8 + this.upTo(9) } : {}),
      ...(this.upTo(3) === 0 ? { ttlMs: 1e8 + this.upTo(9) } : {}),
      ...(this.upTo(3) === 0 ? { dedupKey: `key ${this.#keys++}` } : {}),
    }));
    const answer = await this.t.ok(queue.publishMany, { queue: name, messages });
    for (const [at, { payload, dedupKey }] of messages.entries()) {
      const ref = parseId(answer.messages[at]?.messageId ?? "");
      if (ref !== undefined) room.messages.push({ ref, bytes: payload.length, state: "ready" });
      if (dedupKey !== undefined) room.keys.push({ key: dedupKey, until: this.t.now + WINDOW_MS });
    }
    this.most = Math.max(this.most, this.#there.length);
  }

  async #consume(name: string, room: Room): Promise<void> {
    const { messages } = await this.t.ok(queue.consume, {
      queue: name,
      consumer: "c",
      count: 1 + this.upTo(100),
    });
    for (const { messageId } of messages) this.#set(room, messageId, "in_flight");
  }

  async #bury(name: string, room: Room): Promise<void> {
    for (const { ref } of room.messages
      .filter(({ state }) => state === "in_flight")
      .slice(0, 1 + this.upTo(100))) {
      const messageId = `${ref.offset}-${ref.place}`;
      await this.t.ok(queue.nack, { queue: name, messageId, requeue: false });
      this.#set(room, messageId, "dead");
    }
  }

  async #remove(name: string, room: Room, how: "purge" | "purgeDead" | "delete"): Promise<void> {
    if (how === "delete") await this.t.ok(queue.delete, { queue: name });
    else await this.t.ok(queue[how], { queue: name });
    const goes = ({ state }: Message) => how === "delete" || state === (how === "purge" ? "ready" : "dead");
    const gone = room.messages.filter(goes);
    this.gone = gone.map(({ ref }) => ({ queue: name, ref }));
    room.messages = room.messages.filter((message) => !goes(message));
    if (how === "delete") this.rooms.delete(name);
    if (gone.length > 8)
      happened[how === "purge" ? "purged" : how === "purgeDead" ? "deadPurged" : "deleted"]++;
    if (gone.length > 0 && this.#there.length === 0) happened.emptied++;
  }

  async #purgeManyDead(name: string, room: Room): Promise<void> {
    await this.#publish(name, room);
    await this.#consume(name, room);
    await this.#bury(name, room);
    await this.#remove(name, room, "purgeDead");
  }

  #set(room: Room, id: string, state: Message["state"]): void {
    const message = room.messages.find(({ ref }) => `${ref.offset}-${ref.place}` === id);
    if (message !== undefined) message.state = state;
  }

  get #there(): Message[] {
    return [...this.rooms.values()].flatMap(({ messages }) => messages);
  }

  reclaim(budget: number): void {
    happened.reclaimed += this.state.reclaim(this.t.now, budget);
  }

  check(): void {
    for (const [name, { messages }] of this.rooms) {
      const count = (wanted: Message["state"]) => messages.filter(({ state }) => state === wanted).length;
      const head = this.state.queue(name);
      expect([(head?.waiting ?? 0) + (head?.delayed ?? 0), head?.inFlight, head?.dead], name).toEqual([
        count("ready"),
        count("in_flight"),
        count("dead"),
      ]);
      const found = [messages[0], messages[this.upTo(messages.length)], messages.at(-1)];
      for (const message of found)
        if (message) expect(this.state.message(name, message.ref)?.state).toBeDefined();
    }
    for (const { queue: name, ref } of [this.gone[0], this.gone[this.upTo(this.gone.length)]].filter(
      (one) => one !== undefined,
    )) {
      expect(this.state.message(name, ref), "it is gone").toBeUndefined();
      happened.foundGone++;
    }
    expect(this.state.table.size).toBe(this.#there.length);
    expect(this.state.table.slotEnd).toBeLessThanOrEqual(this.most);
  }

  /** All is taken back: what is charged is what is there. */
  checkReclaimed(): void {
    this.state.reclaim(this.t.now, Number.POSITIVE_INFINITY);
    let charged = this.#there.reduce((sum, { bytes }) => sum + chargeOf(bytes, 0), 0);
    for (const { keys } of this.rooms.values()) {
      const kept = keys.filter(({ until }) => until > this.t.now);
      happened.forgotten += keys.length - kept.length;
      charged += kept.reduce((sum, { key }) => sum + keyChargeOf(key), 0);
    }
    expect(this.state.memoryBytes).toBe(charged);
  }

  checkReplay(): void {
    const replayed = new Fold({ rules: TEST_STORE_RULES });
    for (const record of this.t.log.records) replayed.take(record);
    if (this.state.table.slotEnd > this.#there.length) happened.pending++;
    expect(digestOf(this.state, this.t.now)).toBe(digestOf(replayed.queue, this.t.now));
  }
}

describe("messages that go many at once", () => {
  it("are gone at the event, whenever their memory is taken back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (start) => {
        const t = await TestStore.open();
        const world = new World(t, seededRandom(start));
        const pace = [0, 0, 3, 40, 400][world.upTo(5)] ?? 0;
        for (let step = 0; step < 40; step++) {
          await world.step();
          if (pace > 0) world.reclaim(world.upTo(pace));
          world.check();
          if (world.upTo(6) === 0) world.checkReplay();
          if (world.upTo(12) === 0) world.checkReclaimed();
        }
        world.checkReplay();
        world.checkReclaimed();
        world.check();
      }),
      runs(24),
    );
  });
});

afterAll(() => {
  for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
});
