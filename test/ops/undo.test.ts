// History, revert and undo on the real server over sockets, and the command as a process of its own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AnnalsCommand, type CommandResult } from "../support/annals-command.js";
import { type RunningServer, startServer } from "../support/server-process.js";

let directory: string;
let server: RunningServer;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "annals-undo-"));
  server = await startServer({ dataDirectory: directory });
});
afterAll(async () => {
  await server.kill();
  rmSync(directory, { recursive: true });
});

const url = (): string => `http://127.0.0.1:${server.port}`;

async function ask(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const json = { "content-type": "application/json", ...headers };
  const response = await fetch(`${url()}${path}`, {
    method,
    ...init,
    headers: body === undefined ? headers : json,
  });
  return { status: response.status, headers: response.headers, json: JSON.parse(await response.text()) };
}

const set = (key: string, value: string) => ask("POST", "/kv/set", { key, value });
const command = (...args: string[]): Promise<CommandResult> => new AnnalsCommand(args).ended;

describe("history, on the real server", () => {
  it("of a key goes on through deletes and a restart, and a revision can be had again", async () => {
    await set("life", "one");
    await ask("DELETE", "/kv/del/life");
    await server.kill("SIGTERM");
    server = await startServer({ dataDirectory: directory });
    await ask(
      "POST",
      "/kv/set",
      { key: "life", value: "two" },
      { "idempotency-key": "once", "x-request-id": "req" },
    );

    const { json } = await ask("GET", "/kv/life/history");
    expect(json).toMatchObject({ key: "life", exists: true, next: null, complete: true });
    expect(
      json.revisions.map(({ event, value }: { event: string; value?: string }) => [event, value]),
    ).toEqual([
      ["set", "two"],
      ["deleted", undefined],
      ["set", "one"],
    ]);
    expect(json.revisions[0].cause).toEqual({
      command: "kv.set",
      request_id: "req",
      idempotency_key: "once",
    });

    const first = json.revisions[2].offset;
    const reverted = await ask("POST", "/kv/life/revert", { revision: first });
    expect(reverted.json).toMatchObject({ success: true, reverted_to: first });
    expect((await ask("GET", "/kv/get/life")).json).toBe("one");
    expect((await ask("GET", "/kv/life/history?limit=1&values=false")).json.revisions).toEqual([
      expect.objectContaining({ offset: reverted.json.log_offset, cause: { command: "kv.revert" } }),
    ]);
    // Of the past, too.
    const then = await ask("GET", `/kv/life/history?at=${first}`);
    expect(then.json.revisions).toHaveLength(1);
  });

  it("of a message tells who had it and what became of it", async () => {
    await ask("POST", "/queue/work", {});
    const { json: published } = await ask("POST", "/queue/work/publish", { payload: "x" });
    const { json: consumed } = await ask("GET", "/queue/work/consume/anna");
    await ask("POST", "/queue/work/ack", { message_id: published.message_id, receipt: consumed.receipt });
    const { json } = await ask("GET", `/queue/work/messages/${published.message_id}/history`);
    expect(json.events).toMatchObject([
      { event: "published", cause: { command: "queue.publish" } },
      { event: "delivered", consumer: "anna", receipt: consumed.receipt },
      { event: "acked", cause: { command: "queue.ack" } },
    ]);
    expect(json).toMatchObject({ over: true, next: null });
  });
});

describe("annals undo", () => {
  let at = 0;
  beforeAll(async () => {
    for (let n = 0; n < 150; n++) at = (await set(`user:${n}`, `before ${n}`)).json.log_offset;
    for (let n = 0; n < 120; n++) await set(`user:${n}`, "spoiled");
    for (let n = 120; n < 150; n++) await ask("DELETE", `/kv/del/user:${n}`);
    for (let n = 150; n < 160; n++) await set(`user:${n}`, "new");
    await set("other", "later");
  });
  const only = ["--only", "kv:user:*"];

  it("says in a dry run what would change, and changes nothing", async () => {
    const { code, stdout, stderr } = await command(
      "undo",
      ...only,
      "--at",
      String(at),
      "--into",
      url(),
      "--dry-run",
      "--json",
    );
    expect([code, stderr]).toEqual([0, ""]);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ at, dry_run: true, total: 160, last_offset: 0, changes_omitted: 0 });
    expect(report.counts).toEqual({ created: 30, replaced: 120, expiry_changed: 0, deleted: 10 });
    expect((await ask("GET", "/kv/get/user:1")).json).toBe("spoiled");
  });

  it("writes back what differs, in pages of one record each, and leaves nothing to undo", async () => {
    const { code, stdout } = await command("undo", ...only, "--at", String(at), "--into", url());
    expect(code).toBe(0);
    expect(stdout).toContain('replaced "user:1"');
    expect(stdout).toMatch(
      /kv:user:\* as at offset \d+: 30 created, 120 replaced, 10 deleted changed, up to offset \d+\n$/,
    );
    const { json } = await ask("POST", "/kv/mget", { keys: ["user:1", "user:149", "user:155", "other"] });
    expect(json.values).toEqual(["before 1", "before 149", null, "later"]);
    const { json: history } = await ask("GET", "/kv/user:1/history?limit=1");
    expect(history.revisions[0].cause).toMatchObject({
      command: "kv.restore",
      idempotency_key: expect.stringMatching(/^undo-/),
    });
    const again = await command("undo", ...only, "--at", String(at), "--into", url(), "--dry-run");
    expect(again.stdout).toContain("nothing differs");
  });

  it.each([
    ["queues", ["--only", "queue:work", "--at", "1"], 2, "cannot be undone"],
    ["a pattern without kv:", ["--only", "user:*", "--at", "1"], 2, "kv:"],
    ["no moment", [...only, "--at", "yesterday"], 2, "API_AT_INVALID"],
    ["a moment beyond the end", [...only, "--at", "99999999"], 1, "LOG_OFFSET_BEYOND_END"],
    ["no --at", only, 2, "--at"],
  ])("refuses %s in one line", async (_what, args, code, text) => {
    const result = await command("undo", ...args, "--into", url());
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(text);
    expect(result.stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  it("says when the server is away", async () => {
    const args = [...only, "--at", "1", "--into", "http://127.0.0.1:9", "--patience", "0"];
    const { code, stderr } = await command("undo", ...args);
    expect(code).toBe(1);
    expect(stderr).toContain("http://127.0.0.1:9");
  });
});
