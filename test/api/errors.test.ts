// The table of errors: every code has a status, ERRORS.md tells the same, and the body has the documented shape.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorTable } from "../../api/index.js";
import { LogError } from "../../log/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer } from "../support/test-server.js";

const documented = readFileSync(new URL("../../api/ERRORS.md", import.meta.url), "utf8");

describe("the table of errors", () => {
  it("is told by ERRORS.md, code by code", () => {
    const rows = [
      ...documented.matchAll(
        /^\| `([A-Z_]+)` \| (\d+)(?: \(raw: (\d+)\))? \| (?:(\d+) s|–) \| (.+?) \| .+ \|$/gm,
      ),
    ];
    const told = rows.map(([, code, status, raw, retry, title]) => ({
      code,
      status: Number(status),
      rawStatus: raw === undefined ? undefined : Number(raw),
      retryAfterSecs: retry === undefined ? undefined : Number(retry),
      title,
    }));
    const held = Object.entries(errorTable).map(([code, row]) => ({
      code,
      status: row.status,
      rawStatus: row.rawStatus,
      retryAfterSecs: row.retryAfterSecs,
      title: row.title,
    }));
    expect(told).toEqual(held);
  });

  it("has a status that HTTP knows for every code, and 5xx only for the server's own trouble", () => {
    for (const [code, { status }] of Object.entries(errorTable)) {
      expect(status, code).toBeGreaterThanOrEqual(400);
      expect(status, code).toBeLessThan(600);
      if (code.startsWith("KV_") && code !== "KV_MEMORY_FULL") expect(status, code).toBeLessThan(500);
    }
  });

  it("says Retry-After for every 503 and 507 that passes by itself", () => {
    for (const [code, row] of Object.entries(errorTable)) {
      if (row.status === 503) expect(row.retryAfterSecs, code).toBeGreaterThan(0);
    }
  });

  // The statuses that clients and their retry rules rely on, said twice on purpose.
  it.each([
    ["LOG_FAILED", 503],
    ["LOG_DISK_FULL", 507],
    ["LOG_BUSY", 503],
    ["LOG_REPLAYING", 503],
    ["KV_MEMORY_FULL", 507],
    ["KV_REVISION_MISMATCH", 409],
    ["KV_KEY_NOT_FOUND", 404],
    ["KV_FLUSH_NOT_ALLOWED", 403],
    ["KV_VALUE_TOO_LARGE", 413],
    ["API_FIELD_UNKNOWN", 422],
    ["API_JSON_INVALID", 400],
    ["API_REQUEST_TIMEOUT", 408],
    ["API_HEADERS_TOO_LARGE", 431],
  ] as const)("%s is %i", (code, status) => {
    expect(errorTable[code].status).toBe(status);
  });
});

describe("an error answer", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server.close());

  it("has the documented body, the stable code and the request id", async () => {
    const answer = await server.post("/kv/set", { key: "", value: 1 });
    expect(answer.status).toBe(400);
    expect(answer.json).toEqual({
      error: "a key must not be empty",
      code: 400,
      error_code: "KV_KEY_INVALID",
      request_id: answer.headers.get("x-request-id"),
    });
  });

  it.each([
    [
      "queue.consume",
      { queue: "q", consumer_id: "c", wait_secs: -1 },
      '"wait_secs" must be a number from 0 to 1000000000',
    ],
    ["batch", { operations: [] }, '"operations" must be an array that is not empty'],
    ["kv.set", { key: "a", value: 1, expiry: 5 }, '"expiry" must be an object of type, value'],
    [
      "batch",
      { operations: [{ command: "kv.set" }], preconditions: [{}] },
      '"preconditions.0" must be an object of key, revision or an object of queue, message_id, receipt or an object of stream, length',
    ],
    ["queue.publish", { queue: "q", payload: "x", headers: 5 }, '"headers" must be an object'],
  ])("says what a field must be: %s", async (name, payload, says) => {
    const { error_code, error } = await server.command(name, payload);
    expect([error_code, error]).toEqual(["API_FIELD_INVALID", `field ${says}`]);
  });

  it("is an RFC 9457 problem for those who ask for one", async () => {
    const answer = await server.post(
      "/kv/set",
      { key: "", value: 1 },
      { accept: "application/problem+json" },
    );
    expect(answer.headers.get("content-type")).toBe("application/problem+json; charset=utf-8");
    expect(answer.json).toEqual({
      type: "urn:annals:error:KV_KEY_INVALID",
      title: errorTable.KV_KEY_INVALID.title,
      status: 400,
      detail: "a key must not be empty",
      error_code: "KV_KEY_INVALID",
      request_id: answer.headers.get("x-request-id"),
    });
  });

  it("carries the client's own request id when it is one, and a made one when it isn't", async () => {
    const own = await server.get("/kv/stats", { "x-request-id": "order-66" });
    expect(own.headers.get("x-request-id")).toBe("order-66");
    for (const bad of ["has space", "x".repeat(129), "tab\tbed"]) {
      const made = await server.get("/kv/stats", { "x-request-id": bad });
      expect(made.headers.get("x-request-id")).toMatch(/^test-\d+$/);
    }
  });
});

describe("a failure of the log", () => {
  it("answers its code, its status and Retry-After, and nothing of the inside", async () => {
    const log = new MemoryLog();
    const server = await TestServer.start({ log });
    log.refuse(new LogError("LOG_DISK_FULL", "free bytes 12 in /secret/path", { file: "/secret/path" }));
    const answer = await server.post("/kv/set", { key: "a", value: "b" });
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([507, "10"]);
    expect(answer.json).toMatchObject({ error_code: "LOG_DISK_FULL" });
    expect(answer.text).not.toContain("secret");
    const read = await server.get("/kv/get/a");
    expect(read.json).toEqual({ error: "Key not found" });
    log.refuse(undefined);
    expect((await server.post("/kv/set", { key: "a", value: "b" })).status).toBe(200);
    await server.close();
  });

  it("while a write waits for the disk is told to that write", async () => {
    const log = new MemoryLog({ held: true });
    const server = await TestServer.start({ log });
    const waiting = server.post("/kv/set", { key: "a", value: "b" });
    while (log.records.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    log.fail();
    const answer = await waiting;
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ error_code: "LOG_FAILED" });
    const next = await server.request("PUT", "/kv/b", "x");
    expect(next.json).toMatchObject({ error_code: "LOG_FAILED", code: 503 });
    await server.close();
  });
});

describe("a bug", () => {
  it("in a read answers API_INTERNAL with the request id and is logged, and the server goes on", async () => {
    const server = await TestServer.start({
      wrapStore: (store) => ({
        execute: (...write) => store.execute(...write),
        query: () => {
          throw new TypeError("cannot read property of /secret");
        },
        bodies: (plan) => store.bodies(plan),
        records: (first, last) => store.records(first, last),
        wakes: store.wakes,
        onReached: (...wait) => store.onReached(...wait),
        get offset() {
          return store.offset;
        },
        close: () => store.close(),
      }),
    });
    for (const path of ["/kv/get/a", "/kv/a"]) {
      const answer = await server.get(path);
      expect(answer.status).toBe(500);
      expect(answer.json).toMatchObject({ error_code: "API_INTERNAL" });
      expect(answer.text).not.toContain("secret");
      expect(server.logged.filter(({ level }) => level === "error").at(-1)?.facts).toMatchObject({
        requestId: answer.headers.get("x-request-id"),
      });
    }
    const inEnvelope = await server.command("kv.get", { key: "a" });
    expect(inEnvelope).toMatchObject({
      success: false,
      payload: null,
      error_code: "API_INTERNAL",
      code: 500,
    });
    expect((await server.post("/kv/set", { key: "a", value: "b" })).status).toBe(200);
    await server.close();
  });

  it("while an answer is sent, late or at once, is answered and does not end the process", async () => {
    const entry = { bytes: "x", contentType: "no\nheader", revision: 1, expiresAt: 0 };
    for (const late of [false, true]) {
      const server = await TestServer.start({
        wrapStore: (store) => ({
          execute: (...write) => store.execute(...write),
          query: (_read, _query, _context, answer) => {
            const tell = () => answer({ type: "done", answer: entry, offset: 1 } as never);
            return late ? Promise.resolve().then(tell) : tell();
          },
          bodies: (plan) => store.bodies(plan),
          records: (first, last) => store.records(first, last),
          wakes: store.wakes,
          onReached: (...wait) => store.onReached(...wait),
          get offset() {
            return store.offset;
          },
          close: () => store.close(),
        }),
      });
      const answer = await server.get("/kv/a");
      expect([answer.status, answer.json]).toEqual([
        500,
        expect.objectContaining({ error_code: "API_INTERNAL" }),
      ]);
      expect((await server.get("/health")).status).toBe(200);
      await server.close();
    }
  });

  it("in a write answers API_INTERNAL", async () => {
    const server = await TestServer.start({
      wrapStore: (store) => ({
        execute: () => Promise.reject(new RangeError("boom")),
        query: (...read) => store.query(...read),
        bodies: (plan) => store.bodies(plan),
        records: (first, last) => store.records(first, last),
        wakes: store.wakes,
        onReached: (...wait) => store.onReached(...wait),
        get offset() {
          return store.offset;
        },
        close: () => store.close(),
      }),
    });
    const answer = await server.post("/kv/set", { key: "a", value: "b" });
    expect([answer.status, (answer.json as { error_code: string }).error_code]).toEqual([
      500,
      "API_INTERNAL",
    ]);
    await server.close();
  });
});
