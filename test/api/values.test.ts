// A value comes back as it was sent: text as text, JSON character by character, numbers with every digit.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.close());

const exact = [
  "1.0",
  "-0",
  "1E+2",
  "9007199254740993",
  "123456789012345678901234567890.10",
  "null",
  "true",
  "[]",
  "{}",
  '{"b":1,"a":2,"b":3}',
  '{ "spaced" : [ 1 , 2 ]\n}',
  '{"__proto__":{"polluted":true},"constructor":{"prototype":1}}',
  '["\\u0041\\/\\ud800"]',
  '[[[[["deep"]]]]]',
];

describe.each(exact)("the JSON %s", (json) => {
  const doors: [string, () => Promise<unknown>][] = [
    ["set", () => server.post("/kv/set", `{"value":0,"key":"a","value": ${json} }`)],
    [
      "mset",
      () => server.post("/kv/mset", `{"pairs":[{"key":"x","value":"t"},{"value":${json},"key":"a"}]}`),
    ],
    ["msetnx", () => server.post("/kv/msetnx", `{"key":"a","value":${json}}`)],
    ["getset", () => server.post("/kv/a/getset", `{"value":${json}}`)],
    ["append", () => server.post("/kv/a/append", `{"value":${json}}`)],
    [
      "envelope",
      () =>
        server.post(
          "/api/v1/command",
          `{"payload":{"key":"a","value":1},"command":"kv.set","request_id":"payload","payload":{"key":"a","value":${json}}}`,
        ),
    ],
  ];

  it.each(doors)("is stored by %s as it was sent", async (_door, write) => {
    await server.command("kv.mdel", { keys: ["a", "x"] });
    expect(await write()).toMatchObject({ status: 200 });
    expect((await server.get("/kv/a")).text).toBe(json);
    expect((await server.get("/kv/get/a")).json).toBe(json);
  });

  it("is given back by mget as the JSON that it is, in the text that was sent", async () => {
    await server.post("/kv/set", `{"key":"a","value":${json}}`);
    expect((await server.post("/kv/mget", { keys: ["a"] })).text).toBe(`{"values":[${json}]}`);
    const answer = await server.post("/api/v1/command", {
      command: "kv.mget",
      request_id: "r",
      payload: { keys: ["a"] },
    });
    expect(answer.text).toContain(`"payload":{"values":[${json}]}`);
    expect({}).not.toHaveProperty("polluted");
  });
});

describe("an event's metadata", () => {
  const metadata = '{"id":12345678901234567890,"far":1e400,"zero":-0,"one":1.0}';
  const event = `"event":"e","data":1,"metadata":${metadata}`;
  const ways: [string, string, string][] = [
    ["publish", "/stream/r/publish", `{${event}}`],
    ["publish_batch", "/stream/r/publish/batch", `{"events":[{"event":"f","data":0},{${event}}]}`],
    ["batch", "/batch", `{"operations":[{"command":"stream.publish","payload":{"room":"r",${event}}}]}`],
  ];

  it.each(ways)("comes back from %s as it was sent", async (_way, path, body) => {
    await server.command("stream.create", { room: "r" });
    expect(await server.post(path, body)).toMatchObject({ status: 200 });
    expect((await server.get("/stream/r/consume/s")).text).toContain(`"metadata":${metadata}`);
    await server.command("stream.delete", { room: "r" });
  });

  it("is none where none was sent, and an object where one was", async () => {
    await server.command("stream.create", { room: "r" });
    await server.post("/stream/r/publish", { event: "e", data: 1 });
    expect((await server.get("/stream/r/consume/s")).text).toContain('"metadata":{}');
    const text = await server.post("/stream/r/publish", { event: "e", data: 1, metadata: "text" });
    expect([text.status, text.json]).toEqual([422, expect.objectContaining({ code: 422 })]);
    await server.command("stream.delete", { room: "r" });
  });
});

describe("a string", () => {
  it.each(["", "plain", '"quoted"', "{}", "null", "😀 é \u0000", "line\nbreak\\u0041"])(
    "%j is stored as its raw text and told from JSON",
    async (text) => {
      await server.post("/kv/set", { key: "s", value: text });
      const raw = await server.get("/kv/s");
      expect([raw.text, raw.headers.get("content-type")]).toEqual([text, "text/plain; charset=utf-8"]);
      expect((await server.get("/kv/get/s")).json).toBe(text);
      expect((await server.post("/kv/mget", { keys: ["s"] })).json).toEqual({ values: [text] });
    },
  );
});

describe("bytes that are no text", () => {
  it("come as an array of numbers where JSON must carry them", async () => {
    await server.request("PUT", "/kv/b", Uint8Array.of(0xff, 0x00, 0x41));
    expect((await server.get("/kv/get/b?type=bytes")).text).toBe("[255,0,65]");
    expect((await server.get("/kv/get/b")).json).toMatchObject({ error_code: "KV_VALUE_NOT_TEXT" });
    expect((await server.post("/kv/mget", { keys: ["b"] })).text).toBe('{"values":[[255,0,65]]}');
    expect((await server.command("kv.getset", { key: "b", value: "x" })).payload).toEqual([255, 0, 65]);
  });
});

describe("every answer to a write", () => {
  it("tells its offset in the body and the header, and reads tell the revision that it left", async () => {
    const set = await server.post("/kv/set", { key: "r", value: "v" });
    const { log_offset, revision } = set.json as { log_offset: number; revision: number };
    expect(set.headers.get("x-annals-offset")).toBe(String(log_offset));
    expect([log_offset, revision]).toEqual([server.log.endOffset, server.log.endOffset]);
    expect((await server.get("/kv/get/r")).headers.get("x-annals-revision")).toBe(String(revision));
    const envelope = { command: "kv.get", request_id: "1", payload: { key: "r" } };
    const answer = await server.post("/api/v1/command", envelope);
    expect(answer.headers.get("x-annals-revision")).toBe(String(revision));
    expect((await server.get("/kv/r")).headers.get("etag")).toBe(`"${revision}"`);
  });
});
