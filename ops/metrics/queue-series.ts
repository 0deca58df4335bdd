/** What the queues tell of themselves when asked: how much each holds, in which state. */
import type { QueueStats } from "../../projections/index.js";
import { OVERFLOW_LABEL } from "./accumulators.js";
import type { Reading, Series } from "./series.js";

type Count = (stats: QueueStats) => number;

const states: readonly (readonly [name: string, help: string, count: Count])[] = [
  ["queue_depth", "Messages that are ready to be consumed", (stats) => stats.waiting],
  ["queue_delayed_messages", "Messages that are not to be delivered yet", (stats) => stats.delayed],
  ["queue_in_flight_messages", "Messages delivered and not acknowledged yet", (stats) => stats.inFlight],
  ["queue_dlq_messages", "Messages in the dead letter queue", (stats) => stats.dead],
  ["queue_consumers", "Different consumers with messages in flight", (stats) => stats.consumers],
];

/**
 * `readNow` gives nothing until the replay is done. The first `labelsMax` queues have series of their own; what the others hold is
 * one sum, so that no client can grow the page without limit.
 */
export function addQueueSeries(
  series: Series,
  readNow: () => readonly QueueStats[],
  labelsMax: number,
): void {
  const read = series.oncePerPage(readNow);
  for (const [name, help, count] of states) {
    series.gauges(name, help, ["queue"], () => readings(read(), count, labelsMax));
  }
}

function readings(queues: readonly QueueStats[], count: Count, labelsMax: number): Reading[] {
  const shown: Reading[] = [];
  let rest: number | undefined;
  for (const stats of queues) {
    // A queue may bear the name of the sum: it adds to it then, as no label may come twice.
    if (shown.length < labelsMax && stats.name !== OVERFLOW_LABEL)
      shown.push([{ queue: stats.name }, count(stats)]);
    else rest = (rest ?? 0) + count(stats);
  }
  return rest === undefined ? shown : [...shown, [{ queue: OVERFLOW_LABEL }, rest]];
}
