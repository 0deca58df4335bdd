/** What looking back tells of itself when asked. */
import type { Reading, Series } from "./series.js";

export interface PastSource {
  readonly asks: Readonly<Record<string, number>>;
  readonly figures: { readonly folds: number; readonly bytes: number; readonly replayedRecords: number };
}

/** Nothing is shown while looking back is switched off. */
export function addPastSeries(series: Series, source: () => PastSource | undefined): void {
  series.counters("past_reads_total", "Looks at the past, by how their state was found", ["state"], () =>
    Object.entries(source()?.asks ?? {}).map(([state, count]): Reading => [{ state }, count]),
  );
  series.counter(
    "past_replayed_records_total",
    "Records replayed to look at the past",
    () => source()?.figures.replayedRecords ?? 0,
  );
  series.gauge("past_states", "States of the past kept in memory", () => source()?.figures.folds);
  series.gauge("past_states_bytes", "Memory charged to them", () => source()?.figures.bytes);
}
