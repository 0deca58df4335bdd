// The raw door has no operation of its own, so the OpenAPI document describes it from the table that the door is made of: each
// refusal of that table is brought about here, and stands in the document where it is answered.
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { rawErrors, rawMethods } from "../../api/doors/raw.js";
import { type ErrorCode, errorTable } from "../../api/index.js";
import { LogError } from "../../log/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer } from "../support/test-server.js";

type Method = keyof typeof rawMethods;
type Headers = Readonly<Record<string, string>>;
/** Method, code, headers, query, body. */
type Row = readonly [Method, ErrorCode, Headers?, string?, string?];

const VALUE_BYTES_MAX = 512;
const text: Headers = { "content-type": "text/plain" };

const rows: readonly Row[] = [
  ["put", "API_BODY_TOO_LARGE", text, "", "x".repeat(4_000)],
  ["put", "API_FIELD_INVALID", text, "?ttl=abc"],
  ["put", "API_HEADER_INVALID", { ...text, "content-range": "bytes 0-1/5" }],
  ["put", "API_PRECONDITION_UNSUPPORTED", { ...text, "if-match": "*", "if-none-match": "*" }],
  ["put", "KV_CONTENT_TYPE_INVALID", { "content-type": "text" }],
  ["put", "KV_EXPIRY_INVALID", text, "?ttl=0"],
  ["put", "KV_MEMORY_FULL", text, "", "x".repeat(VALUE_BYTES_MAX)],
  ["put", "KV_REVISION_MISMATCH", { ...text, "if-none-match": "*" }],
  ["put", "KV_VALUE_TOO_LARGE", text, "", "x".repeat(VALUE_BYTES_MAX + 1)],
  ["get", "KV_KEY_NOT_FOUND"],
  ["get", "KV_REVISION_MISMATCH", { "if-match": '"999"' }],
  ["get", "API_AT_INVALID", {}, "?at=yesterday"],
  ["get", "API_AT_BEFORE_FIRST", {}, "?at=0"],
  ["get", "LOG_OFFSET_BEYOND_END", {}, "?at=1000"],
  ["delete", "API_BODY_TOO_LARGE", text, "", "x".repeat(4_000)],
  ["delete", "API_PRECONDITION_UNSUPPORTED", { "if-none-match": "*" }],
  ["delete", "KV_CONTENT_TYPE_INVALID", { "content-type": "text" }, "", "x"],
  ["delete", "KV_KEY_NOT_FOUND"],
  ["delete", "KV_REVISION_MISMATCH", { "if-match": '"999"' }],
  ...(["put", "get", "delete"] as const).flatMap((method): Row[] => [
    [method, "API_FIELD_UNKNOWN", {}, "?tll=5"],
    [method, "API_MIN_OFFSET_INVALID", { "x-annals-min-offset": "soon" }],
    [method, "API_MIN_OFFSET_TIMEOUT", { "x-annals-min-offset": "1000" }],
    [method, "API_LINEAGE_LOST", { "x-annals-min-offset": "1@ffffffff" }],
  ]),
  ...(["put", "delete"] as const).flatMap((method): Row[] => [
    [method, "API_ACKS_INVALID", { "x-annals-acks": "most" }],
    [method, "API_AT_UNSUPPORTED", {}, "?at=1"],
    [method, "API_CONTENT_ENCODING_UNSUPPORTED", { ...text, "content-encoding": "gzip" }, "", "x"],
    [method, "API_IDEMPOTENCY_KEY_INVALID", { "idempotency-key": "two words" }],
  ]),
];
/** Of a path that is no key. */
const paths = [
  ["/kv/stats", "API_KEY_RESERVED"],
  ["/kv/%ff", "KV_KEY_INVALID"],
] as const;

type Responses = Record<string, { readonly description: string }>;
interface Document {
  readonly paths: Record<string, Record<string, { readonly responses: Responses }>>;
}

const log = new MemoryLog();
let server: TestServer;
let document: Document;
beforeAll(async () => {
  server = await TestServer.start({
    log,
    rules: { valueBytesMax: VALUE_BYTES_MAX, maxMemoryBytes: 600 },
    limits: { bodyBytesMax: 2_000, minOffsetWaitMs: 1 },
  });
  document = (await server.get("/openapi.json")).json as Document;
  await server.request("PUT", "/kv/there", "x", text);
});
afterAll(() => server.close());
afterEach(() => log.refuse(undefined));

const documented = (method: Method, status: number): string =>
  document.paths["/kv/{key}"]?.[method]?.responses[status]?.description ?? "";

describe("the raw door's", () => {
  for (const [method, code, headers = {}, query = "", body] of rows)
    it(`${method} with ${JSON.stringify(headers)}${query} answers ${code} as the document says`, async () => {
      const key = code === "KV_KEY_NOT_FOUND" ? "none" : "there";
      const given = body ?? (method === "put" ? "x" : undefined);
      const answer = await server.request(method.toUpperCase(), `/kv/${key}${query}`, given, headers);
      const { status, rawStatus = status } = errorTable[code];
      expect([answer.status, answer.json]).toEqual([
        rawStatus,
        expect.objectContaining({ error_code: code }),
      ]);
      expect(documented(method, rawStatus)).toContain(`\`${code}\``);
    });

  it.each(paths)("put to %s answers %s as the document says", async (path, code) => {
    const answer = await server.request("PUT", path, "x", text);
    expect(answer.json).toMatchObject({ error_code: code });
    for (const method of ["put", "get", "delete"] as const)
      expect(documented(method, errorTable[code].status)).toContain(`\`${code}\``);
  });

  it("writes answer what the log refuses as the document says", async () => {
    log.refuse(new LogError("LOG_DISK_FULL", "told to"));
    expect((await server.request("PUT", "/kv/there", "y", text)).status).toBe(507);
    expect((await server.request("DELETE", "/kv/there")).status).toBe(507);
    for (const method of ["put", "delete"] as const)
      expect(documented(method, 507)).toContain("`LOG_DISK_FULL`");
  });

  it.each(["put", "get", "delete"] as const)("%s has all of its own refusals told above", (method) => {
    const told = rows.flatMap(([at, code]) => (at === method ? [code] : []));
    expect(told).toEqual(expect.arrayContaining([...rawMethods[method].errors]));
    for (const code of rawErrors(method)) {
      const { status, rawStatus = status } = errorTable[code];
      expect(documented(method, rawStatus)).toContain(`\`${code}\``);
    }
  });
});
