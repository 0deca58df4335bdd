// What is kept in the order in which it came: the oldest goes first, in no more time and memory than what is there is worth.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { IdempotencyState } from "../../projections/idempotency/state.js";
import { RemovedKeys } from "../../projections/kv/removed-keys.js";
import { OldestFirst } from "../../projections/oldest-first.js";

describe("entries in the order in which they came", () => {
  it("tell of the oldest, also when that was deleted, or set again", () => {
    const entries = new OldestFirst<number>();
    expect(entries.oldest).toBeUndefined();
    for (const key of ["a", "b", "c"]) entries.set(key, 1);
    expect(entries.oldest).toEqual(["a", 1]);
    entries.set("a", 2);
    expect([entries.oldest, entries.size]).toEqual([["b", 1], 3]);
    entries.delete("b");
    entries.delete("b");
    expect([...entries]).toEqual([
      ["c", 1],
      ["a", 2],
    ]);
    entries.delete("c");
    entries.delete("a");
    expect(entries.oldest).toBeUndefined();
    entries.set("d", 3);
    expect(entries.oldest).toEqual(["d", 3]);
  });

  it("do as a list does, whatever comes and goes", () => {
    const [entries, list] = [new OldestFirst<number>(), new Map<string, number>()];
    let random = 1;
    for (let step = 0; step < 20_000; step++) {
      random = (random * 48_271) % 2_147_483_647;
      const key = `k${random % 50}`;
      list.delete(key);
      if (random % 3 === 0) entries.delete(key);
      else {
        entries.set(key, step);
        list.set(key, step);
      }
      if (random % 5 === 0) expect(entries.oldest).toEqual([...list][0]);
    }
    expect([...entries]).toEqual([...list]);
  });
});

describe("a key that is set and deleted again and again", () => {
  it("takes no memory for the times that it was gone", () => {
    const removed = new RemovedKeys(() => 1 << 20);
    for (let each = 0; each < 100; each++) removed.remember(`other${each}`, offset(1), true);
    const comeAndGo = (times: number): void => {
      for (let time = 0; time < times; time++) {
        removed.remember("lock", offset(2), true);
        removed.takeBack("lock");
      }
    };
    comeAndGo(10_000);
    const before = heapBytes();
    comeAndGo(200_000);
    expect(heapBytes() - before).toBeLessThan(2_000_000);
    expect(removed.size).toBe(100);
  });
});

describe("a kept answer", () => {
  it("takes the place of the oldest in the same time, however many there are", () => {
    const few = Math.min(...[1, 2, 3].map(() => secondsOfAnswers(100)));
    expect(Math.min(...[1, 2, 3].map(() => secondsOfAnswers(100_000)))).toBeLessThan(8 * few);
  });
});

/** For 30,000 answers more than are kept, when `answersMax` are. */
function secondsOfAnswers(answersMax: number): number {
  const state = new IdempotencyState({ windowMs: 100, answersMax, bytesMax: 1 << 30 });
  const answer = {
    fingerprint: new Uint8Array(32),
    expiresAt: 100,
    status: 200,
    revision: undefined,
    body: "",
  };
  const keep = (each: number): void =>
    state.put({ type: "idempotency.answered", key: `key${each}`, ...answer }, offset(each + 1), 0);
  for (let each = 0; each < answersMax; each++) keep(each);
  const start = performance.now();
  for (let each = 0; each < 30_000; each++) keep(answersMax + each);
  expect(state.size).toBe(answersMax);
  return (performance.now() - start) / 1_000;
}

/** Of what somebody still holds. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
