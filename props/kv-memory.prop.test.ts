/**
 * The memory limit, under every eviction policy and any mix of commands.
 *
 * 1. After any command the charged memory is within the limit.
 * 2. A command refused for memory changes nothing and appends nothing.
 * 3. Evictions stand in the record of the command that needed them, name keys that were there, none that the command itself
 *    sets, and under a volatile policy none without an expiry; without a policy there are none.
 * 4. The replay of it all gives the same state.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { decodeEvents, type EvictionPolicy, kv, type StoreEvent } from "../projections/index.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import type { Operation } from "./model/kv-model.js";
import { MODEL_KEYS, MODEL_START_MS, operation, runOperation } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";
import { share } from "./world/share.js";

const LIMIT = 1_600;
const happened = { evictions: 0, refusals: 0, expiries: 0 };

const policy = fc.constantFrom<EvictionPolicy>(
  "noeviction",
  "allkeys-lru",
  "allkeys-lfu",
  "allkeys-random",
  "volatile-lru",
  "volatile-lfu",
  "volatile-random",
  "volatile-ttl",
);
/** Values of all sizes up to more than the limit. */
const bigAppend: fc.Arbitrary<Operation> = fc
  .tuple(fc.constantFrom(...MODEL_KEYS), fc.integer({ min: 1, max: 700 }))
  .map(([key, length]) => ({ op: "append", key, value: "x".repeat(length) }));
const move = fc.record({
  operation: fc.oneof({ weight: 5, arbitrary: operation }, { weight: 1, arbitrary: bigAppend }),
  clockMs: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 700 })),
  random: share,
});

/** Every key that is there, with its expiry. */
async function expiries(t: TestStore): Promise<Map<string, number>> {
  const entries = await t.answer(kv.getMany, { keys: MODEL_KEYS });
  return new Map(
    entries.flatMap((entry, n) => (entry === undefined ? [] : [[MODEL_KEYS[n]!, entry.expiresAt]])),
  );
}

function checkEvictions(
  events: readonly StoreEvent[],
  before: ReadonlyMap<string, number>,
  p: EvictionPolicy,
): void {
  const set = new Set(events.flatMap((event) => (event.type === "kv.set" ? [event.key] : [])));
  for (const event of events) {
    if (event.type !== "kv.evicted") continue;
    happened.evictions++;
    expect(p).not.toBe("noeviction");
    expect(set).not.toContain(event.key);
    expect([...before.keys()]).toContain(event.key);
    if (p.startsWith("volatile-")) expect(before.get(event.key)).toBeGreaterThan(0);
  }
}

describe("memory", () => {
  it("stays within its limit, by eviction or by refusal, and replays alike", async () => {
    await fc.assert(
      fc.asyncProperty(
        policy,
        fc.array(move, { maxLength: 60, size: "max" }),
        async (evictionPolicy, moves) => {
          const rules = { evictionPolicy, maxMemoryBytes: LIMIT };
          const t = await TestStore.open({ now: MODEL_START_MS, rules });
          for (const { operation: o, clockMs, random } of moves) {
            t.now += clockMs;
            t.random = random;
            t.store.reclaimExpired(t.now, Number.POSITIVE_INFINITY);
            const before = await expiries(t);
            const { memoryBytes } = t.store.kvStats(t.now);
            const digest = t.store.digest(t.now);
            const end = t.log.endOffset;
            const outcome = await runOperation(t, o);
            if ("refused" in outcome && outcome.refused === "KV_MEMORY_FULL") {
              happened.refusals++;
              expect(t.log.endOffset).toBe(end);
              expect(t.store.digest(t.now)).toBe(digest);
              expect(t.store.kvStats(t.now).memoryBytes).toBe(memoryBytes);
            }
            expect(t.store.kvStats(t.now).memoryBytes).toBeLessThanOrEqual(LIMIT);
            const record = t.log.records[end];
            if (record !== undefined) checkEvictions(decodeEvents(record).events, before, evictionPolicy);
          }
          const again = await TestStore.open({ rules, log: new MemoryLog({ records: t.log.records }) });
          expect(again.store.digest(t.now)).toBe(t.store.digest(t.now));
          happened.expiries += t.store.kvStats(t.now).expiredTotal;
        },
      ),
      runs(120) as fc.Parameters<
        [EvictionPolicy, { operation: Operation; clockMs: number; random: number }[]]
      >,
    );
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(4);
  });
});
