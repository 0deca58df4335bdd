// Each client has a transaction of its own, and never comes to another one's by leaving out who it is.
import { afterEach, describe, expect, it } from "vitest";
import { LogError } from "../../log/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
afterEach(() => server.close());

const clientIn = (answer: { readonly json: unknown }): string =>
  String(Reflect.get(Object(answer.json), "client_id"));

/** What a proxy in front of the server may put on every request. */
const PROXY = { "x-request-id": "the-same-for-all" };

describe("a transaction over REST", () => {
  it("that names no client gets one of its own, whatever the request's id is", async () => {
    server = await TestServer.start();
    const one = clientIn(await server.post("/transaction/multi", undefined, PROXY));
    const other = clientIn(await server.post("/transaction/multi", {}, PROXY));
    expect(new Set([one, other, "the-same-for-all"]).size).toBe(3);
    await server.post("/kv/set", { key: "a", value: "one", client_id: one }, PROXY);
    await server.post("/kv/set", { key: "b", value: "other", client_id: other }, PROXY);
    const done = await server.post("/transaction/exec", { client_id: one }, PROXY);
    expect(done.json).toMatchObject({ success: true, results: [{ key: "a" }] });
    expect((await server.get("/kv/get/b")).json).toEqual({ error: "Key not found" });
    const rest = await server.post("/transaction/exec", { client_id: other }, PROXY);
    expect(rest.json).toMatchObject({ success: true, results: [{ key: "b" }] });
  });

  it.each(["exec", "discard", "unwatch"])(
    "that names no client at %s is refused, and nothing changes",
    async (what) => {
      server = await TestServer.start();
      await server.post("/transaction/multi", {}, PROXY);
      await server.post("/transaction/multi", { client_id: PROXY["x-request-id"] });
      await server.post("/kv/set", { key: "a", value: "b", client_id: PROXY["x-request-id"] });
      for (const body of [undefined, {}]) {
        const answer = await server.post(`/transaction/${what}`, body, PROXY);
        expect([answer.status, answer.json]).toEqual([
          422,
          expect.objectContaining({
            error_code: "API_FIELD_MISSING",
            error: expect.stringContaining("client_id"),
          }),
        ]);
      }
      expect(server.log.endOffset).toBe(0);
      const done = await server.post("/transaction/exec", { client_id: PROXY["x-request-id"] });
      expect(done.json).toMatchObject({ success: true, results: [{ key: "a" }] });
    },
  );

  it("takes as many items as one request, over all its writes", async () => {
    server = await TestServer.start({ limits: { batchItemsMax: 5 } });
    const client_id = clientIn(await server.post("/transaction/multi"));
    const keys = ["a", "b", "c"];
    expect((await server.post("/kv/mdel", { keys, client_id })).status).toBe(200);
    const refused = await server.post("/kv/mdel", { keys, client_id });
    expect([refused.status, refused.json]).toEqual([
      413,
      expect.objectContaining({ error_code: "API_BATCH_TOO_LARGE" }),
    ]);
    for (const key of ["d", "e"]) {
      expect((await server.post("/kv/set", { key, value: "1", client_id })).status).toBe(200);
    }
    expect((await server.post("/kv/set", { key: "f", value: "1", client_id })).status).toBe(413);
    const done = await server.post("/transaction/exec", { client_id });
    expect(done.json).toMatchObject({ success: true, results: [{ deleted: 0 }, { key: "d" }, { key: "e" }] });
  });

  it("aborts when another epoch has begun since its watch: the same revision may be another record's there", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log });
    await server.post("/kv/set", { key: "a", value: "before" });
    const client_id = clientIn(await server.post("/transaction/watch", { keys: ["a"] }));
    await server.post("/transaction/multi", { client_id });
    await server.post("/kv/set", { key: "b", value: "mine", client_id });
    await log.startEpoch();
    expect((await server.post("/transaction/exec", { client_id })).json).toMatchObject({ aborted: true });
    expect((await server.get("/kv/get/b")).json).toEqual({ error: "Key not found" });

    await server.post("/transaction/watch", { keys: ["a"], client_id });
    await server.post("/transaction/multi", { client_id });
    await server.post("/kv/set", { key: "b", value: "mine", client_id });
    expect((await server.post("/transaction/exec", { client_id })).json).toMatchObject({ success: true });
  });

  it("may begin with a watch, which names the client", async () => {
    server = await TestServer.start();
    const client_id = clientIn(await server.post("/transaction/watch", { keys: ["a"] }, PROXY));
    expect(clientIn(await server.post("/transaction/multi", { client_id }))).toBe(client_id);
    await server.post("/kv/set", { key: "a", value: "mine", client_id });
    await server.post("/kv/set", { key: "a", value: "another's" });
    expect((await server.post("/transaction/exec", { client_id })).json).toMatchObject({ aborted: true });
    expect((await server.get("/kv/get/a")).json).toBe("another's");
  });
});

describe("a watched key that was not there", () => {
  const client_id = "watcher";
  const set = (key: string, fields: object = {}) => server.post("/kv/set", { key, value: "1", ...fields });
  const remove = (key: string) => server.request("DELETE", `/kv/del/${key}`);
  /** What `exec` answers when this happened after the watch. */
  const execAfter = async (happens: () => Promise<unknown>): Promise<unknown> => {
    await server.post("/transaction/watch", { client_id, keys: ["absent"] });
    await server.post("/transaction/multi", { client_id });
    await set("written", { client_id });
    await happens();
    const { json } = await server.post("/transaction/exec", { client_id });
    expect((await server.get("/kv/get/written")).json).toEqual(
      Reflect.get(Object(json), "aborted") === true ? { error: "Key not found" } : "1",
    );
    return json;
  };

  it.each([
    ["was set and deleted", () => remove("absent")],
    ["was set and flushed with all others", () => server.post("/kv/flushdb", {})],
    [
      "was set and has expired",
      async () => {
        server.now += 5_000;
      },
    ],
  ])("and %s meanwhile aborts it", async (_, goes) => {
    server = await TestServer.start({ rules: { allowFlush: true } });
    await set("absent");
    await remove("absent");
    const json = await execAfter(async () => {
      await set("absent", { ttl: 3 });
      await goes();
    });
    expect(json).toMatchObject({ aborted: true });
  });

  it("and was left alone lets it run, whatever other keys came and went", async () => {
    server = await TestServer.start();
    await set("absent");
    await remove("absent");
    const json = await execAfter(async () => {
      await set("other");
      await remove("other");
    });
    expect(json).toMatchObject({ success: true });
  });

  it("aborts it where what was removed meanwhile is remembered no more, and only there", async () => {
    server = await TestServer.start({ rules: { removedKeysBytesMax: 0 } });
    const other = async (): Promise<void> => {
      await set("other");
      await remove("other");
    };
    await other();
    expect(await execAfter(() => set("another"))).toMatchObject({ success: true });
    await remove("written");
    expect(await execAfter(other)).toMatchObject({ aborted: true });
  });
});

describe("a transaction whose exec is refused", () => {
  const open = async (client_id: string): Promise<void> => {
    await server.post("/transaction/watch", { client_id, keys: ["watched"] });
    await server.post("/transaction/multi", { client_id });
    await server.post("/kv/set", { key: "a", value: "queued", client_id });
  };

  it("stays open, watches and all, when it is asked to come again", async () => {
    const log = new MemoryLog();
    server = await TestServer.start({ log });
    await open("c");
    for (const code of ["LOG_DISK_FULL", "LOG_BUSY"] as const) {
      log.refuse(new LogError(code, "not now"));
      const refused = await server.post("/transaction/exec", { client_id: "c" });
      expect([refused.json, refused.headers.get("retry-after")]).toEqual([
        expect.objectContaining({ error_code: code }),
        expect.stringMatching(/^[0-9]+$/),
      ]);
    }
    log.refuse(undefined);
    await server.post("/kv/set", { key: "watched", value: "changed" });
    expect((await server.post("/transaction/exec", { client_id: "c" })).json).toMatchObject({
      aborted: true,
    });
    expect((await server.get("/kv/get/a")).json).toEqual({ error: "Key not found" });
  });

  it("is over when a write of it is refused", async () => {
    server = await TestServer.start();
    await server.post("/transaction/multi", { client_id: "c" });
    await server.post("/kv/set", { key: "text", value: "no number" });
    await server.post("/kv/text/incr", { client_id: "c" });
    const refused = await server.post("/transaction/exec", { client_id: "c" });
    const again = await server.post("/transaction/exec", { client_id: "c" });
    expect(refused.json).toMatchObject({ error_code: "KV_NOT_AN_INTEGER" });
    expect(again.json).toMatchObject({ error_code: "BATCH_TRANSACTION_NOT_FOUND" });
  });
});

describe("a transaction in the envelope", () => {
  const run = (command: string, request_id: string, payload: object = {}) =>
    server.post("/api/v1/command", { command, request_id, payload });

  it("belongs to the request's id when it names no client", async () => {
    server = await TestServer.start();
    const opened = await run("transaction.multi", "r-9");
    expect(opened.json).toMatchObject({ payload: { client_id: "r-9" } });
    await run("kv.set", "r-10", { key: "a", value: "b", client_id: "r-9" });
    expect((await run("transaction.exec", "r-10")).json).toMatchObject({
      error_code: "BATCH_TRANSACTION_NOT_FOUND",
    });
    expect((await run("transaction.exec", "r-9")).json).toMatchObject({
      payload: { results: [{ key: "a" }] },
    });
  });

  it.each([
    ["none", ""],
    ["one that is too long for a client's", "r".repeat(200)],
  ])("gets a client of its own when the request's id is %s", async (_, id) => {
    server = await TestServer.start();
    const opened = (await run("transaction.multi", id)).json;
    const { client_id } = Reflect.get(Object(opened), "payload");
    expect(client_id).not.toBe(id);
    expect((await run("transaction.exec", id)).json).toMatchObject({ error_code: "API_FIELD_MISSING" });
    expect((await run("transaction.exec", id, { client_id })).json).toMatchObject({ success: true });
  });
});

describe("transactions", () => {
  it("are bounded: one more is refused until one is over or forgotten", async () => {
    server = await TestServer.start({ limits: { transactionsMax: 2, transactionIdleMs: 1_000 } });
    for (const client_id of ["one", "two"]) await server.post("/transaction/multi", { client_id });
    for (const [path, body] of [
      ["multi", { client_id: "three" }],
      ["watch", { client_id: "three", keys: ["a"] }],
    ] as const) {
      const full = await server.post(`/transaction/${path}`, body);
      expect([full.status, full.json]).toEqual([
        503,
        expect.objectContaining({ error_code: "API_TRANSACTIONS_FULL" }),
      ]);
    }
    await server.post("/transaction/discard", { client_id: "one" });
    expect((await server.post("/transaction/multi", { client_id: "three" })).status).toBe(200);
    server.aheadMs += 1_000;
    expect((await server.post("/transaction/multi", { client_id: "four" })).status).toBe(200);
  });

  it("are not forgotten because the clock was set", async () => {
    server = await TestServer.start();
    await server.post("/transaction/multi", { client_id: "one" });
    server.now += 3_600_000;
    expect((await server.post("/transaction/exec", { client_id: "one" })).json).toMatchObject({
      success: true,
    });
  });
});
