// The promise: no request ends the process, grows it without limit, or changes anything when it is refused.
//
// Generated requests go over a real socket, some sane, most not: odd methods, paths, headers, lengths, JSON, cut short
// or with bytes flipped, some pipelined.
// 1. Every answer is HTTP with a status; none is a 5xx other than a coded 501, 503 or 507.
// 2. Every 4xx and 5xx with a body tells its code, and the code's status is that answer's status.
// 3. A refused request leaves the log as it was.
// 4. After each the server answers a plain request rightly, and nothing was logged as unexpected.
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorTable } from "../api/index.js";
import { TestServer } from "../test/support/test-server.js";
import { factor, seed, seededRandom } from "./run-settings.js";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ limits: { bodyBytesMax: 64 << 10, jsonDepthMax: 32 } });
});
afterAll(() => server.close());

const random = seededRandom(seed);
const below = (count: number) => Math.floor(random() * count);
const oneOf = <T>(items: readonly T[]): T => items[below(items.length)] as T;
const sometimes = (share: number) => random() < share;

const NASTY = [
  "__proto__",
  "constructor",
  "\u0000",
  "..",
  "../../etc/passwd",
  "%2e%2e%2f",
  "😀",
  "\ud800",
  "a".repeat(2_000),
  "'; DROP TABLE",
  "<script>",
  "{{7*7}}",
  "NaN",
  "-0",
  "1e999",
  "\r\nX-Injected: 1",
  "%",
  "%ff",
  "k",
];
const METHODS = [
  "GET",
  "HEAD",
  "PUT",
  "POST",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "TRACE",
  "PROPFIND",
  "QUERY",
  "get",
  "",
  "G\u0000T",
];
const PATHS = [
  "/kv/set",
  "/kv/mset",
  "/kv/msetnx",
  "/kv/mget",
  "/kv/mdel",
  "/kv/scan",
  "/kv/keys",
  "/kv/stats",
  "/kv/k",
  "/kv/k/incr",
  "/kv/k/append",
  "/kv/k/setrange",
  "/kv/k/getrange",
  "/kv/k/getset",
  "/kv/get/k",
  "/kv/del/k",
  "/key/k/rename",
  "/key/k/copy",
  "/key/k/expire",
  "/key/k/ttl",
  "/key/randomkey",
  "/api/v1/command",
  "/health",
  "/readyz",
  "/info",
  "/metrics",
  "/openapi.json",
  "/docs/",
  "/snapshot",
  "/",
  "*",
  "//",
  "http://x/kv/k",
];
const FIELDS = [
  "key",
  "value",
  "ttl",
  "expiry",
  "nx",
  "xx",
  "keepttl",
  "get",
  "if_revision",
  "pairs",
  "keys",
  "amount",
  "offset",
  "start",
  "end",
  "prefix",
  "pattern",
  "cursor",
  "limit",
  "destination",
  "replace",
  "command",
  "request_id",
  "payload",
  "type",
  "section",
  "__proto__",
  "toString",
  "nonsense",
];
const COMMANDS = [
  "kv.set",
  "kv.get",
  "kv.incr",
  "kv.mset",
  "kv.mget",
  "kv.scan",
  "kv.keys",
  "kv.setrange",
  "kv.expire",
  "key.rename",
  "key.copy",
  "info",
  "nope",
  "__proto__",
  "",
];

function jsonValue(depth: number): string {
  const kind = below(depth > 4 ? 7 : 9);
  if (kind < 2) return JSON.stringify(oneOf(NASTY));
  if (kind === 2)
    return oneOf(["0", "-1", "1", "9007199254740993", "18446744073709551616", "1e308", "1E400", "0.1", "-0"]);
  if (kind < 5) return oneOf(["true", "false", "null", '""', '"\\ud800"', '"k"']);
  if (kind === 5) return oneOf(["[".repeat(40), "{", "tru", "'x'", "[1,]", '{"a":1,}', "\ufeff1", "1 2", ""]);
  if (kind === 6) return JSON.stringify(oneOf(["k", "v", "k2"]));
  if (kind === 7) return `[${Array.from({ length: below(4) }, () => jsonValue(depth + 1)).join(",")}]`;
  return jsonObject(depth + 1);
}

function jsonObject(depth: number): string {
  const members = Array.from(
    { length: below(5) },
    () => `${JSON.stringify(oneOf(FIELDS))}:${jsonValue(depth)}`,
  );
  return `{${members.join(",")}}`;
}

/** Now and then something that the server takes, so that the refusals are told from a server that refuses everything. */
function saneBody(): string {
  return oneOf([
    '{"key":"k","value":"v"}',
    '{"key":"k","value":{"a":[1.0,9007199254740993]},"ttl":5}',
    '{"pairs":[{"key":"k","value":1},{"key":"k2","value":"2"}]}',
    '{"keys":["k","k2"]}',
    '{"command":"kv.set","request_id":"r","payload":{"key":"k","value":"v"}}',
    "{}",
  ]);
}

function body(): string {
  if (sometimes(0.4)) return saneBody();
  if (sometimes(0.3))
    return `{"command":${JSON.stringify(oneOf(COMMANDS))},"request_id":"r","payload":${jsonValue(1)}}`;
  return sometimes(0.5) ? jsonObject(0) : jsonValue(0);
}

function target(): string {
  let path = oneOf(PATHS);
  if (sometimes(0.25)) path = path.replace("k", encodeWildly(oneOf(NASTY)));
  if (sometimes(0.25)) path += `?${oneOf(FIELDS)}=${encodeWildly(oneOf(NASTY))}`;
  return path;
}

function encodeWildly(text: string): string {
  if (sometimes(0.3)) return text.replace(/[\r\n\0 ]/g, "");
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}

function headers(length: number): string[] {
  const lines = sometimes(0.95) ? ["Host: x"] : [];
  lines.push(
    sometimes(0.85)
      ? `Content-Length: ${length}`
      : oneOf([
          `Content-Length: ${length + 5}`,
          "Content-Length: -1",
          "Transfer-Encoding: chunked",
          "Content-Length: 99999999999",
          "Transfer-Encoding: gzip",
        ]),
  );
  lines.push(
    sometimes(0.8)
      ? "Content-Type: application/json"
      : oneOf([
          "Content-Type: text/plain",
          "Content-Type: ;",
          "Content-Type: application/json; charset=\u00ff",
          `Content-Type: x/${"y".repeat(300)}`,
        ]),
  );
  for (let count = below(3); count > 0; count -= 1) {
    lines.push(
      oneOf([
        'If-Match: "1"',
        "If-Match: *",
        "If-None-Match: *",
        'If-None-Match: W/"1", "x"',
        "If-Match: \u00ff",
        "Accept: application/problem+json",
        "X-Request-Id: a b",
        `X-Request-Id: ${"r".repeat(200)}`,
        "X-Annals-Ttl: x",
        "Expect: 100-continue",
        "Expect: magic",
        "Upgrade: websocket",
        "Range: bytes=0-1",
        "Accept-Encoding: gzip",
        "Cookie: a=b",
        `X-Long: ${"h".repeat(9_000)}`,
        "No Colon",
        "Connection: upgrade",
      ]),
    );
  }
  return lines;
}

/** Among the others, so that refusing everything is no way through. */
function wellFormed(): Buffer {
  const content = JSON.stringify({ key: `k${below(5)}`, value: "v" });
  const lines = ["POST /kv/set HTTP/1.1", "Host: x", "Content-Type: application/json"];
  const ends = [`Content-Length: ${content.length}`, "Connection: close", "", content];
  return Buffer.from([...lines, ...ends].join("\r\n"));
}

function request(): Buffer {
  if (sometimes(0.08)) return wellFormed();
  const text = body();
  const content = Buffer.from(text);
  const head = [
    `${sometimes(0.6) ? oneOf(["POST", "PUT", "GET"]) : oneOf(METHODS)} ${target()} HTTP/1.1`,
    ...headers(content.length),
    "Connection: close",
    "",
    "",
  ];
  const bytes = Buffer.concat([Buffer.from(head.join("\r\n")), content]);
  if (sometimes(0.1)) return bytes.subarray(0, below(bytes.length));
  if (sometimes(0.1)) bytes[below(bytes.length)] = below(256);
  return bytes;
}

interface Seen {
  readonly status: number;
  readonly body: string;
}

/** The answers in what came back, one after the other. */
function answersIn(received: string): Seen[] {
  return received
    .split(/(?=HTTP\/1\.1 \d{3} )/)
    .filter((part) => part !== "")
    .map((part) => {
      const head = /^HTTP\/1\.1 (\d{3}) /.exec(part);
      expect(head, `not an answer: ${part.slice(0, 80)}`).not.toBeNull();
      return { status: Number(head?.[1]), body: part.slice(part.indexOf("\r\n\r\n") + 4) };
    })
    .filter(({ status }) => status !== 100);
}

function checkAnswer({ status, body: text }: Seen, sent: string): void {
  if (status < 400) return;
  expect([400, 404, 405, 408, 409, 412, 413, 414, 415, 417, 422, 431, 501, 503, 507], sent).toContain(status);
  // HEAD has no body.
  if (text === "") return;
  const { error_code } = JSON.parse(text) as { error_code: keyof typeof errorTable };
  const row = errorTable[error_code];
  expect([row?.status, row?.rawStatus], `${error_code} for ${sent}`).toContain(status);
}

describe("a hostile request", () => {
  it("gets a coded answer or none, changes nothing when refused, and the server goes on", async () => {
    const statuses = new Map<number, number>();
    const rounds = Math.round(600 * factor);
    for (let round = 0; round < rounds; round += 1) {
      const bytes = request();
      const sent = `seed ${seed} round ${round}: ${JSON.stringify(bytes.toString("latin1").slice(0, 300))}`;
      const before = server.log.endOffset;
      const received = await server.bytes(bytes, 60);
      const answers = answersIn(received);
      for (const answer of answers) {
        checkAnswer(answer, sent);
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      }
      const refused =
        answers.length > 0 &&
        answers.every(({ status, body: text }) => status >= 400 || text.includes('"success":false'));
      if (refused) expect(server.log.endOffset, sent).toBe(before);
      if (round % 25 === 0) await goesOn();
    }
    await goesOn();
    expect(server.logged.filter(({ level }) => level === "error")).toEqual([]);
    // It was interesting: many were taken, and most kinds of refusal were seen.
    expect(statuses.get(200) ?? 0).toBeGreaterThan(20);
    for (const status of [400, 404, 405, 415, 422])
      expect(statuses.get(status) ?? 0, `no ${status}`).toBeGreaterThan(0);
  });

  async function goesOn(): Promise<void> {
    const value = createHash("sha1").update(String(random())).digest("hex");
    expect((await server.post("/kv/set", { key: "alive", value })).status).toBe(200);
    expect((await server.get("/kv/get/alive")).json).toBe(value);
  }
});
