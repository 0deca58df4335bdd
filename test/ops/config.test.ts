import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { documentedKeys } from "../../ops/config/documented.js";
import { type Config, type ConfigSources, loadConfig } from "../../ops/config/load.js";
import { describeMistake } from "../../ops/config/origin.js";
import { MASK, printedInert, renderYaml } from "../../ops/config/render.js";
import { changesBetween, LiveSettings, logSettings } from "../../ops/config/rooms.js";
import { parseTyped, type Setting } from "../../ops/config/setting.js";
import { environmentName, isSettingPath, settingPaths, settings } from "../../ops/config/settings.js";
import { readYaml } from "../../ops/config/yaml-source.js";

interface Given {
  readonly yaml?: string;
  readonly environment?: Record<string, string>;
  readonly flags?: Record<string, string>;
}

const sourcesOf = ({ yaml, environment = {}, flags = {} }: Given): ConfigSources =>
  yaml === undefined ? { environment, flags } : { environment, flags, file: readYaml("config.yml", yaml) };

function sound(given: Given): Config {
  const loaded = loadConfig(sourcesOf(given));
  if (!loaded.ok) throw new Error(loaded.mistakes.map(describeMistake).join("\n"));
  return loaded.config;
}

function mistakes(given: Given): string[] {
  const loaded = loadConfig(sourcesOf(given));
  return loaded.ok ? [] : loaded.mistakes.map(describeMistake);
}

describe("configuration", () => {
  it("starts with nothing at all: loopback, the documented port, and every commit synced", () => {
    const { values } = sound({});
    expect(values["server.host"]).toBe("127.0.0.1");
    expect(values["server.port"]).toBe(15_500);
    expect(values["data_dir"]).toBe("./data");
    expect(logSettings(values).fsyncMode).toBe("always");
  });

  it("takes a flag before the environment, the environment before the file, the file before the default", () => {
    const yaml = "server:\n  port: 1111\n";
    const environment = { SYNAP_PORT: "2222" };
    const flags = { port: "3333" };
    const port = (given: Given) => sound(given).values["server.port"];
    expect(port({ yaml })).toBe(1111);
    expect(port({ yaml, environment })).toBe(2222);
    expect(port({ yaml, environment, flags })).toBe(3333);
    expect(port({ yaml, flags })).toBe(3333);
    expect(sound({ yaml }).origins["server.port"]).toEqual({
      type: "file",
      file: "config.yml",
      line: 2,
      column: 9,
    });
    expect(sound({ environment }).origins["server.port"]).toEqual({
      type: "environment",
      variable: "SYNAP_PORT",
    });
  });

  it("takes ANNALS_ names for every setting, before the documented name of the same setting", () => {
    for (const path of settingPaths) {
      if (!isSettingPath(path)) continue;
      const other = another(settings[path]);
      if (other === undefined) continue;
      const loaded = loadConfig({
        environment: { ...besides(path), [environmentName(path)]: other.text },
        flags: {},
      });
      if (!loaded.ok) throw new Error(describeMistake(loaded.mistakes[0]!));
      expect(loaded.config.values[path], path).toEqual(other.value);
    }
    const both = { ANNALS_SERVER_PORT: "1", SYNAP_PORT: "2" };
    expect(sound({ environment: both }).values["server.port"]).toBe(1);
  });

  it("reads the documented environment names", () => {
    const { values } = sound({
      environment: {
        SYNAP_HOST: "0.0.0.0",
        SYNAP_PORT: "15501",
        SYNAP_LOG_LEVEL: "debug",
        SYNAP_LOG_FORMAT: "pretty",
        SYNAP_PERSISTENCE_ENABLED: "true",
        SYNAP_REPLICATION_ROLE: "master",
      },
    });
    expect(values["server.host"]).toBe("0.0.0.0");
    expect(values["server.port"]).toBe(15_501);
    expect(values["logging.level"]).toBe("debug");
    expect(values["logging.format"]).toBe("pretty");
  });

  it("names file, line, column and the nearest key for an unknown key", () => {
    expect(mistakes({ yaml: "server:\n  host: 127.0.0.1\n  prot: 80\n" })).toEqual([
      "config.yml:3:3: unknown key `server.prot`; did you mean `server.port`?",
    ]);
    expect(mistakes({ yaml: "sever:\n  port: 80\n" })).toEqual([
      "config.yml:1:1: unknown key `sever`; did you mean `server`?",
    ]);
    expect(mistakes({ yaml: "fsync_mode: always\n" })).toEqual([
      "config.yml:1:1: unknown key `fsync_mode`; did you mean `persistence.wal.fsync_mode`?",
    ]);
    expect(mistakes({ yaml: "entirely_different: 1\n" })).toEqual([
      "config.yml:1:1: unknown key `entirely_different`",
    ]);
  });

  it.each([
    ["server:\n  port: 70000\n", "config.yml:2:9: server.port: expected 0 to 65535, found 70000"],
    ["server:\n  port: '80'\n", 'config.yml:2:9: server.port: expected a whole number, found "80"'],
    ["server:\n  port: 1.5\n", "config.yml:2:9: server.port: expected a whole number, found 1.5"],
    ["server:\n  host:\n", "config.yml:2:8: server.host: expected a text, found null"],
    [
      "kv_store:\n  allow_flush_commands: yes\n",
      'config.yml:2:25: kv_store.allow_flush_commands: expected true or false, found "yes"',
    ],
    [
      "log:\n  segment_bytes: 4095\n",
      "config.yml:2:18: log.segment_bytes: expected 4096 to 1073741824 bytes, found 4095",
    ],
    ["server: 5\n", "config.yml:1:9: `server` must be a mapping of names to values"],
    ["- a\n", "config.yml:1:1: the file must be a mapping of names to values"],
    ["server:\n  port: 1\n  port: 2\n", "config.yml:3:3: Map keys must be unique"],
    ["server.port: 1\nserver:\n  port: 2\n", "config.yml:3:3: `server.port` is given twice"],
    [
      "archive:\n  url: ftp://host/x\n",
      expect.stringMatching(/^config.yml:2:8: archive.url: expected a directory, or/),
    ],
    ["archive:\n  url: file://host/x\n", expect.stringContaining("archive.url: expected")],
    ["archive:\n  url: s3:///prefix\n", expect.stringContaining("archive.url: expected")],
    ["server: {}\n---\nserver: {}\n", "config.yml:2:1: a second document; one is expected"],
    ["server:\n  port: .inf\n", "config.yml:2:9: server.port: expected a whole number, found Infinity"],
    ["server: *base\n", "config.yml:1:9: nothing above has the anchor `&base`"],
    ["server:\n  port: *base\n", "config.yml:2:9: nothing above has the anchor `&base`"],
    ["server: &base\n  port: *base\n", "config.yml:2:9: `*base` stands in what it names"],
    [
      "server:\n  cors_origins: [&a [x], &b [*a, *a, *a, *a], &c [*b, *b, *b, *b], *c, *c, *c, *c, *c]\n",
      expect.stringMatching(/^config.yml:2:17: server.cors_origins: Excessive alias count/),
    ],
    [
      "persistence:\n  enabled: false\n",
      "config.yml:2:12: persistence.enabled: false is not possible: the log is the store, there is nothing without it",
    ],
  ])("refuses %j at its place", (yaml, expected) => {
    expect(mistakes({ yaml })).toEqual([expected]);
  });

  it("names the variable or the flag for a mistake that came by it", () => {
    expect(mistakes({ environment: { SYNAP_PORT: "many" } })).toEqual([
      'environment SYNAP_PORT: server.port: expected a whole number, found "many"',
    ]);
    expect(mistakes({ flags: { port: "-1" } })).toEqual([
      "flag --port: server.port: expected 0 to 65535, found -1",
    ]);
  });

  it("lists every mistake, not only the first", () => {
    const yaml = "server:\n  port: x\n  hots: y\nlogging:\n  level: loud\n";
    expect(mistakes({ yaml, environment: { ANNALS_LOG_SEGMENT_BYTES: "1" } })).toHaveLength(4);
  });

  it("finds a mistake in the file although a flag overrides the value", () => {
    expect(mistakes({ yaml: "server:\n  port: x\n", flags: { port: "80" } })).toHaveLength(1);
  });

  it.each([
    ["none", "noeviction"],
    ["noeviction", "noeviction"],
    ["lru", "allkeys-lru"],
    ["lfu", "allkeys-lfu"],
    ["ttl", "volatile-ttl"],
    ["volatile-random", "volatile-random"],
  ])("knows the eviction policy %s, old name or new", (spelling, policy) => {
    const { values } = sound({ yaml: `kv_store:\n  eviction_policy: ${spelling}\n` });
    expect(new LiveSettings(values).rules.kv.evictionPolicy).toBe(policy);
  });

  it("gives new queues the documented defaults, or those of the file", () => {
    expect(new LiveSettings(sound({}).values).rules.queue.defaults).toMatchObject({
      maxDepth: 100_000,
      ackDeadlineMs: 30_000,
      maxRetries: 3,
      priority: 5,
      prefetchLimit: 0,
    });
    const yaml =
      "queue: { enabled: true, max_depth: 7, ack_deadline_secs: 60, default_max_retries: 1, default_priority: 9, prefetch_limit: 2, max_memory_mb: 3 }";
    const { rules } = new LiveSettings(sound({ yaml }).values);
    expect(rules.queue).toMatchObject({
      memoryBytesMax: 3 * 1_048_576,
      defaults: { maxDepth: 7, ackDeadlineMs: 60_000, maxRetries: 1, priority: 9, prefetchLimit: 2 },
    });
  });

  it("refuses settings that contradict each other, at the place that can be changed", () => {
    expect(mistakes({ yaml: "kv_store:\n  max_value_size_bytes: 40000000\n" })).toEqual([
      "config.yml:2:25: kv_store.max_value_size_bytes: the largest value plus 65536 bytes must fit into log.record_bytes_max (log.record_bytes_max is 33554432, default)",
    ]);
    expect(mistakes({ yaml: "queue:\n  payload_bytes_max: 40000000\n" })[0]).toMatch(
      /^config.yml:2:22: queue.payload_bytes_max: /,
    );
    expect(mistakes({ yaml: "log:\n  pending_bytes_max: 65536\n" })[0]).toMatch(
      /^config.yml:2:22: log.pending_bytes_max: /,
    );
    expect(mistakes({ flags: {}, environment: { ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "9000" } })[0]).toMatch(
      /^environment ANNALS_SHUTDOWN_DRAIN_DELAY_MS: /,
    );
  });

  it.each(["./data", "data/archive", "file:///srv/annals/archive"])(
    "refuses an archive in the data directory: %s",
    (url) => {
      const data = url.startsWith("file:") ? "/srv/annals" : "./data";
      const environment = { ANNALS_ARCHIVE_URL: url, ANNALS_DATA_DIR: data };
      expect(mistakes({ flags: {}, environment })[0]).toMatch(
        /ARCHIVE_URL: archive.url: .*outside of data_dir/,
      );
    },
  );

  it.each(["./data-archive", "s3://data/archive", "file:///srv/annals-archive", ""])(
    "takes an archive elsewhere: %s",
    (url) => {
      expect(sound({ environment: { ANNALS_ARCHIVE_URL: url } }).values["archive.url"]).toBe(url);
    },
  );

  it("warns of variables that look like ours, and not of those that Kubernetes sets for a service", () => {
    const environment = {
      ANNALS_SEVER_PORT: "1",
      ANNALS_PORT: "tcp://10.0.0.1:15500",
      ANNALS_SERVICE_HOST: "10.0.0.1",
      ANNALS_S3_ENDPOINT: "http://localhost:9000",
      SYNAP_PORT: "tcp://10.0.0.2:15500",
      SYNAP_PORT_15500_TCP_ADDR: "10.0.0.2",
    };
    const config = sound({ environment });
    expect(config.warnings).toEqual([
      "environment ANNALS_SEVER_PORT is not a setting; did you mean ANNALS_SERVER_PORT?",
    ]);
    expect(config.values["server.port"]).toBe(15_500);
  });
});

describe("documented keys", () => {
  it("load without effect and are named, when they ask for nothing that is missing", () => {
    const yaml = [
      "protocols: { rest: { enabled: true, prefix: /kv } }",
      "persistence: { wal: { buffer_size_kb: 64, max_size_mb: 1024, path: ./data/wal/synap.wal } }",
      "replication: { listen_port: 15501, full_sync_threshold: 10000, batch_size: 100 }",
      "event_stream: { enabled: true, retention_mode: hybrid, retention_hours: 24, max_events_per_room: 100000, max_rooms: 100000 }",
      "users: []",
    ].join("\n");
    expect(sound({ yaml }).inert.map(({ path }) => path)).toEqual([
      "protocols.rest.enabled",
      "protocols.rest.prefix",
      "persistence.wal.buffer_size_kb",
      "persistence.wal.max_size_mb",
      "persistence.wal.path",
      "replication.listen_port",
      "replication.full_sync_threshold",
      "replication.batch_size",
      "event_stream.enabled",
      "event_stream.retention_mode",
      "event_stream.retention_hours",
      "event_stream.max_events_per_room",
      "event_stream.max_rooms",
      "users",
    ]);
  });

  it.each([
    "auth: { enabled: true }",
    "authentication: { enabled: true }",
    "users: [{ username: admin }]",
    "api_keys: [{ key: sk_x }]",
    "acl: [{ name: public }]",
    "rate_limit: { enabled: true }",
    "server: { websocket_enabled: true }",
    "server: { tls: { enabled: true } }",
    "resp3: { enabled: true }",
    "cluster: { enabled: true }",
    "auth: { enabled: yes }",
    'auth: { require_auth: "true" }',
    "authentication: { enabled: on }",
    "server: { tls: true }",
    "cluster: { enabled: 1 }",
  ])("refuse what this release cannot do: %s", (yaml) => {
    expect(mistakes({ yaml })).toHaveLength(1);
    expect(mistakes({ yaml })[0]).toMatch(/not in this release/);
  });

  it("let a flag take back what the file asks for", () => {
    const yaml = "server: { websocket_enabled: true }\nauth: { enabled: true }";
    expect(mistakes({ yaml, environment: { SYNAP_AUTH_ENABLED: "false" } })).toHaveLength(1);
    for (const on of ["true", "TRUE", "1", "yes"]) {
      expect(mistakes({ environment: { SYNAP_AUTH_ENABLED: on } })[0]).toMatch(
        /^environment SYNAP_AUTH_ENABLED: /,
      );
    }
    for (const off of ["False", "0", "off"]) sound({ environment: { SYNAP_AUTH_ENABLED: off } });
  });

  it("are no settings of ours at the same time", () => {
    for (const { path } of documentedKeys) expect(settingPaths).not.toContain(path);
  });

  it("never show a secret", () => {
    const config = sound({ yaml: "auth: { root: { username: root, password: hunter2 } }" });
    const shown = printedInert(config.inert);
    expect(shown.find(({ path }) => path === "auth.root.password")?.value).toBe(MASK);
    expect(renderYaml(config)).not.toContain("hunter2");
  });
});

describe("a role", () => {
  const replica = "replication: { role: replica, master_address: db1 }";

  it("that cannot start is a mistake of the configuration", () => {
    expect(mistakes({ yaml: "replication: { role: replica }" })[0]).toMatch(/needs the address of the node/);
    expect(mistakes({ environment: { SYNAP_ROLE: "replica" } })[0]).toMatch(/^environment SYNAP_ROLE: /);
    expect(mistakes({ yaml: replica, flags: { role: "leader" } })[0]).toMatch(/standalone, master/);
    const off = "replication: { enabled: false, role: replica, master_address: db1 }";
    expect(mistakes({ yaml: off })[0]).toMatch(/does not replicate cannot start/);
    expect(mistakes({ yaml: "server: { role: replica }" })[0]).toMatch(/say it as replication\.role/);
  });

  it("is given by its flags alone, and by the documented variables", () => {
    const flags = { role: "replica", "master-address": "[::1]:15501", "replica-listen": "0.0.0.0:15501" };
    expect(sound({ flags }).values).toMatchObject({
      "replication.role": "replica",
      "replication.master_address": "[::1]:15501",
      "replication.replica_listen_address": "0.0.0.0:15501",
    });
    const environment = { SYNAP_ROLE: "replica", SYNAP_MASTER_HOST: "db1", SYNAP_MASTER_PORT: "15600" };
    expect(sound({ environment }).values["replication.master_address"]).toBe("db1:15600");
    expect(sound({ yaml: replica, flags: { role: "master" } }).values["replication.role"]).toBe("master");
  });

  it("takes the documented file as it is", () => {
    const yaml = [
      "replication:",
      "  enabled: true",
      "  role: master",
      "  master_address: null",
      '  replica_listen_address: "0.0.0.0:15501"',
      "  heartbeat_interval_ms: 1000",
      "  max_lag_ms: 10000",
      "  buffer_size_kb: 256",
      "  auto_reconnect: true",
      "  reconnect_delay_ms: 5000",
      "  replica_timeout_secs: 30",
    ].join("\n");
    expect(sound({ yaml }).inert).toEqual([]);
  });

  it("speaks TLS with certificate, key and CA or not at all, and hears a replica in time", () => {
    expect(mistakes({ yaml: "replication: { tls: { cert_file: a.pem } }" })[0]).toMatch(/needed together/);
    const slow = "replication: { heartbeat_interval_ms: 900, replica_timeout_secs: 1 }";
    expect(mistakes({ yaml: slow })[0]).toMatch(/two heartbeats/);
  });

  it("has secrets that are no setting, and never shown", () => {
    const config = sound({ environment: { ANNALS_REPLICATION_SECRET: "hunter2\n\nhunter1" } });
    expect(config.warnings).toEqual([]);
    expect(renderYaml(config)).not.toContain("hunter");
  });
});

describe("printed configuration", () => {
  it("loads again and gives the same values", () => {
    const config = sound({
      yaml: "server: { port: 1 }\nkv_store: { eviction_policy: lru }\nserver.x: 1\n".replace(
        "server.x: 1\n",
        "",
      ),
      environment: { ANNALS_SERVER_CORS_ORIGINS: "https://a.example, https://b.example" },
    });
    expect(sound({ yaml: renderYaml(config) }).values).toEqual(config.values);
  });

  it("says where each value came from", () => {
    const text = renderYaml(sound({ yaml: "server:\n  port: 1\n", environment: { SYNAP_HOST: "::1" } }));
    expect(text).toContain("  port: 1  # config.yml:2:9\n");
    expect(text).toContain('  host: "::1"  # environment SYNAP_HOST\n');
    expect(text).toContain('data_dir: "./data"  # default\n');
  });
});

describe("reloaded settings", () => {
  it("reach the objects that the rooms hold, and the rest is reported", () => {
    const before = sound({}).values;
    const after = sound({
      yaml: "kv_store: { max_memory_mb: 7, allow_flush_commands: true }\nlimits: { slow_request_ms: 5 }\nserver: { port: 9 }",
    }).values;
    const live = new LiveSettings(before);
    const { rules, limits } = live;
    live.apply(after);
    expect(rules.kv.maxMemoryBytes).toBe(7 * 1_048_576);
    expect(rules.kv.allowFlush).toBe(true);
    expect(limits.slowRequestMs).toBe(5);
    const changes = changesBetween(before, after);
    expect(changes.filter((change) => !change.live).map(({ path }) => path)).toEqual(["server.port"]);
    expect(changes.filter((change) => change.live)).toHaveLength(3);
  });

  it.each([
    ["master", "replica, master_address: db1", true],
    ["replica, master_address: db1", "replica, master_address: db2", true],
    ["standalone", "master", false],
    ["replica, master_address: db1", "standalone, master_address: db2", false],
  ])("change a role from %s to %s in a running server: %s", (from, to, isLive) => {
    const of = (role: string) => sound({ yaml: `replication: { role: ${role} }` }).values;
    const roles = changesBetween(of(from), of(to));
    expect(roles.length).toBeGreaterThan(0);
    expect(roles.map(({ live }) => live)).toEqual(roles.map(() => isLive));
  });
});

describe("the documents", () => {
  it("list every setting with its default and limits", () => {
    const text = readFileSync(new URL("../../ops/docs/configuration.md", import.meta.url), "utf8");
    for (const path of settingPaths) {
      if (!isSettingPath(path)) continue;
      expect(text, path).toContain(settingRow(path, settings[path]));
    }
    for (const { path } of documentedKeys) expect(text, path).toContain(`\`${path}\``);
  });
});

/** One row of the table in the document; a new setting is added there by copying what the failing test shows. */
function settingRow(path: string, setting: Setting): string {
  const unit = setting.unit === undefined ? "" : ` ${setting.unit}`;
  const names = [
    ...(setting.environment ?? []),
    ...(setting.flag === undefined ? [] : [`--${setting.flag}`]),
  ];
  const also = names.map((name) => `\`${name}\``).join(" ");
  const reload = setting.live === true ? "yes" : "";
  const cells = [`\`${path}\``, `${JSON.stringify(setting.default)}${unit}`, limitsOf(setting), also, reload];
  return `| ${cells.join(" | ")} | ${setting.why} |`;
}

function limitsOf(setting: Setting): string {
  if (setting.kind === "number") return `${setting.min} to ${setting.max}`;
  if (setting.kind === "choice") return Object.keys(setting.spellings).join(", ");
  if (setting.kind === "switch")
    return setting.refused === undefined ? "true, false" : String(!setting.refused.value);
  return setting.kind === "list" ? "texts" : (setting.expected ?? "text");
}

/** What a setting cannot be without. */
function besides(path: string): Record<string, string> {
  if (!path.startsWith("replication.tls.")) return {};
  const files = ["cert_file", "key_file", "ca_file"].map((name) => `replication.tls.${name}`);
  return Object.fromEntries(files.map((name) => [environmentName(name), "some.pem"]));
}

/** A sound value that is not the default, as text and as what it means. */
function another(setting: Setting): { text: string; value: unknown } | undefined {
  if (setting.kind === "number") {
    const value = setting.default === setting.max ? setting.max - 1 : setting.default + 1;
    return { text: String(value), value };
  }
  if (setting.kind === "switch")
    return setting.refused === undefined
      ? { text: String(!setting.default), value: !setting.default }
      : undefined;
  if (setting.kind === "text") {
    const value = `${setting.default}2`;
    return parseTyped(setting, value).ok ? { text: value, value } : undefined;
  }
  if (setting.kind === "list") return { text: "a, b", value: ["a", "b"] };
  const found = Object.entries(setting.spellings).find(([, value]) => value !== setting.default);
  return found === undefined ? undefined : { text: found[0], value: found[1] };
}
