import { Counter, Histogram, Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { Buckets, Cells, OVERFLOW_LABEL, Tally } from "../../ops/metrics/accumulators.js";
import { ApiSeries } from "../../ops/metrics/api-series.js";
import { FreeDisk } from "../../ops/metrics/free-disk.js";
import { LogSeries } from "../../ops/metrics/log-series.js";
import { addQueueSeries } from "../../ops/metrics/queue-series.js";
import { Series } from "../../ops/metrics/series.js";
import { addStreamSeries } from "../../ops/metrics/stream-series.js";
import type { QueueStats, StreamTotals } from "../../projections/index.js";

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
});

describe("API series", () => {
  it("name operations as documented, count unknown methods as one, and leave other operations to HTTP", async () => {
    const page = await pageOf((series) => {
      const api = new ApiSeries(series);
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
  it("show each queue, and beyond a bound the sum of the others", async () => {
    const many = Array.from({ length: 1002 }, (_, index) => ({
      name: `q${index}`,
      waiting: index,
      delayed: 1,
      inFlight: 2,
      dead: 3,
      consumers: 4,
    }));
    const page = await pageOf((series) => addQueueSeries(series, () => many as unknown as QueueStats[]));
    expect(page).toContain('annals_queue_depth{queue="q999"} 999');
    expect(page).toContain('annals_queue_depth{queue="other"} 2001');
    expect(page).not.toContain('"q1000"');
    for (const [name, value] of [
      ["delayed_messages", 1],
      ["in_flight_messages", 2],
      ["dlq_messages", 3],
      ["consumers", 4],
    ])
      expect(page).toContain(`annals_queue_${name}{queue="q0"} ${value}`);
  });
});

describe("stream series", () => {
  it("show each room, beyond a bound the sum of the others, and durable streams as one", async () => {
    const rooms = Array.from({ length: 1002 }, (_, index) => ({
      name: `room/r${index}`,
      messages: index,
      end: index === 0 ? 0 : index + 7,
      subscribers: 2,
    }));
    const durable = ["ds/a", "ds/b", "room/other", "room/ds/*"].map((name) => ({
      name,
      messages: 5,
      end: 5,
      subscribers: 0,
    }));
    const totals = { streams: 1006, publishedTotal: 9 } as unknown as StreamTotals;
    const page = await pageOf((series) =>
      addStreamSeries(
        series,
        () => totals,
        (visit) => [...durable, ...rooms].forEach(visit),
      ),
    );
    const lines = page.split("\n");
    expect(lines).toContain('annals_stream_buffer_size{room="r999"} 999');
    expect(lines).toContain('annals_stream_subscribers{room="r999"} 2');
    expect(lines).toContain('annals_stream_last_offset{room="r999"} 1005');
    expect(lines).toContain('annals_stream_buffer_size{room="other"} 2006');
    expect(lines).toContain('annals_stream_subscribers{room="other"} 4');
    expect(lines).toContain('annals_stream_buffer_size{room="ds/*"} 15');
    expect(lines).toContain("annals_stream_published_total 9");
    expect(page).not.toContain('"r1000"');
    expect(page).not.toMatch(/last_offset\{room="(r0|other|ds.*)"/);
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
});
