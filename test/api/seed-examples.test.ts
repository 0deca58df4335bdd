/**
 * The load script of the documented server's deployment guide, and the calls of its health and queue sections, sent to
 * this one. The script's two checks (200 for the write, 200 for the read) must hold for each of its virtual users.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.close());

const VIRTUAL_USERS = 100;
const ITERATIONS = 3;

/** Method, path, status, and fields that the guide or its contract names. In this order. */
const CALLS: readonly (readonly [string, string, unknown, number, readonly string[]])[] = [
  ["GET", "/health", undefined, 200, ["status"]],
  ["GET", "/kv/stats", undefined, 200, ["total_keys"]],
  ["POST", "/queue/old-queue", {}, 200, []],
  ["POST", "/queue/jobs", {}, 200, []],
  ["GET", "/queue/list", undefined, 200, ["queues"]],
  ["POST", "/queue/old-queue/purge", undefined, 200, ["purged"]],
  ["DELETE", "/queue/old-queue", undefined, 200, ["deleted"]],
  ["GET", "/queue/jobs/stats", undefined, 200, ["depth", "dlq_count"]],
  ["GET", "/metrics", undefined, 200, []],
];

describe("the documented examples", () => {
  test("the load script's checks hold for every virtual user", async () => {
    const user = async (vu: number): Promise<void> => {
      for (let iteration = 0; iteration < ITERATIONS; iteration += 1) {
        const key = `test:${vu}:${iteration}`;
        const set = await server.post("/kv/set", { key, value: "test-value", ttl: 60 });
        expect(set.status, "SET success").toBe(200);
        const get = await server.get(`/kv/get/${key}`);
        expect(get.status, "GET success").toBe(200);
        expect(get.text).toContain("test-value");
      }
    };
    await Promise.all(Array.from({ length: VIRTUAL_USERS }, (_, at) => user(at + 1)));
  });

  for (const [method, path, body, status, fields] of CALLS)
    test(`${method} ${path} answers as documented`, async () => {
      const answer = await server.request(method, path, body);
      expect(answer.status, answer.text).toBe(status);
      for (const field of fields) expect(answer.json).toHaveProperty(field);
    });
});
