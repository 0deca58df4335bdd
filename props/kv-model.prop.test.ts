/**
 * The key-value projection against a Map.
 *
 * 1. Every operation answers as the model does, value, revision and refusal code alike.
 * 2. Every operation appends as many records (none or one) as the model counts.
 * 3. A restart at any point, a clock that moves on, and the reclaiming of expired keys change no answer.
 * 4. A scan in pages lists exactly the keys that are there, each once.
 * 5. Memory is charged as if only the keys that are there had ever been set.
 * 6. Each event of a key names the offset of the key's event before, so that a key's history is a walk; after the key was
 *    removed, or had expired and was forgotten, it names 0.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { decodeEvents, type KvEvent, kv, type StoreEvent } from "../projections/index.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { KvModel, type Operation } from "./model/kv-model.js";
import { MODEL_START_MS, operation, runOperation } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";

interface Real {
  t: TestStore;
}
type Step = fc.AsyncCommand<KvModel, Real>;

const happened = { operations: 0, refusals: 0, restarts: 0, reclaimed: 0, expired: 0, pages: 0, links: 0 };

class Operate implements Step {
  constructor(readonly operation: Operation) {}
  check = () => true;
  async run(model: KvModel, { t }: Real) {
    const expected = model.run(this.operation);
    expect(await runOperation(t, this.operation)).toEqual(expected);
    expect(t.log.endOffset).toBe(model.records);
    happened.operations++;
    if ("refused" in expected) happened.refusals++;
  }
  toString = () =>
    JSON.stringify(this.operation, (_key, value) => (typeof value === "bigint" ? `${value}n` : value));
}

class MoveClock implements Step {
  constructor(readonly ms: number) {}
  check = () => true;
  async run(model: KvModel, { t }: Real) {
    model.now += this.ms;
    t.now += this.ms;
  }
  toString = () => `clock +${this.ms} ms`;
}

class Restart implements Step {
  check = () => true;
  async run(_model: KvModel, real: Real) {
    const { now, log, store } = real.t;
    await store.close();
    real.t = await TestStore.open({ now, log: new MemoryLog({ records: log.records, batchRecords: 3 }) });
    happened.restarts++;
  }
  toString = () => "restart";
}

class Reclaim implements Step {
  constructor(readonly budget: number) {}
  check = () => true;
  async run(_model: KvModel, { t }: Real) {
    happened.reclaimed += t.store.reclaimExpired(t.now, this.budget);
  }
  toString = () => `reclaim up to ${this.budget}`;
}

class ScanAll implements Step {
  constructor(readonly limit: number) {}
  check = () => true;
  async run(model: KvModel, { t }: Real) {
    model.run({ op: "size" });
    const found: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await t.answer(kv.scan, {
        limit: this.limit,
        ...(cursor === undefined ? {} : { cursor }),
      });
      expect(page.keys.length).toBeLessThanOrEqual(this.limit);
      found.push(...page.keys);
      cursor = page.cursor;
      happened.pages++;
    } while (cursor !== undefined);
    expect(found.sort()).toEqual([...model.entries.keys()].sort());
  }
  toString = () => `scan by ${this.limit}`;
}

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 40, arbitrary: operation.map((o): Step => new Operate(o)) },
  {
    weight: 4,
    arbitrary: fc
      .oneof(fc.integer({ min: 0, max: 1_500 }), fc.constant(10_000))
      .map((ms): Step => new MoveClock(ms)),
  },
  { weight: 2, arbitrary: fc.constant<Step>(new Restart()) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 5 }).map((budget): Step => new Reclaim(budget)) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }).map((limit): Step => new ScanAll(limit)) },
);

async function expectHonestMemory(model: KvModel, { t }: Real): Promise<void> {
  t.store.reclaimExpired(t.now, Number.POSITIVE_INFINITY);
  model.run({ op: "size" });
  const fresh = await TestStore.open({ now: t.now });
  for (const [key, entry] of model.entries) {
    await fresh.ok(kv.set, {
      key,
      value: Buffer.from(entry.bytes, "latin1"),
      contentType: entry.contentType,
      ...(entry.expiresAt === 0 ? {} : { expiry: { type: "unix_milliseconds", value: entry.expiresAt } }),
    });
  }
  const stats = t.store.kvStats(t.now);
  expect(stats.memoryBytes).toBe(fresh.store.kvStats(t.now).memoryBytes);
  expect(stats.totalKeys).toBe(model.entries.size);
  expect(stats.expiringKeys).toBe([...model.entries.values()].filter((entry) => entry.expiresAt > 0).length);
}

function isKeyEvent(event: StoreEvent): event is KvEvent {
  return event.type.startsWith("kv.");
}

function expectChains(log: MemoryLog): void {
  const last = new Map<string, { offset: number; expiresAt: number }>();
  for (const record of log.records) {
    for (const event of decodeEvents(record).events.filter(isKeyEvent)) {
      if (event.type === "kv.flushed") last.clear();
      else if ("previous" in event && "key" in event) {
        const before = last.get(event.key) ?? { offset: 0, expiresAt: 0 };
        const expired = before.expiresAt > 0 && before.expiresAt <= record.timestamp;
        expect(expired ? [0, before.offset] : [before.offset]).toContain(event.previous);
        if (event.previous > 0) happened.links++;
        if ("expiresAt" in event) last.set(event.key, { offset: record.offset, expiresAt: event.expiresAt });
        else last.delete(event.key);
      }
    }
  }
}

describe("kv", () => {
  it("answers as a Map would, through restarts and time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.commands([step], { maxCommands: 120, size: "max" }), async (steps) => {
        const model = new KvModel(MODEL_START_MS);
        const real: Real = { t: await TestStore.open({ now: MODEL_START_MS }) };
        await fc.asyncModelRun(() => ({ model, real }), steps);
        await expectHonestMemory(model, real);
        expectChains(real.t.log);
        happened.expired += model.expired;
      }),
      runs(400) as fc.Parameters<[Iterable<Step>]>,
    );
  });

  afterAll(() => {
    expect(happened.operations, "operations").toBeGreaterThan(5_000);
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
  });
});
