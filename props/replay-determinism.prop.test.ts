/**
 * The state – keys, queues, streams, kept answers – is a function of the log.
 *
 * 1. The live state has the digest of a replay of its log, whatever the sizes of the batches that are read.
 * 2. Clocks do not matter: a replay with another clock, queries at other times, or the reclaiming of any number of expired
 *    keys before, between or after leave the digest at a time as it is.
 * 3. A replay stopped in the middle and gone on equals one in one go.
 * 4. A clock that runs backward across a restart changes none of this.
 * 5. The digest depends on what is there, not on how it came there, and sees every field and every record.
 * 6. A log in segments of any size replays to the same state as one in memory.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { EPOCH_STARTED, epoch, type LogRecord, offset, openLog } from "../log/index.js";
import { SEVERAL_KIND } from "../projections/events.js";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  decodeEvents,
  openStore,
  queue,
  stream,
  TEXT_TYPE,
} from "../projections/index.js";
import { TEST_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { logOptions } from "../test/support/test-log.js";
import type { Operation } from "./model/kv-model.js";
import { MODEL_START_MS, runOperation } from "./model/kv-operations.js";
import { EVENT_TYPES } from "./model/store-events.js";
import {
  Deliveries,
  OPENING,
  runStoreOperation,
  STORIES,
  type StoreOperation,
  storeOperation,
} from "./model/store-operations.js";
import { runs } from "./run-settings.js";

const happened = { records: 0, severals: 0, reclaimed: 0, restartsBackward: 0, expiring: 0, segments: 0 };
/** How often a history had an event of this type. */
const seenTypes = new Map<string, number>(EVENT_TYPES.map((type) => [type, 0]));
/** The rules of these histories let keys be as large as they like. */
const NEVER_SEEN = new Set(["kv.evicted"]);

interface Move {
  readonly operation: StoreOperation;
  readonly clockMs: number;
  readonly reclaim: number;
  /** Restart before this operation, with the clock set back by so many ms; -1 = no restart. */
  readonly restartBackMs: number;
  /** Readers look at everything first, this much later than they should. */
  readonly lookLaterMs: number;
}
const moveOf = (operation: fc.Arbitrary<StoreOperation>): fc.Arbitrary<Move> =>
  fc.record({
    operation,
    clockMs: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 1_200 })),
    reclaim: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 })),
    restartBackMs: fc.oneof({ weight: 16, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 2_000 })),
    lookLaterMs: fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 5_000 })),
  });
const part: fc.Arbitrary<Move[]> = fc.oneof(
  { weight: 24, arbitrary: moveOf(storeOperation).map((one) => [one]) },
  ...STORIES.map((story) => ({ weight: 1, arbitrary: fc.tuple(...story.map(moveOf)) })),
);
const movesOf = (minLength: number, maxLength: number): fc.Arbitrary<Move[]> =>
  fc.array(part, { minLength, maxLength, size: "max" }).map((parts) => parts.flat());

const RULES = {
  kv: TEST_RULES,
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};
const onDead = (error: Error): never => {
  throw error;
};

/** As every log on a disk begins, so that a record has the same offset there and here. */
const FIRST: LogRecord = {
  kind: EPOCH_STARTED,
  version: 1,
  timestamp: 1,
  body: new Uint8Array(0),
  offset: offset(1),
  epoch: epoch(1),
  crc: 0,
};

async function live(
  moves: readonly Move[],
  after: (t: TestStore) => void = () => undefined,
): Promise<TestStore> {
  let t = await TestStore.open({ now: MODEL_START_MS, log: new MemoryLog({ records: [FIRST] }) });
  const deliveries = new Deliveries();
  for (const operation of OPENING) await runStoreOperation(t, deliveries, operation);
  for (const { operation, clockMs, reclaim, restartBackMs, lookLaterMs } of moves) {
    if (restartBackMs >= 0) {
      t = await TestStore.open({
        now: t.now - restartBackMs,
        log: new MemoryLog({ records: t.log.records }),
      });
      happened.restartsBackward++;
    }
    t.now += clockMs + (operation.clockMs ?? 0);
    if (lookLaterMs > 0) await look(t, lookLaterMs);
    if (reclaim > 0) happened.reclaimed += t.store.reclaimExpired(t.now, reclaim);
    await runStoreOperation(t, deliveries, operation);
    after(t);
  }
  return t;
}

async function look(t: TestStore, laterMs: number): Promise<void> {
  t.now += laterMs;
  for (const name of ["jobs", "mails"]) {
    await t.ask(queue.stats, { queue: name });
    await t.ask(queue.peek, { queue: name, limit: 3 });
  }
  const limits = { messagesMax: 3, bytesMax: 100 };
  for (const name of ["room/a", "ds/c"]) await t.ask(stream.read, { name, from: "earliest", limits });
  t.now -= laterMs;
}

function note({ log, store, now }: TestStore): void {
  happened.records += log.records.length;
  happened.expiring += store.kvStats(now).expiringKeys;
  for (const record of log.records) {
    const { events } = decodeEvents(record);
    if (events.length > 1) happened.severals++;
    for (const { type } of events) seenTypes.set(type, (seenTypes.get(type) ?? 0) + 1);
  }
}

/** The log's own time. */
const lastTime = (log: MemoryLog): number => log.records.at(-1)?.timestamp ?? 0;

async function replay(log: MemoryLog, batchRecords: number, now = MODEL_START_MS): Promise<TestStore> {
  return TestStore.open({ now, log: new MemoryLog({ records: log.records, batchRecords }) });
}

/** The digest after a replay of the same records from a log in segments of this size. */
async function digestOfSegments(
  records: readonly LogRecord[],
  segmentBytes: number,
  at: number,
): Promise<string> {
  const files = new MemoryFileSystem([], ["/data"]);
  const settings = logOptions("/data", { files, segmentBytes, fsyncMode: "never", now: () => 1 });
  const first = await openLog(settings);
  for (const { kind, version, timestamp, body } of records.slice(1))
    first.log.append({ kind, version, timestamp, body });
  await first.log.close();
  const { log, usage } = await openLog(settings);
  happened.segments += usage().segments;
  const store = await openStore({ log, rules: RULES, onDead });
  const digest = store.digest(at);
  await store.close();
  await log.close();
  return digest;
}

describe("replay", () => {
  it("gives the live state, under any clock and after any reclaiming", async () => {
    await fc.assert(
      fc.asyncProperty(
        movesOf(0, 60),
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
          note(t);
        },
      ),
      runs(60) as fc.Parameters<[Move[], number, number]>,
    );
  });

  it("gives it from segments of any size", async () => {
    const size = fc.constantFrom(4_096, 5_000, 16_384);
    await fc.assert(
      fc.asyncProperty(movesOf(60, 90), size, async (moves, segmentBytes) => {
        const t = await live(moves);
        const at = Math.max(lastTime(t.log), t.now);
        expect(await digestOfSegments(t.log.records, segmentBytes, at)).toBe(t.store.digest(at));
        happened.segments -= 1;
        note(t);
      }),
      runs(20) as fc.Parameters<[Move[], number]>,
    );
  });

  it("goes on where it stopped as if it had not", async () => {
    await fc.assert(
      fc.asyncProperty(movesOf(2, 30), fc.nat(), async (moves, cut) => {
        const t = await live(moves);
        const { records } = t.log;
        const log = new MemoryLog({ records: records.slice(0, cut % (records.length + 1)) });
        const store = await openStore({ log, rules: RULES, onDead });
        for (const record of records.slice(log.endOffset)) log.append(record);
        expect(store.digest()).toBe((await replay(t.log, 5)).store.digest());
      }),
      runs(25) as fc.Parameters<[Move[], number]>,
    );
  });

  it("has a digest that no record leaves as it was", async () => {
    await fc.assert(
      fc.asyncProperty(movesOf(2, 30), async (moves) => {
        let before = "";
        let end = 0;
        await live(moves, ({ store, log }) => {
          const digest = store.digest();
          // The events of one record may undo one another; a single one says something new.
          if (log.endOffset > end && log.records.at(-1)?.kind !== SEVERAL_KIND)
            expect(digest).not.toBe(before);
          before = digest;
          end = log.endOffset;
        });
      }),
      runs(25) as fc.Parameters<[Move[]]>,
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
    for (const [type, times] of seenTypes) if (!NEVER_SEEN.has(type)) expect(times, type).toBeGreaterThan(10);
  });
});
