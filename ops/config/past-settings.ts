/** The settings of looking back (`at` on reads, `/digest`). */
import type { Setting } from "./setting.js";

export const pastSettings = {
  "past.folds_max": {
    kind: "number",
    default: 2,
    min: 0,
    max: 64,
    why: "States of the past that are kept in memory for reads with `at`; the one unused for longest goes first. Each takes about what the state took then, in a thread of its own. 0 switches looking back off (400).",
  },
  "past.memory_mb": {
    kind: "number",
    default: 2048,
    min: 1,
    max: 1_048_576,
    unit: "MiB",
    why: "Memory that those states may be charged together; one that is larger alone is refused (422).",
  },
  "past.records_max": {
    kind: "number",
    default: 20_000_000,
    min: 1,
    max: 1_000_000_000_000,
    why: "Records that one look back may replay from the nearest state that there is; a moment further away is refused (422). About half a million are replayed in a second.",
  },
  "past.timeout_ms": {
    kind: "number",
    default: 30_000,
    min: 10,
    max: 3_600_000,
    unit: "ms",
    live: true,
    why: "How long a read with `at` may take; past it it is answered 503. What was folded by then is kept: the same read, repeated, goes on from there.",
  },
  "past.waiting_max": {
    kind: "number",
    default: 64,
    min: 1,
    max: 100_000,
    why: "Reads with `at` that may wait at once; one more is answered 503 with Retry-After.",
  },
  "past.idle_secs": {
    kind: "number",
    default: 300,
    min: 1,
    max: 86_400,
    unit: "s",
    why: "When nobody looked back for so long, the thread and the states that it keeps are let go.",
  },
} satisfies Record<string, Setting>;
