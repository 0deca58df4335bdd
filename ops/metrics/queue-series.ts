/** What the queues tell of themselves when asked: how much each holds, in which state. */
import type { QueueStats } from "../../projections/index.js";
import { OVERFLOW_LABEL } from "./accumulators.js";
import type { Reading, Series } from "./series.js";

/** Queues with series of their own; what the others hold is one sum, so that no client can grow the page without limit. */
const QUEUES_SHOWN = 1000;

const states: readonly (readonly [name: string, help: string, count: (stats: QueueStats) => number])[] = [
  ["queue_depth", "Messages that are ready to be consumed", (stats) => stats.waiting],
  ["queue_delayed_messages", "Messages that are not to be delivered yet", (stats) => stats.delayed],
  ["queue_in_flight_messages", "Messages delivered and not acknowledged yet", (stats) => stats.inFlight],
  ["queue_dlq_messages", "Messages in the dead letter queue", (stats) => stats.dead],
  ["queue_consumers", "Different consumers with messages in flight", (stats) => stats.consumers],
];

/** `read` gives nothing until the replay is done. */
export function addQueueSeries(series: Series, read: () => readonly QueueStats[]): void {
  for (const [name, help, count] of states) {
    series.gauges(name, help, ["queue"], () => readings(read(), count));
  }
}

function readings(queues: readonly QueueStats[], count: (stats: QueueStats) => number): Reading[] {
  const shown = queues.slice(0, QUEUES_SHOWN).map((stats): Reading => [{ queue: stats.name }, count(stats)]);
  if (queues.length <= QUEUES_SHOWN) return shown;
  const rest = queues.slice(QUEUES_SHOWN).reduce((sum, stats) => sum + count(stats), 0);
  return [...shown, [{ queue: OVERFLOW_LABEL }, rest]];
}
