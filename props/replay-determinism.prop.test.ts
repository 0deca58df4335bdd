/**
 * The state is a function of the log.
 *
 * 1. The live state has the digest of a replay of its log, whatever the sizes of the batches.
 * 2. Clocks do not matter: a replay with another clock, queries at other times, or the reclaiming of any number of expired
 *    keys before, between or after leave the digest at a time as it is.
 * 3. A replay stopped in the middle and gone on equals one in one go.
 * 4. A clock that runs backward across a restart changes none of this.
 * 5. The digest depends on what is there, not on how it came there, and sees every field.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  openStore,
  TEXT_TYPE,
} from "../projections/index.js";
import { TEST_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import type { Operation } from "./model/kv-model.js";
import { MODEL_START_MS, operation, runOperation } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";

const happened = { records: 0, reclaimed: 0, restartsBackward: 0, expiring: 0 };

interface Move {
  readonly operation: Operation;
  readonly clockMs: number;
  readonly reclaim: number;
  /** Restart before this operation, with the clock set back by so many ms; -1 = no restart. */
  readonly restartBackMs: number;
}
const move: fc.Arbitrary<Move> = fc.record({
  operation,
  clockMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 1_200 })),
  reclaim: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 })),
  restartBackMs: fc.oneof({ weight: 12, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 2_000 })),
});

async function live(moves: readonly Move[]): Promise<TestStore> {
  let t = await TestStore.open({ now: MODEL_START_MS });
  for (const { operation: o, clockMs, reclaim, restartBackMs } of moves) {
    if (restartBackMs >= 0) {
      t = await TestStore.open({
        now: t.now - restartBackMs,
        log: new MemoryLog({ records: t.log.records }),
      });
      happened.restartsBackward++;
    }
    t.now += clockMs;
    if (reclaim > 0) happened.reclaimed += t.store.reclaimExpired(t.now, reclaim);
    await runOperation(t, o);
  }
  return t;
}

/** The log's own time. */
const lastTime = (log: MemoryLog): number => log.records.at(-1)?.timestamp ?? 0;

async function replay(log: MemoryLog, batchRecords: number, now = MODEL_START_MS): Promise<TestStore> {
  return TestStore.open({ now, log: new MemoryLog({ records: log.records, batchRecords }) });
}

describe("replay", () => {
  it("gives the live state, under any clock and after any reclaiming", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(move, { maxLength: 60, size: "max" }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 3_000 }),
        async (moves, batchRecords, laterMs) => {
          const t = await live(moves);
          const at = Math.max(lastTime(t.log), t.now) + laterMs;
          const again = await replay(t.log, batchRecords, 1);
          const reclaimed = await replay(t.log, 1_000, at);
          happened.reclaimed += reclaimed.store.reclaimExpired(at, 3);
          expect(again.store.digest(at)).toBe(t.store.digest(at));
          expect(reclaimed.store.digest(at)).toBe(t.store.digest(at));
          expect(reclaimed.store.offset).toBe(t.store.offset);
          // At the log's own time too, where nothing was reclaimed beyond it.
          expect(again.store.digest()).toBe((await replay(t.log, 7)).store.digest());
          happened.records += t.log.records.length;
          happened.expiring += t.store.kvStats(t.now).expiringKeys;
        },
      ),
      runs(150) as fc.Parameters<[Move[], number, number]>,
    );
  });

  it("goes on where it stopped as if it had not", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(move, { minLength: 2, maxLength: 40 }), fc.nat(), async (moves, cut) => {
        const t = await live(moves);
        const { records } = t.log;
        const log = new MemoryLog({ records: records.slice(0, cut % (records.length + 1)) });
        const store = await openStore({
          log,
          rules: {
            kv: TEST_RULES,
            queue: DEFAULT_QUEUE_RULES,
            stream: DEFAULT_STREAM_RULES,
            idempotency: DEFAULT_IDEMPOTENCY_RULES,
          },
          onDead: (error) => {
            throw error;
          },
        });
        for (const record of records.slice(log.endOffset)) log.append(record);
        expect(store.digest()).toBe((await replay(t.log, 5)).store.digest());
      }),
      runs(60) as fc.Parameters<[Move[], number]>,
    );
  });

  it("has a digest that forgets the way and sees every field", async () => {
    const at = MODEL_START_MS;
    const pairs = ["a", "b", "c"].map((key) => ({ key, value: "1", contentType: TEXT_TYPE }));
    const digestAfter = async (...operations: Operation[]): Promise<string> => {
      const t = await TestStore.open({ now: at });
      for (const o of operations) await runOperation(t, o);
      return t.store.digest();
    };
    const base = await digestAfter({ op: "set", command: { ...pairs[1]! } }, { op: "setMany", pairs });
    // The same keys at the same revisions, in other slots.
    expect(
      await digestAfter(
        { op: "set", command: { ...pairs[2]! } },
        { op: "setMany", pairs: [...pairs].reverse() },
      ),
    ).toBe(base);
    const expiry = { type: "seconds", value: 5 } as const;
    const others = await Promise.all([
      digestAfter({ op: "setMany", pairs }),
      digestAfter({ op: "set", command: pairs[1]! }, { op: "setMany", pairs: pairs.slice(1) }),
      digestAfter(
        { op: "set", command: pairs[1]! },
        { op: "setMany", pairs: pairs.map((p) => ({ ...p, value: "2" })) },
      ),
      digestAfter(
        { op: "set", command: pairs[1]! },
        { op: "setMany", pairs: pairs.map((p) => ({ ...p, contentType: "x" })) },
      ),
      digestAfter(
        { op: "set", command: pairs[1]! },
        { op: "setMany", pairs },
        { op: "expire", key: "a", expiry },
      ),
    ]);
    expect(new Set([base, ...others]).size).toBe(others.length + 1);
  });

  afterAll(() => {
    expect(happened.records, "records").toBeGreaterThan(1_000);
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(10);
  });
});
