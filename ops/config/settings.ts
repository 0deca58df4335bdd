/**
 * Every setting of this release, once: name, unit, default, limits, and why. `annals config print`, the error messages
 * and `ops/docs/configuration.md` (held equal by a test) all come from this table.
 *
 * Names that the documented server has are kept as they are; keys that are accepted without effect are in `documented.ts`.
 */
import type { FsyncMode } from "../../log/index.js";
import type { EvictionPolicy } from "../../projections/index.js";
import { archiveSettings } from "./archive-settings.js";
import { historySettings } from "./history-settings.js";
import { pastSettings } from "./past-settings.js";
import { queueSettings } from "./queue-settings.js";
import { replicationSettings } from "./replication-settings.js";
import type { Choice, Setting, ValueOf } from "./setting.js";
import { snapshotSettings } from "./snapshot-settings.js";
import { streamSettings } from "./stream-settings.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const DAY_MS = 86_400_000;

const choice = <Value extends string>(setting: Omit<Choice<Value>, "kind">): Choice<Value> => ({
  kind: "choice",
  ...setting,
});

export type LogLevel = "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";

const server = {
  "server.host": {
    kind: "text",
    default: "127.0.0.1",
    environment: ["SYNAP_HOST"],
    flag: "host",
    pattern: /^[0-9A-Za-z.:_%-]+$/,
    expected: "an address or a host name",
    why: "Address to listen on. Loopback, because this release knows no users: whoever reaches the port may read and write everything.",
  },
  "server.port": {
    kind: "number",
    default: 15_500,
    min: 0,
    max: 65_535,
    environment: ["SYNAP_PORT"],
    flag: "port",
    why: "Port for HTTP. 0 takes a free one, which the line `listening` names.",
  },
  "server.cors_origins": {
    kind: "list",
    default: [],
    why: "Origins whose pages may call the API from a browser; `*` allows all. None by default: a page must not reach a local server without being asked.",
  },
} satisfies Record<string, Setting>;

const store = {
  data_dir: {
    kind: "text",
    default: "./data",
    flag: "data-dir",
    pattern: /^[^\0]+$/,
    expected: "a directory",
    why: "Directory of the log and everything else that is kept; created when missing. One process at a time, and in no other server's data directory.",
  },
  "kv_store.max_memory_mb": {
    kind: "number",
    default: 4096,
    min: 1,
    max: 1_048_576,
    unit: "MiB",
    live: true,
    why: "Memory that keys and values may take. Past it keys are evicted, or writes are refused (507), as the policy says.",
  },
  "kv_store.eviction_policy": choice<EvictionPolicy>({
    default: "noeviction",
    spellings: {
      none: "noeviction",
      noeviction: "noeviction",
      lru: "allkeys-lru",
      "allkeys-lru": "allkeys-lru",
      lfu: "allkeys-lfu",
      "allkeys-lfu": "allkeys-lfu",
      ttl: "volatile-ttl",
      "volatile-ttl": "volatile-ttl",
      "allkeys-random": "allkeys-random",
      "volatile-lru": "volatile-lru",
      "volatile-lfu": "volatile-lfu",
      "volatile-random": "volatile-random",
    },
    live: true,
    why: "What goes when the memory is full. `noeviction` refuses writes instead: a store does not forget unless it was told to.",
  }),
  "kv_store.ttl_cleanup_interval_ms": {
    kind: "number",
    default: 100,
    min: 10,
    max: DAY_MS,
    unit: "ms",
    why: "How often memory of expired keys, of purged messages, and of message keys past their window is reclaimed. None of them is ever shown, reclaimed or not.",
  },
  "kv_store.allow_flush_commands": {
    kind: "switch",
    default: false,
    live: true,
    why: "Allows the command that removes every key.",
  },
  "kv_store.max_value_size_bytes": {
    kind: "number",
    default: 8 * MIB,
    min: 1,
    max: 48 * MIB,
    whenNull: 8 * MIB,
    unit: "bytes",
    live: true,
    why: "Largest value. It must fit into a record with room for its key: 64 KiB below `log.record_bytes_max`.",
  },
} satisfies Record<string, Setting>;

const persistence = {
  "persistence.enabled": {
    kind: "switch",
    default: true,
    environment: ["SYNAP_PERSISTENCE_ENABLED"],
    refused: {
      value: false,
      because: "false is not possible: the log is the store, there is nothing without it",
    },
    why: "Documented switch; only `true` is possible.",
  },
  "persistence.wal.enabled": {
    kind: "switch",
    default: true,
    refused: {
      value: false,
      because: "false is not possible: the log is the store, there is nothing without it",
    },
    why: "Documented switch; only `true` is possible.",
  },
  "persistence.wal.fsync_mode": choice<FsyncMode>({
    default: "always",
    spellings: { always: "always", periodic: "periodic", never: "never" },
    why: "`always`: an answer leaves when what it tells survives a power cut. `periodic` and `never` answer earlier and can lose the last interval, or more. The documented default is `periodic`; ours is the safe one.",
  }),
  "persistence.wal.fsync_interval_ms": {
    kind: "number",
    default: 1000,
    min: 1,
    max: 3_600_000,
    unit: "ms",
    why: "In `periodic`: how often the log is synced, so how much a power cut can take.",
  },
} satisfies Record<string, Setting>;

const log = {
  "log.segment_bytes": {
    kind: "number",
    default: 64 * MIB,
    min: 4 * KIB,
    max: GIB,
    unit: "bytes",
    why: "Size at which a segment is sealed. Smaller ones can be retired and copied sooner, larger ones mean fewer files.",
  },
  "log.segment_age_secs": {
    kind: "number",
    default: 0,
    min: 0,
    max: 31_536_000,
    unit: "s",
    why: "Age at which a segment that has records is sealed; 0 = by size only.",
  },
  "log.reserve_bytes": {
    kind: "number",
    default: 128 * MIB,
    min: 0,
    max: 1024 * GIB,
    unit: "bytes",
    why: "Free space at which writes are refused (507), so that the disk is never full in the middle of one. Reads go on; writes resume by themselves.",
  },
  "log.record_bytes_max": {
    kind: "number",
    default: 32 * MIB,
    min: 64 * KIB,
    max: 64 * MIB,
    unit: "bytes",
    why: "Largest record, which is what one request writes: a multi-key set must fit as a whole.",
  },
  "log.pending_bytes_max": {
    kind: "number",
    default: 64 * MIB,
    min: 64 * KIB,
    max: 4 * GIB,
    unit: "bytes",
    why: "Bytes that may wait for the disk in memory; past it writes are answered 503. Not below `log.record_bytes_max`.",
  },
} satisfies Record<string, Setting>;

const limits = {
  "limits.body_bytes_max": {
    kind: "number",
    default: 16 * MIB,
    min: KIB,
    max: 64 * MIB,
    unit: "bytes",
    why: "Largest request body (413 past it).",
  },
  "limits.json_depth_max": {
    kind: "number",
    default: 64,
    min: 4,
    max: 1000,
    why: "Deepest nesting of a JSON body.",
  },
  "limits.batch_items_max": {
    kind: "number",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    why: "Most keys, pairs or messages in one request, over all operations of a batch or transaction: one request is decided in one turn, and everybody else waits for it.",
  },
  "limits.key_bytes_max": {
    kind: "number",
    default: 4096,
    min: 1,
    max: 32 * KIB,
    unit: "bytes",
    live: true,
    why: "Longest key, as UTF-8. 4 KiB fits percent-encoded into the path of a request, so a key works through every door.",
  },
  "limits.headers_bytes_max": {
    kind: "number",
    default: 32 * KIB,
    min: 4 * KIB,
    max: MIB,
    unit: "bytes",
    why: "Request line and headers together. A percent-encoded key takes up to three times its bytes in the request line.",
  },
  "limits.headers_timeout_ms": {
    kind: "number",
    default: 10_000,
    min: 100,
    max: 600_000,
    unit: "ms",
    why: "Time for a client to send its headers.",
  },
  "limits.request_timeout_ms": {
    kind: "number",
    default: 60_000,
    min: 100,
    max: 3_600_000,
    unit: "ms",
    why: "Time for a client to send its whole request. Not below `limits.headers_timeout_ms`.",
  },
  "limits.keep_alive_timeout_ms": {
    kind: "number",
    default: 75_000,
    min: 0,
    max: 3_600_000,
    unit: "ms",
    why: "How long an idle connection is kept, and one whose client sends no more and waits for its answer. Above the idle timeout of a balancer in front, else it meets closed connections.",
  },
  "limits.connections_max": {
    kind: "number",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    why: "Connections at once; further ones are closed. Each needs a file descriptor: where `ulimit -n` has no room for so many beside 256 for the files of the log, and 384 for the links of a node that replicates, fewer are taken, and the log says how many.",
  },
  "limits.writes_in_flight_max": {
    kind: "number",
    default: 4096,
    min: 1,
    max: 1_000_000,
    why: "Writes that may wait for the log at once; one more is answered 503 with Retry-After.",
  },
  "limits.min_offset_wait_ms": {
    kind: "number",
    default: 5000,
    min: 0,
    max: 600_000,
    unit: "ms",
    live: true,
    why: "How long a read with `min_offset` waits for that offset before it is answered 504.",
  },
  "limits.transactions_max": {
    kind: "number",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    why: "Clients with an open transaction or watched keys at once; one more is answered 503.",
  },
  "limits.transaction_bytes_max": {
    kind: "number",
    default: 64 * MIB,
    min: KIB,
    max: 4 * GIB,
    unit: "bytes",
    why: "What the writes queued in all open transactions may take together, about.",
  },
  "limits.transaction_idle_secs": {
    kind: "number",
    default: 60,
    min: 1,
    max: 86_400,
    unit: "s",
    why: "A transaction that its client leaves alone this long is forgotten.",
  },
  "limits.waiting_requests_max": {
    kind: "number",
    default: 4096,
    min: 0,
    max: 1_000_000,
    live: true,
    why: "Requests that may wait for something to arrive (long polls) at once; one more is answered 503 with Retry-After. Each keeps a connection.",
  },
  "limits.live_readers_max": {
    kind: "number",
    default: 1000,
    min: 0,
    max: 100_000,
    live: true,
    why: "Readers that wait for a durable stream at once, by long-poll or events; one more is answered 429. Below `limits.connections_max`, so that there is room for writers.",
  },
  "limits.long_poll_timeout_ms": {
    kind: "number",
    default: 20_000,
    min: 10,
    max: 600_000,
    unit: "ms",
    live: true,
    why: "A long-poll on a durable stream that sees nothing new is answered 204 after this. Below what proxies on the way allow.",
  },
  "limits.event_stream_max_ms": {
    kind: "number",
    default: 60_000,
    min: 100,
    max: 86_400_000,
    unit: "ms",
    live: true,
    why: "A connection for server-sent events ends after this; its client goes on, at whichever node is there by then.",
  },
  "limits.slow_request_ms": {
    kind: "number",
    default: 1000,
    min: 1,
    max: 3_600_000,
    unit: "ms",
    live: true,
    why: "A request that takes longer is logged.",
  },
} satisfies Record<string, Setting>;

const idempotency = {
  "idempotency.window_secs": {
    kind: "number",
    default: 3600,
    min: 1,
    max: 2_592_000,
    unit: "s",
    live: true,
    why: "How long the answer to a write with an idempotency key is kept. A repeat within it changes nothing and is answered the same.",
  },
  "idempotency.answers_max": {
    kind: "number",
    default: 100_000,
    min: 1,
    max: 10_000_000,
    live: true,
    why: "Answers kept at most; past it the oldest is forgotten before its window ends.",
  },
  "idempotency.bytes_max": {
    kind: "number",
    default: 64 * MIB,
    min: KIB,
    max: 4 * GIB,
    unit: "bytes",
    live: true,
    why: "Memory that the kept answers may take, about; past it the oldest is forgotten.",
  },
} satisfies Record<string, Setting>;

const operation = {
  "logging.level": choice<LogLevel>({
    default: "info",
    spellings: {
      fatal: "fatal",
      error: "error",
      warn: "warn",
      warning: "warn",
      info: "info",
      debug: "debug",
      trace: "trace",
      silent: "silent",
      off: "silent",
    },
    environment: ["SYNAP_LOG_LEVEL"],
    live: true,
    why: "Lines below this level are not written.",
  }),
  "logging.format": choice<"json" | "pretty">({
    default: "json",
    spellings: { json: "json", pretty: "pretty", text: "pretty", compact: "pretty" },
    environment: ["SYNAP_LOG_FORMAT"],
    why: "`json`: one object a line, for machines. `pretty`: one readable line.",
  }),
  "metrics.prefix": {
    kind: "text",
    default: "annals",
    pattern: /^[a-zA-Z][a-zA-Z0-9_]{0,39}$/,
    expected: "letters, digits and _, at most 40, beginning with a letter",
    why: "First part of every metric's name. `synap` keeps rules and dashboards that were written for the documented server working.",
  },
  "metrics.labels_max": {
    kind: "number",
    default: 1000,
    min: 0,
    max: 100_000,
    why: "Most queues (in order of their names), and most rooms (the oldest), that the gauges show one by one; the others are one sum under `other`.",
  },
  "health.stalled_write_secs": {
    kind: "number",
    default: 60,
    min: 1,
    max: 86_400,
    unit: "s",
    why: "A write that has waited for the disk this long counts as wedged: liveness turns false, so that a supervisor restarts the process.",
  },
  "shutdown.drain_delay_ms": {
    kind: "number",
    default: 250,
    min: 0,
    max: 300_000,
    unit: "ms",
    why: "After SIGTERM: time between readiness turning false and the port closing, for balancers to notice. Several seconds behind Kubernetes services.",
  },
  "shutdown.timeout_ms": {
    kind: "number",
    default: 8000,
    min: 100,
    max: 600_000,
    unit: "ms",
    why: "After SIGTERM: time for everything, drain delay included. Requests that still run are cut off before, so that the log can be closed.",
  },
  "shutdown.failed_drain_ms": {
    kind: "number",
    default: 3000,
    min: 0,
    max: 60_000,
    unit: "ms",
    why: "After a failed write or sync: how long reads are still answered before the process exits with code 4.",
  },
} satisfies Record<string, Setting>;

export const settings = {
  ...server,
  ...store,
  ...queueSettings,
  ...streamSettings,
  ...persistence,
  ...snapshotSettings,
  ...log,
  ...archiveSettings,
  ...replicationSettings,
  ...limits,
  ...idempotency,
  ...pastSettings,
  ...historySettings,
  ...operation,
};

export type SettingPath = keyof typeof settings;
export type ConfigValues = { readonly [Path in SettingPath]: ValueOf<(typeof settings)[Path]> };

export const settingPaths: readonly string[] = Object.keys(settings);

export function isSettingPath(path: string): path is SettingPath {
  return Object.hasOwn(settings, path);
}

/** `server.port` → `ANNALS_SERVER_PORT`. */
export function environmentName(path: string): string {
  return `ANNALS_${path.replaceAll(".", "_").toUpperCase()}`;
}
