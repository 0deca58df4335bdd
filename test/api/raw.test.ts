// The raw door: any bytes, any content type, and HTTP's own preconditions on the revision.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ rules: { valueBytesMax: 1 << 20 } });
});
afterAll(() => server.close());
beforeEach(() => server.command("kv.flushdb"));

const put = (body: string | Uint8Array, headers: Record<string, string> = {}, query = "") =>
  server.request("PUT", `/kv/k${query}`, body, { "content-type": "text/plain", ...headers });

describe("the raw door", () => {
  it("gives back every byte and the content type as they came", async () => {
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    for (const type of ["image/png", "application/json", "text/html; charset=latin1", "x/y"]) {
      await server.request("PUT", "/kv/k", every, { "content-type": type });
      const response = await fetch(`${server.url}/kv/k`);
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(every);
      expect(response.headers.get("content-type")).toBe(type);
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(response.headers.get("content-security-policy")).toContain("sandbox");
    }
  });

  it("keeps a body that claims to be JSON byte for byte, broken or not, and mget does not splice a broken one", async () => {
    await server.request("PUT", "/kv/good", ' {"a": 1.0}\n', { "content-type": "application/json" });
    await server.request("PUT", "/kv/bad", '{"a":', { "content-type": "application/json" });
    expect((await server.get("/kv/bad")).text).toBe('{"a":');
    const both = await server.post("/kv/mget", { keys: ["good", "bad"] });
    expect(both.text).toBe('{"values":[ {"a": 1.0}\n,"{\\"a\\":"]}');
  });

  it("answers 201 for a new key and 204 for a replaced one, with ETag and offset", async () => {
    const created = await put("a");
    expect([created.status, created.text]).toEqual([201, ""]);
    expect(created.headers.get("etag")).toBe(`"${created.headers.get("x-annals-offset")}"`);
    const replaced = await put("b");
    expect(replaced.status).toBe(204);
    expect(replaced.headers.get("etag")).not.toBe(created.headers.get("etag"));
  });

  it("stores an empty body, and one without a content type as bytes", async () => {
    await put("");
    const empty = await server.get("/kv/k");
    expect([empty.status, empty.text, empty.headers.get("content-length")]).toEqual([200, "", "0"]);
    await server.bytes("PUT /kv/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    expect((await server.get("/kv/k")).headers.get("content-type")).toBe("application/octet-stream");
  });

  it("HEAD tells type, size and revision and sends no body", async () => {
    await put("hello");
    const answer = await server.bytes("HEAD /kv/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
    expect(answer).toMatch(/\r\nContent-Length: 5\r\n/);
    expect(answer).toMatch(/\r\nETag: "\d+"\r\n/);
    expect(answer.endsWith("\r\n\r\n")).toBe(true);
  });

  it("takes a time to live from the query or the header", async () => {
    await put("a", {}, "?ttl=5");
    expect((await server.get("/key/k/ttl")).json).toMatchObject({ ttl: 5 });
    await put("a", { "x-annals-ttl": "7" });
    expect((await server.get("/key/k/ttl")).json).toMatchObject({ ttl: 7 });
    for (const bad of ["?ttl=x", "?ttl=-1", "?ttl=1.5", "?ttl=", "?tll=5", "?ttl=1&ttl=2"]) {
      expect((await put("a", {}, bad)).status, bad).toBeGreaterThanOrEqual(400);
    }
    expect((await put("a", {}, "?ttl=0")).json).toMatchObject({ error_code: "KV_EXPIRY_INVALID" });
  });

  it("refuses a content type that no header can hold, and one too large a value", async () => {
    const long = await put("a", { "content-type": `text/${"x".repeat(300)}` });
    expect(long.json).toMatchObject({ error_code: "KV_CONTENT_TYPE_INVALID" });
    for (const type of ["text", "nonsense", "a/b/c", "text/plain, text/html", "text/pl\xe9", ""]) {
      const answer = await put("a", { "content-type": type });
      expect([type, answer.status, answer.json]).toEqual([
        type,
        400,
        expect.objectContaining({ error_code: "KV_CONTENT_TYPE_INVALID" }),
      ]);
      expect(answer.text).toContain("such as text/plain");
    }
    expect((await put("x".repeat((1 << 20) + 1))).json).toMatchObject({
      error_code: "KV_VALUE_TOO_LARGE",
      code: 413,
    });
  });

  it("answers 404 for what is not there", async () => {
    for (const method of ["GET", "DELETE"]) {
      const answer = await server.request(method, "/kv/none");
      expect([answer.status, answer.json]).toEqual([
        404,
        expect.objectContaining({ error_code: "KV_KEY_NOT_FOUND" }),
      ]);
    }
    expect((await server.request("HEAD", "/kv/none")).status).toBe(404);
  });
});

describe("a conditional request", () => {
  const tagNow = async () => (await server.get("/kv/k")).headers.get("etag") ?? "";

  it("GET with the current tag is 304 without a body; after a change it is 200 with the new value", async () => {
    await put("one");
    const tag = await tagNow();
    for (const header of [tag, `W/${tag}`, `"1", ${tag}`, "*"]) {
      const same = await server.get("/kv/k", { "if-none-match": header });
      expect([same.status, same.text, same.headers.get("etag")], header).toEqual([304, "", tag]);
    }
    await put("two");
    const changed = await server.get("/kv/k", { "if-none-match": tag });
    expect([changed.status, changed.text]).toEqual([200, "two"]);
  });

  it("an expiry alone is a change too: the revision moves and a 304 would be wrong", async () => {
    await put("one");
    const tag = await tagNow();
    await server.post("/key/k/expire", { ttl: 100 });
    expect((await server.get("/kv/k", { "if-none-match": tag })).status).toBe(200);
  });

  it("PUT with If-Match writes at that revision only", async () => {
    await put("one");
    const tag = await tagNow();
    expect((await put("two", { "if-match": tag })).status).toBe(204);
    const late = await put("three", { "if-match": tag });
    expect([late.status, late.json]).toEqual([
      412,
      expect.objectContaining({ error_code: "KV_REVISION_MISMATCH", code: 412 }),
    ]);
    expect((await server.get("/kv/k")).text).toBe("two");
    expect((await put("x", { "if-match": `W/${tag}` })).status).toBe(412);
    expect((await put("x", { "if-match": '"abc"' })).status).toBe(412);
    expect((await put("x", { "if-match": `${tag}, "2"` })).json).toMatchObject({
      error_code: "API_PRECONDITION_UNSUPPORTED",
    });
  });

  it("PUT with If-Match: * needs the key", async () => {
    expect((await put("x", { "if-match": "*" })).status).toBe(412);
    expect((await server.get("/kv/k")).status).toBe(404);
    await put("one");
    expect((await put("two", { "if-match": "*" })).status).toBe(204);
  });

  it("PUT with If-None-Match: * only creates", async () => {
    expect((await put("one", { "if-none-match": "*" })).status).toBe(201);
    expect((await put("two", { "if-none-match": "*" })).status).toBe(412);
    expect((await server.get("/kv/k")).text).toBe("one");
    expect((await put("x", { "if-none-match": '"1"' })).json).toMatchObject({
      error_code: "API_PRECONDITION_UNSUPPORTED",
    });
    expect((await put("x", { "if-none-match": "*", "if-match": "*" })).status).toBe(400);
  });

  it("an expired key counts as not there", async () => {
    await put("one", {}, "?ttl=5");
    const tag = await tagNow();
    server.now += 5_001;
    expect((await server.get("/kv/k")).status).toBe(404);
    expect((await put("x", { "if-match": tag })).status).toBe(412);
    expect((await put("two", { "if-none-match": "*" })).status).toBe(201);
  });

  it("DELETE with If-Match deletes that revision only", async () => {
    await put("one");
    const tag = await tagNow();
    await put("two");
    expect((await server.request("DELETE", "/kv/k", undefined, { "if-match": tag })).status).toBe(412);
    expect((await server.request("DELETE", "/kv/k", undefined, { "if-match": await tagNow() })).status).toBe(
      204,
    );
    expect((await server.request("DELETE", "/kv/k", undefined, { "if-match": "*" })).status).toBe(412);
  });

  it("GET with If-Match of another revision is 412", async () => {
    await put("one");
    expect((await server.get("/kv/k", { "if-match": '"999"' })).status).toBe(412);
    expect((await server.get("/kv/k", { "if-match": await tagNow() })).status).toBe(200);
  });
});
