// A write that is sent again with its key changes nothing and is answered the same, through every door and after a restart.
import { afterEach, describe, expect, it } from "vitest";
import { LogError } from "../../log/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { type Answer, TestServer } from "../support/test-server.js";

let server: TestServer;
afterEach(async () => {
  await server.close();
});

const KEY = { "idempotency-key": "key-1" };
const told = ({ status, headers, text }: Answer) => ({
  status,
  text,
  etag: headers.get("etag"),
  offset: headers.get("x-annals-offset"),
  contentType: headers.get("content-type"),
});
const isReplay = (answer: Answer) => answer.headers.get("idempotent-replayed");

/** One request a door, each of which would do something else the second time. */
const requests: readonly (readonly [string, (headers: Record<string, string>) => Promise<Answer>])[] = [
  ["REST", (headers) => server.post("/kv/n/incr", { amount: 5 }, headers)],
  ["REST without a body", (headers) => server.request("DELETE", "/kv/del/there", undefined, headers)],
  [
    "a set that was not needed",
    (headers) => server.post("/kv/set", { key: "x", value: 1, nx: true }, headers),
  ],
  [
    "the envelope",
    (headers) =>
      server.post("/api/v1/command", { command: "kv.incr", request_id: "r", payload: { key: "n" } }, headers),
  ],
  ["the raw door, PUT", (headers) => server.request("PUT", "/kv/raw", "a value", headers)],
  ["the raw door, DELETE", (headers) => server.request("DELETE", "/kv/there", undefined, headers)],
  [
    "a batch",
    (headers) =>
      server.post(
        "/batch",
        {
          operations: [
            { command: "kv.incr", payload: { key: "n", amount: "9007199254740993" } },
            { command: "queue.create", payload: { name: "q" } },
            { command: "queue.publish", payload: { queue: "q", payload: "a job" } },
          ],
        },
        headers,
      ),
  ],
  [
    "the door of durable streams",
    (headers) => server.post("/v1/stream/s", "x", { ...headers, "content-type": "text/plain" }),
  ],
  [
    "the same door, with a producer",
    (headers) =>
      server.post("/v1/stream/s", "x", {
        ...headers,
        "content-type": "text/plain",
        "producer-id": "p",
        "producer-epoch": "0",
        "producer-seq": "0",
      }),
  ],
  ["a queue's message", (headers) => server.post("/queue/jobs/publish", { payload: "a job" }, headers)],
  ["a consume", (headers) => server.post("/queue/jobs/consume/me", {}, headers)],
];

async function begin(): Promise<void> {
  server = await TestServer.start();
  await server.post("/kv/set", { key: "there", value: "1" });
  await server.post("/kv/set", { key: "x", value: "1" });
  await server.request("PUT", "/v1/stream/s", undefined, { "content-type": "text/plain" });
  await server.post("/queue/jobs", {});
  await server.post("/queue/jobs/publish", { payload: "first" });
  await server.post("/queue/jobs/publish", { payload: "second" });
}

describe("a repeat", () => {
  it.each(requests)(
    "through %s changes nothing and is answered the same, also after a restart",
    async (_, send) => {
      await begin();
      const first = await send(KEY);
      expect([first.status < 300, isReplay(first)]).toEqual([true, null]);
      const end = server.log.endOffset;
      for (let restarts = 0; restarts < 2; restarts += 1) {
        const again = await send(KEY);
        expect(told(again)).toEqual(told(first));
        expect(isReplay(again)).toBe("true");
        expect(server.log.endOffset).toBe(end);
        const { records } = server.log as MemoryLog;
        await server.close();
        server = await TestServer.start({ log: new MemoryLog({ records }) });
      }
      const another = await send({ "idempotency-key": "key-2" });
      expect(isReplay(another)).toBeNull();
    },
  );

  it("is known by another door when its text is the same", async () => {
    await begin();
    const first = await server.post("/kv/set", '{"key":"a","value":"b"}', KEY);
    const again = await server.post(
      "/api/v1/command",
      '{"command":"kv.set","request_id":"other","payload":{"key":"a","value":"b"},"idempotency_key":"key-1"}',
    );
    expect(isReplay(again)).toBe("true");
    expect(again.json).toMatchObject({ success: true, request_id: "other", payload: first.json });
  });

  it("of a transaction's exec is answered, although the transaction is over", async () => {
    await begin();
    await server.post("/transaction/multi", { client_id: "c" });
    await server.post("/kv/set", { key: "a", value: "b", client_id: "c" });
    const first = await server.post("/transaction/exec", { client_id: "c" }, KEY);
    const again = await server.post("/transaction/exec", { client_id: "c" }, KEY);
    expect(first.status).toBe(200);
    expect(told(again)).toEqual(told(first));
  });

  it.each(["its name is free", "its name is another stream's"])(
    "of a fork is answered the same when its source is gone and %s",
    async (when) => {
      await begin();
      const fork = { ...KEY, "stream-forked-from": "/v1/stream/s" };
      const send = () => server.request("PUT", "/v1/stream/fork", undefined, fork);
      const first = await send();
      expect([first.status, isReplay(first)]).toEqual([201, null]);
      for (const name of ["fork", "s"]) await server.request("DELETE", `/v1/stream/${name}`);
      if (when !== "its name is free") await server.request("PUT", "/v1/stream/fork", "x");
      const end = server.log.endOffset;
      const again = await send();
      expect([told(again), isReplay(again)]).toEqual([told(first), "true"]);
      expect(server.log.endOffset).toBe(end);
    },
  );

  it("of an exec is none while the client has another transaction open, and that one stays open", async () => {
    await begin();
    const queue = async (key: string): Promise<void> => {
      await server.post("/transaction/multi", { client_id: "c" });
      await server.post("/kv/set", { key, value: "b", client_id: "c" });
    };
    await queue("first");
    const first = await server.post("/transaction/exec", { client_id: "c" }, KEY);
    await queue("second");
    const refused = await server.post("/transaction/exec", { client_id: "c" }, KEY);
    expect([refused.status, refused.json]).toEqual([
      422,
      expect.objectContaining({ error_code: "IDEMPOTENCY_KEY_REUSED" }),
    ]);
    const other = await server.post("/transaction/exec", { client_id: "c" }, { "idempotency-key": "key-2" });
    expect(other.json).toMatchObject({ results: [{ key: "second" }] });
    expect(told(await server.post("/transaction/exec", { client_id: "c" }, KEY))).toEqual(told(first));
  });

  it("after the window is a new request", async () => {
    await begin();
    await server.post("/kv/n/incr", {}, KEY);
    server.now += 3_600_000;
    const later = await server.post("/kv/n/incr", {}, KEY);
    expect([isReplay(later), later.json]).toEqual([null, expect.objectContaining({ value: 2 })]);
  });
});

describe("a key", () => {
  it("of another request is refused with 422, at the door of durable streams, too", async () => {
    await begin();
    const text = { ...KEY, "content-type": "text/plain" };
    expect((await server.post("/v1/stream/s", "x", text)).status).toBe(204);
    const end = server.log.endOffset;
    for (const [method, path, body, more] of [
      ["POST", "/v1/stream/s", "y", {}],
      ["POST", "/v1/stream/t", "x", {}],
      ["POST", "/v1/stream/s", "x", { "stream-closed": "true" }],
      ["PUT", "/v1/stream/s", "x", {}],
      ["PUT", "/v1/stream/t", "x", { "stream-forked-from": "/v1/stream/none" }],
    ] as const) {
      const answer = await server.request(method, path, body, { ...text, ...more });
      expect([answer.status, answer.json]).toEqual([
        422,
        expect.objectContaining({ error_code: "IDEMPOTENCY_KEY_REUSED" }),
      ]);
      expect(answer.headers.get("cross-origin-resource-policy")).toBe("cross-origin");
    }
    expect(server.log.endOffset).toBe(end);
  });

  it("of a repeat counts no message twice", async () => {
    await begin();
    for (let times = 0; times < 3; times += 1) {
      await server.post("/v1/stream/s", "x", { ...KEY, "content-type": "text/plain" });
    }
    expect(server.published).toEqual([{ room: "ds/*", eventType: "", count: 1 }]);
  });

  it("of events is measured when they are committed, and once: alone, in a batch, in a transaction", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log });
    await server.post("/stream/r", {});
    const event = { event: "e", data: 1 };
    const batch = { operations: [{ command: "stream.publish", payload: { room: "r", ...event } }] };
    const client_id = "c";
    const sendAll = async () => [
      await server.post("/stream/r/publish", event, { "idempotency-key": "k1" }),
      await server.post("/batch", batch, { "idempotency-key": "k2" }),
    ];
    log.refuse(new LogError("LOG_DISK_FULL", "the disk is full"));
    for (const { status } of await sendAll()) expect(status).toBe(507);
    expect(server.published).toEqual([]);
    log.refuse(undefined);
    for (let times = 0; times < 2; times += 1) await sendAll();
    await server.post("/transaction/multi", { client_id });
    await server.post("/stream/r/publish", { ...event, client_id });
    await server.post("/transaction/exec", { client_id });
    log.hold();
    const held = server.post("/stream/r/publish/batch", { events: [event, { ...event, event: "f" }] });
    while (log.endOffset === log.committedOffset) await new Promise(setImmediate);
    const told = (eventType: string) => ({ room: "r", eventType, count: 1 });
    expect(server.published).toEqual([told("e"), told("e"), told("e")]);
    log.release();
    await held;
    expect(server.published.slice(3)).toEqual([told("e"), told("f")]);
  });

  it("of another request is refused with 422", async () => {
    await begin();
    await server.post("/kv/n/incr", { amount: 1 }, KEY);
    const end = server.log.endOffset;
    const others: readonly [string, string, unknown][] = [
      ["POST", "/kv/n/incr", { amount: 2 }],
      ["POST", "/kv/m/incr", { amount: 1 }],
      ["POST", "/kv/n/decr", { amount: 1 }],
      ["POST", "/kv/restore", { pattern: "*", at: 1_000_000 }],
      ["PUT", "/kv/n", "1"],
    ];
    for (const [method, path, body] of others) {
      const answer = await server.request(method, path, body, KEY);
      expect([answer.status, answer.json]).toEqual([
        422,
        expect.objectContaining({ error_code: "IDEMPOTENCY_KEY_REUSED" }),
      ]);
    }
    expect(server.log.endOffset).toBe(end);
  });

  it("of a request that is still on its way is refused with 409, and answered when it is done", async () => {
    const log = new MemoryLog({ held: true });
    server = await TestServer.start({ log });
    const first = server.post("/kv/n/incr", {}, KEY);
    while (log.endOffset === 0) await new Promise(setImmediate);
    const early = await server.post("/kv/n/incr", {}, KEY);
    expect([early.status, early.headers.get("retry-after"), early.json]).toEqual([
      409,
      "1",
      expect.objectContaining({ error_code: "IDEMPOTENCY_IN_PROGRESS" }),
    ]);
    log.release();
    expect(told(await server.post("/kv/n/incr", {}, KEY))).toEqual(told(await first));
  });

  it("of a request whose answer could not be kept is refused, and nothing is done", async () => {
    server = await TestServer.start({ idempotencyRules: { bytesMax: 2_000 } });
    await server.post("/queue/jobs", {});
    await server.post("/queue/jobs/publish", { payload: "x".repeat(1_000) });
    await server.post("/kv/n/incr", {}, { "idempotency-key": "another" });
    const end = server.log.endOffset;
    const answer = await server.post("/queue/jobs/consume/me", {}, KEY);
    expect([answer.status, answer.json]).toEqual([
      413,
      expect.objectContaining({ error_code: "IDEMPOTENCY_ANSWER_TOO_LARGE" }),
    ]);
    expect(server.log.endOffset).toBe(end);
    expect(isReplay(await server.post("/kv/n/incr", {}, { "idempotency-key": "another" }))).toBe("true");
    expect((await server.post("/queue/jobs/consume/me", {})).json).toMatchObject({ attempt: 1 });
  });

  it("of a refused request may be used again: a refusal is not kept", async () => {
    await begin();
    await server.post("/kv/set", { key: "a", value: "no number" });
    expect((await server.post("/kv/a/incr", {}, KEY)).status).toBe(400);
    expect((await server.request("PUT", "/kv/none", "v", { ...KEY, "if-match": "*" })).status).toBe(412);
    await server.post("/kv/set", { key: "a", value: "1" });
    expect((await server.post("/kv/a/incr", {}, KEY)).json).toMatchObject({ value: 2 });
  });

  it.each(["", "a b", "é", "x".repeat(256)])("%j is refused", async (key) => {
    await begin();
    const payload = { command: "kv.incr", request_id: "r", payload: { key: "n" }, idempotency_key: key };
    const answer = await server.post("/api/v1/command", payload);
    expect(answer.json).toMatchObject({ success: false, error_code: "API_IDEMPOTENCY_KEY_INVALID" });
  });

  it("is refused for a write that is queued, a consume that waits, and a snapshot", async () => {
    await begin();
    await server.post("/transaction/multi", { client_id: "c" });
    const queued = await server.post("/kv/set", { key: "a", value: "b", client_id: "c" }, KEY);
    const waiting = await server.post("/queue/jobs/consume/me", { wait_secs: 1 }, KEY);
    const snapshot = await server.post("/snapshot", undefined, KEY);
    for (const answer of [queued, waiting, snapshot]) {
      expect(answer.status).toBe(400);
      expect(answer.json).toMatchObject({ error_code: "API_IDEMPOTENCY_KEY_INVALID" });
    }
  });

  it("is refused where the envelope and its head name two, as are two numbers of confirmations", async () => {
    await begin();
    const before = server.log.endOffset;
    const set = { command: "kv.set", request_id: "r", payload: { key: "a", value: 1 } };
    const ask = (inBody: object, headers: Record<string, string>) =>
      server.post("/api/v1/command", { ...set, ...inBody }, headers);
    const keys = await ask({ idempotency_key: "a" }, { "idempotency-key": "b" });
    expect(keys.json).toMatchObject({ success: false, error_code: "API_IDEMPOTENCY_KEY_INVALID" });
    const acks = await ask({ acks: 0 }, { "x-annals-acks": "1" });
    expect(acks.json).toMatchObject({ success: false, error_code: "API_ACKS_INVALID" });
    expect(server.log.endOffset).toBe(before);
    const same = await ask(
      { idempotency_key: "a", acks: 0 },
      { "idempotency-key": "a", "x-annals-acks": "0" },
    );
    expect(same.json).toMatchObject({ success: true });
  });

  it("on a read says nothing", async () => {
    await begin();
    expect((await server.get("/kv/get/x", KEY)).text).toBe('"1"');
    await server.post("/kv/set", { key: "x", value: "2" });
    expect((await server.get("/kv/get/x", KEY)).text).toBe('"2"');
  });
});
