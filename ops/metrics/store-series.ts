/** What the key-value state tells of itself when asked. */
import type { KvStats } from "../../projections/index.js";
import type { Series } from "./series.js";

/** `readNow` gives undefined until the replay is done: a half-folded state would look like lost keys. */
export function addStoreSeries(series: Series, readNow: () => KvStats | undefined): void {
  const read = series.oncePerPage(readNow);
  series.gauges("kv_keys_total", "Keys", ["shard"], () => {
    const stats = read();
    return stats === undefined ? [] : [[{ shard: "0" }, stats.totalKeys]];
  });
  // One type only: rules written for the documented server compare this series with a limit without naming a type.
  series.gauges("kv_memory_bytes", "Memory charged to keys and values", ["type"], () => {
    const stats = read();
    return stats === undefined ? [] : [[{ type: "used" }, stats.memoryBytes]];
  });
  series.gauge("kv_memory_max_bytes", "Memory that keys and values may take", () => read()?.maxMemoryBytes);
  series.gauge("kv_expiring_keys", "Keys that have an expiry", () => read()?.expiringKeys);
  series.counter(
    "kv_expired_keys_total",
    "Keys reclaimed after they expired",
    () => read()?.expiredTotal ?? 0,
  );
  series.counter("kv_evicted_keys_total", "Keys evicted to fit the memory", () => read()?.evictedTotal ?? 0);
  series.counter("kv_hits_total", "Reads that found their key", () => read()?.operations.hits ?? 0);
  series.counter(
    "kv_misses_total",
    "Reads that did not find their key",
    () => read()?.operations.misses ?? 0,
  );
}
