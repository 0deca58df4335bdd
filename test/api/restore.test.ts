// Undoing over HTTP: a repeat is answered from what is kept, whatever became of the past.
import { afterEach, describe, expect, it } from "vitest";
import { TestServer } from "../support/test-server.js";

let server: TestServer | undefined;
afterEach(() => server?.close());

describe("a repeated restore", () => {
  it("is answered as the first time, also when the past is not to be had any more", async () => {
    server = await TestServer.start();
    await server.command("kv.set", { key: "a", value: "old" });
    await server.command("kv.set", { key: "a", value: "new" });
    const body = { pattern: "*", at: 1 };
    const first = await server.post("/kv/restore", body, { "idempotency-key": "k" });
    expect(first.json).toMatchObject({ changes: [{ key: "a", change: "replaced" }] });
    const end = server.log.endOffset;
    server.refusePast = { type: "refused", code: "API_PAST_FAILED", message: "told to" };
    const again = await server.post("/kv/restore", body, { "idempotency-key": "k" });
    expect([again.text, again.headers.get("idempotent-replayed")]).toEqual([first.text, "true"]);
    expect(server.log.endOffset).toBe(end);
  });
});
