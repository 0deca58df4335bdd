import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Counter, Histogram, Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { Buckets, Cells, OVERFLOW_LABEL, Tally } from "../../ops/metrics/accumulators.js";
import { ApiSeries } from "../../ops/metrics/api-series.js";
import { FreeDisk } from "../../ops/metrics/free-disk.js";
import { LogSeries } from "../../ops/metrics/log-series.js";
import { addQueueSeries } from "../../ops/metrics/queue-series.js";
import { Series } from "../../ops/metrics/series.js";
import { addStreamSeries, type StreamSource } from "../../ops/metrics/stream-series.js";
import { type QueueStats, stream } from "../../projections/index.js";
import { TestStore } from "../support/kv-store.js";
import { realDirectory } from "../support/real-directory.js";

async function pageOf(fill: (series: Series) => void): Promise<string> {
  const registry = new Registry();
  fill(new Series(registry, "annals"));
  return registry.metrics();
}

describe("accumulated series", () => {
  it("render exactly as prom-client's own histogram and counter with the same observations", async () => {
    const bounds = [0.00001, 0.001, 0.5, 10];
    const observations = [0, 0.00001, 0.0000100001, 0.2, 0.5, 3, 10, 11, 1e9];
    const theirs = new Registry();
    const labelNames = ["operation"];
    const histogram = new Histogram({
      name: "annals_h",
      help: "H",
      labelNames,
      buckets: bounds,
      registers: [theirs],
    });
    const counter = new Counter({ name: "annals_c", help: "C", labelNames, registers: [theirs] });
    for (const value of observations) {
      histogram.observe({ operation: 'a"b\\c' }, value);
      counter.inc({ operation: 'a"b\\c' });
    }
    const ours = await pageOf((series) => {
      const buckets = new Cells(1, () => new Buckets(bounds));
      const tallies = new Cells(1, () => new Tally());
      for (const value of observations) {
        buckets.at('a"b\\c').observe(value);
        tallies.at('a"b\\c').value++;
      }
      series.histogramCells("h", "H", labelNames, buckets);
      series.counterCells("c", "C", labelNames, tallies);
    });
    // Only the order of `le` and the other labels within the braces may differ, which has no meaning.
    const sorted = (page: string) =>
      page.replaceAll(/\{(.*)\}/g, (_, labels: string) => `{${labels.split(",").sort().join(",")}}`);
    expect(sorted(ours)).toBe(sorted(await theirs.metrics()));
  });

  it("show a gauge only while there is something to show", async () => {
    let value: number | undefined;
    const registry = new Registry();
    new Series(registry, "annals").gauge("g", "G", () => value);
    expect(await registry.metrics()).not.toMatch(/^annals_g /m);
    value = 7;
    expect(await registry.metrics()).toMatch(/^annals_g 7$/m);
    value = undefined;
    expect(await registry.metrics()).not.toMatch(/^annals_g /m);
  });

  it("stay bounded: past the last place everything is counted under one label", () => {
    const cells = new Cells(2, () => new Tally(), 3);
    for (let index = 0; index < 1000; index++) cells.at("GET", `/path/${index}`).value++;
    expect(cells.rows()).toHaveLength(4);
    expect(cells.rows().at(-1)).toEqual({ labels: [OVERFLOW_LABEL, OVERFLOW_LABEL], cell: { value: 997 } });
  });

  it("give the places of names that are gone to others once all are taken, and begin again with such a name", () => {
    const there = new Set(["a", "b", "c"]);
    const cells = new Cells(
      2,
      () => new Tally(),
      3,
      () => (name) => there.has(name),
    );
    const shown = () => cells.rows().map(({ labels: [name], cell }) => `${name} ${cell.value}`);
    for (const name of ["a", "b"]) cells.at(name, "ack").value++;
    there.delete("b");
    expect(shown()).toEqual(["a 1", "b 1"]);
    for (const name of ["c", "d"]) cells.at(name, "ack").value++;
    // What died is shown once more, since nobody may have read its last counts.
    expect(shown()).toEqual(["a 1", "b 1", "c 1", "other 1"]);
    expect(shown()).toEqual(["a 1", "c 1", "other 1"]);
    there.delete("c");
    expect(shown()).toEqual(["a 1", "c 1", "other 1"]);
    for (const name of ["b", "b", "e"]) cells.at(name, "ack").value++;
    expect(shown()).toEqual(["a 1", "other 2", "b 2"]);
  });
});

describe("API series", () => {
  it("name operations as documented, count unknown methods as one, and leave other operations to HTTP", async () => {
    const page = await pageOf((series) => {
      const api = new ApiSeries(series, { queues: () => undefined, rooms: () => undefined });
      api.operationFinished("kv.del", "success", 2);
      api.operationFinished("kv.mget", "error", 2);
      api.operationFinished("key.rename", "success", 2);
      api.operationFinished("admin.livez", "success", 2);
      api.operationFinished("queue.publish", "success", 2, "jobs");
      api.operationFinished("queue.ack", "error", 2, "");
      api.operationFinished("stream.publish", "success", 2, "news");
      api.operationFinished("stream.consume", "error", 2, "");
      api.eventsPublished("news", "a", 1);
      api.eventsPublished("news", "a", 2);
      api.eventsPublished("news", "x".repeat(129), 1);
      api.requestFinished("BREW", "/kv/set", 405, 1);
      api.requestFinished("PATCH", "/kv/set", 999, 1);
      api.requestRejected("API_BODY_TOO_LARGE");
    });
    const samples = page
      .split("\n")
      .filter((line) => line.startsWith("annals_") && !line.includes("_seconds"));
    expect(samples).toEqual([
      'annals_http_requests_total{method="other",path="/kv/set",status="405"} 1',
      'annals_http_requests_total{method="PATCH",path="/kv/set",status="other"} 1',
      'annals_http_connections{type="http"} 0',
      'annals_requests_waiting{type="queue"} 0',
      'annals_requests_waiting{type="stream_poll"} 0',
      'annals_requests_waiting{type="stream_events"} 0',
      'annals_kv_operations_total{operation="delete",status="success"} 1',
      'annals_kv_operations_total{operation="mget",status="error"} 1',
      'annals_kv_operations_total{operation="rename",status="success"} 1',
      'annals_queue_operations_total{queue="jobs",operation="publish",status="success"} 1',
      'annals_queue_operations_total{queue="",operation="ack",status="error"} 1',
      'annals_stream_operations_total{room="news",operation="publish",status="success"} 1',
      'annals_stream_operations_total{room="",operation="consume",status="error"} 1',
      'annals_stream_events_total{room="news",event_type="a"} 3',
      'annals_stream_events_total{room="news",event_type="other"} 1',
      'annals_requests_rejected_total{code="API_BODY_TOO_LARGE"} 1',
    ]);
    expect(page).toContain('annals_kv_operation_duration_seconds_bucket{operation="delete",le="0.01"} 1');
    expect(page).toContain('annals_kv_operation_duration_seconds_sum{operation="delete"} 0.002');
  });
});

describe("queue series", () => {
  const queues = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      name: `q${index}`,
      waiting: index,
      delayed: 1,
      inFlight: 2,
      dead: 3,
      consumers: 4,
    })) as unknown as QueueStats[];

  it("show each queue, and beyond a bound the sum of the others", async () => {
    const page = await pageOf((series) => addQueueSeries(series, () => queues(102), 100));
    expect(page).toContain('annals_queue_depth{queue="q99"} 99');
    expect(page).toContain('annals_queue_depth{queue="other"} 201');
    expect(page).not.toContain('"q100"');
    for (const [name, value] of [
      ["delayed_messages", 1],
      ["in_flight_messages", 2],
      ["dlq_messages", 3],
      ["consumers", 4],
    ])
      expect(page).toContain(`annals_queue_${name}{queue="q0"} ${value}`);
  });

  it("show no sum while there are no others, and only a sum where no queue is to be shown", async () => {
    const all = await pageOf((series) => addQueueSeries(series, () => queues(3), 3));
    expect(all).not.toContain('"other"');
    const none = await pageOf((series) => addQueueSeries(series, () => queues(3), 0));
    expect(none.match(/^annals_queue_depth\{.*$/gm)).toEqual(['annals_queue_depth{queue="other"} 3']);
  });

  it("add a queue of the sum's name to the sum", async () => {
    const named = queues(4).map((each, index) => (index === 1 ? { ...each, name: "other" } : each));
    const page = await pageOf((series) => addQueueSeries(series, () => named, 2));
    expect(page.match(/^annals_queue_depth\{.*$/gm)).toEqual([
      'annals_queue_depth{queue="q0"} 0',
      'annals_queue_depth{queue="q2"} 2',
      'annals_queue_depth{queue="other"} 4',
    ]);
  });

  it("read their source once a page, and again for the next", async () => {
    let reads = 0;
    const registry = new Registry();
    const series = new Series(registry, "annals");
    addQueueSeries(
      series,
      () => {
        reads++;
        return queues(reads);
      },
      9,
    );
    for (const page of [1, 2]) {
      series.beginPage();
      const text = await registry.metrics();
      expect(reads).toBe(page);
      expect(text.match(/^annals_queue_depth/gm)).toHaveLength(page);
    }
  });
});

describe("stream series", () => {
  const bytes = (count: number) => Array.from({ length: count }, () => ({ bytes: "x" }));

  async function pageOfStore(t: TestStore, labelsMax: number) {
    const looked: number[] = [];
    const source: StreamSource = {
      streamTotals: () => t.store.streamTotals(),
      streamSums: (prefix) => t.store.streamSums(prefix),
      oldestStreams: (prefix, limit) => {
        const found = t.store.oldestStreams(prefix, t.now, limit);
        looked.push(found.length);
        return found;
      },
    };
    const page = await pageOf((series) => addStreamSeries(series, () => source, labelsMax));
    return { looked, lines: page.split("\n") };
  }

  async function withRooms(): Promise<TestStore> {
    const t = await TestStore.open();
    const create = (name: string) => t.ok(stream.create, { name, contentType: "text/plain" });
    for (const name of ["ds/a", "room/other", "ds/b", "room/ds/*"]) await create(name);
    for (let room = 0; room < 6; room++) await create(`room/r${room}`);
    for (const name of ["ds/a", "ds/b", "room/other", "room/ds/*"]) {
      await t.ok(stream.append, { name, messages: bytes(5) });
    }
    for (let room = 1; room < 6; room++) {
      await t.ok(stream.append, { name: `room/r${room}`, messages: bytes(room) });
      const limits = { messagesMax: 10, bytesMax: 100 };
      for (const subscriber of ["x", "y", "x"]) {
        await t.answer(stream.consume, { name: `room/r${room}`, subscriber, from: 0, limits });
      }
    }
    return t;
  }

  it("show the oldest rooms, the sum of the others, and durable streams as one, with one look at those that are shown", async () => {
    const t = await withRooms();
    // Two of the five bear names of sums: three are shown.
    const { looked, lines } = await pageOfStore(t, 5);
    expect(looked).toEqual([5]);
    const of = (name: string) => lines.filter((line) => line.startsWith(`annals_stream_${name}{`));
    expect(of("buffer_size")).toEqual([
      'annals_stream_buffer_size{room="r0"} 0',
      'annals_stream_buffer_size{room="r1"} 1',
      'annals_stream_buffer_size{room="r2"} 2',
      'annals_stream_buffer_size{room="other"} 22',
      'annals_stream_buffer_size{room="ds/*"} 10',
    ]);
    expect(of("subscribers").slice(1, 4)).toEqual([
      'annals_stream_subscribers{room="r1"} 2',
      'annals_stream_subscribers{room="r2"} 2',
      'annals_stream_subscribers{room="other"} 6',
    ]);
    expect(of("last_offset")).toEqual([
      'annals_stream_last_offset{room="r1"} 0',
      'annals_stream_last_offset{room="r2"} 1',
    ]);
    expect(lines).toContain("annals_streams 10");
    expect(lines).toContain("annals_stream_published_total 35");
  });

  it("show no sum of rooms while all are shown, and forget what is deleted", async () => {
    const t = await withRooms();
    for (const name of ["room/other", "room/ds/*", "room/r5", "ds/b"]) await t.ok(stream.delete, { name });
    const { lines } = await pageOfStore(t, 5);
    expect(lines.filter((line) => line.includes('room="other"'))).toEqual([]);
    expect(lines).toContain('annals_stream_buffer_size{room="ds/*"} 5');
    expect(t.store.streamSums("room/")).toMatchObject({ streams: 5, messages: 10, subscribers: 8 });
  });

  it("show nothing until the replay is done", async () => {
    const page = await pageOf((series) => addStreamSeries(series, () => undefined, 5));
    expect(page.match(/^annals_stream(s|_buffer.*|_subscribers.*) /gm)).toBeNull();
  });
});

describe("log series", () => {
  it("tell of a full disk, of failures, and of syncs of their own", async () => {
    const registry = new Registry();
    const disk = new FreeDisk(realFileSystem, "/no/such/directory");
    const log = new LogSeries(new Series(registry, "annals"), disk, false);
    const has = async (line: string) => expect((await registry.metrics()).split("\n")).toContain(line);
    await has("annals_log_disk_full 0");
    log.diskFull(true);
    await has("annals_log_disk_full 1");
    log.diskFull(false);
    await has("annals_log_disk_full 0");
    log.failed();
    await has("annals_log_write_errors_total 1");
    log.batchWritten(3, 300, 2);
    // In `periodic` a batch is no sync.
    await has("annals_log_sync_duration_seconds_count 0");
    log.synced(4);
    await has("annals_log_sync_duration_seconds_sum 0.004");
    await has("annals_log_write_duration_seconds_sum 0.002");
    await has("annals_log_batch_records_sum 3");
    await disk.sample();
    expect(await registry.metrics()).not.toMatch(/^annals_disk_free_bytes /m);
  });

  it("tell how much of the disk was put aside, by place, once it was looked at", async () => {
    const data = await realDirectory();
    const files = {
      "diverged/1-2-3-abcdef01/log/00000000000000000002.log": 700,
      "diverged/1-2-3-abcdef01/identity.json": 50,
      "torn/1-2-3.torn": 20,
      "repair-5/log/00000000000000000001.log": 3,
      "repair-6/log/00000000000000000001.log": 4,
      "log/00000000000000000001.log": 9,
    };
    for (const [name, bytes] of Object.entries(files)) {
      mkdirSync(dirname(join(data, name)), { recursive: true });
      writeFileSync(join(data, name), Buffer.alloc(bytes));
    }
    const registry = new Registry();
    const disk = new FreeDisk(realFileSystem, data);
    new LogSeries(new Series(registry, "annals"), disk, false);
    const shown = async () => (await registry.metrics()).match(/^annals_put_aside_bytes.*$/gm);
    expect(await shown()).toBeNull();
    await disk.sample();
    expect(await shown()).toEqual([
      'annals_put_aside_bytes{place="diverged"} 750',
      'annals_put_aside_bytes{place="quarantine"} 0',
      'annals_put_aside_bytes{place="repair"} 7',
      'annals_put_aside_bytes{place="torn"} 20',
    ]);
  });
});
