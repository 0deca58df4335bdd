/**
 * Workers of a queue, on a disk that loses its power again and again (`always`).
 *
 * 1. Nobody is told of something that the power cut takes back: no answer of the queue, read or refusal, tells of a record that is
 *    not in the log afterwards.
 * 2. A message whose publish was answered is there afterwards, byte for byte, unless somebody acked it.
 * 3. A message whose ack was answered is never delivered again.
 * 4. Attempts are not forgotten: each delivery that is heard of has a higher attempt than those heard of before, and none is
 *    past max_retries + 1; no receipt is given twice.
 *
 * A store whose answers do not wait must be found out by the same check.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EventLog } from "../log/index.js";
import {
  asIs,
  type ConsumeAnswer,
  type Decider,
  type Outcome,
  queue,
  type Reader,
} from "../projections/index.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { runs, seed } from "./run-settings.js";
import type { Random } from "./world/fate.js";
import { nextTurn } from "./world/log-lives.js";
import { type SeededClock, seededClock } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { openWorldStore, type WorldStore, withoutWaiting } from "./world/store-world.js";

const NAME = "jobs";
const MAX_RETRIES = 2;
const WORKERS = 3;

interface World {
  readonly worldSeed: number;
  readonly cuts: readonly number[];
}

const world: fc.Arbitrary<World> = fc.record({
  worldSeed: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 })),
  cuts: fc.array(fc.integer({ min: 25, max: 120 }), { minLength: 1, maxLength: 3 }),
});

/** What the workers have heard, in all lives. */
class Heard {
  /** The greatest offset that an answer depended on. */
  offset = 0;
  readonly published = new Map<string, number>();
  /** Acks that were sent: after a cut nobody knows of those that were not answered. */
  readonly ackSent = new Set<string>();
  readonly acked = new Set<string>();
  readonly attempts = new Map<string, number>();
  readonly receipts = new Map<string, string>();
  answers = 0;
  refusals = 0;
  deliveries = 0;
  redeliveries = 0;
}

class Life {
  readonly #heard: Heard;
  readonly #world: WorldStore;
  readonly #clock: SeededClock;
  readonly #random: Random;
  readonly #alive: () => boolean;

  constructor(heard: Heard, opened: WorldStore, clock: SeededClock, random: Random, alive: () => boolean) {
    this.#heard = heard;
    this.#world = opened;
    this.#clock = clock;
    this.#random = random;
    this.#alive = alive;
  }

  async run(): Promise<void> {
    await this.execute(queue.create, {
      queue: NAME,
      config: { maxRetries: MAX_RETRIES, ackDeadlineMs: 40, maxDepth: 12 },
    });
    await Promise.all(Array.from({ length: WORKERS }, (_, at) => this.#work(`worker ${at}`)));
  }

  async #work(consumer: string): Promise<void> {
    for (;;) {
      await this.#step(consumer);
      if (this.#random() < 0.2) this.#clock.advance(Math.floor(this.#random() * 60));
      for (let turns = Math.floor(this.#random() * 4); turns > 0; turns -= 1) await nextTurn();
    }
  }

  async #step(consumer: string): Promise<void> {
    const heard = this.#heard;
    const open = [...heard.receipts];
    const [messageId, receipt] = open[Math.floor(this.#random() * open.length)] ?? ["1-0", "1-0"];
    const drawn = this.#random();
    if (drawn < 0.3) {
      const byte = Math.floor(this.#random() * 256);
      const answer = await this.execute(queue.publish, { queue: NAME, payload: new Uint8Array([byte]) });
      if (answer !== undefined) heard.published.set(answer.messageId, byte);
    } else if (drawn < 0.6) {
      const count = 1 + Math.floor(this.#random() * 2);
      this.#take(await this.execute(queue.consume, { queue: NAME, consumer, count }));
    } else if (drawn < 0.75) {
      heard.ackSent.add(messageId);
      const answer = await this.execute(queue.ack, { queue: NAME, messageId, receipt });
      if (answer !== undefined) heard.acked.add(messageId);
    } else if (drawn < 0.85) {
      await this.execute(queue.nack, { queue: NAME, messageId, receipt });
    } else if (drawn < 0.9) {
      await this.query(queue.get, { queue: NAME, messageId });
    } else if (drawn < 0.95) {
      await this.query(queue.stats, { queue: NAME });
    } else await this.#world.store.execute(queue.due, { limit: 10 }, this.#context(), () => undefined);
  }

  #take(answer: ConsumeAnswer | undefined): void {
    const heard = this.#heard;
    for (const { messageId, receipt, attempt, payload } of answer?.messages ?? []) {
      if (heard.acked.has(messageId)) throw broken(`${messageId} was acked and is delivered again`);
      const before = heard.attempts.get(messageId) ?? 0;
      if (attempt <= before) throw broken(`attempt ${attempt} of ${messageId} after attempt ${before}`);
      if (attempt > MAX_RETRIES + 1) throw broken(`${messageId} is delivered ${attempt} times`);
      if ([...heard.receipts.values()].includes(receipt)) throw broken(`receipt ${receipt} is given twice`);
      const published = heard.published.get(messageId);
      if (published !== undefined && payload[0] !== published)
        throw broken(`${messageId} has another payload`);
      heard.attempts.set(messageId, attempt);
      heard.receipts.set(messageId, receipt);
      heard.deliveries += 1;
      if (attempt > 1) heard.redeliveries += 1;
    }
  }

  execute<Command, Answer>(decide: Decider<Command, Answer>, command: Command): Promise<Answer | undefined> {
    return this.#told(() => this.#world.store.execute(decide, command, this.#context(), asIs));
  }

  query<Query, Answer>(read: Reader<Query, Answer>, query: Query): Promise<Answer | undefined> {
    return this.#told(() => this.#world.store.query(read, query, this.#context(), asIs));
  }

  /** The answer, or undefined for a refusal. Never anything once the power is gone: nobody heard it. */
  async #told<Answer>(call: () => Outcome<Answer> | Promise<Outcome<Answer>>): Promise<Answer | undefined> {
    const waiting = call();
    // There is one queue, so whatever is told depends on the last record of all.
    const depends = this.#world.log.endOffset;
    const outcome = await waiting;
    if (!this.#alive()) await new Promise(() => undefined);
    this.#heard.answers += 1;
    this.#heard.offset = Math.max(this.#heard.offset, depends);
    if (outcome.type === "done") return outcome.answer;
    this.#heard.refusals += 1;
    return undefined;
  }

  #context() {
    return { now: this.#clock.now(), random: 0.5, cause: { command: "test" } };
  }
}

function broken(what: string): PromiseBroken {
  return new PromiseBroken("a queue keeps what it told", what);
}

async function check(one: World, disguise?: (log: EventLog) => EventLog): Promise<Heard> {
  const disk = new SimulatedDisk(one.worldSeed, { syncTurnsMax: 20 });
  const clock = seededClock(disk.random);
  const heard = new Heard();
  for (const cut of one.cuts) {
    const files = disk.mount();
    disk.arm({ type: "end", at: cut, ending: "power" });
    const live = async (): Promise<void> => {
      const opened = await openWorldStore(disk, files, clock, disguise);
      await new Life(heard, opened, clock, disk.random, () => files.alive).run();
    };
    await Promise.race([live().catch((error: unknown) => ifAlive(files.alive, error)), disk.ended()]);
    disk.disarm();
    if (files.alive) disk.losePower();
    const after = disk.mount();
    const { log, store } = await openWorldStore(disk, after, clock);
    if (log.endOffset < heard.offset) {
      throw broken(`something told of offset ${heard.offset}, the log now ends at ${log.endOffset}`);
    }
    const life = new Life(heard, { log, store }, clock, disk.random, () => true);
    for (const [messageId, byte] of heard.published) {
      const message = await life.query(queue.get, { queue: NAME, messageId });
      if (message === undefined && !heard.ackSent.has(messageId)) throw broken(`${messageId} is lost`);
      if (message !== undefined && message.payload[0] !== byte) throw broken(`${messageId} has changed`);
      if (message !== undefined && heard.acked.has(messageId))
        throw broken(`${messageId} was acked and is there`);
    }
    await store.close();
    await log.close();
  }
  return heard;
}

/** A promise that was broken is one whenever it is found; other failures are the dying disk's. */
async function ifAlive(alive: boolean, error: unknown): Promise<void> {
  if (alive || error instanceof PromiseBroken) throw error;
  await new Promise(() => undefined);
}

describe("a queue on a failing disk", () => {
  test("keeps what it told, through every power cut", async () => {
    const happened = { answers: 0, refusals: 0, deliveries: 0, redeliveries: 0, acked: 0 };
    await fc.assert(
      fc.asyncProperty(world, async (one) => {
        const heard = await check(one);
        for (const what of ["answers", "refusals", "deliveries", "redeliveries"] as const) {
          happened[what] += heard[what];
        }
        happened.acked += heard.acked.size;
      }),
      runs(60),
    );
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(40);
  });

  test("finds out a store whose answers do not wait", async () => {
    const found = await fc.check(
      fc.asyncProperty(world, async (one) => {
        await check(one, withoutWaiting);
      }),
      { numRuns: 100, seed },
    );
    expect(found.failed).toBe(true);
    expect(String(found.errorInstance)).toContain("a queue keeps what it told");
  });
});
