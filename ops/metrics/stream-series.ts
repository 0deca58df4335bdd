/**
 * What the streams tell of themselves when asked: each room what it holds, durable streams all together (their names are
 * without bound), and sums over both.
 */
import { DURABLE_STREAMS, ROOM_PREFIX } from "../../api/index.js";
import type { StreamSize, StreamTotals } from "../../projections/index.js";
import { OVERFLOW_LABEL } from "./accumulators.js";
import type { Reading, Series } from "./series.js";

/** Rooms with series of their own, the oldest ones; what the others hold is one sum, so that no client can grow the page without limit. */
const ROOMS_SHOWN = 1000;

/** Calls `visit` for every stream that is there; for none until the replay is done. */
export type EachStream = (visit: (size: StreamSize) => void) => void;

/** `read` gives undefined until the replay is done. */
export function addStreamSeries(
  series: Series,
  read: () => StreamTotals | undefined,
  eachStream: EachStream,
): void {
  addRooms(series, eachStream);
  series.gauge("streams", "Rooms and durable streams", () => read()?.streams);
  series.gauge("stream_messages", "Messages that the streams keep", () => read()?.messages);
  series.gauge("stream_bytes", "Bytes of their bodies, in the log", () => read()?.bytes);
  series.gauge("stream_index_bytes", "Memory of the indexes to them", () => read()?.indexBytes);
  series.counter("stream_published_total", "Messages appended, ever", () => read()?.publishedTotal ?? 0);
  series.counter("stream_trimmed_total", "Messages removed by retention", () => read()?.trimmedTotal ?? 0);
  series.counter(
    "stream_consumed_total",
    "Messages given to the subscribers of rooms since the process began",
    () => read()?.consumedTotal ?? 0,
  );
}

function addRooms(series: Series, eachStream: EachStream): void {
  series.gauges("stream_subscribers", "Subscribers of rooms seen since the process began", ["room"], () =>
    sums(eachStream, ({ subscribers }) => subscribers),
  );
  series.gauges(
    "stream_buffer_size",
    `Events that a room keeps; all durable streams (/v1/stream/) are ${DURABLE_STREAMS}`,
    ["room"],
    () => sums(eachStream, ({ messages }) => messages),
  );
  series.gauges("stream_last_offset", "Offset of a room's newest event", ["room"], () =>
    lastOffsets(eachStream),
  );
}

function sums(eachStream: EachStream, count: (size: StreamSize) => number): readonly Reading[] {
  const rooms: Reading[] = [];
  // A room may bear the name of a sum: it adds to it then, as no label may come twice.
  const together = new Map<string, number>();
  eachStream((size) => {
    const label = labelOf(size.name, rooms.length);
    if (label !== OVERFLOW_LABEL && label !== DURABLE_STREAMS) rooms.push([{ room: label }, count(size)]);
    else together.set(label, (together.get(label) ?? 0) + count(size));
  });
  return [...rooms, ...[...together].map(([room, sum]): Reading => [{ room }, sum])];
}

/** Of rooms that have had any event; a sum of offsets would mean nothing. */
function lastOffsets(eachStream: EachStream): readonly Reading[] {
  const rooms: Reading[] = [];
  // Counts empty rooms too, so that every series shows the same rooms.
  let shown = 0;
  eachStream(({ name, end }) => {
    const label = labelOf(name, shown);
    if (label === OVERFLOW_LABEL || label === DURABLE_STREAMS) return;
    shown++;
    if (end > 0) rooms.push([{ room: label }, end - 1]);
  });
  return rooms;
}

function labelOf(name: string, roomsShown: number): string {
  if (!name.startsWith(ROOM_PREFIX)) return DURABLE_STREAMS;
  return roomsShown < ROOMS_SHOWN ? name.slice(ROOM_PREFIX.length) : OVERFLOW_LABEL;
}
