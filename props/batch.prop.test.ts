/**
 * Promises of a batch:
 *
 *   1. it is one record or none: never a part of it, at whatever operation of the disk the power goes
 *   2. it does what its operations would do one after the other, each seeing those before it, with the same answers
 *   3. the first operation that is refused refuses all, is named, and nothing has changed
 *   4. an answered batch is there after the power cut
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  asIs,
  type BatchCommand,
  batch,
  type Context,
  decodeEvents,
  kv,
  type Outcome,
  queue,
  TEXT_TYPE,
} from "../projections/index.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { batchOf, stepOf } from "./model/batches.js";
import type { Operation } from "./model/kv-model.js";
import {
  MODEL_KEYS,
  MODEL_START_MS,
  operation,
  outcomeOf,
  runOperation,
  stepOfOperation,
  writeOperation,
} from "./model/kv-operations.js";
import { factor, runs, seed } from "./run-settings.js";
import { nextTurn } from "./world/log-lives.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { openWorldStore, type WorldStore } from "./world/store-world.js";

/** Revisions of a batch are its own offset, so none that is asked for can be one of them. */
function withoutRevision(o: Operation): Operation {
  if (o.op === "set") {
    const { ifRevision: _revision, ...command } = o.command;
    return { op: "set", command };
  }
  return o.op === "delete" ? { ...o, ifRevision: undefined } : o;
}

const write = writeOperation.map(withoutRevision);

/** Answers with every revision after `base` alike: one after the other they differ, together they are one. */
function comparable(answer: unknown, base: number): unknown {
  if (typeof answer !== "object" || answer === null || !("revision" in answer)) return answer;
  return { ...answer, revision: Number(answer.revision) > base ? "own" : answer.revision };
}

async function contents(t: TestStore): Promise<unknown> {
  // What has expired takes memory until it is reclaimed, which nobody else can observe.
  t.store.reclaimExpired(t.now, 1_000);
  const keys = MODEL_KEYS.filter((key) => key !== "");
  const values = await t.answer(kv.getMany, { keys });
  const stats = t.store.kvStats(t.now);
  return [
    values.map((entry) => entry && { ...entry, revision: 0 }),
    stats.totalKeys,
    stats.memoryBytes,
    stats.expiringKeys,
  ];
}

const happened = { batches: 0, refused: 0, unchanged: 0, sameKeyTwice: 0 };

async function expectAsOneByOne(before: readonly Operation[], batched: readonly Operation[]): Promise<void> {
  const together = await TestStore.open({ now: MODEL_START_MS });
  for (const each of before) await runOperation(together, each);
  together.now += 500;
  const base = together.log.endOffset;
  const oneByOne = await TestStore.open({
    log: new MemoryLog({ records: together.log.records }),
    now: together.now,
  });
  const untouched = await contents(together);

  const expected: Outcome<unknown>[] = [];
  for (const each of batched) {
    expected.push(await outcomeOf(oneByOne, each));
    if (expected.at(-1)?.type === "rejected") break;
  }
  const outcome = await together.run(batch<unknown>, batchOf(batched.map(stepOfOperation)));

  const last = expected.at(-1);
  if (last?.type === "rejected") {
    happened.refused += 1;
    expect(outcome).toMatchObject({
      type: "rejected",
      code: last.code,
      details: { operation_index: expected.length - 1 },
    });
    expect(together.log.endOffset).toBe(base);
    expect(await contents(together)).toEqual(untouched);
    return;
  }
  happened.batches += 1;
  if (outcome.type === "rejected") throw new Error(`refused: ${outcome.code}`);
  const answers = expected.map((each) => comparable(each.type === "done" && each.answer, base));
  expect(outcome.answer.map((answer) => comparable(answer, base))).toEqual(answers);
  expect(together.log.endOffset).toBe(oneByOne.log.endOffset > base ? base + 1 : base);
  if (together.log.endOffset === base) happened.unchanged += 1;
  expect(await contents(together)).toEqual(await contents(oneByOne));
  expectOwnChains(together.log);
  const replayed = await TestStore.open({ log: new MemoryLog({ records: together.log.records }) });
  expect(replayed.store.digest(together.now)).toBe(together.store.digest(together.now));
}

/** Of two events of a key in one record the later one names the record itself, unless the key was gone between them. */
function expectOwnChains(log: MemoryLog): void {
  const record = log.records.at(-1);
  if (record === undefined) return;
  const there = new Set<string>();
  for (const event of decodeEvents(record).events) {
    if (event.type === "kv.flushed") there.clear();
    if (!("key" in event) || !("previous" in event)) continue;
    if (there.has(event.key)) {
      happened.sameKeyTwice += 1;
      expect(event.previous).toBe(record.offset);
    } else expect(event.previous).toBeLessThan(record.offset);
    if (event.type === "kv.set" || event.type === "kv.expiry_changed") there.add(event.key);
    else there.delete(event.key);
  }
}

describe("batch", () => {
  test("does what its operations do one after the other, or nothing", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { maxLength: 12 }),
        fc.array(write, { minLength: 1, maxLength: 8 }),
        expectAsOneByOne,
      ),
      runs(600),
    );
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(5);
  });

  test("is there whole or not at all, whatever operation of the disk the power goes in", async () => {
    const seen = { cuts: 0, whole: 0, none: 0, answered: 0 };
    for (let round = 0; round < factor; round += 1)
      for (let cut = 1; await liveUntil(seed + 1000 * round + cut, cut, seen); cut += 1);
    for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(10);
  });
});

const BATCHES = 4;
const QUEUE = "jobs";

/** Each batch moves three keys to its own number, publishes it, and takes a key away that the one before had set. */
function numbered(number: number): BatchCommand<unknown> {
  const value = String(number).repeat(1 + ((number * 1_301) % 2_000));
  const pair = { value, contentType: TEXT_TYPE };
  return batchOf([
    stepOf(kv.set, { key: "first", ...pair }),
    stepOf(queue.create, { queue: QUEUE }),
    stepOf(queue.publish, { queue: QUEUE, payload: Buffer.from(String(number)) }),
    stepOf(kv.increment, { key: "count", amount: 1n }),
    stepOf(kv.delete, { key: `only-${number - 1}` }),
    stepOf(kv.set, { key: `only-${number}`, ...pair }),
    stepOf(kv.set, { key: "last", ...pair }),
  ]);
}

/** False when the whole script ran before the `cut`-th operation of the disk. */
async function liveUntil(
  worldSeed: number,
  cut: number,
  seen: { cuts: number; whole: number; none: number; answered: number },
): Promise<boolean> {
  const disk = new SimulatedDisk(worldSeed, { syncTurnsMax: 6 });
  const clock = seededClock(disk.random);
  const files = disk.mount();
  disk.arm({ type: "end", at: cut, ending: "power" });
  let answered = 0;
  const contextOf = () => ({ now: clock.now(), random: 0.5, cause: { command: "batch" } });
  const live = async (): Promise<void> => {
    const { store } = await openWorldStore(disk, files, clock);
    for (let number = 1; number <= BATCHES; number += 1) {
      const outcome = store.execute(batch<unknown>, numbered(number), contextOf(), asIs);
      void Promise.resolve(outcome).then(
        () => {
          if (files.alive) answered = number;
        },
        () => undefined,
      );
      if (number % 2 === 0) await outcome;
      else await nextTurn();
    }
  };
  await Promise.race([live().catch(() => undefined), disk.ended()]);
  disk.disarm();
  const wasCut = !files.alive;
  if (!wasCut) disk.losePower();
  else seen.cuts += 1;
  const reached = await numberReached(await openWorldStore(disk, disk.mount(), clock), contextOf());
  expect(reached, "an answered batch is gone").toBeGreaterThanOrEqual(answered);
  if (reached > 0) seen.whole += 1;
  else seen.none += 1;
  if (answered > 0) seen.answered += 1;
  return wasCut;
}

/** The batch that everything in the store is of. */
async function numberReached({ store }: WorldStore, context: Context): Promise<number> {
  const ask = async (key: string): Promise<string | undefined> => {
    const outcome = await store.query(kv.get, { key }, context, asIs);
    return outcome.type === "done" ? outcome.answer?.bytes : undefined;
  };
  const reached = Number((await ask("count")) ?? 0);
  const stats = await store.query(queue.stats, { queue: QUEUE }, context, asIs);
  expect(stats.type === "done" ? stats.answer.waiting : 0).toBe(reached);
  for (let number = 1; number <= BATCHES; number += 1) {
    expect((await ask(`only-${number}`)) !== undefined).toBe(number === reached);
  }
  const value = reached === 0 ? undefined : await ask(`only-${reached}`);
  expect(await ask("first")).toBe(value);
  expect(await ask("last")).toBe(value);
  return reached;
}
