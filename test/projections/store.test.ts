/** Decide, append, evolve, answer: what the store does around every command and query. */
import { describe, expect, it } from "vitest";
import { LogError } from "../../log/index.js";
import { asIs, kv, TEXT_TYPE } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryLog } from "../support/memory-log.js";

const setA = { key: "a", value: "1", contentType: TEXT_TYPE };

/** Whether a promise has settled by the time everything that is ready has run. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe("store", () => {
  it("answers a write with the offset of its record", async () => {
    const t = await TestStore.open();
    const outcome = await t.run(kv.set, setA);
    expect(outcome).toMatchObject({ type: "done", offset: 1, answer: { written: true, revision: 1 } });
    expect(await t.answer(kv.get, { key: "a" })).toEqual({
      bytes: "1",
      contentType: TEXT_TYPE,
      revision: 1,
      expiresAt: 0,
    });
  });

  it("reads at once, without a promise, what is committed", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, setA);
    expect(t.store.query(kv.get, { key: "a" }, t.context(), asIs)).toMatchObject({ type: "done", offset: 1 });
  });

  it("decides the next command on a state that contains the uncommitted one before", async () => {
    const t = await TestStore.open({ log: new MemoryLog({ held: true }) });
    const first = t.run(kv.increment, { key: "n", amount: 1n });
    const second = t.run(kv.increment, { key: "n", amount: 1n });
    t.log.release();
    expect(await first).toMatchObject({ answer: { value: 1n } });
    expect(await second).toMatchObject({ answer: { value: 2n } });
  });

  it("holds back a write's answer until its record is committed", async () => {
    const t = await TestStore.open({ log: new MemoryLog({ held: true }) });
    const write = t.run(kv.set, setA);
    expect(await settled(write)).toBe(false);
    t.log.release();
    expect(await settled(write)).toBe(true);
  });

  it("shows no value before its write is committed, and no other key waits for it", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, { ...setA, key: "old" });
    t.log.hold();
    void t.run(kv.set, setA);
    const read = t.ask(kv.get, { key: "a" });
    expect(await settled(t.ask(kv.get, { key: "old" }))).toBe(true);
    expect(await settled(read)).toBe(false);
    t.log.release();
    expect(await read).toMatchObject({ answer: { bytes: "1" } });
  });

  it.each([
    ["deleted", async (t: TestStore) => t.run(kv.delete, { key: "a" })],
    ["flushed", async (t: TestStore) => t.run(kv.flush, {})],
    ["renamed", async (t: TestStore) => t.run(kv.rename, { key: "a", destination: "b" })],
  ])("does not tell that a key is gone before it was durably %s", async (_how, remove) => {
    const t = await TestStore.open();
    await t.ok(kv.set, setA);
    t.log.hold();
    const removal = remove(t);
    const read = t.ask(kv.get, { key: "a" });
    expect(await settled(read)).toBe(false);
    t.log.release();
    expect(await read).toMatchObject({ answer: undefined });
    await removal;
  });

  it.each([
    ["a refusal", (t: TestStore) => t.run(kv.set, { ...setA, ifRevision: 7 })],
    ["a condition not met", (t: TestStore) => t.run(kv.set, { ...setA, nx: true })],
    ["a deletion of nothing", (t: TestStore) => t.run(kv.delete, { key: "gone" })],
    ["a scan", (t: TestStore) => t.ask(kv.scan, { limit: 10 })],
    ["a size", (t: TestStore) => t.ask(kv.size, {})],
    ["statistics", (t: TestStore) => t.ask(kv.stats, {})],
    ["a random key", (t: TestStore) => t.ask(kv.randomKey, {})],
    ["many keys", (t: TestStore) => t.ask(kv.getMany, { keys: ["other", "a"] })],
    ["an error about a missing key", (t: TestStore) => t.ask(kv.ttl, { key: "gone" })],
  ])("holds back %s that tells of an uncommitted change", async (_what, ask) => {
    const t = await TestStore.open();
    await t.ok(kv.setMany, { pairs: [setA, { ...setA, key: "gone" }, { ...setA, key: "other" }] });
    t.log.hold();
    void t.run(kv.delete, { key: "gone" });
    void t.run(kv.set, setA);
    const asked = ask(t);
    expect(await settled(asked)).toBe(false);
    t.log.release();
    expect(await settled(asked)).toBe(true);
  });

  it("waits for the key's last event, not for what came after it", async () => {
    const t = await TestStore.open({ log: new MemoryLog({ held: true }) });
    void t.run(kv.set, setA);
    void t.run(kv.set, { ...setA, key: "b" });
    const read = t.ask(kv.get, { key: "a" });
    t.log.release(t.log.records[0]!.offset);
    expect(await settled(read)).toBe(true);
  });

  it("keeps the gate of an expired key after its memory was reclaimed", async () => {
    const t = await TestStore.open({ log: new MemoryLog({ held: true }) });
    void t.run(kv.set, { ...setA, expiry: { type: "milliseconds", value: 10 } });
    t.now += 20;
    expect(t.store.reclaimExpired(t.now, 10)).toBe(1);
    expect(await settled(t.ask(kv.get, { key: "a" }))).toBe(false);
  });

  it("changes nothing when the log refuses, and goes on when it takes records again", async () => {
    const t = await TestStore.open();
    t.log.refuse(new LogError("LOG_DISK_FULL", "full"));
    await expect(t.run(kv.set, setA)).rejects.toMatchObject({ code: "LOG_DISK_FULL" });
    expect(await t.answer(kv.get, { key: "a" })).toBeUndefined();
    t.log.refuse(undefined);
    expect(await t.ok(kv.set, setA)).toMatchObject({ written: true });
  });

  it("fails every waiting answer when the log fails, and still reads what was committed", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, setA);
    await t.ok(kv.set, { ...setA, key: "b" });
    t.log.hold();
    const write = t.run(kv.set, { ...setA, value: "2" });
    const read = t.ask(kv.get, { key: "a" });
    t.log.fail();
    await expect(write).rejects.toMatchObject({ code: "LOG_FAILED" });
    await expect(read).rejects.toMatchObject({ code: "LOG_FAILED" });
    await expect(t.run(kv.set, setA)).rejects.toMatchObject({ code: "LOG_FAILED" });
    expect(await t.answer(kv.get, { key: "b" })).toMatchObject({ bytes: "1" });
  });

  it("appends no record for a command that changes nothing", async () => {
    const t = await TestStore.open();
    await t.ok(kv.delete, { key: "a" });
    await t.ok(kv.set, { ...setA, xx: true });
    await t.ok(kv.setMany, { pairs: [] });
    expect(t.log.endOffset).toBe(0);
  });

  it("is dead after a record that it cannot read, and says so once", async () => {
    const t = await TestStore.open();
    await t.ok(kv.set, setA);
    t.log.append({ kind: 16, version: 1, timestamp: t.now, body: Uint8Array.of(0x96, 0xc1) });
    expect(t.deaths).toMatchObject([{ code: "PROJECTION_EVENT_MALFORMED" }]);
    t.log.append({ kind: 16, version: 1, timestamp: t.now, body: Uint8Array.of(0xc1) });
    expect(t.deaths).toHaveLength(1);
    await expect(t.run(kv.set, setA)).rejects.toMatchObject({ code: "PROJECTION_DEAD" });
    expect(() => t.store.query(kv.get, { key: "a" }, t.context(), asIs)).toThrow(/not shown/);
  });

  it("refuses to open over an event that it does not know", async () => {
    const log = new MemoryLog();
    log.append({ kind: 4_000, version: 1, timestamp: 1, body: new Uint8Array() });
    await expect(TestStore.open({ log })).rejects.toMatchObject({ code: "PROJECTION_EVENT_UNKNOWN" });
    const newer = new MemoryLog();
    newer.append({ kind: 16, version: 9, timestamp: 1, body: new Uint8Array() });
    await expect(TestStore.open({ log: newer })).rejects.toMatchObject({ code: "PROJECTION_EVENT_UNKNOWN" });
  });

  it("answers nothing after it was closed", async () => {
    const t = await TestStore.open();
    await t.store.close();
    await expect(t.run(kv.set, setA)).rejects.toMatchObject({ code: "PROJECTION_CLOSED" });
  });

  it("replays every batch of a log and tells how far it is", async () => {
    const t = await TestStore.open();
    for (let n = 0; n < 25; n++) await t.ok(kv.set, { ...setA, key: `k${n}` });
    const told: number[] = [];
    const log = new MemoryLog({ records: t.log.records, batchRecords: 10 });
    const again = await TestStore.open({ log, onProgress: ({ done }) => told.push(done) });
    expect(told).toEqual([10, 20, 25]);
    expect(again.store.offset).toBe(25);
    expect(again.store.digest()).toBe(t.store.digest());
  });

  it("never decides or reads before the log's own time, so that a clock set back revives no key", async () => {
    const t = await TestStore.open({ now: 1_000 });
    // More than one command reclaims on its way: some are still held when the clock goes back.
    const keys = Array.from({ length: 12 }, (_, n) => `k${n}`);
    for (const key of keys) await t.ok(kv.set, { ...setA, key, expiry: { type: "milliseconds", value: 50 } });
    t.now = 1_100;
    await t.ok(kv.set, { ...setA, key: "later" });
    t.now = 1_010;
    const expiry = { type: "seconds", value: 9 } as const;
    expect(await t.answer(kv.getMany, { keys })).toEqual(keys.map(() => undefined));
    expect(await t.answer(kv.size, {})).toEqual({ size: 1 });
    for (const key of keys) expect(await t.ok(kv.expire, { key, expiry })).toEqual({ result: false });
    const again = await TestStore.open({
      now: 1_010,
      log: new MemoryLog({ records: t.log.records, batchRecords: 12 }),
    });
    expect(await again.answer(kv.getMany, { keys })).toEqual(keys.map(() => undefined));
  });
});
