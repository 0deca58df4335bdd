/**
 * What the streams tell of themselves when asked. Sums over all of them: streams are many and their names are clients' own, so
 * none of them gets a series by name.
 */
import type { StreamTotals } from "../../projections/index.js";
import type { Series } from "./series.js";

/** `read` gives undefined until the replay is done. */
export function addStreamSeries(series: Series, read: () => StreamTotals | undefined): void {
  series.gauge("streams", "Rooms and durable streams", () => read()?.streams);
  series.gauge("stream_messages", "Messages that the streams keep", () => read()?.messages);
  series.gauge("stream_bytes", "Bytes of their bodies, in the log", () => read()?.bytes);
  series.gauge("stream_index_bytes", "Memory of the indexes to them", () => read()?.indexBytes);
  series.counter("stream_events_total", "Messages appended, ever", () => read()?.publishedTotal ?? 0);
  series.counter("stream_trimmed_total", "Messages removed by retention", () => read()?.trimmedTotal ?? 0);
  series.counter(
    "stream_consumed_total",
    "Messages given to the subscribers of rooms since the process began",
    () => read()?.consumedTotal ?? 0,
  );
}
