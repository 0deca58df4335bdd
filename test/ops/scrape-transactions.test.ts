import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { AnnalsCommand } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { scrape, total } from "../support/scraping.js";

const directory = mkdtempSync(join(tmpdir(), "annals-scrape-transactions-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it("counts batches and the steps of transactions, through every door, and what became of them", async () => {
  const server = new AnnalsCommand(["serve", "--port", "0", "--data-dir", directory]);
  try {
    const client = new HttpClient(await server.port(), 1);
    const set = (key: string) => ({ command: "kv.set", payload: { key, value: 1 } });
    const batch = { operations: [set("a"), set("b")] };
    await client.post("/batch", batch);
    await client.post("/api/v1/command", { command: "batch", request_id: "1", payload: batch });
    const refused = {
      operations: [set("a"), { command: "queue.publish", payload: { queue: "none", payload: 1 } }],
    };
    await client.post("/batch", refused);
    const transaction = { client_id: "one" };
    await client.post("/transaction/watch", { ...transaction, keys: ["a"] });
    await client.post("/transaction/multi", transaction);
    await client.post("/kv/set", { key: "c", value: 1, ...transaction });
    await client.post("/transaction/exec", transaction);
    await client.post("/transaction/exec", transaction);
    await client.post("/transaction/watch", { ...transaction, keys: ["a"] });
    await client.post("/kv/set", { key: "a", value: 2 });
    await client.post("/transaction/multi", transaction);
    await client.post("/kv/set", { key: "c", value: 2, ...transaction });
    await client.post("/transaction/exec", transaction);
    await client.post("/transaction/multi", transaction);
    await client.post("/transaction/discard", transaction);

    const samples = await scrape(client);
    const counted = (operation: string) =>
      ["success", "error"].map((status) =>
        total(samples, "annals_transaction_operations_total", [
          `operation="${operation}"`,
          `status="${status}"`,
        ]),
      );
    expect(counted("batch")).toEqual([2, 1]);
    expect(counted("watch")).toEqual([2, 0]);
    expect(counted("multi")).toEqual([3, 0]);
    expect(counted("exec")).toEqual([2, 1]);
    expect(counted("discard")).toEqual([1, 0]);
    const batches = ['operation="batch"'];
    expect(total(samples, "annals_transaction_operation_duration_seconds_count", batches)).toBe(3);
    expect(total(samples, "annals_kv_operations_total", ['operation="set"'])).toBe(3);
    client.close();
  } finally {
    await server.end();
  }
});
