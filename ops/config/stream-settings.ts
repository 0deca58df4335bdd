/** The settings of rooms and durable streams. */
import { DEFAULT_STREAM_RULES } from "../../projections/index.js";
import type { Setting } from "./setting.js";

export const streamSettings = {
  "stream.streams_max": {
    kind: "number",
    default: DEFAULT_STREAM_RULES.streamsMax,
    min: 1,
    max: 100_000_000,
    live: true,
    why: "Rooms and durable streams that the store holds; one more is refused (507). Each takes about a kilobyte of memory.",
  },
  "stream.message_bytes_max": {
    kind: "number",
    default: DEFAULT_STREAM_RULES.messageBytesMax,
    min: 1,
    max: 48 * 1_048_576,
    unit: "bytes",
    live: true,
    why: "Largest message of a stream. It must fit into a record: below `log.record_bytes_max`.",
  },
  "stream.producers_max": {
    kind: "number",
    default: DEFAULT_STREAM_RULES.producersMax,
    min: 1,
    max: 10_000_000,
    live: true,
    why: "Producers that one stream remembers, so that their repeats change nothing; one more is refused (507).",
  },
} satisfies Record<string, Setting>;
