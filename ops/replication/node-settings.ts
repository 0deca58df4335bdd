/** Translates the configuration into what a node of a replicated set is told, and reads its secrets and certificates. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { Acks } from "../../api/index.js";
import { errorMessage } from "../../log/index.js";
import {
  type ReplicationSettings,
  SECRETS_MAX,
  type Secrets,
  type TlsCertificates,
} from "../../replication/index.js";
import { REPLICATION_SECRET } from "../config/load.js";
import type { ConfigValues } from "../config/settings.js";
import { parseAddress } from "./address.js";

const KIB = 1024;

/** Of a node that does not stand alone. `httpOfListener`: where the HTTP server of this process is reached, once it listens. */
export function nodeSettings(
  values: ConfigValues,
  secrets: () => Secrets,
  httpOfListener: () => string | undefined,
): ReplicationSettings {
  const advertised = values["replication.advertised_http_address"].replace(/\/$/, "");
  return {
    role: values["replication.role"] === "replica" ? "replica" : "master",
    masterAddress: addressIn(values["replication.master_address"]),
    listenAddress: addressIn(values["replication.replica_listen_address"]),
    advertiseAddress: addressIn(values["replication.advertised_address"]),
    httpAddress: () => (advertised === "" ? httpOfListener() : advertised),
    name: values["replication.node_name"],
    heartbeatIntervalMs: values["replication.heartbeat_interval_ms"],
    maxLagMs: values["replication.max_lag_ms"],
    bufferBytes: values["replication.buffer_size_kb"] * KIB,
    autoReconnect: values["replication.auto_reconnect"],
    reconnectDelayMs: values["replication.reconnect_delay_ms"],
    replicaTimeoutMs: values["replication.replica_timeout_secs"] * 1000,
    minReplicasForWrite: values["replication.min_replicas_for_write"],
    writeLagMsMax: values["replication.backpressure_lag_ms"],
    rejoin: values["replication.rejoin"],
    checkIntervalMs: values["replication.check_interval_secs"] * 1000,
    secrets,
  };
}

const addressIn = (text: string) => (text === "" ? undefined : parseAddress(text));

/** Of writes that do not say. */
export function acksByDefault(values: ConfigValues): Acks {
  const acks = values["replication.acks"];
  if (acks === "quorum") return acks;
  return acks === "min_replicas" ? values["replication.min_replicas_for_write"] : Number(acks);
}

/** Of the text of `replication.secret_file`. Who needs more room than this has named another file by mistake. */
const SECRETS_LENGTH_MAX = 65_536;
/** Between two secrets. One that an encoder has broken into lines is one. */
const EMPTY_LINES = /(?:\r?\n){2,}/;

/** Without the line end that editors add. None: none is asked for. @throws Error that names the setting, and shows nothing of the text. */
export async function readSecrets(
  values: ConfigValues,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Secrets> {
  const file = values["replication.secret_file"];
  const text =
    file === ""
      ? (environment[REPLICATION_SECRET] ?? "")
      : (await readNamed(file, "replication.secret_file")).toString("utf8");
  const place = file === "" ? REPLICATION_SECRET : file;
  const setting = file === "" ? "" : " (replication.secret_file)";
  if (text.length > SECRETS_LENGTH_MAX)
    throw new Error(`${place}: longer than the ${SECRETS_LENGTH_MAX} characters expected${setting}`);
  const secrets = text
    .replace(/[\r\n]+$/, "")
    .split(EMPTY_LINES)
    .filter((secret) => secret !== "");
  if (file !== "" && secrets.length === 0) throw new Error(`${place}: the secret is empty${setting}`);
  if (secrets.length > SECRETS_MAX)
    throw new Error(`${place}: ${secrets.length} secrets, and a node knows at most ${SECRETS_MAX}${setting}`);
  return secrets.map((secret) => Buffer.from(secret));
}

/** Undefined: links are not encrypted. */
export async function readCertificates(values: ConfigValues): Promise<TlsCertificates | undefined> {
  if (values["replication.tls.cert_file"] === "") return undefined;
  const [certificate, key, ca] = await Promise.all(
    (["cert_file", "key_file", "ca_file"] as const).map((name) => {
      const setting = `replication.tls.${name}` as const;
      return readNamed(values[setting], setting);
    }),
  );
  if (certificate === undefined || key === undefined || ca === undefined) return undefined;
  try {
    createSecureContext({ cert: certificate, key, ca });
    // A file without any would be taken, and nobody trusted.
    void new X509Certificate(ca);
  } catch (error) {
    const why = errorMessage(error);
    const advice = "all three files must be PEM, and key_file that of the certificate in cert_file";
    throw new Error(`replication.tls: ${why}; ${advice}`, { cause: error });
  }
  return { certificate, key, ca };
}

async function readNamed(file: string, setting: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const why = errorMessage(error);
    throw new Error(`${setting}: ${why}; check the file`, { cause: error });
  }
}
