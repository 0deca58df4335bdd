/**
 * A state of the past is the state of that prefix of the log, however it came about.
 *
 * 1. Whatever was asked before, is asked at the same time or was given up on the way: what a lease shows has the digest of a
 *    fold of exactly the records up to its offset, and keeps it as long as the lease is held.
 * 2. Never more states are kept than may be, beside those that are held.
 * 3. A time is the offset of the last record that is not younger, to the millisecond.
 * 4. Two states differ in no key and no queue exactly when their digests of keys and queues are the same.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type Offset, offset } from "../log/index.js";
import { pointOf } from "../ops/past/moment.js";
import { type Lease, PastFolds } from "../ops/past/past-folds.js";
import { type Digests, differences, Fold } from "../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { TEST_FOLD_LIMITS, TestSource } from "../test/support/past-in-process.js";
import { MODEL_START_MS } from "./model/kv-operations.js";
import {
  Deliveries,
  OPENING,
  runStoreOperation,
  type StoreOperation,
  storeOperation,
} from "./model/store-operations.js";
import { runs } from "./run-settings.js";
import { share } from "./world/share.js";

const happened = {
  kept: 0,
  moved: 0,
  begun: 0,
  fromSnapshot: 0,
  gaveUp: 0,
  wentOn: 0,
  shared: 0,
  different: 0,
  same: 0,
  sameTime: 0,
};

interface Step {
  readonly operation: StoreOperation;
  readonly clockMs: number;
}
const step: fc.Arbitrary<Step> = fc.record({
  operation: storeOperation,
  clockMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1_500 })),
});

interface History {
  readonly log: MemoryLog;
  /** Of a fold of the first n records, by n. */
  readonly digests: readonly Digests[];
}

async function historyOf(steps: readonly Step[]): Promise<History> {
  const t = await TestStore.open({ now: MODEL_START_MS });
  const deliveries = new Deliveries();
  for (const operation of OPENING) await runStoreOperation(t, deliveries, operation);
  for (const { operation, clockMs } of steps) {
    t.now += clockMs + (operation.clockMs ?? 0);
    await runStoreOperation(t, deliveries, operation);
  }
  await t.store.close();
  const fold = new Fold({ rules: TEST_STORE_RULES });
  const digests = [fold.digests()];
  for (const record of t.log.records) {
    fold.take(record);
    digests.push(fold.digests());
  }
  return { log: new MemoryLog({ records: t.log.records, batchRecords: 3 }), digests };
}

/** `share`: of the log. `held`: for so many asks. `givesUpAfter`: reads of the disk, by whoever is on the way. */
interface Ask {
  readonly share: number;
  readonly held: number;
  readonly twins: number;
  readonly givesUpAfter: number | undefined;
}
const ask: fc.Arbitrary<Ask> = fc.record({
  share,
  held: fc.integer({ min: 0, max: 2 }),
  twins: fc.integer({ min: 0, max: 2 }),
  givesUpAfter: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, fc.integer({ min: 0, max: 4 })),
});

const at = (share: number, log: MemoryLog): Offset => offset(Math.max(1, Math.ceil(share * log.endOffset)));

class Looks {
  readonly #held: { lease: Lease; expected: string; until: number }[] = [];
  readonly #folds: PastFolds;
  readonly #source: TestSource;
  #asks = 0;

  constructor(
    readonly history: History,
    readonly foldsMax: number,
    snapshots: readonly number[],
  ) {
    this.#source = new TestSource(history.log, TEST_STORE_RULES);
    this.#source.snapshots = [...snapshots].sort((a, b) => a - b).map(offset);
    this.#folds = new PastFolds(this.#source, { ...TEST_FOLD_LIMITS, foldsMax });
  }

  async ask({ share, held, twins, givesUpAfter }: Ask): Promise<void> {
    this.#asks += 1;
    this.#release((each) => each.until < this.#asks || this.#held.length >= this.foldsMax);
    const wanted = at(share, this.history.log);
    const expected = this.history.digests[wanted]?.all ?? "";
    const impatient = new AbortController();
    let reads = 0;
    this.#source.pause = async () => {
      if (reads++ === givesUpAfter) impatient.abort();
    };
    const begunBefore = this.#source.begun.length;
    const all = await Promise.all([
      this.#folds.lease(wanted, givesUpAfter === undefined ? new AbortController().signal : impatient.signal),
      ...Array.from({ length: twins }, () => this.#folds.lease(wanted, new AbortController().signal)),
    ]);
    expect(this.#source.begun.length - begunBefore).toBeLessThanOrEqual(1);
    const leases = all.filter((each) => each.type === "lease");
    const refused = all.filter((each) => each.type === "refused");
    for (const each of refused) expect(each.code).toBe("API_CLIENT_GONE");
    happened.gaveUp += refused.length;
    if (refused.length > 0 && leases.length > 0) happened.wentOn += 1;
    if (leases.length > 1) happened.shared += 1;
    for (const lease of leases) {
      happened[lease.found] += 1;
      this.#held.push({ lease, expected, until: this.#asks + held });
    }
    if (this.#source.begun.at(-1) !== 0) happened.fromSnapshot += 1;
    this.#check();
  }

  #check(): void {
    for (const { lease, expected } of this.#held) expect(lease.fold.digests().all).toBe(expected);
    expect(this.#folds.count).toBeLessThanOrEqual(this.foldsMax);
  }

  #release(which: (each: { until: number }) => boolean): void {
    for (const each of [...this.#held]) {
      if (!which(each)) continue;
      each.lease.release();
      this.#held.splice(this.#held.indexOf(each), 1);
    }
  }
}

describe("looking back", () => {
  it("shows the state of the prefix, whatever was asked before, beside it, or given up", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 40, size: "max" }),
        fc.array(ask, { minLength: 1, maxLength: 15, size: "max" }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 2 }),
        async (steps, asks, foldsMax, snapshots) => {
          const history = await historyOf(steps);
          const there = snapshots.filter((each) => each <= history.log.endOffset);
          const looks = new Looks(history, foldsMax, there);
          for (const each of asks) await looks.ask(each);
        },
      ),
      runs(40),
    );
  });

  it("by time shows the last record that is not younger, and differs exactly where digests do", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25, size: "max" }), async (steps) => {
        const { log, digests } = await historyOf(steps);
        const times = log.records.map(({ timestamp }) => timestamp);
        const horizon = { log, end: log.endOffset, now: Number.MAX_SAFE_INTEGER };
        for (const time of new Set(times.flatMap((each) => [each - 1, each, each + 1]))) {
          const expected = times.filter((each) => each <= time).length;
          const point = await pointOf({ type: "time", time }, horizon);
          if (expected === 0) expect(point).toMatchObject({ code: "API_AT_BEFORE_FIRST" });
          else expect(point).toEqual({ type: "point", at: expected, time });
          if (times.filter((each) => each === time).length > 1) happened.sameTime += 1;
        }
        let before = new Fold({ rules: TEST_STORE_RULES });
        for (const [index, record] of log.records.entries()) {
          const after = new Fold({ rules: TEST_STORE_RULES });
          for (const each of log.records.slice(0, index + 1)) after.take(each);
          const found = [...differences(before, after)];
          const [was, is] = [digests[index], digests[index + 1]];
          expect(
            found.some(({ kind }) => kind === "key"),
            `keys at ${record.offset}`,
          ).toBe(was?.kv !== is?.kv);
          expect(
            found.some(({ kind }) => kind === "queue"),
            `queues at ${record.offset}`,
          ).toBe(was?.queue !== is?.queue);
          // What only numbers the streams is in the digest and in no stream.
          if (was?.stream === is?.stream) expect(found.filter(({ kind }) => kind === "stream")).toEqual([]);
          happened[found.length > 0 ? "different" : "same"] += 1;
          before = after;
        }
      }),
      runs(25),
    );
  });

  afterAll(() => {
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(0);
  });
});
