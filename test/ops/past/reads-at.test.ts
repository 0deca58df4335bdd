// Reads with `at` through the doors, over a small mixed history: what was answered live then is what is answered now.
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { pastReads } from "../../../api/index.js";
import { operations } from "../../../api/operations/catalog.js";
import { type LogRecord, offset } from "../../../log/index.js";
import { Fold } from "../../../projections/index.js";
import { TEST_STORE_RULES } from "../../support/kv-store.js";
import { MemoryLog } from "../../support/memory-log.js";
import { TestServer } from "../../support/test-server.js";

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.close());

const write = (command: string, payload: object): readonly [string, object] => [command, payload];

/** Each is one record; the clock moves on by 10 ms before it. Deadlines, delays and expiries pass on the way. */
const HISTORY: readonly (readonly [string, object])[] = [
  write("kv.set", { key: "a", value: "one" }),
  write("kv.set", { key: "b", value: { deep: [1, 2] } }),
  write("kv.incr", { key: "n" }),
  write("queue.create", { name: "q", config: { ack_deadline_secs: 1, default_max_retries: 0 } }),
  write("kv.set", { key: "a", value: "two", ttl: 1 }),
  write("queue.publish", { queue: "q", payload: "m1" }),
  write("stream.create", { room: "r", max_events: 2 }),
  write("kv.mset", {
    pairs: [
      { key: "c", value: "3" },
      { key: "d", value: "4" },
    ],
  }),
  write("stream.publish", { room: "r", event: "e", data: { x: 1 } }),
  write("queue.publish", { queue: "q", payload: "m2", priority: 9 }),
  write("stream.publish_batch", {
    room: "r",
    events: [
      { event: "e", data: 2 },
      { event: "f", data: 3 },
    ],
  }),
  write("queue.consume", { queue: "q", consumer_id: "w" }),
  write("kv.del", { key: "b" }),
  write("key.rename", { key: "c", destination: "e" }),
  write("queue.create", { name: "later" }),
  write("kv.append", { key: "e", value: "+" }),
  write("queue.purge", { queue: "q" }),
  write("stream.trim", { room: "r", before_offset: 3 }),
  write("kv.set", { key: "a", value: "three" }),
  write("stream.delete", { room: "r" }),
  write("queue.delete", { queue: "later" }),
  write("kv.mdel", { keys: ["d", "e"] }),
];

/** Everything that the past tells, but for what only a process counts. */
const READS: readonly (readonly [string, object])[] = [
  ...["a", "b", "n", "c", "e"].map((key) => write("kv.get", { key })),
  write("kv.get", { key: "a", type: "bytes" }),
  write("kv.mget", { keys: ["a", "b", "c", "d", "e"] }),
  write("kv.scan", { prefix: "" }),
  write("kv.keys", {}),
  write("kv.dbsize", {}),
  write("kv.exists", { key: "b" }),
  write("key.type", { key: "b" }),
  write("kv.ttl", { key: "a" }),
  write("kv.strlen", { key: "e" }),
  write("kv.getrange", { key: "a", start: 0, end: 1 }),
  write("kv.entries", { keys: ["a", "b", "c", "e"] }),
  write("kv.history", { key: "a" }),
  write("restore_point.list", {}),
  write("queue.list", {}),
  write("queue.stats", { queue: "q" }),
  write("queue.peek", { queue: "q" }),
  write("queue.dlq_list", { queue: "q" }),
  write("stream.list", {}),
  write("stream.consume", { room: "r", subscriber_id: "s" }),
];

interface Remembered {
  readonly offset: number;
  readonly now: number;
  readonly answers: readonly unknown[];
  readonly digest: string;
}

/** Runs the history; after each record every read is asked of the live store. */
async function live(): Promise<Remembered[]> {
  const remembered: Remembered[] = [];
  for (const [command, payload] of HISTORY) {
    server.now += command === "queue.purge" || command === "kv.append" ? 1_500 : 10;
    const done = await server.command(command, payload);
    expect(done, command).toMatchObject({ success: true });
    const answers = [];
    for (const [read, input] of READS) answers.push(await server.command(read, input));
    remembered.push({
      offset: server.log.endOffset,
      now: server.now,
      answers,
      digest: server.store.digest(),
    });
  }
  return remembered;
}

async function envelopeAt(command: string, payload: object, at: number | string) {
  const body = { command, request_id: "r-1", payload, at };
  return server.post("/api/v1/command", body);
}

describe("a read at an offset", () => {
  it("answers what was answered live at that time, for every offset, forth and back", async () => {
    const remembered = await live();
    expect(remembered.map(({ offset }) => offset)).toEqual(HISTORY.map((_, index) => index + 1));
    const once = new Set(remembered.flatMap(({ answers }) => answers.map((each) => JSON.stringify(each))));
    expect(once.size).toBeGreaterThan(60);
    for (const { offset, answers } of [...remembered, ...remembered.toReversed()]) {
      for (const [index, [read, input]] of READS.entries()) {
        const answer = await envelopeAt(read, input, offset);
        expect(answer.json, `${read} at ${offset}`).toEqual(answers[index]);
        if ((answer.json as { success: boolean }).success) {
          expect(answer.headers.get("x-annals-offset")).toBe(String(offset));
        }
      }
    }
  });

  it("tells the digest that the live store had, for every offset", async () => {
    const remembered = await live();
    for (const { offset, digest, now } of remembered) {
      const answer = await server.get(`/digest?offset=${offset}`);
      expect(answer.json).toMatchObject({ offset, time: now, digests: { all: digest } });
    }
    expect((await server.get("/digest")).json).toMatchObject({ digests: { all: server.store.digest() } });
    expect(new Set(remembered.map(({ digest }) => digest)).size).toBe(remembered.length);
  });

  it("comes through every door, with the offset looked at and the revision that was there", async () => {
    await server.command("kv.set", { key: "a", value: "one" });
    await server.command("kv.set", { key: "a", value: "two" });
    await server.command("kv.del", { key: "a" });
    for (const [at, value] of [
      [1, "one"],
      [2, "two"],
    ] as const) {
      const get = await server.get(`/kv/get/a?at=${at}`);
      expect(get.json).toBe(value);
      expect(get.headers.get("x-annals-offset")).toBe(String(at));
      expect(get.headers.get("x-annals-revision")).toBe(String(at));
      const raw = await server.get(`/kv/a?at=${at}`);
      expect(raw.text).toBe(value);
      expect(raw.headers.get("etag")).toBe(`"${at}"`);
      expect(raw.headers.get("x-annals-offset")).toBe(String(at));
      expect(raw.headers.get("content-type")).toBe("text/plain; charset=utf-8");
      const many = await server.post(`/kv/mget?at=${at}`, { keys: ["a"] });
      expect(many.json).toMatchObject({ values: [value] });
    }
    expect((await server.get("/kv/get/a?at=3")).json).toEqual({ error: "Key not found" });
    expect((await server.get("/kv/a?at=3")).status).toBe(404);
    expect((await server.get("/kv/a?at=1", { "if-none-match": '"1"' })).status).toBe(304);
    expect((await server.get("/kv/get/a")).json).toEqual({ error: "Key not found" });
  });

  it("keeps bytes that are no text, and 64-bit numbers, as they were", async () => {
    await server.request("PUT", "/kv/raw", new Uint8Array([0, 255, 128]), { "content-type": "image/x" });
    await server.post("/kv/set", '{"key":"big","value":9223372036854775807}', {
      "content-type": "application/json",
    });
    await server.command("kv.mdel", { keys: ["raw", "big"] });
    const raw = await fetch(`${server.url}/kv/raw?at=2`);
    expect([...new Uint8Array(await raw.arrayBuffer())]).toEqual([0, 255, 128]);
    expect(raw.headers.get("content-type")).toBe("image/x");
    const many = await envelopeAt("kv.mget", { keys: ["big"] }, 2);
    expect(many.text).toContain("9223372036854775807");
  });

  it("counts nothing that only a process counts", async () => {
    await server.command("kv.set", { key: "a", value: "1" });
    await server.get("/kv/get/a");
    await server.get("/kv/get/a?at=1");
    const stats = (await server.get("/kv/stats?at=1")).json;
    expect(stats).toMatchObject({
      total_keys: 1,
      operations: { gets: 0, sets: 0, dels: 0, hits: 0, misses: 0 },
    });
    expect((await server.get("/kv/stats")).json).toMatchObject({ operations: { gets: 1 } });
  });

  it("waits for a minimum offset first", async () => {
    const answer = server.get("/kv/get/a?at=1&min_offset=1");
    await server.command("kv.set", { key: "a", value: "1" });
    expect((await answer).json).toBe("1");
  });
});

describe("a read at a time", () => {
  it("shows the last record that is not younger, one millisecond before, at, and after each record's time", async () => {
    const remembered = await live();
    for (const [index, { offset, now }] of remembered.entries()) {
      const before = remembered[index - 1]?.offset;
      for (const [time, expected] of [
        [now - 1, before],
        [now, offset],
        [now + 1, offset],
      ] as const) {
        if (time > server.now) continue;
        for (const at of [`${time}ms`, new Date(time).toISOString()]) {
          const answer = await server.get(`/kv/dbsize?at=${at}`);
          if (expected === undefined)
            expect(answer.json).toMatchObject({ error_code: "API_AT_BEFORE_FIRST" });
          else expect(answer.headers.get("x-annals-offset"), at).toBe(String(expected));
        }
      }
    }
  });

  it("shows the last of several records of one millisecond", async () => {
    for (const value of ["1", "2", "3"]) await server.command("kv.set", { key: "a", value });
    const answer = await server.get(`/kv/get/a?at=${server.now}ms`);
    expect(answer.json).toBe("3");
    expect(answer.headers.get("x-annals-offset")).toBe("3");
  });

  it("judges expiry at that time, at an offset at the record's own", async () => {
    await server.command("kv.set", { key: "a", value: "1", ttl: 1 });
    const set = server.now;
    server.now += 5_000;
    const at = async (moment: string) => (await server.get(`/key/a/exists?at=${moment}`)).json;
    expect(await at(`${set + 999}ms`)).toMatchObject({ exists: true });
    expect(await at(`${set + 1_000}ms`)).toMatchObject({ exists: false });
    expect(await at("1")).toMatchObject({ exists: true });
    expect((await server.get("/key/a/exists")).json).toMatchObject({ exists: false });
  });

  it("is understood with a zone that is not UTC", async () => {
    await server.command("kv.set", { key: "a", value: "1" });
    const local = `${new Date(server.now + 7_200_000).toISOString().slice(0, -1)}%2B02:00`;
    expect((await server.get(`/kv/get/a?at=${local}`)).json).toBe("1");
  });
});

describe("what cannot be looked at is refused", () => {
  it.each([
    "x",
    "-1",
    "1.5",
    "1e3",
    "2026-01-31",
    "2026-01-31T12:00:00",
    "2026-02-30T12:00:00Z",
    "2026-01-31T24:00:00Z",
    "12ms3",
    "--1ms",
    "99999999999999999",
    "",
  ])("%j is no moment", async (at) => {
    expect((await server.get(`/kv/get/a?at=${at}`)).json).toMatchObject({ error_code: "API_AT_INVALID" });
  });

  it("an offset beyond the end, a time to come, and before everything, with where the log begins and ends", async () => {
    await server.command("kv.set", { key: "a", value: "1" });
    const bounds = { first_offset: 1, end_offset: 1 };
    for (const at of ["2", `${server.now + 1}ms`]) {
      const answer = await server.get(`/kv/get/a?at=${at}`);
      expect(answer.json, at).toMatchObject({ error_code: "LOG_OFFSET_BEYOND_END", ...bounds });
    }
    for (const at of ["0", `${server.now - 1}ms`, "1969-12-31T00:00:00Z", "-86400000ms"]) {
      const answer = await server.get(`/kv/get/a?at=${at}`);
      expect(answer.json, at).toMatchObject({ error_code: "API_AT_BEFORE_FIRST", ...bounds });
      expect(answer.status).toBe(422);
    }
  });

  it("what is not committed yet", async () => {
    const held = new MemoryLog({ held: true });
    const other = await TestServer.start({ log: held });
    const pending = other.command("kv.set", { key: "a", value: "1" });
    await expect.poll(() => held.endOffset).toBe(1);
    expect((await other.get("/kv/get/a?at=1")).json).toMatchObject({ error_code: "LOG_OFFSET_BEYOND_END" });
    expect((await other.get("/digest?offset=1")).json).toMatchObject({ error_code: "LOG_OFFSET_BEYOND_END" });
    expect((await other.get("/log/crc?offset=1")).json).toMatchObject({
      error_code: "LOG_OFFSET_BEYOND_END",
    });
    held.release();
    await pending;
    expect((await other.get("/kv/get/a?at=1")).json).toBe("1");
    await other.close();
  });

  it("a time is not, for what was written by then and is not committed yet: that is waited for", async () => {
    const held = new MemoryLog({ held: true });
    const other = await TestServer.start({ log: held });
    const pending = other.command("kv.set", { key: "a", value: "1" });
    await expect.poll(() => held.endOffset).toBe(1);
    const then = other.get(`/kv/get/a?at=${other.now}ms`);
    expect(await Promise.race([then, sleep(50)])).toBeUndefined();
    held.release();
    expect((await then).json).toBe("1");
    await pending;
    await other.close();
  });

  it("an offset that retention removed, unless a snapshot reaches back", async () => {
    for (let i = 1; i <= 10; i++) await server.command("kv.set", { key: "a", value: String(i) });
    Object.defineProperty(server.log, "firstOffset", { value: 6 });
    const bounds = { first_offset: 6, end_offset: 10 };
    for (const path of ["/kv/get/a?at=7", "/digest?offset=5", "/log/crc?offset=5"]) {
      const answer = await server.get(path);
      expect(answer.json, path).toMatchObject({ error_code: "LOG_OFFSET_RETIRED", ...bounds });
    }
    server.past.source.snapshots.push(server.log.firstOffset);
    expect((await server.get("/kv/get/a?at=5")).json).toMatchObject({ error_code: "LOG_OFFSET_RETIRED" });
    expect((await server.get(`/kv/get/a?at=${server.now}ms`)).status).toBe(200);
  });

  it("a time before the first record that is left, unless the snapshot before it is as old", async () => {
    const times: number[] = [];
    for (let i = 1; i <= 10; i++) {
      await server.command("kv.set", { key: "a", value: String(i) });
      times.push(server.now);
      server.now += 100;
    }
    const [fifth = 0, sixth = 0] = times.slice(4, 6);
    const records: LogRecord[] = [];
    for await (const batch of server.log.read(offset(1), { last: offset(5) })) records.push(...batch);
    Object.defineProperty(server.log, "firstOffset", { value: 6 });
    const at = async (time: number) => (await server.get(`/kv/get/a?at=${time}ms`)).json;
    const retired = expect.objectContaining({ error_code: "LOG_OFFSET_RETIRED", first_offset: 6 });
    expect(await at(fifth)).toEqual(retired);
    server.past.source.snapshots.push(offset(5));
    vi.spyOn(server.past.source, "begin").mockImplementation(async () => {
      const fold = new Fold({ rules: TEST_STORE_RULES });
      for (const record of records) fold.take(record);
      return fold;
    });
    for (const time of [fifth, fifth + 50, sixth - 1]) expect(await at(time)).toBe("5");
    expect(await at(sixth)).toBe("6");
    for (const time of [fifth - 1, 1, 0, -5]) expect(await at(time)).toEqual(retired);
  });

  it("a write, what tells of the process, what waits, and the door of durable streams", async () => {
    await server.command("kv.set", { key: "a", value: "1" });
    const refused = { success: false, error_code: "API_AT_UNSUPPORTED" };
    expect((await envelopeAt("kv.set", { key: "a", value: "2" }, 1)).json).toMatchObject(refused);
    expect((await envelopeAt("queue.consume", { queue: "q", consumer_id: "c" }, 1)).json).toMatchObject(
      refused,
    );
    expect((await envelopeAt("info", {}, 1)).json).toMatchObject(refused);
    const told = expect.objectContaining({ error_code: "API_AT_UNSUPPORTED", code: 400 });
    expect((await server.post("/kv/set?at=1", { key: "a", value: "2" })).json).toEqual(told);
    expect((await server.request("DELETE", "/kv/del/a?at=1")).json).toEqual(told);
    expect((await server.request("PUT", "/kv/a?at=1", "2")).json).toEqual(told);
    expect((await server.get("/queue/q/consume/c?at=1")).json).toEqual(told);
    for (const path of ["/info?at=1", "/metrics?at=1", "/digest?at=1", "/v1/stream/s?at=1"]) {
      expect((await server.get(path)).json, path).toMatchObject({ error_code: "API_AT_UNSUPPORTED" });
    }
    expect((await server.get("/kv/get/a")).json).toBe("1");
  });

  it("a bad input, before anything is replayed", async () => {
    await server.command("kv.set", { key: "a", value: "1" });
    const answer = await server.get("/kv/scan?limit=0&at=1");
    expect(answer.json).toMatchObject({ error_code: "API_FIELD_INVALID" });
    expect(server.past.threads).toHaveLength(0);
    expect((await server.get("/queue/none/stats?at=1")).json).toMatchObject({
      error_code: "QUEUE_NOT_FOUND",
    });
    expect((await server.get("/kv/get/a?at=1&at=2")).json).toMatchObject({ error_code: "API_AT_INVALID" });
  });

  it("anything, when looking back is switched off", async () => {
    const off = await TestServer.start({ past: "off" });
    await off.command("kv.set", { key: "a", value: "1" });
    for (const path of ["/kv/get/a?at=1", "/kv/a?at=1", "/digest"]) {
      expect((await off.get(path)).json, path).toMatchObject({ error_code: "API_DISABLED" });
    }
    await off.close();
  });
});

describe("the catalogue", () => {
  it("says of every read whether it has a past", () => {
    const reads = operations.filter(({ kind }) => kind === "read");
    const ofNow = reads.filter((each) => each.ofNow === true).map(({ name }) => name);
    expect(ofNow.sort()).toEqual([
      ...["admin.digest", "admin.health", "admin.livez", "admin.log_crc", "admin.metrics", "admin.readyz"],
      ...[
        "admin.replication_health",
        "admin.snapshots",
        "info",
        ...[
          "breakers",
          "diverged",
          "follow",
          "forget",
          "promote",
          "reset_breakers",
          "resync",
          "status",
          "switchover",
        ].map((name) => `replication.${name}`),
        "transaction.discard",
        "transaction.multi",
        "transaction.unwatch",
        "transaction.watch",
      ],
    ]);
    const tried = new Set(READS.map(([name]) => name));
    const untried = pastReads.filter((name) => !tried.has(name));
    // Any key will do, aliases, and what the other tests ask for.
    expect(untried.sort()).toEqual([
      ...[
        "key.exists",
        "key.randomkey",
        "kv.stats",
        "queue.dlq_read",
        "queue.get",
        "queue.history",
        "stream.stats",
      ],
    ]);
  });
});
