// What the guide for those who come from the documented server calls missing is missing, and is told so.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestServer } from "../support/test-server.js";

const guide = readFileSync(new URL("../../ops/docs/coming-from-synap.md", import.meta.url), "utf8");
const section = /^## Not in this release\n([\s\S]*?)\n## /m.exec(guide)?.[1] ?? "";
const routes = [...section.matchAll(/`(GET|POST|DELETE) (\/[^`]+)`/g)].map(([, method, path]) => ({
  method: method ?? "",
  path: (path ?? "").replace(/\{\w+\}/g, "x"),
}));
const commands = [...section.matchAll(/`([a-z]+\.[a-z]+)`/g)].map(([, command]) => command ?? "");

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.close());

describe("a part of the documented server that is left out", () => {
  it("is listed with its routes and commands", () => {
    expect(routes.length).toBeGreaterThan(20);
    expect(commands.length).toBeGreaterThan(9);
  });

  it.each(routes)("has no route $method $path", async ({ method, path }) => {
    const { status, json } = await server.request(method, path);
    expect([status, json]).toEqual([404, expect.objectContaining({ error_code: "API_ROUTE_UNKNOWN" })]);
  });

  it.each(commands)("has no command %s", async (command) => {
    expect(await server.command(command, {})).toMatchObject({ error_code: "API_COMMAND_UNKNOWN" });
  });

  it("leaves the reserved key of its socket unused", async () => {
    expect((await server.get("/kv/ws")).json).toMatchObject({ code: 400, error_code: "API_KEY_RESERVED" });
  });
});
