// What replication means for a request: who takes a write, when it is answered, and what a replica says.
import { afterEach, describe, expect, it } from "vitest";
import type { ForwardedWrite, Refusal } from "../../api/index.js";
import { epoch } from "../../log/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { UPSTREAM } from "../support/replication-double.js";
import { type Answer, TestServer } from "../support/test-server.js";

let server: TestServer;
afterEach(async () => {
  await server.close();
});

const ACKS = "x-annals-acks";
const TEXT = { "content-type": "text/plain" };
const readOnly: Refusal = {
  type: "refused",
  code: "REPLICATION_READ_ONLY",
  message: "this node follows db1:15501",
  details: { primary: "http://db1:15500" },
};

/** One write through every door. */
const writes: readonly (readonly [string, (headers: Record<string, string>) => Promise<Answer>])[] = [
  ["REST", (headers) => server.post("/kv/set", { key: "a", value: 1 }, headers)],
  ["the raw door", (headers) => server.request("PUT", "/kv/a", "1", { ...TEXT, ...headers })],
  [
    "the envelope",
    (headers) =>
      server.post(
        "/api/v1/command",
        { command: "kv.set", request_id: "r", payload: { key: "a", value: 1 } },
        headers,
      ),
  ],
  ["the durable door", (headers) => server.request("PUT", "/v1/stream/s", "1", { ...TEXT, ...headers })],
  [
    "a batch",
    (headers) =>
      server.post(
        "/batch",
        { operations: [{ command: "kv.set", payload: { key: "a", value: 1 } }] },
        headers,
      ),
  ],
];

describe.each(writes)("a write through %s", (_door, write) => {
  it("is answered when as many replicas have it as it asks for, and not before", async () => {
    server = await TestServer.start();
    let confirm: () => void = () => undefined;
    server.replication.held = new Promise((resolve) => {
      confirm = resolve;
    });
    let answered = false;
    const answer = write({ [ACKS]: "2" }).finally(() => {
      answered = true;
    });
    await expect.poll(() => server.replication.waits).toEqual([{ offset: 1, acks: 2 }]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(false);
    confirm();
    expect((await answer).text).not.toContain("error_code");
  });

  it("is not acknowledged any more when another node has begun to lead before its answer leaves", async () => {
    server = await TestServer.start();
    server.replication.replaced = {
      type: "refused",
      code: "REPLICATION_NOT_CONFIRMED",
      message: "stored locally at offset 1; another node leads since, and may not have it",
      details: { offset: 1, confirmed: 0, wanted: 0 },
    };
    const answer = await write({});
    const token = { offset: 1, lineage: "00000000" };
    expect(answer.json).toMatchObject({ error_code: "REPLICATION_NOT_CONFIRMED", ...token });
    expect(server.log.committedOffset).toBe(1);
  });

  it("is never a plain failure when it was not confirmed: it says where it is stored", async () => {
    server = await TestServer.start();
    server.replication.unconfirmed = {
      type: "refused",
      code: "REPLICATION_NOT_CONFIRMED",
      message: "stored locally at offset 1, confirmed by 0 of 1 replicas",
      details: { offset: 1, confirmed: 0, wanted: 1 },
    };
    const answer = await write({ [ACKS]: "quorum" });
    expect(answer.json).toMatchObject({
      error_code: "REPLICATION_NOT_CONFIRMED",
      offset: 1,
      lineage: "00000000",
      confirmed: 0,
      wanted: 1,
    });
    expect(server.log.committedOffset).toBe(1);
  });

  it("tells of which history its record is, also when another has begun before it is answered", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log });
    let over: () => void = () => undefined;
    server.replication.held = new Promise((resolve) => {
      over = resolve;
    });
    server.replication.unconfirmed = {
      type: "refused",
      code: "REPLICATION_NOT_CONFIRMED",
      message: "stored locally at offset 1, confirmed by 0 of 1 replicas",
      details: { offset: 1, confirmed: 0, wanted: 1 },
    };
    const answer = write({ [ACKS]: "1" });
    await expect.poll(() => server.replication.waits).toHaveLength(1);
    Object.defineProperty(log, "epochs", {
      value: [{ ...log.epochs[0], epoch: 2, lineageId: "f".repeat(32) }],
    });
    over();
    expect((await answer).json).toMatchObject({ offset: 1, lineage: "00000000" });
    expect((await answer).headers.get("x-annals-lineage")).toBe("ffffffff");
  });

  it("is refused on a replica, which names the primary, and nothing is changed", async () => {
    server = await TestServer.start();
    server.replication.refusal = readOnly;
    const answer = await write({});
    expect(answer.json).toMatchObject({ error_code: "REPLICATION_READ_ONLY", primary: "http://db1:15500" });
    if (answer.status !== 200) expect(answer.headers.get("x-annals-primary")).toBe("http://db1:15500");
    expect(server.log.endOffset).toBe(0);
  });

  it("is sent on by a replica that does so, as it came, and answered as it was answered there", async () => {
    server = await TestServer.start();
    const sent: ForwardedWrite[] = [];
    server.replication.refusal = readOnly;
    server.replication.forward = async (asked) => {
      sent.push(asked);
      const headers = [
        "Content-Type",
        "text/x-told",
        "ETag",
        '"7"',
        "X-Annals-Offset",
        "7",
        "X-Annals-Lineage",
        "0f3c9a1e",
      ];
      return { type: "forwarded", status: 203, headers, body: Buffer.from("told there") };
    };
    const answer = await write({ "idempotency-key": "k1", "x-request-id": "mine" });
    expect([answer.status, answer.text]).toEqual([203, "told there"]);
    expect([...answer.headers]).toEqual(
      expect.arrayContaining([
        ["content-type", "text/x-told"],
        ["etag", '"7"'],
        ["x-annals-lineage", "0f3c9a1e"],
        ["x-request-id", "mine"],
      ]),
    );
    expect(sent).toHaveLength(1);
    const [{ requestId, headers, body } = { requestId: "", headers: [], body: undefined }] = sent;
    expect(requestId).toBe("mine");
    expect(headers.join("\n").toLowerCase()).toContain("idempotency-key\nk1");
    expect(Buffer.from(body ?? []).toString()).toMatch(/1/);
    // It ran elsewhere, so it is measured there.
    expect(server.operations).toEqual([]);
    expect(server.log.endOffset).toBe(0);
  });

  it("is refused in the words of its door when the primary did not answer", async () => {
    server = await TestServer.start();
    const local = await write({ [ACKS]: "many" });
    server.replication.refusal = readOnly;
    server.replication.forward = async () => ({
      type: "refused",
      code: "REPLICATION_FORWARD_FAILED",
      message: "it was not sent",
    });
    const answer = await write({});
    expect(answer.json).toMatchObject({ error_code: "REPLICATION_FORWARD_FAILED", code: 502 });
    expect(answer.status).toBe(local.status === 200 ? 200 : 502);
    expect(Object.keys(answer.json ?? {}).sort()).toEqual(Object.keys(local.json ?? {}).sort());
    const names = ({ headers }: Answer) => [...headers.keys()].filter((name) => name !== "retry-after");
    expect(names(answer)).toEqual(names(local));
  });
});

describe("acks", () => {
  it("are those of the settings when the write says nothing, and none when it says 0", async () => {
    server = await TestServer.start();
    server.replication.acks = 1;
    await server.post("/kv/set", { key: "a", value: 1 });
    await server.post("/kv/set", { key: "a", value: 1 }, { [ACKS]: "0" });
    expect(server.replication.waits).toEqual([{ offset: 1, acks: 1 }]);
  });

  it("can be asked for in the envelope", async () => {
    server = await TestServer.start();
    const envelope = { command: "kv.set", request_id: "r", payload: { key: "a", value: 1 } };
    await server.post("/api/v1/command", { ...envelope, acks: "quorum" });
    expect(server.replication.waits).toEqual([{ offset: 1, acks: "quorum" }]);
    expect((await server.post("/api/v1/command", { ...envelope, acks: "all" })).status).toBe(422);
  });

  it("are waited for also by a write that changed nothing, because it tells of what is there", async () => {
    server = await TestServer.start();
    await server.post("/kv/set", { key: "a", value: 1 });
    await server.post("/kv/set", { key: "a", value: 2, nx: true }, { [ACKS]: "1" });
    expect(server.replication.waits).toEqual([{ offset: 1, acks: 1 }]);
  });

  it("are none of a write that is refused", async () => {
    server = await TestServer.start();
    await server.post("/queue/nobody/publish", { payload: "x" }, { [ACKS]: "1" });
    expect(server.replication.waits).toEqual([]);
  });

  it("of a node that stands alone can only be none, and a quorum of one", async () => {
    server = await TestServer.start({ replication: "off" });
    const one = await server.post("/kv/set", { key: "a", value: 1 }, { [ACKS]: "1" });
    expect(one.json).toMatchObject({ error_code: "API_ACKS_INVALID" });
    expect(server.log.endOffset).toBe(0);
    for (const acks of ["0", "quorum"])
      expect((await server.post("/kv/set", { key: "a", value: 1 }, { [ACKS]: acks })).status).toBe(200);
  });
});

describe("a replica", () => {
  it("serves reads, and leaves transactions to its primary", async () => {
    server = await TestServer.start();
    await server.post("/kv/set", { key: "a", value: 1 });
    server.replication.refusal = readOnly;
    expect((await server.get("/kv/get/a")).status).toBe(200);
    for (const step of ["multi", "watch", "unwatch", "discard"]) {
      const answer = await server.post(`/transaction/${step}`, {
        client_id: "c",
        ...(step === "watch" && { keys: ["a"] }),
      });
      expect(answer.json, step).toMatchObject({ error_code: "REPLICATION_READ_ONLY" });
    }
  });

  it("sends on only what would be a write: what cannot be right is answered here", async () => {
    server = await TestServer.start();
    server.replication.refusal = readOnly;
    server.replication.forward = () => Promise.reject(new Error("sent on"));
    expect((await server.post("/kv/set", { key: "a", vlue: 1 })).json).toMatchObject({
      error_code: "API_FIELD_UNKNOWN",
    });
    expect((await server.get("/kv/nothing")).status).toBe(404);
  });

  it("says itself what a browser may read, and where a stream is that its primary made", async () => {
    const origin = "http://app.example";
    server = await TestServer.start({ corsOrigins: [origin] });
    server.replication.refusal = readOnly;
    const allowed = ["access-control-allow-origin", origin, "Access-Control-Expose-Headers", "ETag"];
    const headers = [...allowed, "Location", "http://db1:15500/v1/stream/a%2Fb"];
    server.replication.forward = async () => ({
      type: "forwarded",
      status: 201,
      headers,
      body: Buffer.alloc(0),
    });
    const answer = await server.request("PUT", "/v1/stream/a%2Fb", undefined, { ...TEXT, origin });
    expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
    expect(answer.headers.get("access-control-expose-headers")).toContain("Stream-Next-Offset");
    expect(answer.headers.get("location")).toBe(`${server.url}/v1/stream/a%2Fb`);
  });

  it("waits for an offset of a lineage that it has not heard of yet, and says how far behind it is", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 30 } });
    await server.post("/kv/set", { key: "a", value: 1 });
    server.replication.isBehind = true;
    server.replication.upstream = UPSTREAM;
    const late = await server.get("/kv/get/a?min_offset=1@ffffffff");
    expect(late.json).toMatchObject({ error_code: "API_MIN_OFFSET_TIMEOUT", lag_operations: 5, lag_ms: 40 });
  });

  it("shows it once that lineage has come, and refuses it when another has taken its place", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log, limits: { minOffsetWaitMs: 20_000 } });
    await server.post("/kv/set", { key: "a", value: 1 });
    server.replication.isBehind = true;
    const shown = server.get("/kv/get/a?min_offset=2@ffffffff");
    const lost = server.get("/kv/get/a?min_offset=2@00000000");
    // Both wait by now.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const epochs = [...log.epochs, { ...log.epochs[0], first: 2, lineageId: "f".repeat(32) }];
    Object.defineProperty(log, "epochs", { value: epochs });
    await server.post("/kv/set", { key: "a", value: 2 });
    expect((await shown).json).toBe("2");
    expect((await lost).json).toMatchObject({ error_code: "API_LINEAGE_LOST" });
  });

  it("that streams refuses at once what another record of the primary's stands in place of, and waits for what may come", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 300 } });
    await server.post("/kv/set", { key: "a", value: 1 });
    await server.request("PUT", "/v1/stream/s", "one", TEXT);
    server.replication.isBehind = true;
    server.replication.upstream = UPSTREAM;
    const at = async (token: string) => (await server.get(`/kv/get/a?min_offset=${token}`)).json;
    const late = { error_code: "API_MIN_OFFSET_TIMEOUT" };
    expect(await at("2@ffffffff")).toMatchObject(late);
    server.replication.hasPrimarysLog = true;
    expect(await at("2@ffffffff")).toMatchObject({ error_code: "API_LINEAGE_LOST", offset: 2 });
    expect(await at("3@ffffffff")).toMatchObject(late);
    expect(await at("2@00000000")).toBe("1");
    const read = await server.get(`/v1/stream/s?offset=${"2".padStart(16, "0")}_${"0".repeat(16)}_ffffffff`);
    expect([read.status, read.json]).toEqual([
      410,
      expect.objectContaining({ error_code: "API_LINEAGE_LOST" }),
    ]);
  });

  it("lets a reader of a stream wait that has read further elsewhere", async () => {
    server = await TestServer.start({ limits: { minOffsetWaitMs: 20_000 } });
    await server.request("PUT", "/v1/stream/s", "one ", TEXT);
    server.replication.isBehind = true;
    const token = (offset: number, lineage: string) =>
      `${String(offset).padStart(16, "0")}_${"0".repeat(16)}_${lineage}`;
    const read = server.get(`/v1/stream/s?offset=${token(2, "0".repeat(8))}`);
    let answered = false;
    void read.finally(() => {
      answered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(answered).toBe(false);
    await server.post("/v1/stream/s", "two ", TEXT);
    await server.post("/v1/stream/s", "three", TEXT);
    // It has what it waited for, and shows what came after the reader's own place.
    expect((await read).status).toBe(200);
    server.replication.isBehind = false;
    const lost = await server.get(`/v1/stream/s?offset=${token(1, "f".repeat(8))}`);
    expect(lost.json).toMatchObject({ error_code: "API_LINEAGE_LOST" });
  });

  it("is told of in the documented shapes", async () => {
    server = await TestServer.start();
    server.replication.upstream = UPSTREAM;
    expect((await server.get("/api/replication/stats")).json).toMatchObject({
      role: "replica",
      replica_offset: 0,
      master_offset: 12,
      lag_operations: 5,
      lag_ms: 40,
      total_replicated: 100,
      total_bytes: 20_000,
      connected: true,
      last_heartbeat: 1_700_000_002,
    });
    expect((await server.get("/health/replication")).json).toMatchObject({
      role: "replica",
      master_host: "db1:15501",
      master_offset: 12,
      local_offset: 0,
      lag_entries: 5,
      lag_ms: 40,
      status: "in_sync",
      last_sync: 1_700_000_002,
    });
    server.replication.upstream = { ...UPSTREAM, connected: false };
    expect((await server.get("/health/replication")).json).toMatchObject({ status: "disconnected" });
    server.replication.upstream = { ...UPSTREAM, phase: "installing" };
    expect((await server.get("/health/replication")).json).toMatchObject({ status: "syncing" });
    server.replication.upstream = UPSTREAM;
    server.checks = [{ name: "replication", ok: false, detail: "20000 ms behind" }];
    expect((await server.get("/health/replication")).json).toMatchObject({ status: "lagging" });
  });
});

const historyOf = ({ headers }: Pick<Answer, "headers">) => [
  headers.get("x-annals-epoch"),
  headers.get("x-annals-lineage"),
];

/** Answers that no operation of the table gives. */
const otherAnswers: readonly (readonly [
  string,
  () => Promise<Pick<Answer, "headers" | "status">>,
  number,
])[] = [
  ["a value as it came", () => server.get("/kv/a"), 200],
  ["a value that has not changed", () => server.get("/kv/a", { "if-none-match": '"1"' }), 304],
  ["a value without its bytes", () => server.request("HEAD", "/kv/a"), 200],
  ["a raw write", () => server.request("PUT", "/kv/b", "1", TEXT), 201],
  ["a raw delete", () => server.request("DELETE", "/kv/b"), 204],
  ["a raw refusal", () => server.get("/kv/none"), 404],
  ["a stream's head", () => server.request("HEAD", "/v1/stream/s"), 200],
  ["a stream", () => server.get("/v1/stream/s?offset=-1"), 200],
  ["a write to a stream", () => server.request("POST", "/v1/stream/s", "2", TEXT), 204],
  ["a stream that is not there", () => server.get("/v1/stream/none?offset=-1"), 404],
  ["a long poll that sees nothing", () => server.get("/v1/stream/s?offset=now&live=long-poll"), 204],
  ["events", () => begun("/v1/stream/s?offset=-1&live=sse"), 200],
  ["a refused envelope", () => server.post("/api/v1/command", { command: "none" }), 422],
  ["a command that is unknown", () => server.post("/api/v1/command", unknownCommand), 200],
  ["a route that is unknown", () => server.get("/nowhere"), 404],
  ["a method that a path does not take", () => server.request("PATCH", "/kv/a"), 405],
  ["a URL that cannot be decoded", () => server.get("/kv/%ff"), 400],
  ["metrics", () => server.get("/metrics"), 200],
  ["health", () => server.get("/readyz"), 200],
  ["the API's description", () => server.get("/openapi.json"), 200],
  ["its page", () => server.get("/docs/"), 200],
  ["no HTTP at all", () => nonsense(), 400],
];

const unknownCommand = { command: "none", request_id: "r", payload: {} };

/** The head of an answer that does not end. */
async function begun(path: string): Promise<Pick<Answer, "headers" | "status">> {
  const gone = new AbortController();
  const { status, headers } = await fetch(server.url + path, { signal: gone.signal });
  gone.abort();
  return { status, headers };
}

async function nonsense(): Promise<Pick<Answer, "headers" | "status">> {
  const [head = ""] = (await server.bytes("nonsense\r\n\r\n")).split("\r\n\r\n");
  const [line = "", ...lines] = head.split("\r\n");
  const headers = lines.map((text): [string, string] => [
    text.split(": ")[0] ?? "",
    text.split(": ")[1] ?? "",
  ]);
  return { status: Number(line.split(" ")[1]), headers: new Headers(headers) };
}

describe("every answer", () => {
  it("says which epoch and lineage it is of, through every door, refusals too", async () => {
    server = await TestServer.start({ limits: { longPollTimeoutMs: 10 } });
    await server.post("/kv/set", { key: "a", value: 1 });
    await server.request("PUT", "/v1/stream/s", "1", TEXT);
    await (server.log as MemoryLog).startEpoch();
    for (const [what, ask, status] of otherAnswers) {
      const answer = await ask();
      expect([what, answer.status, ...historyOf(answer)]).toEqual([what, status, "2", "00000002"]);
    }
  });

  it("says nothing of it while a node has no log", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log });
    Object.defineProperty(log, "epochs", { value: [] });
    expect(historyOf(await server.get("/kv/dbsize"))).toEqual([null, null]);
  });
});

describe("a primary", () => {
  it("is told of in the documented shape, with its replicas", async () => {
    server = await TestServer.start();
    await server.post("/kv/set", { key: "a", value: 1 });
    expect((await server.get("/health/replication")).json).toMatchObject({
      role: "master",
      current_offset: 1,
      replicas: [{ offset: 7, lag_ms: 5, status: "in_sync" }],
    });
  });

  it("puts its epoch beside each offset that it tells", async () => {
    server = await TestServer.start();
    const answer = await server.post("/kv/set", { key: "a", value: 1 });
    expect(answer.headers.get("x-annals-epoch")).toBe("1");
    const log = server.log as MemoryLog;
    await log.startEpoch({ above: epoch(6) });
    const past = await server.get("/kv/get/a?at=1");
    expect(historyOf(past)).toEqual(["1", "00000000"]);
    expect(historyOf(await server.get("/kv/get/a"))).toEqual(["7", "00000007"]);
  });

  it("is what a node that stands alone says it is", async () => {
    server = await TestServer.start({ replication: "off" });
    const stats = (await server.get("/api/replication/stats")).json;
    expect(stats).toMatchObject({ role: "master", replicas: [], epoch: 1, fenced: null });
    expect((await server.get("/health/replication")).status).toBe(200);
  });
});
