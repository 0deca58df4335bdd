/**
 * Keys that the documented server has and this release does not act on. They are accepted, so that an existing file
 * loads, and named in one warning; a value that asks for something that is not there is refused, because a server
 * that starts without the authentication that its file asks for is worse than one that does not start.
 */

import { join, resolve } from "node:path";
import { SNAPSHOT_DIRECTORY } from "../../log/index.js";

export interface DocumentedKey {
  /** A key, or a section and everything below it when it ends in `.*`. */
  readonly path: string;
  /** Why it has no effect. */
  readonly note: string;
  /** Whether this value asks for what is not there, and what to say then. */
  readonly refuse?: (value: unknown, dataDirectory: string) => string | undefined;
  readonly environment?: readonly string[];
  readonly flag?: string;
  readonly secret?: true;
}

const LATER = "not in this release";

/** A switch that is not plainly off asks for something, in whatever spelling. */
const isOff = (value: unknown): boolean => value === null || /^(false|no|off|0|)$/i.test(String(value));

const refuseUnlessOff =
  (feature: string) =>
  (value: unknown): string | undefined =>
    isOff(value) ? undefined : `${feature} not in this release; set it to false`;

/** The role has a place of its own: one that is asked for elsewhere must not be passed over. */
const refuseRoleHere = (value: unknown): string | undefined =>
  value === "standalone" || value === null ? undefined : "say it as replication.role";

const refuseNonEmpty =
  (feature: string) =>
  (value: unknown): string | undefined => {
    const empty = value === null || value === "" || (Array.isArray(value) && value.length === 0);
    return empty ? undefined : `${feature} not in this release; leave it out`;
  };

/** A section that may be absent, off, or empty, but not on. */
const refuseSection =
  (feature: string) =>
  (value: unknown): string | undefined => {
    if (Array.isArray(value)) return refuseNonEmpty(feature)(value);
    if (typeof value !== "object" || value === null) return refuseUnlessOff(feature)(value);
    const isOn = "enabled" in value && !isOff(value.enabled);
    return isOn ? `${feature} not in this release; set enabled to false` : undefined;
  };

/** Another directory than the one in which they will lie: whoever asks for it would look for them there in vain. */
const refuseElsewhere = (value: unknown, dataDirectory: string): string | undefined => {
  const place = resolve(join(dataDirectory, SNAPSHOT_DIRECTORY));
  if (typeof value === "string" && resolve(value) === place) return undefined;
  return `snapshots lie in ${place}, below data_dir; leave it out, or name that directory`;
};

const keys = (section: string, names: readonly string[], note: string): DocumentedKey[] =>
  names.map((name) => ({ path: `${section}.${name}`, note }));

const server: readonly DocumentedKey[] = [
  { path: "server.websocket_enabled", note: LATER, refuse: refuseUnlessOff("WebSockets are") },
  {
    path: "server.notify_keyspace_events",
    note: LATER,
    refuse: refuseNonEmpty("keyspace notifications are"),
  },
  { path: "server.role", note: "see replication.role", refuse: refuseRoleHere },
  { path: "server.workers", note: "one thread decides every command" },
  { path: "server.max_connections", note: "see limits.connections_max" },
  { path: "server.read_only", note: LATER, refuse: refuseUnlessOff("a read-only server is") },
  { path: "server.tls.*", note: "a proxy in front ends TLS", refuse: refuseSection("TLS is") },
  ...keys("protocols.streamable_http", ["enabled", "path"], "always on, at its documented path"),
  ...keys("protocols.rest", ["enabled", "prefix"], "always on, at its documented path"),
];

const durability: readonly DocumentedKey[] = [
  { path: "persistence.wal.path", note: "the log lies below data_dir" },
  { path: "persistence.wal.buffer_size_kb", note: "batches follow the load" },
  { path: "persistence.wal.max_size_mb", note: "see log.segment_bytes" },
  {
    path: "persistence.snapshot.directory",
    note: "snapshots lie in `snapshots` below data_dir, where every tool looks for them",
    refuse: refuseElsewhere,
  },
  ...keys(
    "persistence.snapshot",
    ["compression", "auto_snapshot"],
    "snapshots are not compressed; interval_secs and operation_threshold say when they are made",
  ),
  { path: "persistence.recovery.verify_checksums", note: "checksums are always verified" },
  {
    path: "persistence.recovery.skip_corrupted",
    note: LATER,
    refuse: refuseUnlessOff("skipping damaged records is"),
  },
  { path: "persistence.recovery.repair_mode", note: "annals repair is a command of its own" },
];

const replication: readonly DocumentedKey[] = [
  { path: "replication.mode", note: "replication.acks says how far a write goes before it is answered" },
  { path: "replication.listen_port", note: "see replication.replica_listen_address" },
  ...keys(
    "replication",
    ["log_max_entries", "log_retention_hours", "full_sync_threshold"],
    "a replica is sent what the log keeps, and a snapshot when that is not enough; see log.retention_bytes",
  ),
  ...keys("replication", ["batch_size", "batch_timeout_ms"], "batches follow the load"),
];

const access: readonly DocumentedKey[] = [
  {
    path: "auth.enabled",
    note: LATER,
    refuse: refuseUnlessOff("authentication is"),
    environment: ["SYNAP_AUTH_ENABLED"],
  },
  {
    path: "auth.require_auth",
    note: LATER,
    refuse: refuseUnlessOff("authentication is"),
    environment: ["SYNAP_AUTH_REQUIRE_AUTH"],
  },
  { path: "auth.default_key_ttl", note: LATER, environment: ["SYNAP_AUTH_DEFAULT_KEY_TTL"] },
  { path: "auth.root.username", note: LATER, environment: ["SYNAP_AUTH_ROOT_USERNAME"] },
  { path: "auth.root.password", note: LATER, environment: ["SYNAP_AUTH_ROOT_PASSWORD"], secret: true },
  { path: "auth.root.enabled", note: LATER, environment: ["SYNAP_AUTH_ROOT_ENABLED"] },
  { path: "auth.api_keys", note: LATER, refuse: refuseNonEmpty("API keys are"), secret: true },
  { path: "auth.jwt.*", note: LATER, refuse: refuseSection("authentication is"), secret: true },
  { path: "authentication.*", note: LATER, refuse: refuseSection("authentication is"), secret: true },
  { path: "users.*", note: LATER, refuse: refuseNonEmpty("users are"), secret: true },
  { path: "api_keys.*", note: LATER, refuse: refuseNonEmpty("API keys are"), secret: true },
  { path: "acl.*", note: LATER, refuse: refuseSection("access rules are") },
  { path: "rate_limit.enabled", note: LATER, refuse: refuseUnlessOff("rate limits are") },
  ...keys("rate_limit", ["requests_per_second", "burst_size"], LATER),
];

const features: readonly DocumentedKey[] = [
  { path: "event_stream.enabled", note: "streams are always on" },
  { path: "event_stream.max_rooms", note: "see stream.streams_max" },
  ...keys(
    "event_stream",
    ["retention_mode", "retention_hours", "max_events_per_room"],
    "a room keeps everything unless it is created with max_events, max_bytes or max_age_secs",
  ),
  { path: "watch.max_inline_value_bytes", note: LATER, environment: ["SYNAP_WATCH_MAX_INLINE_VALUE_BYTES"] },
  { path: "network.idle_timeout_secs", note: "see limits.keep_alive_timeout_ms" },
  { path: "network.max_connections", note: "see limits.connections_max" },
  { path: "protocol.*", note: LATER },
  { path: "resp3.*", note: LATER, refuse: refuseSection("the RESP3 listener is") },
  { path: "synap_rpc.*", note: LATER, refuse: refuseSection("the binary listener is") },
  { path: "mcp.*", note: LATER, refuse: refuseSection("MCP is") },
  { path: "hub.*", note: LATER, refuse: refuseSection("the hub is"), secret: true },
  { path: "cluster.*", note: LATER, refuse: refuseSection("clustering is") },
];

export const documentedKeys: readonly DocumentedKey[] = [
  ...server,
  ...durability,
  ...replication,
  ...access,
  ...features,
];

const byPath = new Map(documentedKeys.map((key) => [key.path.replace(/\.\*$/, ""), key]));

export function documentedKey(path: string): DocumentedKey | undefined {
  return byPath.get(path);
}

export const documentedPaths: readonly string[] = [...byPath.keys()];
