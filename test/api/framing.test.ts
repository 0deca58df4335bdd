// What a request is: however its lines, its encoding and its connection are put together, it is taken as it was meant, or refused;
// nothing that it says is passed over.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.close());

const HOST = "Host: x\r\n";
const CLOSE = "Connection: close\r\n";
const put = (key: string, lines: string, value = "new") =>
  `PUT /kv/${key} HTTP/1.1\r\n${CLOSE}Content-Length: ${value.length}\r\n${lines}\r\n${value}`;

describe("headers", () => {
  it("all count, however many they are", async () => {
    await server.request("PUT", "/kv/a", "old");
    const many = Array.from({ length: 1_200 }, (_, index) => `X${index}:\r\n`).join("");
    const answer = await server.bytes(put("a", `${HOST}${many}If-Match: "77"\r\n`));
    expect(answer).toMatch(/^HTTP\/1.1 412 /);
    expect((await server.get("/kv/a")).text).toBe("old");
  });

  it.each([
    ["two hosts", `${HOST}Host: y\r\n`],
    ["a host that is none", "Host: a b/c\r\n"],
    ["a list of hosts", "Host: a, b\r\n"],
  ])("with %s are refused", async (_name, lines) => {
    const answer = await server.bytes(put("a", lines));
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain("API_REQUEST_MALFORMED");
    expect(server.log.endOffset).toBe(0);
  });

  it.each(["", "db1", "db-1.example:15500", "10.0.0.1", "[::1]:15500", "a_b"])(
    "with host %j are taken",
    async (host) => {
      expect(await server.bytes(put("a", `Host: ${host}\r\n`))).toMatch(/^HTTP\/1.1 20[14] /);
    },
  );

  it("with two content types are refused: either would be another value than was meant", async () => {
    const types = `${HOST}Content-Type: text/plain\r\nContent-Type: image/png\r\n`;
    expect(await server.bytes(put("a", types))).toContain("KV_CONTENT_TYPE_INVALID");
    expect(await server.bytes(put("a", types).replace("/kv/", "/v1/stream/"))).toContain(
      "STREAM_CONTENT_TYPE_INVALID",
    );
    expect(server.log.endOffset).toBe(0);
  });
});

describe("a condition on an entity tag", () => {
  it.each(["POST", "PUT", "DELETE"])(
    "is refused where it is not compared: %s of a durable stream",
    async (method) => {
      const text = { "content-type": "text/plain" };
      await server.request("PUT", "/v1/stream/a", "x", text);
      const before = server.log.endOffset;
      for (const condition of [{ "if-match": '"other"' }, { "if-none-match": "*" }]) {
        const body = method === "DELETE" ? undefined : "y";
        const { status, json } = await server.request(method, "/v1/stream/a", body, {
          ...text,
          ...condition,
        });
        expect([status, json]).toEqual([
          400,
          expect.objectContaining({ error_code: "API_PRECONDITION_UNSUPPORTED" }),
        ]);
      }
      expect(server.log.endOffset).toBe(before);
      expect((await server.get("/v1/stream/a?offset=-1")).text).toBe("x");
    },
  );
});

describe("a body", () => {
  it("that is compressed under its chunks is refused, as one with a Content-Encoding is", async () => {
    const chunked = (coding: string) =>
      `PUT /kv/a HTTP/1.1\r\n${HOST}${CLOSE}Transfer-Encoding: ${coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
    const refused = await server.bytes(chunked("gzip, chunked"));
    expect(refused).toMatch(/^HTTP\/1.1 415 /);
    expect(refused).toContain("API_CONTENT_ENCODING_UNSUPPORTED");
    expect(server.log.endOffset).toBe(0);
    expect(await server.bytes(chunked("Chunked"))).toMatch(/^HTTP\/1.1 201 /);
  });
});

describe("a CONNECT", () => {
  const tunnel = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n";

  it("is refused with a code, and its connection closed", async () => {
    const answer = await server.bytes(`${tunnel}hello`, 30_000);
    expect(answer).toMatch(/^HTTP\/1.1 405 /);
    expect(answer).toContain("\r\nAllow:\r\n");
    expect(answer).toContain('"error_code":"API_METHOD_NOT_ALLOWED"');
    expect(server.rejected).toEqual(["API_METHOD_NOT_ALLOWED"]);
  });

  it("whose client is gone before its answer hurts nobody", async () => {
    const socket = connect(server.port, "127.0.0.1");
    socket.write(tunnel.repeat(2), () => socket.resetAndDestroy());
    await expect.poll(() => server.rejected.length).toBe(1);
    expect((await server.get("/livez")).status).toBe(200);
  });
});

describe("requests of one connection", () => {
  const get = (path: string) => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`;
  const post = (path: string, body: object, more = "") => {
    const text = JSON.stringify(body);
    const type = "Content-Type: application/json\r\n";
    return `POST ${path} HTTP/1.1\r\n${HOST}${more}${type}Content-Length: ${text.length}\r\n\r\n${text}`;
  };
  const command = (name: string, payload: object, more = "") =>
    post("/api/v1/command", { command: name, request_id: "r", payload }, more);

  it.each([
    ["by routes of their own", get("/kv/large")],
    ["in an envelope", command("kv.get", { key: "large" })],
  ])(
    "that read (%s) are run one after the other, so a client that takes no answers does not fill the memory with them",
    async (_which, ask) => {
      await server.request("PUT", "/kv/large", "x".repeat(1 << 20));
      const socket = connect(server.port, "127.0.0.1").pause();
      socket.write(ask.repeat(100));
      await expect.poll(() => server.operations.length).toBeGreaterThan(1);
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(server.operations.length).toBeLessThan(40);
      socket.resume();
      await expect.poll(() => server.operations.length, { timeout: 20_000 }).toBe(101);
      socket.destroy();
    },
  );

  it("that may be reads wait for a write before them, whatever that waits for", async () => {
    const late = post("/kv/set", { key: "a", value: "late" }, "X-Annals-Min-Offset: 1\r\n");
    const answers = server.bytes(late + command("kv.get", { key: "a" }, CLOSE));
    await server.request("PUT", "/kv/other", "x");
    expect(await answers).toContain('"payload":"late"');
  });

  it.each([
    ["reads that have their turn", get("/kv/get/a")],
    ["writes, each with a body", "PUT /kv/a HTTP/1.1\r\nContent-Length: 1\r\nHost: x\r\n\r\nx"],
    ["what is answered at once", get("/nowhere")],
  ])("are not taken in without a bound behind one that waits: %s", async (_what, behind) => {
    await server.post("/queue/q", {});
    const socket = connect(server.port, "127.0.0.1");
    socket.write(get("/queue/q/consume/c?wait_secs=60") + behind.repeat(10_000));
    let answers = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      answers += text;
    });
    const taken = () => server.connections.at(-1)?.bytesRead ?? 0;
    await expect.poll(taken).toBeGreaterThan(1_000);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(taken()).toBeLessThan(200_000);
    await server.post("/queue/q/publish", { payload: "a" });
    await expect
      .poll(() => answers.split("HTTP/1.1 ").length - 1, { timeout: 60_000, interval: 200 })
      .toBe(10_001);
    socket.destroy();
  });

  it("that read see what those before them did, and are answered in their order", async () => {
    const read = get("/kv/a").replace("\r\n", `\r\n${CLOSE}`);
    const answers = await server.bytes(put("a", HOST).replace(CLOSE, "") + read);
    expect(answers.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 201", "HTTP/1.1 200"]);
    expect(answers.endsWith("\r\n\r\nnew")).toBe(true);
  });
});

it("a fork that is asked for again is the same one, however its source's path is percent-encoded", async () => {
  const text = { "content-type": "text/plain" };
  await server.request("PUT", "/v1/stream/a/b", "x", text);
  const fork = async (source: string) =>
    (await server.request("PUT", "/v1/stream/fork", "", { ...text, "stream-forked-from": source })).status;
  expect(await fork("/v1/stream/a%2Fb")).toBe(201);
  expect(await fork("/v1/stream/a/b")).toBe(200);
  expect(await fork("/v1/stream/%61%2fb")).toBe(200);
  expect(await fork("/v1/stream/a%252Fb")).toBe(409);
});

it("a QUERY is a method that no path takes, with or without content", async () => {
  const query = (path: string, lines = "") =>
    server.bytes(`QUERY ${path} HTTP/1.1\r\n${HOST}${CLOSE}${lines}\r\n`);
  expect(await query("/kv/get/a")).toMatch(/^HTTP\/1.1 405 /);
  expect(await query("/kv/a", "Content-Type: text/plain\r\n")).toMatch(/^HTTP\/1.1 405 /);
  expect(await query("/nothing")).toMatch(/^HTTP\/1.1 404 /);
});

describe("a client that sends no more", () => {
  /** All that comes back for what is sent, the sending side being closed directly behind it. */
  const asked = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
      let answer = "";
      socket.setEncoding("latin1").on("data", (piece) => {
        answer += piece;
      });
      socket.on("error", reject).on("end", () => {
        socket.end();
        resolve(answer);
      });
      socket.end(text);
    });
  const post = (path: string, body: object) => {
    const text = JSON.stringify(body);
    const lines = `Content-Type: application/json\r\nContent-Length: ${text.length}\r\n`;
    return `POST ${path} HTTP/1.1\r\n${HOST}${lines}\r\n${text}`;
  };

  it("is answered when what it asked for is done, each of its requests, and its connection ends then", async () => {
    const log = new MemoryLog();
    await server.close();
    server = await TestServer.start({ log });
    log.hold();
    const answer = asked(put("a", HOST).replace(CLOSE, "") + post("/kv/set", { key: "b", value: 1 }));
    await expect.poll(() => log.endOffset).toBe(2);
    await sleep(20);
    log.release();
    expect((await answer).match(/^HTTP\/1.1 \d+/gm)).toEqual(["HTTP/1.1 201", "HTTP/1.1 200"]);
  });

  it.each([
    ["consumes", "GET /queue/q/consume/c?wait_secs=30"],
    ["polls a stream", "GET /v1/stream/s?offset=now&live=long-poll"],
    ["follows a stream", "GET /v1/stream/s?offset=now&live=sse"],
    ["waits for an offset", "GET /kv/get/a?min_offset=99"],
  ])("and %s is taken for gone at once", async (_name, line) => {
    await server.close();
    server = await TestServer.start({ limits: { minOffsetWaitMs: 60_000, longPollTimeoutMs: 60_000 } });
    await server.command("queue.create", { name: "q" });
    await server.request("PUT", "/v1/stream/s", "", { "content-type": "text/plain" });
    await asked(`${line} HTTP/1.1\r\n${HOST}\r\n`);
    await expect.poll(() => server.waiting()).toEqual({ queue: 0, streamPoll: 0, streamEvents: 0 });
    await server.command("queue.publish", { queue: "q", payload: "m" });
    expect(await server.command("queue.stats", { queue: "q" })).toMatchObject({ payload: { depth: 1 } });
  });

  it("and whose answer does not come is let go like an idle one", async () => {
    const log = new MemoryLog();
    await server.close();
    server = await TestServer.start({ log, limits: { keepAliveTimeoutMs: 50 } });
    log.hold();
    expect(await asked(put("a", HOST).replace(CLOSE, ""))).toBe("");
    log.release();
  });

  it("and consumes has taken nothing when it is gone before the answer could leave", async () => {
    const log = new MemoryLog();
    await server.close();
    server = await TestServer.start({ log });
    await server.command("queue.create", { name: "q" });
    await server.command("queue.publish", { queue: "q", payload: "m" });
    log.hold();
    const answer = asked(`GET /queue/q/consume/c HTTP/1.1\r\n${HOST}\r\n`);
    await expect.poll(() => log.endOffset).toBe(3);
    await sleep(20);
    log.release();
    expect(await answer).toBe("");
    await expect.poll(() => log.endOffset).toBe(4);
    expect(await server.command("queue.stats", { queue: "q" })).toMatchObject({ payload: { depth: 1 } });
  });
});
