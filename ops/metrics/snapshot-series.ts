/** What snapshots and retention tell of themselves when asked. */
import type { HouseFigures } from "../state/house.js";
import type { Reading, Series } from "./series.js";

export function addSnapshotSeries(series: Series, read: () => HouseFigures | undefined): void {
  series.gauge("snapshots", "Snapshot files", () => read()?.snapshots);
  series.gauge("snapshot_last_offset", "Last record in the newest snapshot", () => read()?.last?.offset);
  series.gauge("snapshot_last_bytes", "Size of the newest snapshot", () => read()?.last?.bytes);
  series.gauge("snapshot_last_timestamp_seconds", "When the newest snapshot was made", () => {
    const at = read()?.last?.createdAt;
    return at === undefined ? undefined : at / 1000;
  });
  series.gauge("snapshot_last_duration_seconds", "How long the last snapshot since the start took", () => {
    const ms = read()?.lastMs;
    return ms === undefined ? undefined : ms / 1000;
  });
  series.gauge("snapshot_in_progress", "1 while a snapshot is made", () => {
    const figures = read();
    return figures === undefined ? undefined : Number(figures.progress !== undefined);
  });
  series.counters("snapshot_runs_total", "Snapshots since the start, by how they ended", ["result"], () => {
    const { made = 0, failed = 0 } = read() ?? {};
    return [
      [{ result: "made" }, made],
      [{ result: "failed" }, failed],
    ];
  });
  series.counter(
    "log_retired_records_total",
    "Records that retention removed since the start",
    () => read()?.retiredRecords ?? 0,
  );
  series.counter(
    "retention_failures_total",
    "Rounds of retention that did not get on",
    () => read()?.retentionFailures ?? 0,
  );
  series.gauges(
    "retention_holder_offset",
    "First record that somebody still needs, while something is old enough to go",
    ["holder"],
    () => (read()?.holders ?? []).map(({ name, offset }): Reading => [{ holder: name }, offset]),
  );
}
