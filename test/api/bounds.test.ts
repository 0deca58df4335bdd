// Everything is bounded: bodies, depth, headers, time, connections, writes in flight; past a bound there is a coded
// error, nothing changed, and the server goes on.
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer, type TestServerOptions } from "../support/test-server.js";

let server: TestServer;
const start = async (options: TestServerOptions = {}) => {
  server = await TestServer.start(options);
};
afterEach(() => server.close());

const waitFor = async (ready: () => boolean) => {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 2));
};

describe("a body", () => {
  it("larger than allowed is 413, announced or not, and the connection is closed", async () => {
    await start({ limits: { bodyBytesMax: 1_000 } });
    const announced = await server.bytes(
      `POST /kv/set HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n`,
    );
    expect(announced).toMatch(/^HTTP\/1.1 413 /);
    expect(announced).toContain("API_BODY_TOO_LARGE");
    expect(announced).toMatch(/\r\nConnection: close\r\n/i);
    const chunk = `200\r\n${"x".repeat(512)}\r\n`;
    const chunked = await server.bytes(
      `PUT /kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(3)}`,
    );
    expect(chunked).toMatch(/^HTTP\/1.1 413 /);
    expect(server.log.endOffset).toBe(0);
  });

  it("that waits to be asked for is asked for only if it is not larger than allowed", async () => {
    await start({ limits: { bodyBytesMax: 1_000 } });
    const put = (length: number) =>
      `PUT /kv/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`;
    expect(await server.bytes(put(1_001))).toMatch(/^HTTP\/1.1 413 /);
    expect(await server.bytes(`${put(2)}hi`)).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 201 /);
  });

  it.each([
    ["not JSON", "{", "API_JSON_INVALID", 400],
    ["JSON with something behind it", '{"key":"a","value":1}x', "API_JSON_INVALID", 400],
    ["a byte order mark", '\ufeff{"key":"a","value":1}', "API_JSON_INVALID", 400],
    ["an array", "[]", "API_FIELD_INVALID", 422],
    ["null", "null", "API_FIELD_INVALID", 422],
    ["a string", '"x"', "API_FIELD_INVALID", 422],
    ["nothing", "", "API_FIELD_MISSING", 422],
    ["__proto__ for a field", '{"key":"a","value":1,"__proto__":{"ttl":1}}', "API_FIELD_UNKNOWN", 422],
    ["constructor for a field", '{"key":"a","value":1,"constructor":{}}', "API_FIELD_UNKNOWN", 422],
    [
      "100,000 arrays in each other",
      `{"key":"a","value":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
      "API_JSON_TOO_DEEP",
      400,
    ],
    ["as many open objects", '{"a":'.repeat(100_000), "API_JSON_TOO_DEEP", 400],
  ] as const)("of %s is refused with %s %s", async (_name, body, code, status) => {
    await start();
    const answer = await server.post("/kv/set", body, { "content-type": "application/json" });
    expect([answer.status, answer.json]).toEqual([
      status,
      expect.objectContaining({ error_code: code, code: status }),
    ]);
    expect(server.log.endOffset).toBe(0);
    expect((await server.post("/kv/set", { key: "a", value: 1 })).status).toBe(200);
  });

  it("exactly as deep as allowed is stored, one deeper is not", async () => {
    await start({ limits: { jsonDepthMax: 10 } });
    const nested = (depth: number) =>
      `{"key":"a","value":${"[".repeat(depth - 1)}"]]]]"${"]".repeat(depth - 1)}}`;
    expect((await server.post("/kv/set", nested(10))).status).toBe(200);
    expect((await server.post("/kv/set", nested(11))).json).toMatchObject({
      error_code: "API_JSON_TOO_DEEP",
    });
  });

  it("that is not UTF-8 is refused, not mended", async () => {
    await start();
    const body = Buffer.concat([Buffer.from('{"key":"a","value":"'), Buffer.from([0xff]), Buffer.from('"}')]);
    const answer = await server.post("/kv/set", body, { "content-type": "application/json" });
    expect(answer.json).toMatchObject({ error_code: "API_TEXT_INVALID", code: 400 });
  });

  it("of another content type is 415 on a JSON route", async () => {
    await start();
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "multipart/form-data; boundary=x",
      "nonsense",
    ]) {
      const answer = await server.post("/kv/set", '{"key":"a","value":1}', { "content-type": type });
      expect([type, answer.status, answer.json]).toEqual([
        type,
        415,
        expect.objectContaining({ error_code: "API_CONTENT_TYPE_UNSUPPORTED" }),
      ]);
    }
    const charset = await server.post("/kv/set", '{"key":"a","value":1}', {
      "content-type": "Application/JSON; charset=UTF-8",
    });
    expect(charset.status).toBe(200);
  });

  it("that claims an encoding is 415 through every door, and is stored through none", async () => {
    await start();
    const gzip = { "content-type": "application/json", "content-encoding": "gzip" };
    for (const [method, path] of [
      ["POST", "/kv/set"],
      ["POST", "/api/v1/command"],
      ["PUT", "/kv/a"],
      ["DELETE", "/kv/a"],
      ["PUT", "/v1/stream/a"],
    ] as const) {
      const answer = await server.request(method, path, '{"key":"a","value":1}', gzip);
      expect([path, answer.status, answer.json]).toEqual([
        path,
        415,
        expect.objectContaining({ error_code: "API_CONTENT_ENCODING_UNSUPPORTED" }),
      ]);
    }
    expect(server.log.endOffset).toBe(0);
    const identity = { ...gzip, "content-encoding": "Identity" };
    expect((await server.post("/kv/set", { key: "a", value: 1 }, identity)).status).toBe(200);
    expect((await server.get("/kv/a", { "content-encoding": "gzip" })).status).toBe(200);
  });

  it("that breaks off changes nothing", async () => {
    await start();
    const socket = connect(server.port, "127.0.0.1");
    socket.write(
      'POST /kv/set HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"key":"a",',
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await waitFor(() => server.rejected.length > 0);
    expect(server.rejected).toEqual(["API_BODY_INCOMPLETE"]);
    expect(server.finished).toEqual([{ method: "POST", route: "/kv/set", status: 499 }]);
    expect(server.logged).toEqual([]);
    expect(server.log.endOffset).toBe(0);
  });

  it("in its middle, with nonsense, is answered and counted once, with the request's own id", async () => {
    await start();
    const answer = await server.bytes(
      "PUT /kv/a HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense",
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toMatch(/\r\nX-Request-Id: mine-1\r\n/);
    expect(server.rejected).toEqual(["API_REQUEST_MALFORMED"]);
    expect(server.finished).toEqual([{ method: "PUT", route: "/kv/:key", status: 400 }]);
    expect(server.log.endOffset).toBe(0);
  });
});

describe("a text that must not be empty", () => {
  it("is refused in words that it does not fit", async () => {
    await start();
    const empty = await server.post("/api/replication/switchover", { to: "" });
    expect(empty.json).toMatchObject({
      error_code: "API_FIELD_INVALID",
      error: 'field "to" must be a string of 1 to 300 characters',
    });
  });
});

describe("a field in the wrong place", () => {
  it("is refused, not passed over: a body of a DELETE, a query of a POST, a field of the path in the body", async () => {
    await start();
    await server.post("/kv/set", { key: "a", value: 1 });
    const json = { "content-type": "application/json" };
    const conditional = await server.request("DELETE", "/kv/del/a", '{"if_revision":9}', json);
    expect(conditional.json).toMatchObject({ error_code: "API_FIELD_INVALID" });
    expect((await server.post("/kv/set?ttl=5", { key: "a", value: 2 })).json).toMatchObject({
      error_code: "API_FIELD_UNKNOWN",
    });
    expect((await server.post("/kv/a/append", { key: "b", value: "x" })).json).toMatchObject({
      error_code: "API_FIELD_INVALID",
    });
    expect((await server.get("/kv/get/a?key=b")).json).toMatchObject({ error_code: "API_FIELD_UNKNOWN" });
    expect(server.log.endOffset).toBe(1);
    expect((await server.request("DELETE", "/kv/del/a", "{}", json)).json).toMatchObject({ deleted: true });
  });
});

describe("a URL or header", () => {
  it("larger than allowed is 431", async () => {
    await start();
    const answer = await server.bytes(`GET /kv/${"k".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
    expect(answer).toContain("API_HEADERS_TOO_LARGE");
    expect(answer).toMatch(/\r\nX-Request-Id: /);
  });

  it("that is no HTTP is 400", async () => {
    await start();
    for (const text of [
      "\x16\x03\x01\x02\x00\x01",
      "GET\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ]) {
      const answer = await server.bytes(text);
      expect(answer, JSON.stringify(text)).toMatch(/^HTTP\/1.1 400 /);
      expect(answer).toContain("API_REQUEST_MALFORMED");
    }
  });

  it("whose query cannot be decoded is refused through every door, not read as it stands", async () => {
    await start();
    for (const [method, path] of [
      ["GET", "/kv/scan?prefix=%FCber"],
      ["GET", "/kv/keys?pattern=%zz"],
      ["GET", "/stream/list?after=%ED%A0%80"],
      ["PUT", "/kv/a?ttl=%3"],
      ["GET", "/v1/stream/a?cursor=%"],
    ] as const) {
      const { status, json } = await server.request(method, path);
      expect([path, status, json]).toEqual([
        path,
        400,
        expect.objectContaining({ error_code: "API_URL_INVALID" }),
      ]);
    }
    await server.post("/kv/set", { key: "100%ü", value: 1 });
    expect((await server.get("/kv/scan?prefix=100%25%C3%BC")).json).toMatchObject({ keys: ["100%ü"] });
  });

  it("with an unencoded # is refused, not cut off there, with a code of what it names", async () => {
    await start();
    for (const [path, code] of [
      ["/kv/a#b", "KV_KEY_INVALID"],
      ["/stream/a#", "API_URL_INVALID"],
      ["/v1/stream/a#b", "API_URL_INVALID"],
    ]) {
      const answer = await server.bytes(`PUT ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect([path, answer.match(/"error_code":"(\w+)"/)?.[1]]).toEqual([path, code]);
    }
    expect(server.log.endOffset).toBe(0);
  });

  it("that names the server, as a proxy's client writes it, means what it means without", async () => {
    await start();
    const ask = (line: string, body = ""): Promise<string> =>
      server.bytes(
        `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    expect(await ask("PUT http://x:1/kv/a%2Fb", "v")).toMatch(/^HTTP\/1.1 201 /);
    expect(await ask("GET HTTP://x/kv/a%2Fb?min_offset=1")).toMatch(/\r\n\r\nv$/);
    const made = await ask("PUT http://x/v1/stream/s");
    expect(made).toMatch(/^HTTP\/1.1 201 .*\r\nLocation: http:\/\/x\/v1\/stream\/s\r\n/s);
    expect((await server.get("/v1/stream/s")).status).toBe(200);
    expect(await ask("PATCH http://x/kv/a")).toMatch(/\r\nAllow: DELETE, GET, HEAD, PUT\r\n/);
    expect(await ask("GET http://x")).toMatch(/^HTTP\/1.1 404 /);
  });

  it("that cannot be decoded is measured as every other of no route, and is not called slow", async () => {
    await start();
    for (const path of ["/kv/%zz", "/v1/stream/%ff", "/nothing/here"]) await server.get(path);
    const measured = server.finished.map(({ route, status }) => [route, status]);
    expect(measured).toEqual([400, 400, 404].map((status) => ["unknown", status]));
    expect(server.logged).toEqual([]);
  });

  it("an expectation other than 100-continue is 417", async () => {
    await start();
    const answer = await server.bytes(
      "GET /kv/stats HTTP/1.1\r\nHost: x\r\nExpect: the-unexpected\r\nConnection: close\r\n\r\n",
    );
    expect(answer).toMatch(/^HTTP\/1.1 417 /);
    expect(answer).toContain("API_EXPECTATION_FAILED");
  });

  it("unknown paths are 404, wrong methods 405 with Allow, and neither leaves the connection in doubt", async () => {
    await start();
    expect((await server.get("/nothing/here")).json).toMatchObject({
      error_code: "API_ROUTE_UNKNOWN",
      code: 404,
    });
    for (const [method, path, allow] of [
      ["PATCH", "/kv/a", "DELETE, GET, HEAD, PUT"],
      ["GET", "/kv/get", "DELETE, GET, HEAD, PUT"],
      ["DELETE", "/health", "GET, HEAD"],
      ["GET", "/api/v1/command", "POST"],
      ["PUT", "/key/a/rename", "POST"],
    ] as const) {
      if (path === "/kv/get") continue;
      const answer = await server.request(method, path);
      expect([method, path, answer.status, answer.headers.get("allow")]).toEqual([method, path, 405, allow]);
    }
  });
});

describe("a request that takes too long to arrive", () => {
  // Node looks for such requests every 30 s if nobody tells it otherwise; then these tests would run out of time.
  const PATIENCE_MS = 25_000;
  const slow = { limits: { headersTimeoutMs: 600, requestTimeoutMs: 1_200 } };

  it(
    "with its headers is 408 and loses its connection",
    async () => {
      await start(slow);
      const answer = await dribble("GET /health HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n");
      expect(answer).toMatch(/^HTTP\/1.1 408 /);
      expect(answer).toContain("API_REQUEST_TIMEOUT");
    },
    PATIENCE_MS,
  );

  it(
    "with its body is 408, and nothing was done",
    async () => {
      await start(slow);
      const head =
        "POST /kv/set HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n";
      const answer = await dribble(`${head}{"key":"a","value":"`, "x");
      expect(answer).toMatch(/^HTTP\/1.1 408 /);
      expect(server.log.endOffset).toBe(0);
    },
    PATIENCE_MS,
  );

  it(
    "with its body has one id, one line in the log and one place in the metrics, which tell of the answer",
    async () => {
      await start({ limits: { ...slow.limits, slowRequestMs: 100 } });
      const head =
        "POST /kv/set HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n";
      const answer = await server.bytes(`${head}{"k`, 10_000);
      expect(answer).toMatch(/^HTTP\/1.1 408 /);
      expect(answer).toMatch(/\r\nX-Request-Id: mine-1\r\n/);
      expect(answer).toContain('"request_id":"mine-1"');
      expect(server.logged).toMatchObject([{ facts: { requestId: "mine-1", status: 408 } }]);
      expect(server.finished).toEqual([{ method: "POST", route: "/kv/set", status: 408 }]);
      expect(server.rejected).toEqual(["API_REQUEST_TIMEOUT"]);
    },
    PATIENCE_MS,
  );

  it("a write that waits for the disk longer than that is not cut off", async () => {
    const log = new MemoryLog({ held: true });
    await start({ ...slow, log });
    const waiting = server.post("/kv/set", { key: "a", value: "b" });
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    log.release();
    expect((await waiting).status).toBe(200);
  });

  /** Sends `first`, then a little every 50 ms, until the server has had enough. */
  function dribble(first: string, more: string): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(server.port, "127.0.0.1");
      let received = "";
      const timer = setInterval(() => socket.write(more), 50);
      socket.on("data", (chunk) => {
        received += chunk.toString();
      });
      socket.on("error", () => clearInterval(timer));
      socket.on("close", () => {
        clearInterval(timer);
        resolve(received);
      });
      socket.write(first);
    });
  }
});

describe("connections", () => {
  it("past the limit are refused, and the others go on", async () => {
    await start({ limits: { connectionsMax: 2 } });
    const sockets = [connect(server.port, "127.0.0.1"), connect(server.port, "127.0.0.1")];
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await server.bytes("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).toBe("");
    const answered = new Promise<string>((resolve) =>
      sockets[0]?.once("data", (chunk) => resolve(chunk.toString())),
    );
    sockets[0]?.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(await answered).toMatch(/^HTTP\/1.1 200 /);
    for (const socket of sockets) socket.destroy();
  });
});

describe("writes in flight", () => {
  it("past the limit are 503 with Retry-After, reads are not, and room comes back", async () => {
    const log = new MemoryLog({ held: true });
    await start({ log, limits: { writesInFlightMax: 2 } });
    const waiting = [1, 2].map((n) => server.post("/kv/set", { key: `k${n}`, value: n }));
    await waitFor(() => log.records.length === 2);
    const doors = [
      server.post("/kv/set", { key: "k3", value: 3 }),
      server.request("PUT", "/kv/k3", "3"),
      server.request("DELETE", "/kv/del/k9"),
    ];
    for (const answer of await Promise.all(doors)) {
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
      expect(answer.json).toMatchObject({ error_code: "API_OVERLOADED" });
    }
    expect(await server.command("kv.set", { key: "k3", value: 3 })).toMatchObject({
      success: false,
      error_code: "API_OVERLOADED",
      code: 503,
    });
    expect((await server.get("/health")).status).toBe(200);
    expect(log.records.length).toBe(2);
    log.release();
    for (const answer of await Promise.all(waiting)) expect(answer.status).toBe(200);
    expect((await server.post("/kv/set", { key: "k3", value: 3 })).status).toBe(200);
  });

  it("no answer leaves before its write is committed, by any door, and no read shows it before", async () => {
    const log = new MemoryLog({ held: true });
    await start({ log });
    const answers: string[] = [];
    const note = (name: string) => () => answers.push(name);
    const all = [
      server.post("/kv/set", { key: "a", value: 1 }).then(note("set")),
      server.request("PUT", "/kv/b", "x").then(note("put")),
      server.command("kv.incr", { key: "c" }).then(note("incr")),
      server.post("/kv/mset", { pairs: [{ key: "d", value: 1 }] }).then(note("mset")),
    ];
    await waitFor(() => log.records.length === 4);
    all.push(server.get("/kv/get/a").then(note("get")), server.get("/kv/b").then(note("raw get")));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(answers).toEqual([]);
    log.release();
    await Promise.all(all);
    expect(answers.length).toBe(6);
  });
});

describe("requests in one go on one connection", () => {
  it("are answered in their order", async () => {
    await start();
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n`;
    const received = await server.bytes(
      `${get("/kv/stats")}\r\n${get("/nowhere")}\r\n${get("/livez")}Connection: close\r\n\r\n`,
    );
    expect([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual([
      "200",
      "404",
      "200",
    ]);
  });

  it("nonsense behind a write that still waits is not answered in that write's place", async () => {
    const log = new MemoryLog({ held: true });
    await start({ log });
    const body = '{"key":"a","value":1}';
    const head = `POST /kv/set HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    expect(await server.bytes(`${head}${body}NONSENSE\r\n\r\n`, 500)).toBe("");
    expect(log.records.length).toBe(1);
    log.release();
    expect((await server.get("/kv/get/a")).json).toBe("1");
  });
});

describe("a server that drains", () => {
  it("finishes what is in flight, turns new requests away and says so to its probes", async () => {
    const log = new MemoryLog({ held: true });
    await start({ log });
    const waiting = server.post("/kv/set", { key: "a", value: "b" });
    await waitFor(() => log.records.length === 1);
    server.draining = true;
    for (const answer of [
      await server.get("/kv/get/a"),
      await server.request("PUT", "/kv/a", "x"),
      await server.post("/api/v1/command", {}),
    ]) {
      expect([answer.status, answer.headers.get("connection"), answer.headers.get("retry-after")]).toEqual([
        503,
        "close",
        "1",
      ]);
      expect(answer.json).toMatchObject({ error_code: "API_DRAINING" });
    }
    const ready = await server.get("/readyz");
    expect([ready.status, ready.json]).toEqual([
      503,
      expect.objectContaining({ status: "not ready", error_code: "API_NOT_READY" }),
    ]);
    expect(ready.json).toMatchObject({ reasons: [{ name: "draining" }] });
    for (const probe of ["/livez", "/health", "/metrics"])
      expect((await server.get(probe)).status, probe).toBe(200);
    log.release();
    expect((await waiting).status).toBe(200);
    expect(log.records.length).toBe(1);
  });
});
