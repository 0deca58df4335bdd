/**
 * What the streams tell of themselves when asked: each room what it holds, durable streams all together (their names are
 * without bound), and sums over both. Sums are kept as they change; a page looks at no more streams than it shows.
 */
import { DURABLE_PREFIX, DURABLE_STREAMS, ROOM_PREFIX } from "../../api/index.js";
import type { OpenedStore, StreamSize } from "../../projections/index.js";
import { OVERFLOW_LABEL } from "./accumulators.js";
import type { Reading, Series } from "./series.js";

/** The part of a store that streams are measured by. */
export interface StreamSource extends Pick<OpenedStore, "streamTotals" | "streamSums"> {
  /** As of the store, at the clock's time. */
  oldestStreams(prefix: string, limit: number): readonly StreamSize[];
}

/**
 * `source` gives undefined until the replay is done. The `labelsMax` oldest rooms have series of their own; what the others hold is
 * one sum, so that no client can grow the page without limit.
 */
export function addStreamSeries(
  series: Series,
  source: () => StreamSource | undefined,
  labelsMax: number,
): void {
  addRooms(series, source, labelsMax);
  const read = series.oncePerPage(() => source()?.streamTotals());
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

/** Of all rooms; looks at each. */
export function roomNames(source: StreamSource | undefined): ReadonlySet<string> | undefined {
  return source && new Set(source.oldestStreams(ROOM_PREFIX, Infinity).map(({ name }) => roomOf(name)));
}

interface Rooms {
  readonly shown: readonly StreamSize[];
  /** The others together; undefined = there are none. */
  readonly rest: { readonly messages: number; readonly subscribers: number } | undefined;
  readonly durable: { readonly messages: number; readonly subscribers: number } | undefined;
}

function addRooms(series: Series, source: () => StreamSource | undefined, labelsMax: number): void {
  const read = series.oncePerPage(() => roomsOf(source(), labelsMax));
  series.gauges("stream_subscribers", "Subscribers of rooms seen since the process began", ["room"], () =>
    readings(read(), ({ subscribers }) => subscribers),
  );
  series.gauges(
    "stream_buffer_size",
    `Events that a room keeps; all durable streams (/v1/stream/) are ${DURABLE_STREAMS}`,
    ["room"],
    () => readings(read(), ({ messages }) => messages),
  );
  series.gauges("stream_last_offset", "Offset of a room's newest event", ["room"], () =>
    // Of rooms that have had any event; a sum of offsets would mean nothing.
    read()
      .shown.filter(({ end }) => end > 0)
      .map(({ name, end }): Reading => [labelOf(name), end - 1]),
  );
}

function roomsOf(source: StreamSource | undefined, labelsMax: number): Rooms {
  if (source === undefined) return { shown: [], rest: undefined, durable: undefined };
  const shown = source
    .oldestStreams(ROOM_PREFIX, labelsMax)
    // A room may bear the name of a sum: it is one of the others then, as no label may come twice.
    .filter(({ name }) => ![OVERFLOW_LABEL, DURABLE_STREAMS].includes(roomOf(name)));
  const all = source.streamSums(ROOM_PREFIX);
  const durable = source.streamSums(DURABLE_PREFIX);
  const rest = {
    messages: all.messages - sum(shown, ({ kept }) => kept),
    subscribers: all.subscribers - sum(shown, ({ subscribers }) => subscribers),
  };
  return {
    shown,
    rest: all.streams > shown.length ? rest : undefined,
    durable: durable.streams > 0 ? durable : undefined,
  };
}

function readings(
  { shown, rest, durable }: Rooms,
  count: (size: { readonly messages: number; readonly subscribers: number }) => number,
): readonly Reading[] {
  return [
    ...shown.map((size): Reading => [labelOf(size.name), count(size)]),
    ...(rest === undefined ? [] : [[{ room: OVERFLOW_LABEL }, count(rest)] as const]),
    ...(durable === undefined ? [] : [[{ room: DURABLE_STREAMS }, count(durable)] as const]),
  ];
}

const sum = (sizes: readonly StreamSize[], count: (size: StreamSize) => number): number =>
  sizes.reduce((total, size) => total + count(size), 0);
const roomOf = (name: string): string => name.slice(ROOM_PREFIX.length);
const labelOf = (name: string) => ({ room: roomOf(name) });
