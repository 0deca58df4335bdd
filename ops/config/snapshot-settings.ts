/**
 * The settings of snapshots, and of what retention leaves. The names of the first four are the documented server's; two
 * defaults are not, because here a start replays the log as well and a snapshot only makes it short.
 */
import type { Setting } from "./setting.js";

const YEAR_SECS = 31_536_000;
const TIB = 1024 ** 4;

export const snapshotSettings = {
  "persistence.snapshot.enabled": {
    kind: "switch",
    default: true,
    why: "Whether snapshots are made, by themselves and by `POST /snapshot`. A start uses those that are there either way; with none it replays the whole log.",
  },
  "persistence.snapshot.interval_secs": {
    kind: "number",
    default: 3600,
    min: 0,
    max: YEAR_SECS,
    unit: "s",
    live: true,
    why: "Time after which a snapshot is made if there is a new record; 0 = never by time.",
  },
  "persistence.snapshot.operation_threshold": {
    kind: "number",
    default: 1_000_000,
    min: 0,
    max: 1_000_000_000_000,
    live: true,
    why: "New records after which a snapshot is made; 0 = never by number. A start replays about half a million records in a second. Below a heavy load snapshots keep apart: making them takes at most a tenth of the time.",
  },
  "persistence.snapshot.max_snapshots": {
    kind: "number",
    default: 4,
    min: 2,
    max: 1000,
    live: true,
    why: "Newest snapshots that are kept. Each is about as large as the state. With `log.retention_secs` up to as many more are kept, spread over that window.",
  },
  "persistence.snapshot.niceness": {
    kind: "number",
    default: 10,
    min: 0,
    max: 19,
    why: "Scheduling priority of the thread that makes snapshots, as of `nice`, on Linux: at 19 everything else comes first, at 0 nothing does. Above 0 it also pauses for a moment after each quarter of a millisecond of work.",
  },
  "log.retention_bytes": {
    kind: "number",
    default: 0,
    min: 0,
    max: 1024 * TIB,
    unit: "bytes",
    live: true,
    why: "Log that is kept; older segments go, once two snapshots replace them and nobody else needs them. 0 = not by size. With `log.retention_secs` as well, a segment goes when both let it.",
  },
  "log.retention_secs": {
    kind: "number",
    default: 0,
    min: 0,
    max: 100 * YEAR_SECS,
    unit: "s",
    live: true,
    why: "Window within which every moment stays restorable; what is only needed for older ones goes. 0 = not by time. With neither of both everything is kept.",
  },
} satisfies Record<string, Setting>;
