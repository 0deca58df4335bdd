/** The settings of history: of keys, of messages, and of undoing. */
import { REMOVED_KEYS_BYTES_MAX } from "../../projections/index.js";
import type { Setting } from "./setting.js";

export const historySettings = {
  "history.records_max": {
    kind: "number",
    default: 200_000,
    min: 1,
    max: 100_000_000,
    live: true,
    why: "Records that one request for the life of a message, or the history of a key, may read. Past it the answer says where to go on (`next`). About half a million are read in a second.",
  },
  "history.removed_keys_bytes_max": {
    kind: "number",
    default: REMOVED_KEYS_BYTES_MAX,
    min: 0,
    max: 4 * 1024 ** 3,
    unit: "bytes",
    live: true,
    why: "Memory for the last events of keys that were removed, about 100 bytes and the key each, so that the history of a key that comes back goes on through its absence. Past it the key removed longest ago is forgotten, and its history ends where it came back. A snapshot carries it along.",
  },
} satisfies Record<string, Setting>;
