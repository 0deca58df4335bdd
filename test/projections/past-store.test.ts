// A store over a past state: the same readers, judged at one time, and nothing that changes.
import { describe, expect, it } from "vitest";
import { asIs, Fold, kv, PastStore, ProjectionError, TEXT_TYPE } from "../../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../support/kv-store.js";

async function past(time?: number) {
  const t = await TestStore.open({ now: 1_000 });
  const expiry = { type: "milliseconds", value: 500 } as const;
  await t.ok(kv.set, { key: "a", value: "1", contentType: TEXT_TYPE, expiry });
  const fold = new Fold({ rules: TEST_STORE_RULES });
  for (const record of t.log.records) fold.take(record);
  return new PastStore(fold, t.log, time);
}

const later = { now: 9_999_999, random: 0.5, cause: { command: "test" } };

describe("a store over the past", () => {
  it("judges every query at its own time, however late it is asked", async () => {
    const there = (store: PastStore) => store.query(kv.exists, { key: "a" }, later, asIs);
    expect(there(await past())).toMatchObject({ type: "done", answer: { exists: true } });
    expect(there(await past(1_499))).toMatchObject({ answer: { exists: true } });
    expect(there(await past(1_500))).toMatchObject({ answer: { exists: false } });
    // Never earlier than the state itself.
    expect((await past(3)).time).toBe(1_000);
  });

  it("changes nothing", async () => {
    const store = await past();
    expect(() => store.execute()).toThrow(ProjectionError);
    expect(store.offset).toBeGreaterThan(0);
  });

  it("has reached every offset that it ever will", async () => {
    let reached = false;
    (await past()).onReached(1_000, () => {
      reached = true;
    });
    expect(reached).toBe(true);
  });
});
