// What the tables of cases don't say about queues: the documented shapes on the wire, names, the switch, and measurements.
import { afterEach, describe, expect, it } from "vitest";
import { operations } from "../../api/operations/catalog.js";
import { TestServer, type TestServerOptions } from "../support/test-server.js";

let server: TestServer;
const start = async (options: TestServerOptions = {}) => {
  server = await TestServer.start(options);
};
afterEach(() => server.close());

describe("a HEAD request", () => {
  it("takes no message, and asks of everything that only reads", async () => {
    await start();
    await server.post("/queue/jobs", {});
    await server.post("/queue/jobs/publish", { payload: "x" });
    const head = await server.request("HEAD", "/queue/jobs/consume/monitor");
    expect([head.status, head.headers.get("allow")]).toEqual([405, "GET, POST"]);
    expect((await server.get("/queue/jobs/consume/worker")).json).toMatchObject({ attempt: 1 });
    for (const path of ["/queue/list", "/queue/jobs/stats", "/kv/stats", "/health", "/info"])
      expect((await server.request("HEAD", path)).status, path).toBe(200);
  });
});

describe("a queue with very many messages whose time has passed", () => {
  it("is told of all of them in turns before one is consumed, not walked through in one", async () => {
    await start();
    await server.post("/queue/jobs", {});
    const old = Array.from({ length: 1_000 }, () => ({ payload: "old", ttl_secs: 1 }));
    for (let round = 0; round < 4; round++) await server.post("/queue/jobs/publish/batch", { messages: old });
    await server.post("/queue/jobs/publish", { payload: "new" });
    server.now += 2_000;
    expect((await server.get("/queue/jobs/consume/worker")).json).toMatchObject({ attempt: 1 });
    const { expired } = (await server.get("/queue/jobs/stats")).json as { expired: number };
    expect(expired).toBeGreaterThanOrEqual(3_000);
    expect((await server.get("/queue/jobs/consume/worker")).json).toMatchObject({ message_id: null });
  });
});

describe("the documented client of queues", () => {
  it("creates, publishes, consumes and acknowledges through the envelope", async () => {
    await start();
    const run = async (command: string, payload: object) =>
      (await server.command(command, payload))["payload"] as Record<string, unknown>;
    expect(await run("queue.create", { name: "jobs", config: {} })).toMatchObject({ success: true });
    expect(await run("queue.create", { name: "jobs", config: {} })).toMatchObject({ success: true });
    const { message_id } = await run("queue.publish", {
      queue: "jobs",
      payload: [123, 125],
      priority: 7,
      headers: { a: "b" },
    });
    expect(typeof message_id).toBe("string");
    const { message } = await run("queue.consume", { queue: "jobs", consumer_id: "w" });
    expect(message).toMatchObject({
      id: message_id,
      payload: [123, 125],
      priority: 7,
      retry_count: 0,
      headers: { a: "b" },
    });
    expect(await run("queue.ack", { queue: "jobs", message_id })).toMatchObject({ success: true });
    expect(await run("queue.consume", { queue: "jobs", consumer_id: "w" })).toMatchObject({ message: null });
    expect(await run("queue.list", {})).toEqual({ queues: ["jobs"] });
    expect(await run("queue.purge", { queue: "jobs" })).toMatchObject({ purged: 0 });
    expect(await run("queue.delete", { queue: "jobs" })).toMatchObject({ deleted: true });
  });

  it("must say over REST whether a message that is given back is to be delivered again", async () => {
    await start();
    await server.post("/queue/q", {});
    await server.post("/queue/q/publish", { payload: "a" });
    await server.get("/queue/q/consume/c");
    const answer = await server.post("/queue/q/nack", { message_id: "2-0" });
    expect([answer.status, answer.json]).toEqual([
      422,
      expect.objectContaining({ error_code: "API_FIELD_MISSING" }),
    ]);
    expect((await server.post("/queue/q/nack", { message_id: "2-0", requeue: false })).status).toBe(200);
  });

  it("needs no body where every field is optional", async () => {
    await start();
    expect((await server.post("/queue/q")).json).toMatchObject({ success: true, queue: "q" });
    expect((await server.post("/queue/q/dlq/requeue")).json).toMatchObject({ requeued: 0 });
    expect((await server.post("/queue/q/purge")).json).toMatchObject({ purged: 0 });
  });
});

describe("a span shorter than a millisecond", () => {
  it("counts as one, where 0 means none", async () => {
    await start();
    const config = {
      message_ttl_secs: 0.0004,
      dedup_window_secs: 0.0001,
      ack_deadline_secs: 0.0004,
      backoff: { type: "fixed", delay_secs: 0.0004 },
    };
    expect((await server.post("/queue/brief", config)).json).toMatchObject({
      config: {
        message_ttl_secs: 0.001,
        dedup_window_secs: 0.001,
        ack_deadline_secs: 0.001,
        backoff: { delay_secs: 0.001 },
      },
    });
    await server.post("/queue/q", {});
    await server.post("/queue/q/publish", { payload: "brief", ttl_secs: 0.0004 });
    await server.post("/queue/q/publish", { payload: "stays", ttl_secs: 0 });
    server.now += 1;
    const { json } = await server.get("/queue/q/consume/c");
    expect(json).toMatchObject({ message_id: "4-0" });
  });
});

describe("a queue's name", () => {
  it.each(["list", "a/b", "ü ?#%", "..x", "__proto__", "n".repeat(256)])(
    "may be %j, in the path as anywhere",
    async (name) => {
      await start();
      const path = `/queue/${encodeURIComponent(name)}`;
      expect((await server.post(path, {})).json).toMatchObject({ queue: name });
      await server.post(`${path}/publish`, { payload: "a" });
      expect((await server.get(`${path}/consume/c?type=string`)).json).toMatchObject({ payload: "a" });
      expect((await server.get("/queue/list")).json).toEqual({ queues: [name] });
    },
  );

  it("that cannot be decoded, is empty or not Unicode is refused with a code of queues", async () => {
    await start();
    expect((await server.get("/queue/%ff/stats")).json).toMatchObject({ error_code: "QUEUE_NAME_INVALID" });
    const raw = await server.bytes("POST /queue/a# HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(raw).toContain("QUEUE_NAME_INVALID");
    for (const name of ["", "\ud800"]) {
      expect(await server.command("queue.create", { name })).toMatchObject({
        error_code: "QUEUE_NAME_INVALID",
      });
    }
    expect(server.log.endOffset).toBe(0);
  });
});

describe("queues that are switched off", () => {
  it("are refused, every operation, as documented with 400; keys are not", async () => {
    await start({ queuesEnabled: false });
    for (const operation of operations.filter(({ name }) => name.startsWith("queue."))) {
      const fields = operation.input.required ?? [];
      const given: Record<string, unknown> = { payload: "x", messages: [] };
      const input = Object.fromEntries(fields.map((name) => [name, given[name] ?? "x"]));
      const answer = await server.command(operation.name, input);
      expect(answer, operation.name).toMatchObject({ error_code: "API_DISABLED", code: 400 });
    }
    expect((await server.get("/queue/list")).status).toBe(400);
    expect((await server.get("/kv/dbsize")).status).toBe(200);
  });
});

describe("what is measured of an operation", () => {
  it("names its queue, unless there is no such queue", async () => {
    await start();
    await server.post("/queue/q", {});
    await server.get("/queue/q/consume/c");
    await server.get("/queue/nowhere/consume/c");
    await server.request("DELETE", "/queue/nowhere");
    await server.request("DELETE", "/queue/q");
    await server.get("/kv/dbsize");
    expect(server.subjects).toEqual(["q", "q", "", "", "q", undefined]);
  });
});

describe("what is measured of a refusal", () => {
  const publish = { event: "e", data: 1 };
  /** Each is the only operation that is measured after its preparations. */
  const refusals: readonly (readonly [
    string,
    subject: string,
    send: () => Promise<{ readonly status: number }>,
  ])[] = [
    ["an offset that was trimmed", "r", () => server.get("/stream/r/consume/s?from_offset=0")],
    ["a trim beyond the end", "r", () => server.post("/stream/r/trim", { before_offset: 99 })],
    ["a room that is there already", "r", () => server.post("/stream/r", {})],
    ["another length", "r", () => server.post("/stream/r/publish", { ...publish, expected_offset: 9 })],
    ["a room that is not there", "", () => server.get("/stream/none/consume/s")],
    [
      "an event that is too large for any",
      "",
      () => server.post("/stream/none/publish", { ...publish, event: "e".repeat(70_000) }),
    ],
    ["one room too many", "", () => server.post("/stream/third", {})],
    ["an unknown message", "q", () => server.post("/queue/q/ack", { message_id: "9-9" })],
    ["a full queue", "q", () => server.post("/queue/q/publish", { payload: "a" })],
    ["one queue too many", "", () => server.post("/queue/second", {})],
    ["a key of another request", "", () => server.post("/queue/none", {}, { "idempotency-key": "k" })],
    ["a durable stream that is not there", "ds/*", () => server.get("/v1/stream/none")],
  ];

  it.each(refusals)("%s: names %j", async (_what, subject, send) => {
    server = await TestServer.start({ queueRules: { queuesMax: 1 }, streamRules: { streamsMax: 2 } });
    await server.post("/queue/q", { max_depth: 1 });
    await server.post("/queue/q/publish", { payload: "a" }, { "idempotency-key": "k" });
    for (const room of ["r", "s"]) await server.post(`/stream/${room}`, {});
    for (let count = 0; count < 2; count += 1) await server.post("/stream/r/publish", publish);
    await server.post("/stream/r/trim", { before_offset: 1 });
    const before = server.operations.length;
    expect((await send()).status).toBeGreaterThanOrEqual(400);
    expect(server.operations.slice(before)).toEqual([expect.objectContaining({ status: "error" })]);
    expect(server.subjects.slice(before)).toEqual([subject]);
  });
});

describe("a queue over a restart", () => {
  it("forgets no message, no delivery and no attempt", async () => {
    await start();
    await server.post("/queue/q", { default_max_retries: 1 });
    await server.post("/queue/q/publish", { payload: "a", headers: { a: "b" } });
    await server.get("/queue/q/consume/c");
    await server.post("/queue/q/nack", { message_id: "2-0", requeue: true });
    const { receipt } = (await server.get("/queue/q/consume/c")).json as { receipt: string };
    const { log } = server;
    const again = await TestServer.start({ log });
    expect((await again.get("/queue/q/message/2-0")).json).toMatchObject({
      state: "in_flight",
      retry_count: 1,
      headers: { a: "b" },
      consumer_id: "c",
    });
    const buried = await again.post("/queue/q/nack", { message_id: "2-0", receipt, requeue: true });
    expect(buried.json).toMatchObject({ outcome: "dead" });
    await again.close();
  });
});
