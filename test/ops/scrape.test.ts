import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, it } from "vitest";
import { AnnalsCommand } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { scrape, total } from "../support/scraping.js";

const directory = mkdtempSync(join(tmpdir(), "annals-scrape-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const serve = (data: string, environment: Record<string, string> = {}): AnnalsCommand =>
  new AnnalsCommand(["serve", "--port", "0", "--data-dir", data], { environment });

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let round = 0; round < 2000; round++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen`);
}

const OPERATIONS = ["set", "get", "delete", "scan", "mget", "mset", "mdel"];

async function useEveryOperation(client: HttpClient): Promise<void> {
  await client.post("/kv/set", { key: "a", value: "text" });
  await client.post("/kv/mset", {
    pairs: [
      { key: "b", value: 1 },
      { key: "c", value: "x".repeat(9000) },
    ],
  });
  await client.send("GET", "/kv/get/a");
  await client.send("GET", "/kv/get/missing");
  await client.post("/kv/mget", { keys: ["a", "b"] });
  await client.send("GET", "/kv/scan?prefix=a");
  await client.send("DELETE", "/kv/del/b");
  await client.post("/kv/mdel", { keys: ["nothing"] });
  await client.post("/kv/a/incr", {});
}

describe("a scrape of the real server", () => {
  it("shows every documented series moving when it should", async () => {
    const server = serve(join(directory, "moving"), { ANNALS_LOG_SEGMENT_BYTES: "4096" });
    try {
      const client = new HttpClient(await server.port(), 1);
      const before = await scrape(client);
      await useEveryOperation(client);
      const after = await scrape(client);
      const moved = (name: string, ...labels: string[]): number =>
        total(after, `annals_${name}`, labels) - total(before, `annals_${name}`, labels);

      for (const operation of OPERATIONS) {
        const label = `operation="${operation}"`;
        expect(moved("kv_operations_total", label, 'status="success"'), operation).toBeGreaterThan(0);
        expect(moved("kv_operation_duration_seconds_count", label), operation).toBeGreaterThan(0);
        expect(moved("kv_operation_duration_seconds_sum", label), operation).toBeGreaterThan(0);
      }
      expect(moved("kv_operations_total", 'operation="incr"', 'status="error"')).toBe(1);
      expect(moved("kv_keys_total", 'shard="0"')).toBe(2);
      expect(moved("kv_memory_bytes", 'type="used"')).toBeGreaterThan(9000);
      expect(moved("kv_hits_total")).toBeGreaterThan(0);
      expect(moved("kv_misses_total")).toBeGreaterThan(0);

      const route = ['method="POST"', 'path="/kv/set"'];
      expect(moved("http_requests_total", ...route, 'status="200"')).toBe(1);
      expect(moved("http_request_duration_seconds_count", ...route)).toBe(1);
      expect(moved("http_request_duration_seconds_bucket", ...route, 'le="+Inf"')).toBe(1);

      const records = moved("log_end_offset");
      expect(records).toBe(3);
      expect(moved("log_durable_offset")).toBe(records);
      expect(moved("log_committed_offset")).toBe(records);
      expect(moved("log_records_total")).toBe(records);
      expect(moved("log_batch_records_sum")).toBe(records);
      expect(moved("log_batch_bytes_sum")).toBeGreaterThan(9000);
      expect(moved("log_written_bytes_total")).toBeGreaterThan(9000);
      for (const name of ["append", "write", "sync"]) {
        expect(moved(`log_${name}_duration_seconds_count`), name).toBeGreaterThan(0);
        expect(moved(`log_${name}_duration_seconds_sum`), name).toBeGreaterThan(0);
      }
      expect(moved("log_rolls_total")).toBeGreaterThan(0);
      expect(moved("process_cpu_seconds_total")).toBeGreaterThan(0);
      expect(moved("process_uptime_seconds")).toBeGreaterThan(0);
      expect(total(after, "annals_log_first_offset")).toBe(1);
      expect(total(after, "annals_ready")).toBe(1);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("shows every documented series of queues, also what time did while nobody called", async () => {
    const server = serve(join(directory, "queues"));
    try {
      const client = new HttpClient(await server.port(), 1);
      await client.post("/queue/q", { default_max_retries: 0 });
      for (const payload of ["a", "b", "c", "d"]) await client.post("/queue/q/publish", { payload });
      await client.post("/queue/q/publish", { payload: "later", delay_secs: 3600 });
      const take = async (query = ""): Promise<string> =>
        JSON.parse((await client.send("GET", `/queue/q/consume/c${query}`)).text).message_id;
      await client.post("/queue/q/ack", { message_id: await take() });
      await client.post("/queue/q/nack", { message_id: await take(), requeue: false });
      await client.post("/queue/none/publish", { payload: "x" });
      // Taken and never acknowledged: its deadline passes, and the timer says so.
      await take("?ack_deadline_secs=0.1");
      const label = 'queue="q"';
      await eventually(
        "the death of what was not acknowledged",
        async () => total(await scrape(client), "annals_queue_dlq_messages", [label]) === 2,
      );
      const samples = await scrape(client);
      const of = (name: string, ...labels: string[]): number =>
        total(samples, `annals_queue_${name}`, [label, ...labels]);
      expect(of("depth")).toBe(1);
      expect(of("delayed_messages")).toBe(1);
      expect(of("in_flight_messages")).toBe(0);
      expect(of("consumers")).toBe(0);
      for (const [operation, count] of Object.entries({ publish: 5, consume: 3, ack: 1, nack: 1 })) {
        const labels = [`operation="${operation}"`];
        expect(of("operations_total", ...labels, 'status="success"'), operation).toBe(count);
        expect(of("operation_duration_seconds_count", ...labels), operation).toBe(count);
        expect(of("operation_duration_seconds_sum", ...labels), operation).toBeGreaterThan(0);
      }
      const unnamed = ['queue=""', 'operation="publish"', 'status="error"'];
      expect(total(samples, "annals_queue_operations_total", unnamed)).toBe(1);
      await client.post("/queue/q/purge", {});
      const purges = [label, 'operation="purge"'];
      expect(total(await scrape(client), "annals_queue_operations_total", purges)).toBe(1);
      const info = JSON.parse((await client.send("GET", "/info?section=queues")).text);
      expect(info.queues).toMatchObject({
        queues: 1,
        depth: 0,
        dead: 2,
        published: 5,
        consumed: 3,
        acked: 1,
      });
      client.close();
    } finally {
      await server.end();
    }
  });

  it("shows every documented series of streams, by room, and durable streams under one label", async () => {
    const server = serve(join(directory, "streams"));
    try {
      const client = new HttpClient(await server.port(), 1);
      await client.post("/stream/r", { max_events: 3 });
      await client.post("/stream/empty", {});
      for (const event of ["a", "a", "b"]) await client.post("/stream/r/publish", { event, data: 1 });
      const events = [
        { event: "b", data: 1 },
        { event: "c", data: 1 },
      ];
      const producer = { producer_id: "p", producer_epoch: 0, producer_seq: 0 };
      for (let times = 0; times < 2; times++)
        await client.post("/stream/r/publish/batch", { events, ...producer });
      for (const subscriber of ["x", "y", "x"])
        await client.send("GET", `/stream/r/consume/${subscriber}?from_offset=2`);
      await client.post("/stream/none/publish", { event: "a", data: 1 });
      await client.send("PUT", "/v1/stream/some/path");
      await client.send("PUT", "/v1/stream/other/path");
      for (const path of ["some", "some", "other"])
        await client.send("POST", `/v1/stream/${path}/path`, "x", {
          "content-type": "application/octet-stream",
        });
      const samples = await scrape(client);
      const of = (name: string, ...labels: string[]): number =>
        total(samples, `annals_stream_${name}`, labels);

      for (const [operation, count] of Object.entries({
        create: 1,
        publish: 3,
        publish_batch: 2,
        consume: 3,
      })) {
        const labels = ['room="r"', `operation="${operation}"`, 'status="success"'];
        expect(of("operations_total", ...labels), operation).toBe(count);
      }
      expect(of("operations_total", 'room=""', 'operation="publish"', 'status="error"')).toBe(1);
      expect(of("operations_total", 'room="none"')).toBe(0);
      for (const [type, count] of Object.entries({ a: 2, b: 2, c: 1 }))
        expect(of("events_total", 'room="r"', `event_type="${type}"`), type).toBe(count);
      expect(of("subscribers", 'room="r"')).toBe(2);
      expect(of("buffer_size", 'room="r"')).toBe(3);
      expect(of("last_offset", 'room="r"')).toBe(4);
      expect(of("buffer_size", 'room="empty"')).toBe(0);
      expect([...samples.keys()].join()).not.toContain('last_offset{room="empty"}');

      expect(of("operations_total", 'room="ds/*"', 'operation="create"')).toBe(2);
      expect(of("operations_total", 'room="ds/*"', 'operation="append"')).toBe(3);
      expect(of("events_total", 'room="ds/*"', 'event_type=""')).toBe(3);
      expect(of("buffer_size", 'room="ds/*"')).toBe(3);
      expect([...samples.keys()].join()).not.toContain("path/path");
      expect(of("published_total")).toBe(8);
      expect(of("trimmed_total")).toBe(2);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("shows what looking back costs, and leaves the durations of other reads alone", async () => {
    const server = serve(join(directory, "past"));
    try {
      const client = new HttpClient(await server.port(), 1);
      for (let i = 0; i < 10; i++) await client.post("/kv/set", { key: "a", value: i });
      const before = await scrape(client);
      expect(total(before, "annals_past_states")).toBe(0);
      for (const at of [5, 5, 8]) {
        expect((await client.send("GET", `/kv/get/a?at=${at}`)).status).toBe(200);
      }
      expect((await client.send("GET", "/kv/get/a?at=99")).status).toBe(400);
      const after = await scrape(client);
      for (const state of ["begun", "kept", "moved"]) {
        expect(total(after, "annals_past_reads_total", [`state="${state}"`]), state).toBe(1);
      }
      expect(total(after, "annals_past_replayed_records_total")).toBe(8);
      expect(total(after, "annals_past_states")).toBe(1);
      expect(total(after, "annals_past_states_bytes")).toBeGreaterThan(0);
      expect(total(after, "annals_past_read_duration_seconds_count")).toBe(3);
      const spent = total(after, "annals_past_read_duration_seconds_sum");
      expect(spent).toBeGreaterThan(0);
      const gets = ['operation="get"'];
      expect(total(after, "annals_kv_operation_duration_seconds_count", gets)).toBe(4);
      expect(total(after, "annals_kv_operation_duration_seconds_sum", gets)).toBeLessThan(spent);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("shows snapshots, and what holds the log when something may go", async () => {
    const server = serve(join(directory, "snapshots"), {
      ANNALS_LOG_SEGMENT_BYTES: "4096",
      ANNALS_LOG_RETENTION_BYTES: "4096",
    });
    try {
      const client = new HttpClient(await server.port(), 1);
      const before = await scrape(client);
      expect(total(before, "annals_snapshots")).toBe(0);
      expect(before.has("annals_snapshot_last_offset")).toBe(false);
      const rounds = 3;
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < 20; i++) await client.post("/kv/set", { key: `a${i}`, value: "x".repeat(400) });
        expect((await client.post("/snapshot", {})).status).toBe(200);
      }
      await eventually("the log's beginning going, up to what the second newest snapshot needs", async () => {
        const now = await scrape(client);
        const held = total(now, "annals_retention_holder_offset", ['holder="snapshots"']);
        return held === 1 + 20 * (rounds - 1) + 1 && total(now, "annals_log_retired_records_total") > 0;
      });
      const after = await scrape(client);
      // The oldest is of a log that is gone: the round of retention after that one takes it, too, and may have been already.
      expect([rounds - 1, rounds]).toContain(total(after, "annals_snapshots"));
      expect(total(after, "annals_snapshot_last_offset")).toBe(1 + 20 * rounds);
      expect(total(after, "annals_snapshot_last_bytes")).toBeGreaterThan(20 * 400);
      const age = Date.now() / 1000 - total(after, "annals_snapshot_last_timestamp_seconds");
      expect(Math.abs(age)).toBeLessThan(60);
      expect(total(after, "annals_snapshot_last_duration_seconds")).toBeGreaterThan(0);
      expect(total(after, "annals_snapshot_in_progress")).toBe(0);
      expect(total(after, "annals_snapshot_runs_total", ['result="made"'])).toBe(rounds);
      expect(total(after, "annals_snapshot_runs_total", ['result="failed"'])).toBe(0);
      expect(total(after, "annals_retention_failures_total")).toBe(0);
      expect(total(after, "annals_log_first_offset")).toBe(
        1 + total(after, "annals_log_retired_records_total"),
      );
      client.close();
    } finally {
      await server.end();
    }
  });

  it("shows who waits, for as long as they wait", async () => {
    const server = serve(join(directory, "waiting"));
    const port = await server.port();
    const [client, waiters] = [new HttpClient(port, 1), new HttpClient(port, 4)];
    try {
      const text = { "content-type": "text/plain" };
      await client.post("/queue/q", {});
      await client.send("PUT", "/v1/stream/s", undefined, text);
      const counts = async (): Promise<number[]> => {
        const samples = await scrape(client);
        return ["queue", "stream_poll", "stream_events"].map((type) =>
          total(samples, "annals_requests_waiting", [`type="${type}"`]),
        );
      };
      expect(await counts()).toEqual([0, 0, 0]);
      const consumers = ["a", "b"].map((name) =>
        waiters.send("GET", `/queue/q/consume/${name}?wait_secs=60`),
      );
      const poll = waiters.send("GET", "/v1/stream/s?offset=-1&live=long-poll");
      const events = connect(port, "127.0.0.1");
      events.write("GET /v1/stream/s?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n");
      await eventually("the wait of all", async () => String(await counts()) === "2,1,1");
      await client.post("/queue/q/publish", { payload: "x" });
      await eventually("the end of one", async () => String(await counts()) === "1,1,1");
      await client.send("POST", "/v1/stream/s", "x", text);
      expect((await poll).status).toBe(200);
      await eventually("the end of the poll", async () => String(await counts()) === "1,0,1");
      events.destroy();
      await client.post("/queue/q/publish", { payload: "y" });
      await Promise.all(consumers);
      await eventually("the end of all", async () => String(await counts()) === "0,0,0");
    } finally {
      client.close();
      waiters.close();
      await server.end();
    }
  });

  it("samples the process and the disk", async () => {
    const server = serve(join(directory, "sampled"), { ANNALS_LOG_SEGMENT_BYTES: "4096" });
    try {
      const client = new HttpClient(await server.port(), 1);
      for (const type of ["rss", "heap_used", "virtual"])
        expect(
          total(await scrape(client), "annals_process_memory_bytes", [`type="${type}"`]),
          type,
        ).toBeGreaterThan(1_000_000);
      const segments = total(await scrape(client), "annals_log_segments");
      for (let index = 0; index < 5; index++) await client.put(`k${index}`, "x".repeat(5000));
      await eventually("the sample of the disk", async () => {
        const samples = await scrape(client);
        return (
          total(samples, "annals_log_segments") > segments && total(samples, "annals_log_bytes") > 25_000
        );
      });
      const sampled = (name: string) => async () => total(await scrape(client), `annals_${name}`) > 0;
      await eventually("the sample of free space", sampled("disk_free_bytes"));
      await eventually("the sample of the CPU", sampled("process_cpu_usage_percent"));
      await eventually("the sample of the event loop", sampled("event_loop_lag_max_seconds"));
      // This test keeps a core busy; a server that sits idle beside it must not report the machine's load as its own.
      const busy = new Worker("for (;;);", { eval: true });
      await eventually("an idle process", async () => {
        await new Promise((resolve) => setTimeout(resolve, 1200));
        return total(await scrape(client), "annals_process_cpu_usage_percent", ['core="all"']) < 50;
      });
      await busy.terminate();
      client.close();
    } finally {
      await server.end();
    }
  });

  it("counts open connections, and no longer when they close", async () => {
    const server = serve(join(directory, "connections"));
    try {
      const port = await server.port();
      const client = new HttpClient(port, 1);
      const open = async (): Promise<number> =>
        total(await scrape(client), "annals_http_connections", ['type="http"']);
      expect(await open()).toBe(1);
      const others = [connect(port, "127.0.0.1"), connect(port, "127.0.0.1")];
      await eventually("two more connections", async () => (await open()) === 3);
      for (const other of others) other.destroy();
      await eventually("their end", async () => (await open()) === 1);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("counts what expired, what was evicted and what was refused", async () => {
    const server = serve(join(directory, "counted"), {
      ANNALS_KV_STORE_MAX_MEMORY_MB: "1",
      ANNALS_KV_STORE_EVICTION_POLICY: "lru",
      ANNALS_LIMITS_BODY_BYTES_MAX: "400000",
    });
    try {
      const client = new HttpClient(await server.port(), 1);
      await client.post("/kv/set", { key: "soon", value: 1, expiry: { type: "milliseconds", value: 20 } });
      // Before anything is evicted: the key that expires would be the first to go.
      await eventually(
        "expiry",
        async () => total(await scrape(client), "annals_kv_expired_keys_total") === 1,
      );
      for (let index = 0; index < 6; index++) await client.put(`big-${index}`, "x".repeat(300_000));
      expect((await client.put("huge", "x".repeat(500_000))).status).toBe(413);
      const samples = await scrape(client);
      expect(total(samples, "annals_kv_evicted_keys_total")).toBeGreaterThan(0);
      expect(total(samples, "annals_requests_rejected_total")).toBeGreaterThan(0);
      expect(total(samples, "annals_kv_memory_bytes")).toBeLessThanOrEqual(1_048_576);
      expect(total(samples, "annals_kv_memory_max_bytes")).toBe(1_048_576);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("tells of the replay and of a torn end after a crash", async () => {
    const data = join(directory, "crashed");
    const first = serve(data);
    const port = await first.port();
    const writer = new HttpClient(port, 1);
    for (let index = 0; index < 20; index++) await writer.put(`k${index}`, "x");
    await first.end();
    writer.close();
    scribbleAfterLastRecord(data);

    const second = serve(data);
    try {
      const client = new HttpClient(await second.port(), 1);
      const samples = await scrape(client);
      expect(total(samples, "annals_recovery_torn_bytes_total")).toBeGreaterThan(0);
      expect(total(samples, "annals_recovery_clean")).toBe(0);
      expect(total(samples, "annals_recovery_duration_seconds")).toBeGreaterThan(0);
      expect(total(samples, "annals_replay_duration_seconds")).toBeGreaterThan(0);
      expect(total(samples, "annals_replay_offset")).toBe(21);
      expect(second.logged("started")[0]).toMatchObject({ lastStopClean: false, endOffset: 21 });
      expect(second.stdout).toContain("an unfinished end was cut");
      expect((await client.get("k19")).text).toBe("x");
      client.close();
    } finally {
      await second.end();
    }
  });

  it("uses the configured prefix for every series", async () => {
    const server = serve(join(directory, "prefix"), { ANNALS_METRICS_PREFIX: "synap" });
    try {
      const client = new HttpClient(await server.port(), 1);
      await useEveryOperation(client);
      const samples = await scrape(client);
      for (const name of samples.keys()) expect(name).toMatch(/^synap_/);
      expect(total(samples, "synap_kv_operations_total", ['operation="set"'])).toBe(1);
      client.close();
    } finally {
      await server.end();
    }
  });

  const promtool = spawnSync("promtool", ["--version"]).error === undefined;
  it.skipIf(!promtool)(
    "satisfies promtool check metrics (skipped where promtool is not installed)",
    async () => {
      const server = serve(join(directory, "promtool"));
      try {
        const client = new HttpClient(await server.port(), 1);
        await useEveryOperation(client);
        const page = await client.send("GET", "/metrics");
        const checked = spawnSync("promtool", ["check", "metrics"], { input: page.text, encoding: "utf8" });
        // The one documented name that is against the custom of Prometheus.
        expect(checked.stderr.trim()).toBe(
          'annals_kv_keys_total non-counter metrics should not have "_total" suffix',
        );
        client.close();
      } finally {
        await server.end();
      }
    },
  );
});

/** What a write leaves that a crash cut short: some bytes behind the last whole record. */
function scribbleAfterLastRecord(data: string): void {
  const name = readdirSync(join(data, "log"))
    .filter((entry) => entry.endsWith(".log"))
    .sort()
    .at(-1)!;
  const path = join(data, "log", name);
  const bytes = readFileSync(path);
  let end = bytes.length;
  while (bytes[end - 1] === 0) end--;
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(20, 0xab), 0, 20, end + 8);
  closeSync(file);
}
