// What operators and their machines ask: probes, information, metrics, documentation, cross-origin rules.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusal } from "../../api/index.js";
import { operations } from "../../api/operations/catalog.js";
import { offset } from "../../log/index.js";
import { SnapshotError } from "../../projections/index.js";
import { undescribed } from "../support/described.js";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.close());

describe("probes", () => {
  it("health has the documented shape and tells how far the log is", async () => {
    // The time since the start is none of the clock's, which may be set.
    server.now += 3_600_000;
    server.aheadMs += 12_345;
    await server.post("/kv/set", { key: "a", value: 1 });
    const { uptime_secs, ...rest } = (await server.get("/health")).json as { uptime_secs: number };
    expect(uptime_secs).toBeGreaterThanOrEqual(12);
    expect(uptime_secs).toBeLessThan(3_600);
    expect(rest).toEqual({
      status: "healthy",
      service: "annals",
      version: "1.2.3",
      role: "master",
      log: { end_offset: 1, durable_offset: 1 },
      components: { log: "ok" },
    });
  });

  it("a failing check makes it not ready and degraded, but not dead", async () => {
    server.checks = [
      { name: "log", ok: true, detail: "" },
      { name: "disk", ok: false, detail: "12 bytes free" },
    ];
    expect((await server.get("/health")).json).toMatchObject({
      status: "degraded",
      components: { disk: "12 bytes free" },
    });
    const ready = await server.get("/readyz");
    expect([ready.status, ready.json]).toEqual([
      503,
      {
        status: "not ready",
        reasons: [{ name: "disk", detail: "12 bytes free" }],
        error_code: "API_NOT_READY",
      },
    ]);
    expect((await server.get("/readyz?verbose")).json).toMatchObject({
      checks: [
        { name: "log", ok: true },
        { name: "disk", ok: false },
      ],
    });
    expect((await server.get("/livez")).status).toBe(200);
  });

  it("bad news are told as they are described", async () => {
    server.checks = [{ name: "disk", ok: false, detail: "12 bytes free" }];
    server.live = false;
    for (const path of ["/health", "/livez", "/readyz"]) {
      const answer = await server.get(path);
      expect([answer.status, undescribed("GET", path, answer)], path).toEqual([503, undefined]);
    }
  });

  it("a component that is impaired is told by health, and requests still belong here", async () => {
    server.checks = [{ name: "disk", ok: true, impaired: true, detail: "writes are refused" }];
    expect((await server.get("/health")).json).toMatchObject({
      status: "healthy",
      components: { disk: "writes are refused" },
    });
    expect((await server.get("/readyz?verbose")).json).toEqual({
      status: "ready",
      reasons: [],
      checks: [{ name: "disk", ok: true, detail: "writes are refused" }],
    });
  });

  it("a wedged process is unhealthy and asks for a restart", async () => {
    server.live = false;
    expect([(await server.get("/livez")).status, (await server.get("/health")).status]).toEqual([503, 503]);
    expect((await server.get("/health")).json).toMatchObject({ status: "unhealthy" });
  });
});

describe("information", () => {
  it("metrics are passed through as they are", async () => {
    const answer = await server.get("/metrics");
    expect([answer.text, answer.headers.get("content-type")]).toEqual([
      "annals_up 1\n",
      "text/plain; version=0.0.4",
    ]);
  });

  it("a snapshot that was made is told of, and listed from then on", async () => {
    expect((await server.get("/snapshots")).json).toEqual({ count: 0, snapshots: [] });
    await server.request("PUT", "/kv/a", "1");
    const made = await server.post("/snapshot");
    expect(made.status).toBe(200);
    const { name, sha256 } = made.json as Record<string, unknown>;
    expect(made.json).toMatchObject({ success: true, offset: 1, bytes: 1234, duration_ms: 12, keys: 1 });
    const { json } = await server.get("/snapshots");
    expect(json).toMatchObject({
      count: 1,
      snapshots: [{ name, offset: 1, bytes: 1234, sha256 }],
    });
  });

  it("a damaged snapshot is listed with its problem", async () => {
    const problem = new SnapshotError("SNAPSHOT_DAMAGED", "x.snap is damaged", { file: "x.snap" });
    server.snapshots.listed.push({ name: "x.snap", offset: offset(3), bytes: 9, problem });
    expect((await server.get("/snapshots")).json).toEqual({
      count: 1,
      snapshots: [{ name: "x.snap", offset: 3, bytes: 9, problem: "SNAPSHOT_DAMAGED" }],
    });
  });

  it("a snapshot that was not made is refused with its reason", async () => {
    server.snapshots.refused = refusal("LOG_DISK_FULL", "no room");
    const full = await server.post("/snapshot");
    expect([full.status, full.json]).toMatchObject([507, { error_code: "LOG_DISK_FULL" }]);
    server.snapshots.refused = refusal("API_SNAPSHOT_FAILED", "the thread ended");
    const failed = await server.post("/snapshot");
    expect([failed.status, failed.headers.get("retry-after")]).toEqual([503, "5"]);
  });

  it("snapshots that are switched off are refused", async () => {
    const off = await TestServer.start({ snapshots: "off" });
    try {
      for (const answer of [await off.post("/snapshot"), await off.get("/snapshots")]) {
        expect([answer.status, answer.json]).toMatchObject([400, { error_code: "API_DISABLED" }]);
      }
    } finally {
      await off.close();
    }
  });

  it("a query that is not known is refused by name", async () => {
    const answer = await server.get("/info?sektion=memory");
    expect(answer.json).toMatchObject({
      error_code: "API_FIELD_UNKNOWN",
      error: expect.stringContaining('"section"'),
    });
  });
});

describe("what is observed", () => {
  it("every request once, by its pattern, and every operation once, through whatever door", async () => {
    await server.request("PUT", "/kv/secret-name", "x");
    await server.get("/kv/get/secret-name");
    await server.command("kv.get", { key: "" });
    await server.get("/nowhere/secret");
    expect(server.finished).toEqual([
      { method: "PUT", route: "/kv/:key", status: 201 },
      { method: "GET", route: "/kv/get/:key", status: 200 },
      { method: "POST", route: "/api/v1/command", status: 200 },
      { method: "GET", route: "unknown", status: 404 },
    ]);
    expect(server.operations).toEqual([
      { operation: "kv.set", status: "success" },
      { operation: "kv.get", status: "success" },
      { operation: "kv.get", status: "error" },
    ]);
    expect(server.rejected).toEqual(["API_ROUTE_UNKNOWN"]);
    expect(server.logged).toEqual([]);
  });

  it("a slow request is logged with its id, and a storm of failures only in part", async () => {
    const slow = await TestServer.start({ limits: { slowRequestMs: 0 } });
    await slow.get("/kv/stats", { "x-request-id": "mine" });
    expect(slow.logged).toEqual([
      {
        level: "warn",
        message: "slow request",
        facts: expect.objectContaining({ requestId: "mine", route: "/kv/stats" }),
      },
    ]);
    await Promise.all(Array.from({ length: 100 }, () => slow.get("/kv/stats")));
    expect(slow.logged.length).toBeLessThan(60);
    await slow.close();
  });
});

describe("the documentation", () => {
  it("is an OpenAPI 3.1 document that holds every route and every command", async () => {
    const document = (await server.get("/openapi.json")).json as Document;
    expect(document.openapi).toBe("3.1.0");
    const text = JSON.stringify(document);
    for (const operation of operations) {
      for (const { method, path } of operation.rest) {
        const item = document.paths[path]?.[method.toLowerCase()];
        expect(item, `${method} ${path}`).toBeDefined();
        for (const code of operation.errors)
          expect(JSON.stringify(item), `${operation.name} ${code}`).toContain(code);
      }
      if (operation.envelope !== false) expect(text).toContain(`"const":"${operation.name}"`);
    }
    for (const path of ["/kv/{key}", "/api/v1/command", "/openapi.json"])
      expect(document.paths[path]).toBeDefined();
  });

  it("is well-formed: unique ids, declared path parameters, resolvable references, a description per response", async () => {
    const document = (await server.get("/openapi.json")).json as Document;
    const ids = new Set<string>();
    for (const [path, item] of Object.entries(document.paths)) {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      for (const [method, operation] of Object.entries(item)) {
        expect(["get", "put", "post", "delete", "head"]).toContain(method);
        expect(ids.has(operation.operationId), operation.operationId).toBe(false);
        ids.add(operation.operationId);
        const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === "path");
        expect(declared.map(({ name }) => name)).toEqual(names);
        for (const parameter of declared) expect(parameter.required).toBe(true);
        for (const [status, response] of Object.entries(operation.responses)) {
          expect(status).toMatch(/^[1-5]\d\d$/);
          expect(response.description, `${method} ${path} ${status}`).toBeTruthy();
        }
      }
    }
    for (const [, reference] of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/(\w+\/\w+)"/g)) {
      expect(document.components).toHaveProperty((reference ?? "").split("/"));
    }
  });

  it("tells offset and lineage where they are told, and takes them back everywhere", async () => {
    const { paths, components } = (await server.get("/openapi.json")).json as Document;
    const beside = ["MinOffset", "Lineage"].map((name) => ({ $ref: `#/components/parameters/${name}` }));
    for (const path of [
      "/kv/set",
      "/kv/get/{key}",
      "/queue/{queue}/ack",
      "/stream/{room}/publish",
      "/kv/{key}",
    ])
      for (const [method, operation] of Object.entries(paths[path] ?? {}))
        expect(operation.parameters, `${method} ${path}`).toEqual(expect.arrayContaining(beside));
    expect(components).toMatchObject({
      parameters: { Lineage: { in: "header", name: "X-Annals-Lineage" } },
      headers: { Lineage: { schema: { pattern: "^[0-9a-f]{8}$" } } },
    });
    const ref = (name: string) => ({ $ref: `#/components/headers/${name}` });
    const history = { "X-Annals-Lineage": ref("Lineage"), "X-Annals-Epoch": ref("Epoch") };
    for (const [path, item] of Object.entries(paths))
      for (const [method, { responses }] of Object.entries(item))
        for (const [status, response] of Object.entries(responses))
          expect(response, `${method} ${path}: ${status}`).toMatchObject({ headers: history });
    const told = { headers: { "X-Annals-Offset": ref("Offset") } };
    expect(paths["/kv/set"]?.["post"]?.responses["200"]).toMatchObject(told);
    expect(paths["/kv/{key}"]?.["put"]?.responses["204"]).toMatchObject(told);
  });

  it("takes an idempotency key wherever it says that one may have been used, and says where streams are described", async () => {
    const { paths, info } = (await server.get("/openapi.json")).json as Document & { info: object };
    const key = { $ref: "#/components/parameters/IdempotencyKey" };
    for (const [path, item] of Object.entries(paths))
      for (const [method, { parameters = [], responses }] of Object.entries(item)) {
        const isWrite =
          path === "/api/v1/command" || JSON.stringify(responses).includes("IDEMPOTENCY_KEY_REUSED");
        expect(JSON.stringify(parameters).includes(JSON.stringify(key)), `${method} ${path}`).toBe(isWrite);
      }
    expect(JSON.stringify(paths["/snapshot"])).not.toMatch(/IdempotencyKey|Acks|REUSED|READ_ONLY/);
    expect(info).toMatchObject({ description: expect.stringContaining("/v1/stream/{path}") });
  });

  it("is true about every route that the server answers", async () => {
    const document = (await server.get("/openapi.json")).json as Document;
    for (const [path, item] of Object.entries(document.paths)) {
      const url = path.replace(/\{\w+\}/g, "x");
      const answer = await server.request("PATCH", url);
      const allowed = (answer.headers.get("allow") ?? "").toLowerCase().split(", ");
      for (const method of Object.keys(item)) expect(allowed, `${method} ${path}`).toContain(method);
    }
  });

  it("has a page that needs nothing from elsewhere, guarded by a policy of its own", async () => {
    const page = await server.get("/docs/");
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    expect(page.text).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect(page.headers.get("content-security-policy")).toMatch(/^default-src 'none'; script-src 'self'/);
    expect(page.headers.get("content-security-policy")).not.toContain("upgrade-insecure-requests");
    expect(page.headers.get("x-request-id")).toMatch(/^test-/);
    for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
      const asset = await server.get(new URL(path ?? "", `${server.url}/docs/`).pathname);
      expect(asset.status, path).toBe(200);
    }
  });
});

describe("the documentation's paths", () => {
  const nothing = [
    "/docs/static/%00",
    "/docs/static/a%5c..%5c",
    "/docs/static/%2e%2e%2fx",
    "/docs/static/none",
    "/docs/x",
  ];

  it.each(nothing)("%s has nothing, which is told once and is nobody's mistake", async (path) => {
    const answer = await server.get(path);
    expect([answer.status, answer.json]).toEqual([
      404,
      expect.objectContaining({ error_code: "API_ROUTE_UNKNOWN" }),
    ]);
    expect(answer.headers.get("allow")).toBeNull();
    expect(server.finished).toEqual([expect.objectContaining({ method: "GET", status: 404 })]);
    expect(server.logged).toEqual([]);
  });

  it.each(["/docs", "/docs/", "/docs/static/x"])("%s takes no POST", async (path) => {
    const answer = await server.post(path, {});
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  it("a HEAD asks for what a GET gets", async () => {
    expect((await server.request("HEAD", "/docs/")).status).toBe(200);
    expect((await server.request("HEAD", "/docs/static/none")).status).toBe(404);
  });
});

describe("cross-origin requests", () => {
  it("are allowed for the configured origins only, also on the answers that matter", async () => {
    const open = await TestServer.start({ corsOrigins: ["https://app.example"] });
    const preflight = await open.request("OPTIONS", "/kv/set", undefined, {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type",
    });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([
      204,
      "https://app.example",
    ]);
    const answer = await open.post("/kv/set", { key: "a", value: 1 }, { origin: "https://app.example" });
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
    expect(answer.headers.get("access-control-expose-headers")).toContain("X-Annals-Offset");
    const foreign = await open.post("/kv/set", { key: "a", value: 1 }, { origin: "https://evil.example" });
    expect(foreign.headers.get("access-control-allow-origin")).not.toBe("https://evil.example");
    await open.close();
    const closed = await server.get("/kv/get/a", { origin: "https://app.example" });
    expect(closed.headers.get("access-control-allow-origin")).toBeNull();
  });

  it("may read why they are refused, also before anything has looked at what they ask", async () => {
    const open = await TestServer.start({ corsOrigins: ["https://app.example"] });
    const origin = { origin: "https://app.example" };
    const refused = [
      await open.request("PUT", "/kv/a", "x", { ...origin, "content-encoding": "gzip" }),
      await open.get("/v1/stream/a?cursor=%", origin),
      await open.get("/nothing/here", origin),
      await open.get("/kv/%ff", origin),
      await open.get("/v1/stream/%ff", origin),
      await open.request("OPTIONS", "/kv/set", undefined, origin),
    ];
    open.draining = true;
    refused.push(await open.get("/kv/get/a", origin), await open.get("/v1/stream/a", origin));
    expect(
      refused.map(({ status, headers }) => [status, headers.get("access-control-allow-origin")]),
    ).toEqual([415, 400, 404, 400, 400, 405, 503, 503].map((status) => [status, "https://app.example"]));
    await open.close();
  });

  it("are asked for first, which is answered wherever they lead, with an id, and measured", async () => {
    const open = await TestServer.start({ corsOrigins: ["*"] });
    const question = { origin: "https://app.example", "access-control-request-method": "PUT" };
    const wanted = { ...question, "access-control-request-headers": "if-match, x-annals-acks" };
    for (const path of ["/kv/a", "/v1/stream/a", "/docs/", "/nothing/here", "/kv/%ff"]) {
      const { status, headers } = await open.request("OPTIONS", path, undefined, wanted);
      expect([path, status, headers.get("access-control-allow-origin")]).toEqual([path, 204, "*"]);
      expect(headers.get("access-control-allow-methods")).toContain("PUT");
      expect(headers.get("access-control-allow-headers")).toBe("if-match, x-annals-acks");
      expect(headers.get("x-request-id")).toMatch(/^test-/);
    }
    expect(open.finished).toEqual(Array(5).fill({ method: "OPTIONS", route: "unknown", status: 204 }));
    await open.close();
    expect((await server.request("OPTIONS", "/kv/a", undefined, wanted)).status).toBe(405);
  });
});

interface Document {
  readonly openapi: string;
  readonly paths: Record<
    string,
    Record<
      string,
      {
        readonly operationId: string;
        readonly parameters?: readonly {
          readonly name: string;
          readonly in: string;
          readonly required: boolean;
        }[];
        readonly responses: Record<string, { readonly description: string }>;
      }
    >
  >;
  readonly components: { readonly schemas: object };
}
