/** What looking back tells of itself, and how long it takes. */
import { Buckets } from "./accumulators.js";
import type { Reading, Series } from "./series.js";

export interface PastSource {
  readonly asks: Readonly<Record<string, number>>;
  readonly figures: { readonly folds: number; readonly bytes: number; readonly replayedRecords: number };
}

/** From a state that is kept to a long replay. */
const SECONDS = [0.001, 0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60];

export class PastSeries {
  readonly #seconds = new Buckets(SECONDS);

  /** Nothing is shown of states while looking back is switched off. */
  constructor(series: Series, source: () => PastSource | undefined) {
    series.counters("past_reads_total", "Looks at the past, by how their state was found", ["state"], () =>
      Object.entries(source()?.asks ?? {}).map(([state, count]): Reading => [{ state }, count]),
    );
    series.histogram(
      "past_read_duration_seconds",
      "One look at the past, the replay included",
      this.#seconds,
    );
    series.counter(
      "past_replayed_records_total",
      "Records replayed to look at the past",
      () => source()?.figures.replayedRecords ?? 0,
    );
    series.gauge("past_states", "States of the past kept in memory", () => source()?.figures.folds);
    series.gauge("past_states_bytes", "Memory charged to them", () => source()?.figures.bytes);
  }

  asked(durationMs: number): void {
    this.#seconds.observe(durationMs / 1000);
  }
}
