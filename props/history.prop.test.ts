/**
 * The history of a key is the list of its events.
 *
 * 1. Whatever happened to a key – sets, deletes, renames, copies, evictions, expiries, flushes, several at once – its history, page
 *    by page, is the list of the events that name it, newest first, with what did each; also after restarts.
 * 2. Where something was forgotten (a small memory of removed keys, a start from a snapshot), the history is the newest part of that
 *    list, and never says that it is complete when it is not.
 * 3. A key set back to a revision has the value, the type and, if it is still to come, the expiry that it had after that record.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import {
  batch,
  decodeEvents,
  Fold,
  type HistoryEnd,
  type KeyEvent,
  type KvRules,
  keyAtRevision,
  keyHistory,
  kv,
  type SnapshotDirectory,
  type StoreEvent,
  writeSnapshot,
} from "../projections/index.js";
import { TEST_RULES, TEST_STORE_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { batchOf } from "./model/batches.js";
import type { Operation } from "./model/kv-model.js";
import { MODEL_KEYS, MODEL_START_MS, stepOfOperation, writeOperation } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";

/** So little room that keys are evicted all the time. */
const RULES: KvRules = { ...TEST_RULES, maxMemoryBytes: 600, evictionPolicy: "allkeys-random" };
const KEYS = MODEL_KEYS.filter((key) => key !== "");
const DIRECTORY = "/data/snapshots";

type Step =
  | { readonly type: "write"; readonly operations: readonly Operation[]; readonly laterMs: number }
  | { readonly type: "reclaim" }
  | { readonly type: "restart" };

const laterMs = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 1_500 }));
const write = (max: number) =>
  fc.record({
    type: fc.constant("write" as const),
    operations: fc.array(writeOperation, { minLength: 1, maxLength: max }),
    laterMs,
  });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: write(1) },
  { weight: 6, arbitrary: write(5) },
  { weight: 4, arbitrary: fc.constant<Step>({ type: "reclaim" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ type: "restart" }) },
);
const steps = fc.array(step, { minLength: 30, maxLength: 120, size: "max" });

const happened = {
  events: 0,
  deleted: 0,
  evicted: 0,
  expiries: 0,
  throughAbsence: 0,
  together: 0,
  pages: 0,
  incomplete: 0,
  completeAfterLoss: 0,
  reverts: 0,
  removals: 0,
};

async function run(t: TestStore, { operations, laterMs }: Step & { type: "write" }): Promise<void> {
  t.now += laterMs;
  t.random = (t.random + 0.37) % 1;
  const all = operations.map(stepOfOperation);
  const [first] = all;
  if (first === undefined) return;
  const once = { decide: (...given: Parameters<typeof first.decide>) => first.decide(...given) };
  await t.run((state, _command, context, rules) => {
    return all.length === 1
      ? once.decide(state, context, rules)
      : batch<unknown>(state, batchOf(all), context, rules);
  }, {});
}

async function live(t: TestStore, history: readonly Step[], rules: Partial<KvRules>): Promise<TestStore> {
  let store = t;
  for (const each of history) {
    if (each.type === "write") await run(store, each);
    else if (each.type === "reclaim") store.store.reclaimExpired(store.now, 3);
    else {
      await store.store.close();
      const { log, now, random } = store;
      store = await TestStore.open({ log, now, rules });
      store.random = random;
    }
  }
  expect(store.deaths).toEqual([]);
  return store;
}

interface Listed {
  readonly offset: number;
  readonly place: number;
  readonly time: number;
  readonly event: KeyEvent;
}

function isOf(event: StoreEvent, key: string): event is KeyEvent {
  return "key" in event && event.type.startsWith("kv.") && event.key === key;
}

/** The model: every record is read. Newest first. */
function eventsOf(log: MemoryLog, key: string): readonly Listed[] {
  const listed: Listed[] = [];
  for (const record of log.records) {
    decodeEvents(record).events.forEach((event, place) => {
      if (isOf(event, key)) {
        listed.push({ offset: record.offset, place, time: record.timestamp, event: withBuffer(event) });
      }
    });
  }
  return listed.reverse();
}

const withBuffer = (event: KeyEvent): KeyEvent =>
  event.type === "kv.set" ? { ...event, value: Buffer.from(event.value) } : event;

/** Page by page, by the pages' own cursors. A record's events are newest first among themselves. */
async function historyOf(
  t: TestStore,
  key: string,
  limit: number,
): Promise<{ listed: readonly Listed[]; end: HistoryEnd | undefined }> {
  const chain = await t.answer(kv.chain, { key });
  const listed: Listed[] = [];
  let before: number | undefined;
  for (;;) {
    const page = await keyHistory(t.store, {
      key,
      chain,
      before,
      limit,
      bytesMax: 1 << 20,
      recordsMax: 1_000,
    });
    if (page.type !== "page") throw new Error("too long");
    happened.pages++;
    for (const { offset: at, place, time, event, cause } of page.revisions) {
      expect(cause.command).toBe("test");
      listed.push({ offset: at, place, time, event: withBuffer(event) });
    }
    if (page.next === undefined) return { listed, end: page.end };
    expect(page.revisions.length).toBeGreaterThan(0);
    before = page.next;
  }
}

function note(listed: readonly Listed[]): void {
  happened.events += listed.length;
  listed.forEach(({ event, offset: at }, index) => {
    if (event.type === "kv.deleted") happened.deleted++;
    if (event.type === "kv.evicted") happened.evicted++;
    if (event.type === "kv.expiry_changed") happened.expiries++;
    if (index > 0 && listed[index - 1]?.event.type === "kv.set" && event.type !== "kv.set") {
      happened.throughAbsence++;
    }
    if (listed[index - 1]?.offset === at) happened.together++;
  });
}

async function expectWhole(t: TestStore, limit: number): Promise<void> {
  for (const key of KEYS) {
    const expected = eventsOf(t.log, key);
    const { listed, end } = await historyOf(t, key, limit);
    expect(listed).toEqual(expected);
    expect(end).toBe("first_event");
    note(listed);
  }
}

/** The newest part, and honest about the rest. */
async function expectPart(t: TestStore, limit: number): Promise<void> {
  for (const key of KEYS) {
    const expected = eventsOf(t.log, key);
    const { listed, end } = await historyOf(t, key, limit);
    expect(listed).toEqual(expected.slice(0, listed.length));
    expect(["first_event", "unknown"]).toContain(end);
    if (end === "first_event") expect(listed).toHaveLength(expected.length);
    if (listed.length < expected.length) happened.incomplete++;
    else if (end === "first_event" && expected.length > 0) happened.completeAfterLoss++;
  }
}

/** What the key was after each record: folded from the records up to it. */
async function expectReverts(t: TestStore): Promise<void> {
  const fold = new Fold({ rules: { ...TEST_STORE_RULES, kv: RULES } });
  for (const record of [...t.log.records]) {
    fold.take(record);
    const named = new Set(
      decodeEvents(record).events.flatMap((event) => KEYS.filter((key) => isOf(event, key))),
    );
    for (const key of named) {
      const was = fold.kv.get(key, 0);
      const found = await keyAtRevision(t.store, key, offset(record.offset), 1_000);
      if (was === undefined) {
        expect(found).toEqual({ type: "removal" });
        expect(await t.refused(kv.revert, { key, found })).toBe("KV_REVISION_REMOVED");
        happened.removals++;
        continue;
      }
      await t.ok(kv.revert, { key, found });
      const expiresAt = was.expiresAt > t.now ? was.expiresAt : 0;
      const is = await t.answer(kv.get, { key });
      expect(is).toMatchObject({ bytes: was.bytes, contentType: was.contentType, expiresAt });
      happened.reverts++;
    }
  }
}

/** A start from it reads no record before. */
async function snapshotOf({ log }: TestStore, kvRules: typeof RULES): Promise<SnapshotDirectory> {
  const files = new MemoryFileSystem();
  const fold = new Fold({ rules: { ...TEST_STORE_RULES, kv: kvRules } });
  for (const record of log.records) fold.take(record);
  await writeSnapshot(files, DIRECTORY, fold, await log.markAt(fold.offset), { now: () => MODEL_START_MS });
  return { files, directory: DIRECTORY };
}

describe("history", () => {
  it("of a key is the list of its events, and each of them can be had again", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 7 }), async (history, limit) => {
        const t = await live(await TestStore.open({ now: MODEL_START_MS, rules: RULES }), history, RULES);
        await expectWhole(t, limit);
        const again = await TestStore.open({
          log: new MemoryLog({ records: t.log.records, batchRecords: limit }),
          rules: { ...RULES, maxMemoryBytes: 1 << 20 },
          now: t.now,
        });
        await expectWhole(again, 1_000);
        await expectReverts(again);
      }),
      runs(60) as fc.Parameters<[Step[], number]>,
    );
  });

  it("goes on through a start from a snapshot, whatever was removed before it", async () => {
    await fc.assert(
      fc.asyncProperty(steps, steps, async (before, after) => {
        const first = await live(await TestStore.open({ now: MODEL_START_MS, rules: RULES }), before, RULES);
        const { log, now } = first;
        if (log.endOffset === 0) return;
        const snapshots = await snapshotOf(first, RULES);
        const second = await TestStore.open({ log, now, rules: RULES, snapshots });
        await expectWhole(second, 3);
        const withoutRestarts = after.filter(({ type }) => type !== "restart");
        await expectWhole(await live(second, withoutRestarts, RULES), 3);
      }),
      runs(20) as fc.Parameters<[Step[], Step[]]>,
    );
  });

  it("is the newest part of that list where something was forgotten, and says so", async () => {
    await fc.assert(
      fc.asyncProperty(steps, steps, fc.integer({ min: 0, max: 400 }), async (before, after, bytesMax) => {
        const small = { ...RULES, removedKeysBytesMax: bytesMax };
        const first = await live(await TestStore.open({ now: MODEL_START_MS, rules: small }), before, small);
        await expectPart(first, 3);
        if (first.log.endOffset === 0) return;

        const snapshots = await snapshotOf(first, small);
        const { log, now } = first;
        const second = await TestStore.open({ log, now, rules: RULES, snapshots });
        await expectPart(second, 3);
        const withoutRestarts = after.filter(({ type }) => type !== "restart");
        await expectPart(await live(second, withoutRestarts, RULES), 3);
        await expectPart(await TestStore.open({ log, now: second.now, rules: RULES }), 3);
      }),
      runs(40) as fc.Parameters<[Step[], Step[], number]>,
    );
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
  });
});
