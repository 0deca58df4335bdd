/**
 * Puts the configuration together: flag > environment > file > default. Every value is checked where it stands, also
 * one that a stronger source overrides: a mistake in a file does not wait for the day when the flag is gone.
 */
import { resolve } from "node:path";
import { directoryAddress } from "../backup/directory-address.js";
import { type DocumentedKey, documentedKey, documentedKeys } from "./documented.js";
import { nearest } from "./nearest.js";
import { describeOrigin, type Mistake, type Origin } from "./origin.js";
import { parseText, parseTyped, type Setting, type SettingValue } from "./setting.js";
import {
  type ConfigValues,
  environmentName,
  isSettingPath,
  type SettingPath,
  settingPaths,
  settings,
} from "./settings.js";
import type { FileContent } from "./yaml-source.js";

export interface ConfigSources {
  /** As `readYaml` found it: whoever has no file does not load a YAML parser. */
  readonly file?: FileContent;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Given flags by name, without dashes. */
  readonly flags: Readonly<Record<string, string>>;
}

/** A documented key that was given and changes nothing here. */
export interface Inert {
  readonly path: string;
  readonly value: unknown;
  readonly origin: Origin;
  readonly note: string;
  readonly secret: boolean;
}

export interface Config {
  readonly values: ConfigValues;
  readonly origins: Readonly<Record<SettingPath, Origin>>;
  readonly inert: readonly Inert[];
  /** Variables that look like ours and are not. */
  readonly warnings: readonly string[];
}

export type Loaded =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly mistakes: readonly Mistake[] };

interface Given {
  value: unknown;
  origin: Origin;
}

export function loadConfig(sources: ConfigSources): Loaded {
  const loading = new Loading();
  if (sources.file !== undefined) loading.takeFile(sources.file);
  loading.takeEnvironment(sources.environment);
  loading.takeFlags(sources.flags);
  return loading.finish();
}

class Loading {
  readonly #settings = new Map<string, { value: SettingValue; origin: Origin }>();
  readonly #documented = new Map<string, Given>();
  readonly #mistakes: Mistake[] = [];
  readonly #warnings: string[] = [];

  takeFile({ entries, mistakes }: FileContent): void {
    this.#mistakes.push(...mistakes);
    for (const { path, value, origin } of entries) {
      if (isSettingPath(path)) this.#take(path, parseTyped(settings[path], value), origin);
      else this.#documented.set(path, { value, origin });
    }
  }

  takeEnvironment(environment: ConfigSources["environment"]): void {
    const known = new Set(["ANNALS_CONFIG", "ANNALS_HEALTH_ADDR", "SYNAP_HEALTH_ADDR"]);
    const visit = (names: readonly string[], take: (text: string, origin: Origin) => void): void => {
      // The first name wins: ours before the documented ones.
      for (const name of names) known.add(name);
      const variable = names.find((name) => isGiven(name, environment[name]));
      const text = variable === undefined ? undefined : environment[variable];
      if (variable !== undefined && text !== undefined) take(text, { type: "environment", variable });
    };
    for (const path of settingPaths) {
      if (!isSettingPath(path)) continue;
      const setting: Setting = settings[path];
      visit([environmentName(path), ...(setting.environment ?? [])], (text, origin) =>
        this.#take(path, parseText(setting, withMasterPort(text, origin, environment)), origin),
      );
    }
    known.add(MASTER_PORT);
    for (const key of documentedKeys) {
      visit(key.environment ?? [], (text, origin) =>
        this.#documented.set(key.path, { value: scalar(text), origin }),
      );
    }
    this.#warnAboutStrangers(environment, known);
  }

  takeFlags(flags: ConfigSources["flags"]): void {
    for (const [flag, text] of Object.entries(flags)) {
      const origin: Origin = { type: "flag", flag };
      const path = settingPaths.find((name) => isSettingPath(name) && flagOf(settings[name]) === flag);
      const documented = documentedKeys.find((key) => key.flag === flag);
      if (path !== undefined && isSettingPath(path))
        this.#take(path, parseText(settings[path], text), origin);
      else if (documented !== undefined)
        this.#documented.set(documented.path, { value: scalar(text), origin });
      else this.#mistakes.push({ origin, message: "no setting has this flag" });
    }
  }

  finish(): Loaded {
    const values: Record<string, SettingValue> = {};
    const origins: Record<string, Origin> = {};
    for (const path of settingPaths) {
      if (!isSettingPath(path)) continue;
      const given = this.#settings.get(path);
      values[path] = given?.value ?? settings[path].default;
      origins[path] = given?.origin ?? { type: "default" };
    }
    const inert = this.#judgeDocumented(String(values["data_dir"]));
    // The loop above has given every path of the table a value that its own setting accepted.
    const config = {
      values: values as unknown as ConfigValues,
      origins: origins as Record<SettingPath, Origin>,
      inert,
      warnings: this.#warnings,
    };
    if (this.#mistakes.length === 0) this.#mistakes.push(...disagreements(config));
    return this.#mistakes.length === 0 ? { ok: true, config } : { ok: false, mistakes: this.#mistakes };
  }

  #take(path: SettingPath, parsed: ReturnType<typeof parseTyped>, origin: Origin): void {
    if (parsed.ok) this.#settings.set(path, { value: parsed.value, origin });
    else this.#mistakes.push({ origin, message: `${path}: ${parsed.problem}` });
  }

  /** Only what counts in the end is judged: a flag may take back what a file asks for. */
  #judgeDocumented(dataDirectory: string): Inert[] {
    const inert: Inert[] = [];
    for (const [path, { value, origin }] of this.#documented) {
      const key: DocumentedKey | undefined = documentedKey(path);
      const refusal = key?.refuse?.(value, dataDirectory);
      if (refusal !== undefined) this.#mistakes.push({ origin, message: `${path}: ${refusal}` });
      else if (key !== undefined)
        inert.push({ path, value, origin, note: key.note, secret: key.secret === true });
    }
    return inert;
  }

  #warnAboutStrangers(environment: ConfigSources["environment"], known: ReadonlySet<string>): void {
    for (const variable of Object.keys(environment)) {
      if (!/^(ANNALS|SYNAP)_/.test(variable) || known.has(variable)) continue;
      if (variable === S3_ENDPOINT || variable === REPLICATION_SECRET || SERVICE_LINK.test(variable))
        continue;
      const meant = nearest(variable, known);
      const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
      this.#warnings.push(`environment ${variable} is not a setting${hint}`);
    }
  }
}

/** Belongs to the credentials of a bucket, which no configuration file holds. */
const S3_ENDPOINT = "ANNALS_S3_ENDPOINT";
/** A secret that no configuration file holds either. */
export const REPLICATION_SECRET = "ANNALS_REPLICATION_SECRET";
/** The documented address in two parts: the port belongs to the host beside it, and is nothing without one. */
const MASTER_PORT = "SYNAP_MASTER_PORT";

function withMasterPort(text: string, origin: Origin, environment: ConfigSources["environment"]): string {
  const isHost = origin.type === "environment" && origin.variable === "SYNAP_MASTER_HOST";
  const port = environment[MASTER_PORT];
  return isHost && port !== undefined && /^\d+$/.test(port) ? `${text}:${port}` : text;
}

/** Variables that Kubernetes sets for a service named like us; they are addresses of a service, not our settings. */
const SERVICE_LINK = /^(ANNALS|SYNAP)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$/;

const isGiven = (name: string, text: string | undefined): boolean =>
  text !== undefined && text !== "" && !(SERVICE_LINK.test(name) && /^(tcp|udp|sctp):\/\//.test(text));

const flagOf = (setting: Setting): string | undefined => setting.flag;

/** What YAML would have made of the text, for keys whose kind is not in the table. */
function scalar(text: string): unknown {
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  return text;
}

/** Room in a record beside the largest value: its key, its type, and the frame. */
const RECORD_ROOM_BYTES = 65_536;

/** Notes a mistake unless it holds, at whichever of the two was given. */
type Need = (holds: boolean, paths: readonly [SettingPath, SettingPath], message: string) => void;

/** What two settings disagree about, at the one that was given. */
function disagreement(
  { values, origins }: Pick<Config, "values" | "origins">,
  paths: readonly [SettingPath, SettingPath],
  message: string,
): Mistake {
  const path = origins[paths[0]].type === "default" ? paths[1] : paths[0];
  const other = path === paths[0] ? paths[1] : paths[0];
  const theirs = `${other} is ${String(values[other])}, ${describeOrigin(origins[other])}`;
  return { origin: origins[path], message: `${path}: ${message} (${theirs})` };
}

/** Settings that only make sense together. */
function disagreements(config: Pick<Config, "values" | "origins">): Mistake[] {
  const { values } = config;
  const found: Mistake[] = [];
  const need: Need = (holds, paths, message) => {
    if (!holds) found.push(disagreement(config, paths, message));
  };
  need(
    values["kv_store.max_value_size_bytes"] + RECORD_ROOM_BYTES <= values["log.record_bytes_max"],
    ["kv_store.max_value_size_bytes", "log.record_bytes_max"],
    "the largest value plus 65536 bytes must fit into log.record_bytes_max",
  );
  need(
    values["queue.payload_bytes_max"] + RECORD_ROOM_BYTES <= values["log.record_bytes_max"],
    ["queue.payload_bytes_max", "log.record_bytes_max"],
    "the largest payload plus 65536 bytes must fit into log.record_bytes_max",
  );
  need(
    values["log.record_bytes_max"] <= values["log.pending_bytes_max"],
    ["log.record_bytes_max", "log.pending_bytes_max"],
    "log.record_bytes_max must not exceed log.pending_bytes_max",
  );
  need(
    values["limits.headers_timeout_ms"] <= values["limits.request_timeout_ms"],
    ["limits.headers_timeout_ms", "limits.request_timeout_ms"],
    "limits.headers_timeout_ms must not exceed limits.request_timeout_ms",
  );
  need(
    values["shutdown.drain_delay_ms"] < values["shutdown.timeout_ms"],
    ["shutdown.drain_delay_ms", "shutdown.timeout_ms"],
    "shutdown.drain_delay_ms must be below shutdown.timeout_ms",
  );
  const archive = directoryAddress(values["archive.url"]);
  if (archive !== undefined && `${archive}/`.startsWith(`${resolve(values.data_dir)}/`))
    found.push(archiveInside(config));
  replicationDisagreements(values, need);
  for (const path of ["log.retention_bytes", "log.retention_secs"] as const) {
    need(
      values[path] === 0 || values["persistence.snapshot.enabled"],
      [path, "persistence.snapshot.enabled"],
      "the log is kept until snapshots replace it, so retention needs persistence.snapshot.enabled",
    );
  }
  return found;
}

function replicationDisagreements(values: ConfigValues, need: Need): void {
  need(
    values["replication.enabled"] || values["replication.role"] !== "replica",
    ["replication.enabled", "replication.role"],
    "a replica that does not replicate cannot start",
  );
  need(
    !values["replication.enabled"] ||
      values["replication.role"] !== "replica" ||
      values["replication.master_address"] !== "",
    ["replication.role", "replication.master_address"],
    "a replica needs the address of the node that it follows",
  );
  need(
    2 * values["replication.heartbeat_interval_ms"] <= 1000 * values["replication.replica_timeout_secs"],
    ["replication.heartbeat_interval_ms", "replication.replica_timeout_secs"],
    "two heartbeats must fit into replication.replica_timeout_secs",
  );
  const tls = (["cert_file", "key_file", "ca_file"] as const).map(
    (name) => `replication.tls.${name}` as const,
  );
  const missing = tls.find((path) => values[path] === "");
  const there = tls.find((path) => values[path] !== "");
  if (missing !== undefined && there !== undefined) {
    need(false, [there, missing], "certificate, key and CA are needed together");
  }
}

/** Whether it does the paths of the two tell, or what their links lead to. */
export const archiveInside = (config: Pick<Config, "values" | "origins">): Mistake =>
  disagreement(
    config,
    ["archive.url", "data_dir"],
    "an archive in the data directory is lost together with it; name a place outside of data_dir",
  );
