// A read that names a minimum offset never shows anything older: it waits, then shows, or says that it waited in vain.
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { MemoryLog } from "../support/memory-log.js";
import { type Answer, TestServer } from "../support/test-server.js";

let server: TestServer;
afterEach(async () => {
  await server.close();
});

/** The same read through every door, with its minimum in every place that it may stand in. */
const reads: readonly (readonly [string, (min: number | string) => Promise<Answer>])[] = [
  ["the query", (min) => server.get(`/kv/get/a?min_offset=${min}`)],
  ["the header", (min) => server.get("/kv/get/a", { "x-annals-min-offset": String(min) })],
  ["the query of a POST", (min) => server.post(`/kv/mget?min_offset=${min}`, { keys: ["a"] })],
  ["the raw door's query", (min) => server.get(`/kv/a?min_offset=${min}`)],
  ["the raw door's header", (min) => server.get("/kv/a", { "x-annals-min-offset": String(min) })],
  [
    "the envelope's header",
    (min) =>
      server.post(
        "/api/v1/command",
        { command: "kv.get", request_id: "r", payload: { key: "a" } },
        { "x-annals-min-offset": String(min) },
      ),
  ],
  [
    "the envelope",
    (min) =>
      server.post("/api/v1/command", {
        command: "kv.get",
        request_id: "r",
        payload: { key: "a" },
        min_offset: min,
      }),
  ],
];

describe.each(reads)("in %s", (_where, read) => {
  it("waits for an offset that does not exist yet, and shows what came with it", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20_000 } });
    await server.post("/kv/set", { key: "a", value: "old" });
    const answer = read(3);
    await server.post("/kv/set", { key: "b", value: "between" });
    await server.post("/kv/set", { key: "a", value: "new" });
    expect((await answer).text).toContain("new");
  });

  it("waits until the offset is committed", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log, limits: { minOffsetWaitMs: 20_000 } });
    await server.post("/kv/set", { key: "a", value: "shown" });
    log.hold();
    const unanswered = server.post("/kv/set", { key: "b", value: "held" });
    while (log.endOffset < 2) await new Promise(setImmediate);
    let answered = false;
    const answer = read(2).finally(() => {
      answered = true;
    });
    expect((await server.get("/kv/get/a")).text).toBe('"shown"');
    expect(answered).toBe(false);
    log.release();
    expect((await answer).text).toContain("shown");
    await unanswered;
  });

  it("is answered 504 when it waits too long", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20 } });
    await server.post("/kv/set", { key: "a", value: "old" });
    const answer = await read(2);
    expect(answer.json).toMatchObject({ error_code: "API_MIN_OFFSET_TIMEOUT", code: 504, offset: 1 });
    expect(answer.text).not.toContain("old");
    expect((await read(1)).text).toContain("old");
  });

  it("is refused when it is no offset", async () => {
    server = await TestServer.start();
    const answer = await read("soon");
    expect(answer.json).toMatchObject({ error_code: "API_MIN_OFFSET_INVALID" });
    expect((await read("1@12")).json).toMatchObject({ error_code: "API_MIN_OFFSET_INVALID" });
  });

  it("takes an offset with its lineage, and refuses at once what is of a lost history", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20_000 } });
    const set = await server.post("/kv/set", { key: "a", value: "shown" });
    const [offset, lineage] = [set.headers.get("x-annals-offset"), set.headers.get("x-annals-lineage")];
    expect(lineage).toMatch(/^[0-9a-f]{8}$/);
    expect((await read(`${offset}@${lineage}`)).text).toContain("shown");
    const lost = await read(`${offset}@ffffffff`);
    expect(lost.json).toMatchObject({ error_code: "API_LINEAGE_LOST", code: 409, offset: 1 });
    expect((await read("1000000@ffffffff")).json).toMatchObject({ error_code: "API_LINEAGE_LOST" });
  });

  it("waits no longer for what is lost once another epoch has begun before it", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log, limits: { minOffsetWaitMs: 1_000 } });
    const set = await server.post("/kv/set", { key: "a", value: "shown" });
    const answer = read(`1000@${set.headers.get("x-annals-lineage")}`);
    const [unmarked] = [read("3"), await pause(100), await log.startEpoch()];
    expect((await answer).json).toMatchObject({ error_code: "API_LINEAGE_LOST", code: 409, offset: 2 });
    await server.post("/kv/set", { key: "a", value: "new" });
    expect((await unmarked).text).toContain("new");
  });
});

describe("a client that goes away while it waits", () => {
  const body = '{"key":"a","value":1}';
  it.each([
    ["a read", "GET /kv/get/a HTTP/1.1", ""],
    [
      "a write",
      `POST /kv/set HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`,
      body,
    ],
  ])("with %s is waited for no longer, and nothing is done", async (_what, head, content) => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 60_000 } });
    const request = `${head}\r\nHost: x\r\nX-Annals-Min-Offset: 1\r\n\r\n${content}`;
    const socket = connect(server.port, "127.0.0.1");
    socket.write(request);
    await expect.poll(() => server.connections.at(-1)?.bytesRead).toBe(request.length);
    socket.destroy();
    const ended = () => server.operations.map(({ status }) => status);
    await expect.poll(ended, { timeout: 10_000 }).toEqual(["error"]);
    expect(server.log.endOffset).toBe(0);
  });
});

describe("two minimum offsets in one request", () => {
  const inHeader = { "x-annals-min-offset": "1" };
  const inEnvelope = (min_offset: number | string, query = "") => {
    const body = { command: "kv.get", request_id: "r", payload: { key: "a" }, min_offset };
    return server.post(`/api/v1/command${query}`, body, inHeader);
  };
  const pairs: readonly (readonly [string, (min: number | string) => Promise<Answer>])[] = [
    ["header and query", (min) => server.get(`/kv/get/a?min_offset=${min}`, inHeader)],
    ["the raw door's header and query", (min) => server.get(`/kv/a?min_offset=${min}`, inHeader)],
    ["envelope and header", inEnvelope],
    ["the envelope's header and query", (min) => inEnvelope(1, `?min_offset=${min}`)],
  ];

  it.each(pairs)("(%s) are refused when they differ, and taken when they don't", async (_where, read) => {
    server = await TestServer.start();
    await server.post("/kv/set", { key: "a", value: "shown" });
    for (const other of [999_999, 0, "soon", "1@ffffffff"]) {
      expect((await read(other)).json).toMatchObject({ error_code: "API_MIN_OFFSET_INVALID", code: 400 });
    }
    expect((await read(1)).text).toContain("shown");
  });
});

describe("a durable stream's read", () => {
  const TEXT = { "content-type": "text/plain" };
  const read = (min: number | string, query = "") =>
    server.get(`/v1/stream/s?offset=-1${query}`, { "x-annals-min-offset": String(min) });

  it("waits for the offset, and shows what came with it", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20_000 } });
    await server.request("PUT", "/v1/stream/s", "old ", TEXT);
    const answer = read(2);
    const inQuery = server.get("/v1/stream/s?min_offset=2");
    await server.post("/v1/stream/s", "new", TEXT);
    expect([(await answer).text, (await inQuery).text]).toEqual(["old new", "old new"]);
  });

  it("is answered 504 when it waits too long, 400 when it is no offset, with the protocol's headers", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20 } });
    await server.request("PUT", "/v1/stream/s", "old", TEXT);
    const late = await read(2);
    expect([late.status, late.json]).toEqual([
      504,
      expect.objectContaining({ error_code: "API_MIN_OFFSET_TIMEOUT" }),
    ]);
    expect((await read(2, "&live=sse")).status).toBe(504);
    const bad = await read("soon");
    expect([bad.status, bad.headers.get("cross-origin-resource-policy")]).toEqual([400, "cross-origin"]);
    expect((await read(1)).text).toBe("old");
  });
});

describe("the offset of a write that changed nothing ever", () => {
  it("has its lineage beside it as every other, and is there for whoever sends the two", async () => {
    server = await TestServer.start();
    await server.post("/kv/set", { key: "a", value: "b" });
    const shown = await server.get("/kv/get/a");
    const { headers } = await server.request("DELETE", "/kv/del/none");
    const [offset, lineage, epoch] = ["offset", "lineage", "epoch"].map((name) =>
      headers.get(`x-annals-${name}`),
    );
    expect([offset, lineage, epoch]).toEqual([
      "0",
      ...["lineage", "epoch"].map((name) => shown.headers.get(`x-annals-${name}`)),
    ]);
    expect(lineage).toMatch(/^[0-9a-f]{8}$/);
    expect((await server.get(`/kv/get/a?min_offset=${offset}@${lineage}`)).json).toBe("b");
  });
});

describe("a write", () => {
  const TEXT = { "content-type": "text/plain" };
  const set = { command: "kv.set", request_id: "r", payload: { key: "a", value: "b" } };
  const writes: readonly (readonly [string, (min: string) => Promise<Answer>])[] = [
    ["the envelope", (min) => server.post("/api/v1/command", { ...set, min_offset: min })],
    ["the envelope's query", (min) => server.post(`/api/v1/command?min_offset=${min}`, set)],
    ["a header", (min) => server.post("/kv/set", set.payload, { "x-annals-min-offset": min })],
    ["a durable stream's query", (min) => server.request("PUT", `/v1/stream/s?min_offset=${min}`, "", TEXT)],
  ];

  it.each(writes)(
    "with a minimum offset of a lost history in %s is refused, and changes nothing",
    async (_where, write) => {
      server = await TestServer.start();
      await server.post("/kv/set", { key: "first", value: 1 });
      expect((await write("1@ffffffff")).json).toMatchObject({ error_code: "API_LINEAGE_LOST" });
      expect(server.log.endOffset).toBe(1);
      expect((await write("1@00000000")).text).not.toContain("error_code");
      expect(server.log.endOffset).toBe(2);
    },
  );

  it("over REST takes no minimum offset in its query", async () => {
    server = await TestServer.start();
    const answer = await server.post("/kv/set?min_offset=1", { key: "a", value: "b" });
    expect(answer.json).toMatchObject({ error_code: "API_FIELD_UNKNOWN" });
  });
});

describe("a server that shuts down", () => {
  it("ends every wait for an offset at once, and changes nothing", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 60_000 } });
    const waiting = [
      ...reads.map(([, read]) => read(2)),
      server.post("/kv/set", SET, { "x-annals-min-offset": "2" }),
    ];
    await server.post("/kv/set", SET);
    await pause(20);
    await server.drain();
    for (const answer of await Promise.all(waiting)) {
      expect(answer.json).toMatchObject({ error_code: "API_DRAINING" });
    }
    expect(server.log.endOffset).toBe(1);
  });
});

const SET = { key: "a", value: "b" };
