/**
 * Promise (DESIGN §3.7, `always`): nobody is ever told of something that a power cut can take back – not by a write's
 * answer, nor by a read of a value, of its absence, of a list or a count, nor by a refusal.
 *
 * How it is checked: the test keeps, by itself, the offset of each key's last change (the offset that the log has after the
 * call that changed it). Whatever is told of a key must wait for that offset; after a power cut the log must reach it.
 * A store whose answers do not wait must be found out by the same check.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EventLog } from "../log/index.js";
import { asIs, kv, type Outcome, TEXT_TYPE } from "../projections/index.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { runs, seed } from "./run-settings.js";
import { nextTurn } from "./world/log-lives.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { openWorldStore, type WorldStore, withoutWaiting } from "./world/store-world.js";

type Ask =
  | { readonly type: "set" | "delete" | "increment" | "setIfAbsent" | "setIfStale"; readonly key: string }
  | { readonly type: "get" | "exists" | "ttl" | "length"; readonly key: string }
  | { readonly type: "size" | "scan" | "stats"; readonly key: string }
  | { readonly type: "pause"; readonly turns: number };

const KEYS = ["a", "b", "c"];
const key = fc.constantFrom(...KEYS);
const ask: fc.Arbitrary<Ask> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constantFrom("set", "delete", "increment", "setIfAbsent", "setIfStale"),
      key,
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom("get", "exists", "ttl", "length"), key }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom("size", "scan", "stats"), key }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("pause"), turns: fc.integer({ min: 1, max: 12 }) }) },
);

interface World {
  readonly worldSeed: number;
  readonly asks: readonly Ask[];
  readonly cut: number;
}

const world: fc.Arbitrary<World> = fc.record({
  worldSeed: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 })),
  asks: fc.array(ask, { minLength: 5, maxLength: 40 }),
  cut: fc.integer({ min: 25, max: 160 }),
});

interface Told {
  /** Greatest offset that something told depends on, and what it was. */
  offset: number;
  what: string;
  answers: number;
  /** Answers that could not leave at once. */
  waited: number;
  /** Refusals among them. */
  refusals: number;
}

class Teller {
  readonly told: Told = { offset: 0, what: "nothing", answers: 0, waited: 0, refusals: 0 };
  readonly #lastChange = new Map<string, number>();
  readonly #world: WorldStore;
  readonly #now: () => number;
  readonly #alive: () => boolean;

  constructor(store: WorldStore, now: () => number, alive: () => boolean) {
    this.#world = store;
    this.#now = now;
    this.#alive = alive;
  }

  /** Starts the call; notes in the background when its answer is told. */
  ask(one: Exclude<Ask, { type: "pause" }>): void {
    const { log } = this.#world;
    const before = log.endOffset;
    const answer = this.#call(one);
    if (log.endOffset > before) this.#lastChange.set(one.key, log.endOffset);
    const ofAll = one.type === "size" || one.type === "scan" || one.type === "stats";
    const depends = ofAll ? Math.max(0, ...this.#lastChange.values()) : (this.#lastChange.get(one.key) ?? 0);
    if (depends > log.durableOffset) this.told.waited += 1;
    Promise.resolve(answer).then(
      (outcome) => {
        if (!this.#alive()) return;
        this.told.answers += 1;
        if (outcome.type === "rejected") this.told.refusals += 1;
        if (depends <= this.told.offset) return;
        this.told.offset = depends;
        this.told.what = JSON.stringify(one);
      },
      (error: unknown) => {
        // Nobody is told anything by a failure; it cannot happen while the disk is healthy.
        if (this.#alive()) throw error;
      },
    );
  }

  #call(one: Exclude<Ask, { type: "pause" }>): Outcome<unknown> | Promise<Outcome<unknown>> {
    const { store } = this.#world;
    const context = { now: this.#now(), random: 0.5, cause: { command: one.type } };
    const value = { key: one.key, value: "5", contentType: TEXT_TYPE };
    switch (one.type) {
      case "set":
        return store.execute(kv.set, value, context, asIs);
      case "setIfAbsent":
        return store.execute(kv.set, { ...value, nx: true }, context, asIs);
      case "setIfStale":
        return store.execute(kv.set, { ...value, ifRevision: 1 }, context, asIs);
      case "delete":
        return store.execute(kv.delete, { key: one.key }, context, asIs);
      case "increment":
        return store.execute(kv.increment, { key: one.key, amount: 1n }, context, asIs);
      case "get":
        return store.query(kv.get, { key: one.key }, context, asIs);
      case "exists":
        return store.query(kv.exists, { key: one.key }, context, asIs);
      case "ttl":
        return store.query(kv.ttl, { key: one.key }, context, asIs);
      case "length":
        return store.query(kv.length, { key: one.key }, context, asIs);
      case "size":
        return store.query(kv.size, {}, context, asIs);
      case "scan":
        return store.query(kv.scan, { limit: 10 }, context, asIs);
      case "stats":
        return store.query(kv.stats, {}, context, asIs);
    }
  }
}

/** One life until the power goes; then what was told must be within what is left. */
async function check(one: World, disguise?: (log: EventLog) => EventLog): Promise<Told> {
  const disk = new SimulatedDisk(one.worldSeed, { syncTurnsMax: 20 });
  const clock = seededClock(disk.random);
  const files = disk.mount();
  disk.arm({ type: "end", at: one.cut, ending: "power" });
  let told: Told = { offset: 0, what: "nothing", answers: 0, waited: 0, refusals: 0 };
  const live = async (): Promise<void> => {
    const opened = await openWorldStore(disk, files, clock, disguise);
    const teller = new Teller(opened, clock.now, () => files.alive);
    told = teller.told;
    for (const step of one.asks) {
      if (step.type !== "pause") teller.ask(step);
      else for (let turn = 0; turn < step.turns; turn += 1) await nextTurn();
    }
  };
  await Promise.race([live(), disk.ended()]);
  disk.disarm();
  if (files.alive) disk.losePower();
  const { log } = await openWorldStore(disk, disk.mount(), clock);
  if (log.endOffset < told.offset)
    throw new PromiseBroken(
      "reads never retract",
      `${told.what} told of offset ${told.offset}, the log now ends at ${log.endOffset}`,
    );
  return told;
}

describe("reads never retract", () => {
  test("nothing that was told is taken back by a power cut", async () => {
    const happened = { answers: 0, waited: 0, refusals: 0 };
    await fc.assert(
      fc.asyncProperty(world, async (one) => {
        const told = await check(one);
        happened.answers += told.answers;
        happened.waited += told.waited;
        happened.refusals += told.refusals;
      }),
      runs(300),
    );
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(100);
  });

  test("finds out a store whose answers do not wait", async () => {
    const found = await fc.check(
      fc.asyncProperty(world, async (one) => {
        await check(one, withoutWaiting);
      }),
      { numRuns: 200, seed },
    );
    expect(found.failed).toBe(true);
    expect(String(found.errorInstance)).toContain("reads never retract");
  });
});
