// One key gets one verdict, and reaches one value, through every door.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Answer, TestServer } from "../support/test-server.js";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.close());

const usable: [name: string, key: string][] = [
  ["a plain key", "user:1"],
  ["a slash", "a/b"],
  ["only a slash", "/"],
  ["many slashes", "//a//"],
  ["a colon", ":param"],
  ["a star", "*"],
  ["an encoded slash as text", "a%2Fb"],
  ["a per cent sign", "100%"],
  ["a per cent sign and digits", "%25%zz"],
  ["a question mark and a hash", "a?b=c#d"],
  ["a plus and a space", "a + b"],
  ["a semicolon", "a;b"],
  ["NUL", "a\u0000b"],
  ["control characters", "\r\n\t\u007f"],
  ["quotes and backslashes", '"\\'],
  ["__proto__", "__proto__"],
  ["constructor", "constructor"],
  ["toString", "toString"],
  ["hasOwnProperty", "hasOwnProperty"],
  ["Latin-1", "é"],
  ["a decomposed é, which is another key", "e\u0301"],
  ["beyond the basic plane", "😀𝕏"],
  ["right to left", "\u202eכ"],
  ["the highest code point", "\u{10ffff}"],
  ["names of routes", "get"],
  ["set", "set"],
  ["1,000 characters", "k".repeat(1_000)],
  ["as many bytes as are allowed", "é".repeat(512)],
  ["an object that is none", "[object Object]"],
];

const reserved = ["stats", "scan", "keys", "dbsize", "ws"];

const unusable: [name: string, key: string][] = [
  ["nothing", ""],
  ["one byte too long", "k".repeat(1_025)],
  ["characters few, bytes too many", "é".repeat(513)],
];

const inUrl = (key: string) => encodeURIComponent(key);

describe.each(usable)("%s", (_name, key) => {
  it("is set through one door and found through every other", async () => {
    const value = `value of ${JSON.stringify(key).slice(0, 60)}`;
    await server.command("kv.flushdb");
    const writers: [string, () => Promise<unknown>][] = [
      ["raw", () => server.request("PUT", `/kv/${inUrl(key)}`, value, { "content-type": "text/plain" })],
      ["REST", () => server.post("/kv/set", { key, value })],
      ["envelope", () => server.command("kv.set", { key, value })],
      ["batch", () => server.post("/kv/mset", { pairs: [{ key, value }] })],
    ];
    for (const [door, write] of writers) {
      await write();
      expect((await server.get(`/kv/${inUrl(key)}`)).text, `${door} → raw`).toBe(value);
      expect((await server.get(`/kv/get/${inUrl(key)}`)).json, `${door} → REST`).toBe(value);
      expect((await server.command("kv.get", { key })).payload, `${door} → envelope`).toBe(value);
      expect((await server.post("/kv/mget", { keys: [key] })).json, `${door} → batch`).toEqual({
        values: [value],
      });
      expect((await server.get("/kv/scan")).json, `${door} → scan`).toMatchObject({ keys: [key] });
      expect((await server.get(`/key/${inUrl(key)}/exists`)).json).toEqual({ exists: true, key });
      expect((await server.request("DELETE", `/kv/${inUrl(key)}`)).status).toBe(204);
      expect((await server.get("/kv/dbsize")).json).toEqual({ size: 0 });
    }
  });
});

/** Every way to name one key, for reading and for writing. */
function everyDoor(key: string): [string, Promise<Answer | Record<string, unknown>>][] {
  const url = inUrl(key);
  return [
    ["raw put", server.request("PUT", `/kv/${url}`, "x")],
    ["raw get", server.get(`/kv/${url}`)],
    ["raw delete", server.request("DELETE", `/kv/${url}`)],
    ["set", server.post("/kv/set", { key, value: 1 })],
    ["get", server.get(`/kv/get/${url}`)],
    ["del", server.request("DELETE", `/kv/del/${url}`)],
    ["incr", server.post(`/kv/${url}/incr`)],
    ["exists", server.get(`/key/${url}/exists`)],
    ["rename to it", server.post("/key/a/rename", { destination: key })],
    ["mget", server.post("/kv/mget", { keys: ["a", key] })],
    ["mset", server.post("/kv/mset", { pairs: [{ key, value: 1 }] })],
    ["command get", server.command("kv.get", { key })],
    ["command set", server.command("kv.set", { key, value: 1 })],
  ];
}

describe.each(unusable)("%s", (_name, key) => {
  it("is refused with one code through every door", async () => {
    const before = server.log.endOffset;
    for (const [door, answer] of everyDoor(key)) {
      const settled = await answer;
      const body = "json" in settled ? (settled as Answer).json : settled;
      expect(body, door).toMatchObject({ error_code: "KV_KEY_INVALID", code: 400 });
    }
    expect(server.log.endOffset).toBe(before);
  });
});

describe("a lone surrogate", () => {
  it("is refused in a body", async () => {
    for (const text of ['{"key":"a\\ud800","value":1}', '{"key":"\\udc00\\ud800","value":1}']) {
      expect((await server.post("/kv/set", text)).json).toMatchObject({ error_code: "KV_KEY_INVALID" });
    }
  });

  it("is refused in a URL, like every percent-encoding that is not UTF-8", async () => {
    for (const path of ["%ED%A0%80", "%ff", "%C3", "%C0%AF", "%", "%zz", "%2"]) {
      for (const url of [`/kv/${path}`, `/kv/get/${path}`, `/key/${path}/exists`]) {
        const answer = await server.bytes(`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        expect(answer, url).toMatch(/^HTTP\/1.1 400 /);
        expect(answer, url).toContain('"error_code":"KV_KEY_INVALID"');
      }
    }
  });
});

describe("a URL that would name another key than was meant", () => {
  it("raw bytes beyond ASCII and an unencoded # are refused", async () => {
    const before = server.log.endOffset;
    for (const key of [Buffer.from("ключ"), Buffer.from("é", "latin1"), Buffer.from("a#b")]) {
      const head = Buffer.concat([
        Buffer.from("PUT /kv/"),
        key,
        Buffer.from(" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
      ]);
      const answer = await server.bytes(head);
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
    }
    expect(server.log.endOffset).toBe(before);
  });
});

describe("a key that is a route of its own", () => {
  it.each(reserved)(
    "%s is refused on the raw door for every method, naming the other doors, and works there",
    async (key) => {
      for (const method of ["PUT", "DELETE"]) {
        const answer = await server.request(method, `/kv/${key}`, method === "PUT" ? "x" : undefined);
        expect(answer.status).toBe(400);
        expect(answer.json).toMatchObject({ error_code: "API_KEY_RESERVED" });
        expect(answer.text).toContain(`/kv/get/${key}`);
      }
      expect((await server.post("/kv/set", { key, value: key })).status).toBe(200);
      expect((await server.get(`/kv/get/${key}`)).json).toBe(key);
      expect((await server.request("DELETE", `/kv/del/${key}`)).json).toMatchObject({ deleted: true });
    },
  );

  it("every GET route of one segment under /kv is reserved", async () => {
    const document = (await server.get("/openapi.json")).json as { paths: Record<string, { get?: unknown }> };
    const taken = Object.entries(document.paths)
      .filter(([path, item]) => /^\/kv\/[a-z]+$/.test(path) && item.get !== undefined)
      .map(([path]) => path.slice("/kv/".length));
    expect(reserved).toEqual(expect.arrayContaining(taken));
  });
});

describe("kv.keys", () => {
  const many = 25_000;
  const numbered = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => ({ key: `n${from + index}`, value: 1 }));
  const keysOf = async (query: string): Promise<string[]> => {
    const { status, json } = await server.get(`/kv/keys?${query}`);
    expect(status).toBe(200);
    return (json as { keys: string[] }).keys;
  };

  it("lists them all, and finds the one that matches, where they are more than a page of a scan", async () => {
    await server.command("kv.flushdb");
    for (let at = 0; at < many; at += 1_000) await server.post("/kv/mset", { pairs: numbered(at, 1_000) });
    const all = await keysOf("pattern=*");
    expect(new Set(all)).toEqual(new Set(numbered(0, many).map(({ key }) => key)));
    expect(all).toHaveLength(many);
    expect(await keysOf("pattern=n24999")).toEqual(["n24999"]);
    expect(await keysOf("pattern=m*")).toEqual([]);
  });

  it("goes on where a pattern costs more than a page may", async () => {
    await server.command("kv.flushdb");
    const long = (at: number) =>
      Array.from({ length: 1_000 }, (_, index) => ({ key: `${at + index}${"a".repeat(900)}`, value: 1 }));
    for (let at = 0; at < 5_000; at += 1_000) await server.post("/kv/mset", { pairs: long(at) });
    await server.post("/kv/mset", { pairs: [{ key: "aaaaab", value: 1 }] });
    expect(await keysOf("pattern=*a*a*a*a*a*b*")).toEqual(["aaaaab"]);
  });
});
