// The end of looking back that the API holds: waiting, giving up, a thread that dies, and one that nobody needs.

import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Moment } from "../../../api/index.js";
import { LiveSettings } from "../../../ops/config/rooms.js";
import { PastSeries } from "../../../ops/metrics/past-series.js";
import { Series } from "../../../ops/metrics/series.js";
import { kv, TEXT_TYPE } from "../../../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../../support/kv-store.js";
import { MemoryLog } from "../../support/memory-log.js";
import {
  type LocalPast,
  type LocalPastOptions,
  pastInProcess,
  settingsOf,
} from "../../support/past-in-process.js";
import { TEST_LIMITS } from "../../support/test-server.js";

let log: MemoryLog;
let local: LocalPast;
beforeEach(async () => {
  log = new MemoryLog({ batchRecords: 5 });
  const store = await TestStore.open({ log });
  for (let i = 1; i <= 50; i++) await store.ok(kv.set, { key: "k", value: `v${i}`, contentType: TEXT_TYPE });
  await store.store.close();
});
afterEach(() => local.past.close());

function begin(options: LocalPastOptions = {}): LocalPast {
  local = pastInProcess(log, TEST_STORE_RULES, TEST_LIMITS, options);
  return local;
}

const at = (offset: number): Moment => ({ type: "offset", offset });
const patient = (): AbortSignal => new AbortController().signal;
const get = (offset: number, signal = patient()) =>
  local.past.read("kv.get", { key: "k" }, at(offset), signal);

/** Nothing is read before `go`; `asked` resolves when something is wanted. */
function hold(): { readonly asked: Promise<void>; readonly go: () => void } {
  let go = (): void => undefined;
  let wanted = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    wanted = resolve;
  });
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  local.source.pause = () => {
    wanted();
    return gate;
  };
  return { asked, go };
}

const REFUSED = { type: "refused" };

describe("a look at the past", () => {
  it("answers, with the offset looked at, and starts one thread for all", async () => {
    begin();
    const [first, second] = await Promise.all([get(10), get(20)]);
    expect(first).toMatchObject({ type: "answered", at: 10, revision: 10, payload: { text: '"v10"' } });
    expect(second).toMatchObject({ type: "answered", at: 20, payload: { text: '"v20"' } });
    expect(local.threads).toHaveLength(1);
    expect(local.past.asks).toEqual({ kept: 0, moved: 1, begun: 1, refused: 0, failed: 0 });
    expect(local.past.figures).toMatchObject({ folds: 1, replayedRecords: 20 });
    expect(local.past.figures.bytes).toBeGreaterThan(0);
  });

  it("has the settings of now, also in a thread that is there", async () => {
    let values = settingsOf({ ANNALS_HISTORY_RECORDS_MAX: "2" });
    local = pastInProcess(log, TEST_STORE_RULES, new LiveSettings(values), { values: () => values });
    const next = async (): Promise<unknown> => {
      const answer = await local.past.read("kv.history", { key: "k" }, at(50), patient());
      return JSON.parse((answer as { payload: { text: string } }).payload.text).next;
    };
    expect(await next()).toBe(49);
    values = settingsOf();
    expect(await next()).toBeNull();
    expect(local.threads).toHaveLength(1);
  });

  it("starts nothing for a moment that is refused", async () => {
    begin();
    expect(await get(51)).toMatchObject({ ...REFUSED, code: "LOG_OFFSET_BEYOND_END" });
    expect(local.threads).toHaveLength(0);
  });

  it("is refused when too many wait, and taken again when they don't", async () => {
    begin({ waitingMax: 2 });
    const { asked, go } = hold();
    const waiting = [get(10), get(20)];
    await asked;
    expect(await get(30)).toMatchObject({ ...REFUSED, code: "API_PAST_BUSY" });
    go();
    expect(await Promise.all(waiting)).toMatchObject([{ at: 10 }, { at: 20 }]);
    expect(await get(30)).toMatchObject({ at: 30 });
  });

  it("is given up after its time; what was folded by then is kept for the next one", async () => {
    begin({ timeoutMs: () => 30 });
    const { asked, go } = hold();
    const late = get(40);
    await asked;
    expect(await late).toMatchObject({ ...REFUSED, code: "API_PAST_TIMEOUT" });
    const [thread] = local.threads;
    await expect.poll(() => thread?.heard.map(({ type }) => type)).toEqual(["run", "cancel"]);
    go();
    local.source.pause = () => Promise.resolve();
    await expect.poll(async () => (await get(40)).type).toBe("answered");
    expect(local.source.begun).toEqual([0]);
    expect(local.past.figures.replayedRecords).toBe(40);
  });

  it("ends when the client goes away, and tells the thread", async () => {
    begin();
    const { asked, go } = hold();
    const client = new AbortController();
    const answer = get(40, client.signal);
    await asked;
    client.abort();
    expect(await answer).toMatchObject({ ...REFUSED, code: "API_CLIENT_GONE" });
    await expect.poll(() => local.threads[0]?.heard.at(-1)?.type).toBe("cancel");
    expect(await get(10, client.signal)).toMatchObject({ code: "API_CLIENT_GONE" });
    go();
  });
});

describe("a thread that ends", () => {
  it("fails what it was asked, and the next ask starts another", async () => {
    begin();
    expect(await get(10)).toMatchObject({ at: 10 });
    const { asked } = hold();
    const waiting = [get(20), get(30)];
    await asked;
    local.threads[0]?.tell("error", new Error("out of memory"));
    local.threads[0]?.tell("exit", 1);
    for (const each of await Promise.all(waiting)) expect(each).toMatchObject({ code: "API_PAST_FAILED" });
    local.source.pause = () => Promise.resolve();
    expect(await get(20)).toMatchObject({ at: 20 });
    expect(local.threads).toHaveLength(2);
    expect(local.past.asks.failed).toBe(2);
    // Counted over all threads.
    expect(local.past.figures.replayedRecords).toBe(30);
  });

  it("is not heard any more, whatever it still says", async () => {
    begin();
    await get(10);
    const [old] = local.threads;
    old?.tell("exit", 0);
    await get(20);
    const figures = { folds: 9, bytes: 9, replayedRecords: 999 };
    old?.tell("message", {
      type: "done",
      id: 99,
      result: { type: "past", outcome: {}, found: "kept", figures },
    });
    expect(local.past.figures.folds).toBe(1);
    old?.tell("exit", 0);
    expect(await get(30)).toMatchObject({ at: 30 });
    expect(local.threads).toHaveLength(2);
  });

  it("is let go when nobody asked for a while, and its states with it", async () => {
    begin({ idleMs: 20 });
    await get(10);
    await expect.poll(() => local.threads[0]?.ended).toBe(true);
    expect(local.past.figures).toMatchObject({ folds: 0, bytes: 0, replayedRecords: 10 });
    expect(await get(10)).toMatchObject({ at: 10 });
    expect(local.threads).toHaveLength(2);
  });

  it("ends with the server, and nothing is asked after that", async () => {
    begin();
    const { asked } = hold();
    const waiting = get(10);
    await asked;
    await local.past.close();
    expect(await waiting).toMatchObject({ code: "API_PAST_FAILED" });
    expect(await get(10)).toMatchObject({ code: "API_PAST_FAILED" });
    expect(local.threads).toHaveLength(1);
    expect(local.threads[0]?.ended).toBe(true);
  });
});

describe("a failure in the thread", () => {
  it("arrives with its code, and the thread goes on", async () => {
    begin();
    local.source.pause = async () => {
      throw Object.assign(new Error("damaged"), { code: "LOG_CORRUPT" });
    };
    await expect(get(10)).rejects.toMatchObject({ message: "damaged", code: "LOG_CORRUPT" });
    local.source.pause = () => Promise.resolve();
    expect(await get(10)).toMatchObject({ at: 10 });
    expect(local.threads).toHaveLength(1);
  });
});

describe("metrics", () => {
  it("tell how states were found and what they take, and nothing while looking back is off", async () => {
    begin();
    await get(10);
    await get(10);
    const registry = new Registry();
    let source: LocalPast["past"] | undefined;
    const series = new PastSeries(new Series(registry, "annals"), () => source);
    series.asked(3_000);
    expect(await registry.metrics()).not.toMatch(/^annals_past_states /m);
    source = local.past;
    const page = await registry.metrics();
    expect(page).toContain('annals_past_reads_total{state="kept"} 1');
    expect(page).toContain('annals_past_reads_total{state="begun"} 1');
    expect(page).toContain("annals_past_replayed_records_total 10");
    expect(page).toContain("annals_past_states 1");
    expect(page).toContain('annals_past_read_duration_seconds_bucket{le="2.5"} 0');
    expect(page).toContain('annals_past_read_duration_seconds_bucket{le="5"} 1');
  });
});
