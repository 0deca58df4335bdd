/**
 * Settings of replication. Documented names and defaults are kept; where ours is another, `why` says so. What a release of the
 * documented server has and this one needs no setting for is in `documented.ts`.
 */
import type { Choice, Setting } from "./setting.js";

export type ConfiguredRole = "standalone" | "master" | "replica";

const IPV6 = "[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]+)?";
const PORT = String.raw`[1-5]?\d{1,4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]`;
/** A host name, an IPv4 address or an IPv6 address in brackets, of a zone perhaps; the port may be left out. */
export const ADDRESS = new RegExp(`^(?:\\[(${IPV6})\\]|([0-9A-Za-z._-]+))(?::(${PORT}))?$`);
const ADDRESS_OR_NONE = new RegExp(`^$|${ADDRESS.source}`);
const EXPECTED_ADDRESS = "an address such as db1:15501, 10.0.0.1:15501 or [::1]:15501";
const HTTP_OR_NONE = /^$|^https?:\/\/[^\s/?#]+\/?$/;
const FILE_OR_NONE = /^[^\0]*$/;

export const DEFAULT_REPLICATION_PORT = 15_501;

const role: Choice<ConfiguredRole> = {
  kind: "choice",
  default: "standalone",
  spellings: { standalone: "standalone", master: "master", primary: "master", replica: "replica" },
  environment: ["SYNAP_REPLICATION_ROLE", "SYNAP_ROLE"],
  flag: "role",
  live: true,
  why: "What this node is. `master` takes writes and feeds replicas; `replica` follows `replication.master_address` and takes none; `standalone` does neither, listens for nobody, and does not start where the directory is a replica's or a replaced primary's. SIGHUP applies a change: replica to master promotes, master to replica follows; what was refused the next SIGHUP tries again. From and to `standalone` takes a restart.",
};

const who = {
  "replication.enabled": {
    kind: "switch",
    default: true,
    why: "False: the node stands alone whatever its role says. The documented default is false, which with the default role is the same; ours lets `--role` alone be enough.",
  },
  "replication.role": role,
  "replication.node_name": {
    kind: "text",
    default: "",
    pattern: /^[0-9A-Za-z._-]{0,64}$/,
    expected: "up to 64 letters, digits, dots, - and _",
    why: "What this node is called in `annals status`, stats and metrics. Empty: the first eight digits of its node id.",
  },
  "replication.master_address": {
    kind: "text",
    default: "",
    whenNull: "",
    environment: ["SYNAP_MASTER_ADDRESS", "SYNAP_MASTER", "SYNAP_MASTER_HOST"],
    flag: "master-address",
    pattern: ADDRESS_OR_NONE,
    expected: EXPECTED_ADDRESS,
    live: true,
    why: "Replication address of the node that a replica follows: a primary, or a replica that feeds others. Without a port: 15501.",
  },
  "replication.replica_listen_address": {
    kind: "text",
    default: "127.0.0.1:15501",
    whenNull: "127.0.0.1:15501",
    flag: "replica-listen",
    pattern: ADDRESS,
    expected: EXPECTED_ADDRESS,
    why: "Where masters and replicas listen for other nodes; a replica too, because it may feed others and must be reachable when another one is promoted. Loopback unless you say otherwise: without a secret or TLS, whoever reaches it reads everything. Port 0 takes a free one.",
  },
  "replication.advertised_address": {
    kind: "text",
    default: "",
    pattern: ADDRESS_OR_NONE,
    expected: EXPECTED_ADDRESS,
    why: "Replication address under which other nodes reach this one, when it is not the one that it listens on. Empty: that one, with the host that others see when it listens on all.",
  },
  "replication.advertised_http_address": {
    kind: "text",
    default: "",
    pattern: HTTP_OR_NONE,
    expected: "an address such as http://db1:15500",
    why: "HTTP address of this node as its replicas name it to clients whose writes they refuse or forward. Empty: server.host and server.port, with the host at which others reach it when it listens on all; none where that is one of a zone (`fe80::1%eth0`), which no HTTP address takes.",
  },
} satisfies Record<string, Setting>;

const link = {
  "replication.heartbeat_interval_ms": {
    kind: "number",
    default: 1000,
    min: 10,
    max: 60_000,
    unit: "ms",
    why: "How often both sides of a link say that they live, where they are, and what time it is.",
  },
  "replication.replica_timeout_secs": {
    kind: "number",
    default: 30,
    min: 1,
    max: 3600,
    unit: "s",
    why: "A node that was not heard of for this long counts as gone; a link is given up after this, or three heartbeat intervals of the other side, whichever is longer. Not below two heartbeats.",
  },
  "replication.buffer_size_kb": {
    kind: "number",
    default: 1024,
    min: 16,
    max: 1_048_576,
    unit: "KiB",
    why: "Bytes of records, or of a snapshot, on their way to one replica at once: sent, and not told to be taken in. The documented default is 256; with ours a replica catches up a quarter faster. A single record that is larger goes alone. Whatever the replica has not received yet is read from the disk when there is room: a slow one costs no memory. Over a long way a replica catches up with no more than this in one round trip: raise it there.",
  },
  "replication.auto_reconnect": {
    kind: "switch",
    default: true,
    flag: "auto-reconnect",
    why: "A replica that lost its primary connects again by itself. False: not before a restart, `follow` or `resync`.",
  },
  "replication.reconnect_delay_ms": {
    kind: "number",
    default: 5000,
    min: 10,
    max: 600_000,
    unit: "ms",
    why: "The pause before a replica connects again. Each attempt that comes to nothing doubles it, up to a minute, and chance takes up to a quarter off, so that not all come at once.",
  },
  "replication.max_lag_ms": {
    kind: "number",
    default: 10_000,
    min: 10,
    max: 86_400_000,
    unit: "ms",
    why: "A replica that is further behind counts as lagging: its readiness turns false, so that a balancer reads elsewhere.",
  },
  "replication.check_interval_secs": {
    kind: "number",
    default: 60,
    min: 0,
    max: 86_400,
    unit: "s",
    why: "A replica reads one segment of its log whole this often, the newest first, and compares where it ends with the node that it follows, which reads its own. What is damaged here is put aside and fetched again. Some 30 MiB/s at most; with segments of 64 MiB the default reads about 90 GiB a day. 0: never.",
  },
  "replication.rejoin": {
    kind: "switch",
    default: true,
    why: "A primary that hears that another was promoted follows that one by itself, and keeps what only it had under `diverged`. False: it refuses writes until it is told to follow.",
  },
} satisfies Record<string, Setting>;

const writes = {
  "replication.min_replicas_for_write": {
    kind: "number",
    default: 0,
    min: 0,
    max: 63,
    why: "A primary that has heard of fewer replicas within `replication.replica_timeout_secs` refuses writes (503); and, unless `replication.acks` says otherwise, each write waits until so many have it on disk.",
  },
  "replication.acks": {
    kind: "text",
    default: "min_replicas",
    pattern: /^(min_replicas|quorum|\d|[1-5]\d|6[0-3])$/,
    expected: "a number from 0 to 63, quorum, or min_replicas",
    why: "Replicas that must have a write on disk before it is answered, unless the write says so itself (`X-Annals-Acks`). `min_replicas`: as many as `replication.min_replicas_for_write`. `quorum`: so many that they and the primary are more than half of all nodes known.",
  },
  "replication.ack_timeout_ms": {
    kind: "number",
    default: 5000,
    min: 1,
    max: 600_000,
    unit: "ms",
    why: "How long a write waits for its replicas. Then it is answered 504, which says that it is stored here, where, and by how many it was confirmed.",
  },
  "replication.backpressure_lag_ms": {
    kind: "number",
    default: 0,
    min: 0,
    max: 86_400_000,
    unit: "ms",
    why: "A primary refuses writes (503) while a connected replica is further behind than this; 0: never.",
  },
  "replication.forward_writes": {
    kind: "switch",
    default: false,
    why: "A replica sends writes on to its primary and answers what that answers, instead of refusing them. Each happens once: it gets an idempotency key where its client sent none, whose answer the primary keeps as any other.",
  },
} satisfies Record<string, Setting>;

const trust = {
  "replication.secret_file": {
    kind: "text",
    default: "",
    pattern: FILE_OR_NONE,
    expected: "a file",
    why: "File with the secret that every node must know (or the variable ANNALS_REPLICATION_SECRET). It is proved, never sent. It keeps strangers out; only TLS keeps what is sent from being read on the way. Up to four secrets, with an empty line between, while one gives way to another: two nodes must share one. SIGHUP reads the file again.",
  },
  "replication.tls.cert_file": {
    kind: "text",
    default: "",
    pattern: FILE_OR_NONE,
    expected: "a file",
    why: "Certificate of this node (PEM), used to listen and to connect. With key and CA: links speak TLS, and both sides must show a certificate of that CA. SIGHUP reads all three files again.",
  },
  "replication.tls.key_file": {
    kind: "text",
    default: "",
    pattern: FILE_OR_NONE,
    expected: "a file",
    why: "Key of that certificate (PEM).",
  },
  "replication.tls.ca_file": {
    kind: "text",
    default: "",
    pattern: FILE_OR_NONE,
    expected: "a file",
    why: "Certificates (PEM) of whoever signed those of the other nodes.",
  },
} satisfies Record<string, Setting>;

export const replicationSettings = { ...who, ...link, ...writes, ...trust };
